"""Models in the format of sentence-transformers: every family matches torch, and unsupported models are rejected."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from umekomi import Embedder
from umekomi.catalog import Role
from umekomi.encoders.transformer.folder.sentence_transformers import load_folder, load_folder_tokenizer
from umekomi.errors import AssetMissingError, InputError, UmekomiError
from umekomi.settings import Settings

from ..network.tiny_architectures import make_model
from ..tiny import FAMILIES, TEXTS, make_folder
from .folders import CASE_TEXTS, CASES, edit, make_case

FOLDERS = json.loads((Path(__file__).parent / "folders.json").read_text("utf-8"))
GOLDEN = json.loads((Path(__file__).parents[1] / "tiny.json").read_text("utf-8"))


@pytest.fixture
def exact(settings: Settings) -> Settings:
    return replace(settings, precision="fp32")


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_match_torch(family: str, pooling: str, tmp_path: Path, exact: Settings) -> None:
    folder = make_folder(tmp_path / family, family, pooling=pooling)
    encoder, _ = load_folder(str(folder), exact)
    assert encoder.dims == 32
    assert encoder.encode(TEXTS) == pytest.approx(np.array(GOLDEN[family][pooling]), abs=2e-4)


@pytest.mark.parametrize("case", CASES)
def test_vectors_match_sentence_transformers(case: str, tmp_path: Path, exact: Settings) -> None:
    encoder, _ = load_folder(str(make_case(tmp_path / "model", case)), exact)
    texts = [text.upper() for text in CASE_TEXTS] if "lowercase" in case else CASE_TEXTS
    for role, expected in FOLDERS[case].items():
        vectors = encoder.encode(texts, role=Role(role) if role else None)
        assert vectors == pytest.approx(np.array(expected), abs=2e-4), role


def test_weights_can_be_in_several_files(tmp_path: Path, exact: Settings) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    expected = load_folder(str(folder), exact)[0].encode(TEXTS)
    tensors = load_file(folder / "model.safetensors")
    shards = {"a.safetensors": dict(list(tensors.items())[:9]), "b.safetensors": dict(list(tensors.items())[9:])}
    for name, shard in shards.items():
        save_file(shard, folder / name)
    index = {"weight_map": {key: name for name, shard in shards.items() for key in shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    assert (load_folder(str(folder), exact)[0].encode(TEXTS) == expected).all()
    (folder / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks weight files: b\.safetensors"):
        load_folder(str(folder), exact)


def test_prompts_are_prepended_to_the_texts(tmp_path: Path, exact: Settings) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    prompts = {"query": "query: ", "passage": "passage: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    encoder = load_folder(str(folder), exact)[0]
    plain, written = encoder.encode(["one", "query: one"])
    assert (encoder.encode(["one"], role=Role.QUERY)[0] == written).all()
    assert not (plain == written).all()
    assert (encoder.encode(["one"], role=Role.DOCUMENT) == encoder.encode(["passage: one"])).all()


def test_a_dense_layer_changes_the_dimensions(tmp_path: Path, exact: Settings) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    before = load_folder(str(folder), exact)[0].encode(TEXTS)
    weight = np.eye(8, 32, dtype=np.float32)
    (folder / "2_Dense").mkdir()
    save_file({"linear.weight": weight}, folder / "2_Dense" / "model.safetensors")
    activation = "torch.nn.modules.linear.Identity"
    (folder / "2_Dense" / "config.json").write_text(
        json.dumps({"in_features": 32, "out_features": 8, "bias": False, "activation_function": activation})
    )
    modules = json.loads((folder / "modules.json").read_text())
    modules[2] = {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}
    (folder / "modules.json").write_text(json.dumps(modules))
    encoder, _ = load_folder(str(folder), exact)
    assert encoder.dims == 8
    first = before[:, :8] / np.linalg.norm(before[:, :8], axis=1, keepdims=True)
    assert encoder.encode(TEXTS) == pytest.approx(first, abs=1e-5)


def test_copies_of_a_model_have_the_same_space(tmp_path: Path, exact: Settings) -> None:
    first = make_folder(tmp_path / "a", "bert")
    shutil.copytree(first, tmp_path / "b")
    loaded = [load_folder(str(tmp_path / name), exact) for name in "ab"]
    assert loaded[0][0].file_hashes == loaded[1][0].file_hashes
    assert loaded[0][0].identity() == loaded[1][0].identity()


def test_unsupported_models_are_rejected_with_a_clear_error(tmp_path: Path, exact: Settings) -> None:
    def assert_rejected(change: str, match: str) -> None:
        folder = make_folder(tmp_path / change, "bert")
        if change == "pickle":
            (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        elif change == "type":
            (folder / "config.json").write_text('{"model_type": "gpt2"}')
        elif change == "truncated":
            (folder / "model.safetensors").write_bytes(b"\x08")
        else:
            (folder / change).unlink()
        with pytest.raises(InputError, match=match):
            load_folder(str(folder), exact)

    assert_rejected("pickle", "only pickled weights.*safe_serialization=True")
    assert_rejected("type", "of type 'gpt2'; Umekomi supports bert, roberta")
    assert_rejected("truncated", "is truncated or not a safetensors file")
    assert_rejected("tokenizer.json", r"has no tokenizer\.json\. Save the tokenizer")
    assert_rejected("model.safetensors", r"has no model\.safetensors")
    with pytest.raises(InputError, match="There is no folder"):
        load_folder(str(tmp_path / "none"), exact)
    with pytest.raises(InputError, match=r"neither modules\.json nor config\.json"):
        load_folder(str(tmp_path), exact)
    with pytest.raises(AssetMissingError, match="cannot be downloaded from the Hugging Face hub"):
        load_folder("nobody/nothing", exact)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_weights_of_zeros_are_an_error(tmp_path: Path, exact: Settings, precision: str) -> None:
    folder = make_folder(tmp_path / "model", "bert")
    weights = load_file(folder / "model.safetensors")
    save_file({name: np.zeros_like(tensor) for name, tensor in weights.items()}, folder / "model.safetensors")
    embedder = Embedder(str(folder), settings=replace(exact, precision=precision))
    for texts in (["one"], TEXTS):
        with pytest.raises(UmekomiError, match="vectors of zeros, so its weights are damaged"):
            embedder.embed(texts)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_may_have_other_floating_point_types(family: str, dtype: str, tmp_path: Path, exact: Settings) -> None:
    folder = make_folder(tmp_path / family, family)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.astype(dtype) for name, tensor in tensors.items()}, folder / "model.safetensors")
    assert load_folder(str(folder), exact)[0].encode(TEXTS) == pytest.approx(np.array(GOLDEN[family]["mean"]), abs=2e-3)


@pytest.mark.parametrize("template", ["$A", "$A </s>", "<s> $A", "<s> <unk> $A </s> </s>"])
def test_token_ids_with_the_special_tokens_of_each_text_mean_the_same_text(template: str, tmp_path: Path) -> None:
    folder = make_case(tmp_path / "model", f"template {template}")
    tokenizer = load_folder_tokenizer(str(folder), Settings(cache=tmp_path))
    own = tokenizer.encode("one two three")
    with_special = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("one two three").ids
    assert len(with_special) - len(own) == len(template.split()) - 1
    assert tokenizer.decode(with_special) == tokenizer.decode(own) == "one two three"


def test_errors_about_token_ids_do_not_tell_clients_the_path_of_the_model(tmp_path: Path, exact: Settings) -> None:
    embedder = Embedder(str(make_folder(tmp_path / "tiny", "bert")), settings=exact)
    with pytest.raises(InputError, match=r"The token id 99 is not in the vocabulary tiny, which has ids 0 to 15\."):
        embedder.embed([[99]])


def test_a_prompt_is_part_of_the_window(tmp_path: Path, exact: Settings) -> None:
    folder = make_case(tmp_path / "model", "prompts")
    edit(folder / "sentence_bert_config.json", max_seq_length=5)
    encoder = load_folder(str(folder), exact)[0]
    # Two special tokens, two of the prompt, and one of the text.
    assert encoder.lengths(["one two three"], role=Role.QUERY) == [5, 5, 5]  # type: ignore[attr-defined]
    edit(folder / "sentence_bert_config.json", max_seq_length=4)
    with pytest.raises(InputError, match="special tokens have 4 tokens, and its window is 4, so no text fits"):
        load_folder(str(folder), exact)


def test_vectors_are_shortened_to_the_lengths_that_a_model_declares(tmp_path: Path, exact: Settings) -> None:
    folder = make_folder(tmp_path / "model", "bert")
    with pytest.raises(InputError, match="cannot shorten its vectors"):
        Embedder(str(folder), settings=exact).embed(TEXTS, dimensions=16)
    edit(folder / "config.json", matryoshka_dimensions=[16, 24, 32, 64])
    embedder = Embedder(str(folder), settings=exact)
    # 64 is more than the model has.
    assert embedder.card.shorter_dims == (16, 24, 32)
    short, whole = embedder.embed(TEXTS, dimensions=16), embedder.embed(TEXTS)
    assert short == pytest.approx(whole[:, :16] / np.linalg.norm(whole[:, :16], axis=1, keepdims=True), abs=1e-6)
    with pytest.raises(InputError, match="was trained for 16, 24, 32"):
        embedder.embed(TEXTS, dimensions=17)


def test_a_model_may_be_trained_for_all_lengths(tmp_path: Path, exact: Settings) -> None:
    folder = make_folder(tmp_path / "model", "bert")
    edit(folder / "config.json", is_matryoshka=True)
    assert Embedder(str(folder), settings=exact).embed(TEXTS, dimensions=17).shape == (len(TEXTS), 17)
    edit(folder / "config.json", matryoshka_dimensions=[16, "24"])
    with pytest.raises(InputError, match=r"'matryoshka_dimensions' is .*; Umekomi expects whole numbers above 0"):
        load_folder(str(folder), exact)


@pytest.mark.parametrize(
    ("settings_of_the_module", "tokenizer_window", "window"),
    [({"max_seq_length": 24}, 30, 24), ({}, 30, 30), ({}, None, 512), ({}, 1e30, 512)],
)
def test_the_window_of_a_model_without_positions_is_that_of_its_settings(
    settings_of_the_module: dict[str, int], tokenizer_window: float | None, window: int, tmp_path: Path, exact: Settings
) -> None:
    folder = make_model(tmp_path / "model", "t5")
    edit(folder / "sentence_bert_config.json", **settings_of_the_module)
    edit(folder / "tokenizer_config.json", model_max_length=tokenizer_window)
    encoder = load_folder(str(folder), exact)[0]
    assert max(encoder.lengths(["one " * 2000])) == window  # type: ignore[attr-defined]


def test_later_pieces_have_a_prompt_of_their_own_after_a_merged_token(tmp_path: Path, exact: Settings) -> None:
    folder = make_case(tmp_path / "model", "merged prompt")
    edit(folder / "sentence_bert_config.json", max_seq_length=8)
    encoder = load_folder(str(folder), exact)[0]
    # "query : xone" are three tokens, and each piece has two special tokens; "query : x" are three tokens again.
    assert encoder.lengths(["one two three four five"], role=Role.QUERY) == [8, 6]  # type: ignore[attr-defined]
