"""ONNX and OpenVINO files: the vectors of transformers for every architecture, and clear errors for damaged files.

The files in exports/ were written by generate_exports.py, with the vectors that transformers and torch compute.
"""

import json
import lzma
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from tokenizers import AddedToken, Tokenizer, models, processors

from umekomi import Embedder
from umekomi.encoders.transformer.backends import prepared_graph
from umekomi.encoders.transformer.folder.graph_file import find_graph_file, list_data_files, read_graph_file
from umekomi.encoders.transformer.folder.sentence_transformers import load_folder
from umekomi.errors import InputError
from umekomi.settings import Settings
from umekomi.vectors.arithmetic import cosine

from ..tiny import TEXTS, WORDS, make_folder
from .folders import add_dense, edit, set_modules, set_pooling

EXPORTS = Path(__file__).parent / "exports"
GOLDEN = json.loads((EXPORTS / "golden.json").read_text("utf-8"))


@pytest.fixture
def exact(settings: Settings) -> Settings:
    return replace(settings, precision="fp32")


def read_export(architecture: str) -> bytes:
    return lzma.decompress((EXPORTS / f"{architecture}.onnx.xz").read_bytes())


def make_export(folder: Path, architecture: str = "bert", *, file: str = "onnx/model.onnx") -> Path:
    """Write a model without safetensors and return its folder."""
    make_folder(folder, "bert")
    (folder / "model.safetensors").unlink()
    config = {"model_type": architecture, "pad_token_id": 1, "max_position_embeddings": 48, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps(config))
    if architecture == "qwen2":
        write_added_words(folder)
    pooling = {"pooling_mode": GOLDEN[architecture]["pooling"]}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(read_export(architecture))
    return folder


def write_added_words(folder: Path) -> None:
    """Write a tokenizer with the ids of the others, but a vocabulary of the type BPE, which Qwen2 models always have."""
    tokenizer = Tokenizer(models.BPE({"<s>": 0, "<pad>": 1, "</s>": 2, "a": 3}, []))
    tokenizer.add_tokens([AddedToken(word, lstrip=True, normalized=False) for word in WORDS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def similarity(folder: Path | str, architecture: str, settings: Settings) -> float:
    """Return the lowest cosine of a model's vectors to those of transformers."""
    expected = np.array(GOLDEN[architecture]["vectors"], dtype=np.float32)
    return float(np.diag(cosine(Embedder(str(folder), settings=settings).embed(TEXTS), expected)).min())


@pytest.mark.parametrize("architecture", GOLDEN)
def test_onnx_files_give_the_vectors_of_transformers(architecture: str, tmp_path: Path, exact: Settings) -> None:
    assert similarity(make_export(tmp_path / "m", architecture), architecture, exact) > 0.9999


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "gemma3_text", "qwen3"])
def test_openvino_files_give_the_vectors_of_transformers(architecture: str, tmp_path: Path, exact: Settings) -> None:
    folder = make_export(tmp_path / "m", architecture)
    graph = ov.Core().read_model(folder / "onnx" / "model.onnx")
    ov.save_model(graph, folder / "openvino" / "openvino_model.xml", compress_to_fp16=False)
    shutil.rmtree(folder / "onnx")
    assert similarity(folder, architecture, exact) > 0.9999


def test_the_weights_beside_an_openvino_file_count_as_its_size(
    tmp_path: Path, exact: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_export(tmp_path / "m")
    path = folder / "openvino_model.xml"
    ov.save_model(ov.Core().read_model(folder / "onnx" / "model.onnx"), path, compress_to_fp16=False)
    monkeypatch.setattr(prepared_graph, "MIN_BYTES", path.stat().st_size + 1)
    load_folder(f"{folder},file={path.name}", exact)
    for thread in threading.enumerate():
        if thread.name == "umekomi-prepare":
            thread.join()
    assert list(exact.cache.glob("prepared/*/model.blob"))


def test_fp16_files_are_read(tmp_path: Path, exact: Settings) -> None:
    folder = make_export(tmp_path / "m")
    graph = ov.Core().read_model(folder / "onnx" / "model.onnx")
    ov.save_model(graph, folder / "openvino_model.xml", compress_to_fp16=True)
    assert similarity(f"{folder},file=openvino_model.xml", "bert", exact) > 0.9999


def test_a_text_has_the_same_bytes_in_every_batch(tmp_path: Path, settings: Settings) -> None:
    encoder = load_folder(str(make_export(tmp_path / "m", "modernbert")), settings)[0]
    random = np.random.default_rng(7)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 60))) for _ in range(60)]
    vectors = encoder.encode(texts)
    assert encoder.encode(texts[::-1]).tobytes() == vectors[::-1].tobytes()
    assert np.concatenate([encoder.encode([text]) for text in texts]).tobytes() == vectors.tobytes()


