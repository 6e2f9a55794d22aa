"""Static models: the vectors of sentence-transformers and model2vec, and clear errors for damaged folders."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from umekomi import Embedder
from umekomi.encoders.static import SLICE_SIZE
from umekomi.errors import InputError, TokenLimitError
from umekomi.settings import Settings
from umekomi.vectors.arithmetic import cosine, normalize

from .tiny_static import TEXTS, WORDS, make_model2vec, make_static_embedding, make_static_with_steps, make_table

GOLDEN = json.loads((Path(__file__).parent / "static.json").read_text("utf-8"))
#: The last text is longer than the maximum length of 8 tokens, at which both libraries truncate it.
WITHIN = TEXTS[:-1]


def assert_equal(embedder: Embedder, name: str, *, role: str | None = None) -> None:
    """Assert that the vectors have the same directions as those in static.json. A text without vector is zeros there."""
    expected = np.array(GOLDEN[name], dtype=np.float32)[: len(WITHIN)]
    similarities = np.diag(cosine(embedder.embed(WITHIN, role=role), expected))
    assert similarities.min() > 0.9999


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_static_embedding_matches_sentence_transformers(tmp_path: Path, settings: Settings, dtype: str) -> None:
    folder = make_static_embedding(tmp_path / "m", dtype=dtype)
    embedder = Embedder(str(folder), settings=settings)
    assert embedder.dims == 12
    assert_equal(embedder, f"static-embedding {dtype}")


def test_modules_after_the_table_match_sentence_transformers(tmp_path: Path, settings: Settings) -> None:
    embedder = Embedder(str(make_static_with_steps(tmp_path / "m")), settings=settings)
    assert embedder.dims == 5
    assert_equal(embedder, "static-embedding steps")
    together, alone = embedder.embed(TEXTS), [embedder.embed([text])[0] for text in TEXTS]
    assert together.tobytes() == np.stack(alone).tobytes()


def test_the_layers_of_modules_must_match(tmp_path: Path, settings: Settings) -> None:
    folder = make_static_with_steps(tmp_path / "m")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([modules[0], modules[2]]))
    with pytest.raises(InputError, match="has 8 inputs, but the step before it has 12 dimensions"):
        Embedder(str(folder), settings=settings)


def test_prompts_are_part_of_the_text(tmp_path: Path, settings: Settings) -> None:
    embedder = Embedder(str(make_static_embedding(tmp_path / "m")), settings=settings)
    with_prompt = embedder.embed(["one"], role="query")
    assert (with_prompt == embedder.embed(["query : one"])).all()
    # With the prompt of two tokens, the fourth text has nine tokens.
    expected = np.array(GOLDEN["static-embedding query"], dtype=np.float32)[:3]
    assert np.diag(cosine(embedder.embed(TEXTS[:3], role="query"), expected)).min() > 0.9999


@pytest.mark.parametrize("with_modules", [True, False])
@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_model2vec_folders_match_model2vec(
    tmp_path: Path, settings: Settings, dtype: str, quantized: bool, with_modules: bool
) -> None:
    folder = make_model2vec(tmp_path / "m", dtype=dtype, quantized=quantized, with_modules=with_modules)
    assert_equal(Embedder(str(folder), settings=settings), f"model2vec {dtype}{' quantized' if quantized else ''}")


def test_a_folder_that_does_not_normalize_has_the_same_directions(tmp_path: Path, settings: Settings) -> None:
    embedder = Embedder(str(make_model2vec(tmp_path / "m", normalize=False)), settings=settings)
    assert_equal(embedder, "model2vec float32")


def test_bfloat16_is_read(tmp_path: Path, settings: Settings) -> None:
    folder = make_static_embedding(tmp_path / "m")
    table = load_file(folder / "0_StaticEmbedding" / "model.safetensors")["embedding.weight"]
    blob = (table.view(np.uint32) >> 16).astype("<u2").tobytes()
    row = {"dtype": "BF16", "shape": list(table.shape), "data_offsets": [0, len(blob)]}
    header = json.dumps({"embedding.weight": row}).encode()
    file = folder / "0_StaticEmbedding" / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + blob)
    assert_equal(Embedder(str(folder), settings=settings), "static-embedding float32")


def test_a_long_text_is_the_mean_of_all_its_tokens(tmp_path: Path, settings: Settings) -> None:
    embedder = Embedder(str(make_static_embedding(tmp_path / "m")), settings=settings)
    table = make_table(2 + len(WORDS))
    text = "one two two " * 9000
    expected = normalize((table[2] + 2 * table[3])[None, :])
    with pytest.raises(InputError, match="27000 tokens"):
        embedder.embed([text])
    encoder = embedder._encoders[0]
    assert encoder.encode([text]) == pytest.approx(expected, abs=1e-5)


def test_a_text_has_the_same_bytes_in_every_batch(tmp_path: Path, settings: Settings) -> None:
    embedder = Embedder(str(make_model2vec(tmp_path / "m", quantized=True)), settings=settings)
    random = np.random.default_rng(7)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 60))) for _ in range(2 * SLICE_SIZE + 100)]
    vectors = embedder.embed(texts)
    some = [0, 5, SLICE_SIZE - 1, SLICE_SIZE, len(texts) - 1]
    for index in some:
        assert embedder.embed([texts[index]])[0].tobytes() == vectors[index].tobytes()
    assert embedder.embed(texts[::-1]).tobytes() == vectors[::-1].tobytes()


def test_model2vec_has_no_vector_for_a_text_of_unknown_words(tmp_path: Path, settings: Settings) -> None:
    embedder = Embedder(str(make_model2vec(tmp_path / "m")), settings=settings)
    with pytest.raises(InputError, match="Input 1 contains nothing that"):
        embedder.embed(["one", "unknown words"])
    # In sentence-transformers, the unknown token has a vector.
    assert Embedder(str(make_static_embedding(tmp_path / "s")), settings=settings).embed(["unknown"]).any()


def test_copies_have_the_same_fingerprint_and_other_tables_another(tmp_path: Path, settings: Settings) -> None:
    folders = [
        make_model2vec(tmp_path / "a"),
        make_model2vec(tmp_path / "b"),
        make_model2vec(tmp_path / "c", dtype="int8"),
    ]
    first, second, third = (Embedder(str(folder), settings=settings).fingerprint for folder in folders)
    assert first == second != third


def test_damaged_folders_are_rejected_with_one_sentence(tmp_path: Path, settings: Settings) -> None:
    def assert_rejected(match: str, *, tensors: dict[str, np.ndarray] | None = None, **files: bytes | None) -> None:
        folder = make_model2vec(tmp_path / f"{len(list(tmp_path.iterdir()))}")
        if tensors is not None:
            save_file(tensors, folder / "model.safetensors")
        for name, content in files.items():
            path = folder / name.replace("_", ".")
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        with pytest.raises(InputError, match=match) as caught:
            Embedder(str(folder), settings=settings)
        assert "\n" not in str(caught.value)

    table = make_table(13)
    weights = np.ones(13, dtype=np.float32)
    assert_rejected(r"static model without model\.safetensors", model_safetensors=None)
    assert_rejected(r"static model without tokenizer\.json", tokenizer_json=None)
    assert_rejected("tokenizer of .* cannot be read", tokenizer_json=b"{}")
    assert_rejected("is truncated or not a safetensors file", model_safetensors=b"\x99")
    assert_rejected("neither embedding.weight nor embeddings", tensors={"weights": weights})
    assert_rejected("the unknown tensor bias", tensors={"embeddings": table, "bias": weights})
    assert_rejected("for 12 tokens, but its tokenizer has 13", tensors={"embeddings": table[:12]})
    assert_rejected("for 5 tokens, but", tensors={"embeddings": table, "weights": weights[:5]})
    assert_rejected("table of float32 and the shape", tensors={"embeddings": table[0]})
    assert_rejected("table of int32", tensors={"embeddings": table.astype(np.int32)})
    mapping = np.arange(13)
    assert_rejected("rows outside its table of 4 rows", tensors={"embeddings": table[:4], "mapping": mapping})
    assert_rejected("rows outside its table", tensors={"embeddings": table, "mapping": mapping - 1})
    assert_rejected("rows outside its table", tensors={"embeddings": table, "mapping": mapping[:, None]})


def test_a_module_after_the_table_that_is_not_supported_is_an_error(tmp_path: Path, settings: Settings) -> None:
    folder = make_model2vec(tmp_path / "m")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "sentence_transformers.models.WordWeights"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="WordWeights"):
        Embedder(str(folder), settings=settings)


@pytest.mark.parametrize("text", ["one " * 8192, "一 " * 8192], ids=["ASCII", "other characters"])
def test_a_text_above_the_limit_is_rejected(tmp_path: Path, settings: Settings, text: str) -> None:
    embedder = Embedder(str(make_static_embedding(tmp_path / "m")), settings=settings)
    with pytest.raises(TokenLimitError, match="Input 1 has 8192 tokens") as caught:
        embedder.embed(["one", text, "two"])
    assert caught.value.index == 1


def test_counted_and_uncounted_texts_have_the_same_vectors(tmp_path: Path, settings: Settings) -> None:
    embedder = Embedder(str(make_static_embedding(tmp_path / "m")), settings=settings)
    texts = [*TEXTS, "two three " * 2000]
    assert embedder.embed(texts).tobytes() == embedder.embed_texts(embedder.prepare(texts).texts).tobytes()
