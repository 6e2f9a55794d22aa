import numpy as np
import pytest

from umekomi.encoders.lexical import LexicalEncoder
from umekomi.vectors import normalize

FREQUENCIES = {"the": 0.05, "bean": 1e-5, "beans": 1e-5, "kerosene": 1e-7, "food": 3e-4, "dog": 1e-4, "zzz": 1e-8}


@pytest.fixture
def lexical() -> LexicalEncoder:
    return LexicalEncoder(FREQUENCIES, dims=4096)


def similarity(encoder: LexicalEncoder, left: str, right: str) -> float:
    a, b = normalize(encoder.encode([left, right]))
    return float(a @ b)


def test_forms_of_a_word_are_one_term(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "bean", "the BEANS") == pytest.approx(1)


def test_texts_without_a_common_word_are_far(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "dog food", "kerosene bean") == pytest.approx(0, abs=1e-6)


def test_a_rare_word_in_common_counts_more_than_a_frequent_one(lexical: LexicalEncoder) -> None:
    rare = similarity(lexical, "kerosene dog", "kerosene bean")
    frequent = similarity(lexical, "food dog", "food bean")
    assert rare > frequent > 0


def test_a_repeated_word_saturates(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "dog bean", "dog " * 50 + "bean") > 0.8


def test_words_that_are_everywhere_and_no_words_at_all_are_zeros(lexical: LexicalEncoder) -> None:
    assert not lexical.encode(["the the", "", "!?", "\x00"]).any()


def test_japanese_shares_pairs_of_characters(lexical: LexicalEncoder) -> None:
    near = similarity(lexical, "東京の天気", "天気は東京で晴れ")
    far = similarity(lexical, "東京の天気", "犬を飼う")
    assert near > 0.3 > 0.1 > far


def test_full_width_letters_are_the_same_words(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "ｄｏｇ", "dog") == pytest.approx(1)


def test_the_same_text_gives_the_same_bytes_among_any_neighbours(lexical: LexicalEncoder) -> None:
    alone = lexical.encode(["dog food"])[0]
    among = lexical.encode(["bean", "dog food", "kerosene"])[1]
    assert alone.tobytes() == among.tobytes()


def test_the_more_a_text_tells_the_longer_its_vector_and_never_longer_than_one(lexical: LexicalEncoder) -> None:
    vectors = lexical.encode(["the", "dog", "bean food dog", "bean food dog kerosene zzz"])
    lengths = np.linalg.norm(vectors, axis=1)
    assert vectors.dtype == np.float32
    assert lengths[0] == 0
    assert 0 < lengths[1] < lengths[2] < lengths[3] < 1