def test_the_check_of_bytes_is_stored_under_the_hash_of_the_file(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Results that other tests have in memory.
    monkeypatch.setattr("umekomi.encoders.transformer.byte_stability._cached", {})
    load_folder(str(make_export(tmp_path / "m")), settings)
    first = json.loads((settings.cache / "byte-stability.json").read_text())
    load_folder(str(make_export(tmp_path / "copy")), settings)
    assert json.loads((settings.cache / "byte-stability.json").read_text()) == first
    load_folder(str(make_export(tmp_path / "n", "modernbert")), settings)
    assert len(json.loads((settings.cache / "byte-stability.json").read_text())) > len(first)


def test_the_first_file_in_the_order_of_the_documentation_is_used(tmp_path: Path) -> None:
    names = [
        "onnx/model_quint8_avx2.onnx",
        "model_fp16.onnx",
        "onnx/model_fp16.onnx",
        "model.onnx",
        "onnx/model.onnx",
        "openvino_model.xml",
        "openvino/openvino_model.xml",
    ]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        # A quantized file is never used unless it is named.
        assert find_graph_file(tmp_path, "m") == (tmp_path / name if number else None)
    assert find_graph_file(tmp_path, "m", file=names[0]) == tmp_path / names[0]
    for wrong in ("../m.onnx", "/m.onnx", "model.safetensors", "pytorch_model.bin"):
        with pytest.raises(InputError, match=r"does not name an ONNX file \(\.onnx\) or an OpenVINO file"):
            find_graph_file(tmp_path, "m", file=wrong)
    with pytest.raises(InputError, match=r"m has no file onnx/other\.onnx"):
        find_graph_file(tmp_path, "m", file="onnx/other.onnx")


def test_safetensors_are_preferred_unless_the_architecture_is_unknown(tmp_path: Path, exact: Settings) -> None:
    folder = make_export(tmp_path / "m")
    with_weights = make_folder(tmp_path / "w", "bert")
    plain = Embedder(str(with_weights), settings=exact)
    (with_weights / "onnx").mkdir()
    shutil.copy(folder / "onnx" / "model.onnx", with_weights / "onnx" / "model.onnx")
    assert Embedder(str(with_weights), settings=exact).fingerprint == plain.fingerprint
    # The file has 16 dimensions, the safetensors 32.
    named = Embedder(f"{with_weights},file=onnx/model.onnx", settings=exact)
    assert (plain.dims, named.dims) == (32, 16)
    assert named.fingerprint != plain.fingerprint
    config = json.loads((with_weights / "config.json").read_text())
    (with_weights / "config.json").write_text(json.dumps(config | {"model_type": "unheard-of"}))
    assert Embedder(str(with_weights), settings=exact).dims == 16


def test_the_model_says_which_file_is_used(tmp_path: Path, exact: Settings) -> None:
    embedder = Embedder(str(make_export(tmp_path / "m")), settings=exact)
    assert "onnx/model.onnx" in embedder.card.description


def test_the_fingerprint_depends_on_the_file(tmp_path: Path, exact: Settings) -> None:
    folders = [make_export(tmp_path / name) for name in "ab"]
    same = {Embedder(str(folder), settings=exact).fingerprint for folder in folders}
    content = bytearray(read_export("bert"))
    content[content.index(b"pytorch")] ^= 32  # the name of the exporter
    (folders[0] / "onnx" / "model.onnx").write_bytes(content)
    assert len(same) == 1
    assert Embedder(str(folders[0]), settings=exact).fingerprint not in same


def make_pooled(folder: Path, *, output: str = "sentence_embedding") -> Path:
    """Write a model with an ONNX file, and an OpenVINO file that returns the first token only."""
    make_export(folder)
    graph = ov.Core().read_model(folder / "onnx" / "model.onnx")
    state = graph.outputs[0].node.input_value(0)
    first = ov.opset13.gather(state, np.array(0), np.array(1))
    pooled = ov.Model([first], graph.get_parameters(), "pooled")
    pooled.outputs[0].get_tensor().set_names({output})
    ov.save_model(pooled, folder / "openvino" / "openvino_model.xml", compress_to_fp16=False)
    return folder


def test_files_of_pooled_vectors_need_no_pooling(tmp_path: Path, exact: Settings) -> None:
    folder = make_pooled(tmp_path / "m")
    vectors = Embedder(str(folder), settings=exact).embed(TEXTS)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    (folder / "openvino" / "openvino_model.xml").unlink()
    assert np.diag(cosine(vectors, Embedder(str(folder), settings=exact).embed(TEXTS))).min() > 0.9999


def test_the_output_for_classifiers_is_not_used_as_an_embedding(tmp_path: Path, exact: Settings) -> None:
    folder = make_pooled(tmp_path / "m", output="pooler_output")
    with pytest.raises(
        InputError, match=r"openvino_model\.xml has only the output pooler_output, which is for classifiers"
    ):
        load_folder(str(folder), exact)


def test_pooled_vectors_must_be_without_the_prompt_if_the_pooling_is(tmp_path: Path, exact: Settings) -> None:
    folder = make_pooled(tmp_path / "m")
    set_pooling(folder, ["cls"], include_prompt=False)
    load_folder(str(folder), exact)
    edit(folder / "config_sentence_transformers.json", prompts={"query": "query : "})
    with pytest.raises(InputError, match=r"sentence_embedding of .* has been pooled with the prompt"):
        load_folder(str(folder), exact)


def test_pooled_vectors_must_have_the_dimensions_of_the_modules(tmp_path: Path, exact: Settings) -> None:
    folder = make_pooled(tmp_path / "m")
    set_modules(folder, "Transformer", "Pooling", "Dense")
    add_dense(folder, 2, 16, 16)
    load_folder(str(folder), exact)
    add_dense(folder, 2, 16, 24)
    with pytest.raises(InputError, match="has 16 dimensions, but the model's modules give 24"):
        load_folder(str(folder), exact)


@pytest.mark.parametrize(("family", "first"), [("bert", 0), ("xlm-roberta", 2), ("xmod", 2), ("esm", 2), ("lilt", 2)])
def test_positions_start_after_the_id_of_padding_in_the_architectures_of_fairseq(
    family: str, first: int, tmp_path: Path
) -> None:
    path = make_export(tmp_path / "m") / "onnx" / "model.onnx"
    description = {"model_type": family, "pad_token_id": 1, "max_position_embeddings": 48}
    config = read_graph_file(path, description, name="m", make_tokenizer=pytest.fail).config
    assert (config.first_position, config.positions) == (first, 48 - first)


def test_weights_in_a_file_of_their_own_are_part_of_the_model(tmp_path: Path) -> None:
    field = b"\x0a\x08location\x12\x0fmodel.onnx_data"
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a" + field + b"\x00" + field)
    with pytest.raises(InputError, match=r"model\.onnx needs the file model\.onnx_data, which is not beside it"):
        list_data_files(tmp_path / "model.onnx")
    (tmp_path / "model.onnx_data").touch()
    assert list_data_files(tmp_path / "model.onnx") == [tmp_path / "model.onnx_data"]
    (tmp_path / "model.onnx").write_bytes(field.replace(b"model.onnx_data", b"../../etc/passw"))
    with pytest.raises(InputError, match="which is not a file beside it"):
        list_data_files(tmp_path / "model.onnx")


def test_damaged_files_are_rejected_with_one_sentence(tmp_path: Path, exact: Settings) -> None:
    content = read_export("bert")

    def assert_rejected(changed: bytes, match: str) -> None:
        folder = make_export(tmp_path / f"{len(list(tmp_path.iterdir()))}")
        (folder / "onnx" / "model.onnx").write_bytes(changed)
        with pytest.raises(InputError, match=match) as caught:
            load_folder(str(folder), exact)
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")

    assert_rejected(b"", "has no input_ids")
    assert_rejected(b"hello", r"model\.onnx cannot be read: Model can't be parsed")
    assert_rejected(content[: len(content) // 2], "cannot be read")
    assert_rejected(content.replace(b"MatMul", b"MatMux"), "No conversion rule found for operations: MatMux")
    assert_rejected(content.replace(b"attention_mask", b"past_key_value"), "no values for: past_key_value")
    assert_rejected(content.replace(b"input_ids", b"input_idz"), "no values for: input_idz")


@pytest.mark.parametrize("damage", ["truncated xml", "unknown operator", "truncated bin", "no bin"])
def test_damaged_openvino_files_are_rejected(tmp_path: Path, exact: Settings, damage: str) -> None:
    folder = make_export(tmp_path / "m")
    xml, weights = folder / "openvino" / "openvino_model.xml", folder / "openvino" / "openvino_model.bin"
    ov.save_model(ov.Core().read_model(folder / "onnx" / "model.onnx"), xml)
    content = xml.read_text("utf-8")
    if damage == "truncated xml":
        xml.write_text(content[:900], "utf-8")
    elif damage == "unknown operator":
        xml.write_text(content.replace('type="MatMul"', 'type="RunProgram"'), "utf-8")
    elif damage == "truncated bin":
        weights.write_bytes(weights.read_bytes()[:100])
    else:
        weights.unlink()
    with pytest.raises(InputError) as caught:
        load_folder(str(folder), exact)
    assert "\n" not in str(caught.value)


def test_a_gpu_needs_safetensors(tmp_path: Path, exact: Settings) -> None:
    with pytest.raises(InputError, match=r"model\.onnx runs on the CPU only"):
        load_folder(str(make_export(tmp_path / "m")), replace(exact, device="cuda"))


def test_a_file_in_a_model_name_must_have_a_name(tmp_path: Path, exact: Settings) -> None:
    with pytest.raises(InputError, match="does not name a file"):
        Embedder(f"{tmp_path},file=", settings=exact)
