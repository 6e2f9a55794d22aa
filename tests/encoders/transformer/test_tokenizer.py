"""Tokenizers of encoders: tokens are those of the encoder, and decoded ids have the same ids."""

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import unavailable
from tests.golden.texts import TEXTS
from tokenizers import Tokenizer as HubTokenizer

from umekomi import Embedder
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.encoders.loading import load_model_tokenizer
from umekomi.encoders.transformer.tokenizer import EncoderTokenizer
from umekomi.encoders.transformer.vocabulary import read_vocabulary
from umekomi.errors import InputError
from umekomi.tokens import TokenCount, Tokenizer

from .tiny import make_folder

PLAIN = ["all-MiniLM-L6-v2", "all-mpnet-base-v2", "multilingual-e5-small"]


def load(model: str, store: AssetStore) -> Tokenizer:
    catalog = load_catalog()
    card = catalog.model(model)
    missing = [row for row in catalog.tokenizers[card.tokenizer].values() if store.find(catalog.assets[row]) is None]
    if missing:
        unavailable(f"the vocabulary of {model} is missing: run `umekomi models pull {model}`")
    return load_model_tokenizer(card, assets=store, catalog=catalog, settings=store._settings)


@pytest.fixture
def tiny(tmp_path: Path) -> EncoderTokenizer:
    return EncoderTokenizer(
        "tiny", read_vocabulary(make_folder(tmp_path / "m", "bert") / "tokenizer.json", name="tiny")
    )


def test_ids_are_those_of_the_vocabulary_file(tiny: EncoderTokenizer) -> None:
    assert tiny.encode("one two nothing") == [4, 5, 3]
    assert (tiny.count("one two"), tiny.count(""), tiny.count_many(["one", "one two"])) == (2, 0, [1, 2])
    assert tiny.decode([4, 5]) == "one two"
    with pytest.raises(InputError, match="99 is not in the vocabulary tiny, which has ids 0 to 15"):
        tiny.decode([99])


def test_texts_are_truncated_and_split_at_the_limit(tiny: EncoderTokenizer) -> None:
    text = "one two three " * 40
    assert tiny.truncate(text, 5) == "one two three one two "
    pieces = tiny.split(text, 7)
    assert "".join(pieces) == text
    assert [tiny.count(piece) for piece in pieces[:-1]] == [7] * (len(pieces) - 1)
    overlapping = tiny.split(text, 7, overlap=2)
    assert all(tiny.count(piece) <= 7 for piece in overlapping)
    assert sum(map(tiny.count, overlapping)) > tiny.count(text)


@pytest.mark.parametrize("model", PLAIN)
def test_decoded_texts_have_the_same_ids(model: str, assets_here: AssetStore) -> None:
    tokenizer = load(model, assets_here)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert tokenizer.encode(tokenizer.decode(ids)) == ids, text


@pytest.mark.parametrize("model", PLAIN)
def test_pieces_are_within_the_limit_and_join_to_the_text(model: str, assets_here: AssetStore) -> None:
    tokenizer = load(model, assets_here)
    for text in TEXTS:
        pieces = tokenizer.split(text, 9)
        assert "".join(pieces) == text
        assert all(tokenizer.count(piece) <= 9 for piece in pieces)


def test_minilm_ids_match_the_tokenizers_library(assets_here: AssetStore) -> None:
    tokenizer = load("all-MiniLM-L6-v2", assets_here)
    path = assets_here.path(load_catalog().assets["minilm-tokenizer"])
    library = HubTokenizer.from_file(str(path))
    library.no_truncation()
    library.no_padding()
    for text in TEXTS:
        assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids


def test_a_transformer_accepts_ids_of_its_own_vocabulary(assets_here: AssetStore) -> None:
    minilm = Embedder("all-MiniLM-L6-v2")
    prepared = minilm.prepare(["Tiktoken is great!"])
    ids = minilm.tokenizer.encode("Tiktoken is great!")
    assert prepared.n_tokens == (len(ids),)
    assert np.array_equal(minilm.embed([ids]), minilm.embed(["Tiktoken is great!"]))
    with pytest.raises(InputError, match="100257 is not in the vocabulary all-MiniLM-L6-v2"):
        minilm.embed([[100257]])


@pytest.mark.parametrize("model", PLAIN)
def test_texts_that_are_not_counted_have_one_token_or_more_within_the_limit(
    model: str, assets_here: AssetStore
) -> None:
    tokenizer = load(model, assets_here)
    texts = [*TEXTS, "", " ", "\u200b", "\ufdfa", "a" + "\ufdfa" * 10, "a1b2c3 .,;" * 9]
    uncounted = [
        (text, limit) for text in texts for limit in (20, 180, 512, 8191) if not tokenizer.may_exceed(text, limit)
    ]
    assert all(1 <= tokenizer.count(text) <= limit for text, limit in uncounted)
    assert ("a1b2c3 .,;" * 9, 512) in uncounted
    assert all(tokenizer.may_exceed(text, 512) for text in ("", " ", "\u200b"))


def test_texts_that_are_much_too_long_are_not_tokenized_completely(tiny: EncoderTokenizer) -> None:
    count = tiny.count_within("one " * 100_000, 500)
    assert not count.is_exact
    assert 500 < count.n_tokens < 100_000
    assert tiny.count_within("one " * 501, 500) == TokenCount(501)
    # One unknown word of any length is one token.
    assert tiny.count_within("x" * 60_000, 500) == TokenCount(1)
    with pytest.raises(InputError, match="64,001 characters; at most 64,000"):
        tiny.count_within("x" * 64_001, 500)
