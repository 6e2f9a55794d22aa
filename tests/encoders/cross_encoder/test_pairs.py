"""Tokenizing pairs: truncation, passages and limits."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from umekomi.encoders.cross_encoder.pairs import PairTokenizer

from .tiny import LONG, PAIRS, VOCABULARY, WORDS, write_tokenizer

WINDOW = 16


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    write_tokenizer(tmp_path, "bert")
    return Tokenizer.from_file(str(tmp_path / "tokenizer.json"))


@pytest.fixture
def pairs(tokenizer: Tokenizer) -> PairTokenizer:
    return PairTokenizer(tokenizer, window=WINDOW, has_segments=True)


def text_of(ids: list[int]) -> str:
    words = {number: word for word, number in VOCABULARY.items()}
    return " ".join(words[number] for number in ids)


def test_a_pair_has_segments_and_special_tokens(pairs: PairTokenizer) -> None:
    (pair,) = pairs.prepare([("one two", "three")]).texts
    assert text_of(pair.read_ids().tolist()) == "<s> one two </s> three </s>"
    assert pair.read_segments().tolist() == [0, 0, 0, 0, 1, 1]
    assert pair.n_tokens == 6


def test_the_longer_text_of_a_pair_is_truncated(pairs: PairTokenizer) -> None:
    prepared = pairs.prepare([("one two", "three " * 50), ("one " * 50, "two three"), ("one " * 50, "two " * 50)])
    assert prepared.n_tokens == (WINDOW,) * 3
    long_document, long_query, both = (text_of(pair.read_ids().tolist()).split() for pair in prepared.texts)
    assert (long_document.count("one"), long_document.count("three")) == (1, 11)
    assert (long_query.count("one"), long_query.count("three")) == (11, 1)
    assert (both.count("one"), both.count("two")) == (6, 7)


def test_a_long_document_is_split_into_passages(pairs: PairTokenizer) -> None:
    words = [WORDS[index % 9] for index in range(30)]
    prepared = pairs.prepare([("query", " ".join(words)), ("query", "one")], max_passages=5)
    assert prepared.n_passages == (3, 1)
    passages = [text_of(pair.read_ids().tolist()) for pair in prepared.texts]
    assert passages == [f"<s> query </s> {' '.join(words[start : start + 12])} </s>" for start in (0, 12, 24)] + [
        "<s> query </s> one </s>"
    ]
    assert all(pair.read_segments().tolist()[:3] == [0, 0, 0] for pair in prepared.texts)


def test_the_rest_of_a_document_after_its_last_passage_is_not_read(pairs: PairTokenizer) -> None:
    prepared = pairs.prepare([("query", " ".join(WORDS[index % 9] for index in range(100)))], max_passages=2)
    assert prepared.n_tokens == (WINDOW, WINDOW)


def test_a_long_query_leaves_half_of_the_window_for_passages(pairs: PairTokenizer) -> None:
    prepared = pairs.prepare([("one " * 40, "two " * 12)], max_passages=4)
    passages = [text_of(pair.read_ids().tolist()).split() for pair in prepared.texts]
    assert [passage.count("two") for passage in passages] == [6, 6]
    assert [passage.count("one") for passage in passages] == [7, 7]


def test_documents_can_be_shortened_before_they_are_paired(pairs: PairTokenizer) -> None:
    (pair,) = pairs.prepare([("one", LONG)], max_document_tokens=2).texts
    assert text_of(pair.read_ids().tolist()) == f"<s> one </s> {' '.join(LONG.split()[:2])} </s>"


def test_passages_of_short_pairs_are_the_pairs_themselves(pairs: PairTokenizer) -> None:
    assert pairs.prepare(PAIRS[:3], max_passages=9).texts == pairs.prepare(PAIRS[:3]).texts


def test_very_long_texts_are_not_tokenized_completely(pairs: PairTokenizer) -> None:
    long = "one " * 500_000
    assert pairs.prepare([("query", long)]).texts == pairs.prepare([("query", "one " * 20)]).texts
    # Unless their beginning has few tokens.
    gap = " " * 100_000
    assert pairs.prepare([("query", f"one{gap}two")]).texts == pairs.prepare([("query", "one two")]).texts


def test_texts_can_be_truncated_at_their_beginning(tokenizer: Tokenizer) -> None:
    pairs = PairTokenizer(tokenizer, window=WINDOW, has_segments=True, truncation_side="left")
    for text in ("two " * 50 + "three", "two " * 100_000 + "three"):
        (pair,) = pairs.prepare([("one", text)]).texts
        assert text_of(pair.read_ids().tolist()).split()[-2:] == ["three", "</s>"]


def test_lone_surrogates_are_replaced(pairs: PairTokenizer) -> None:
    assert pairs.prepare([("one", "\ud800")]).texts == pairs.prepare([("one", "\ufffd")]).texts


def test_the_check_can_stop_the_work(pairs: PairTokenizer) -> None:
    def check(n_tokens: int) -> None:
        if n_tokens:
            raise TimeoutError(n_tokens)

    with pytest.raises(TimeoutError, match="1280"):
        pairs.prepare([("one", "two")] * 1000, check=check)
