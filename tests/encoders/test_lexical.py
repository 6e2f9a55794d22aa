import random

import numpy as np
import pytest

from umekomi.catalog import Role
from umekomi.encoders.lexical import encoder as lexical_module
from umekomi.encoders.lexical.encoder import LexicalEncoder, Weighting
from umekomi.encoders.lexical.terms import Rules, TermExtractor, single_word
from umekomi.vectors.arithmetic import normalize

FREQUENCIES = {"the": 0.05, "bean": 1e-5, "beans": 1e-5, "kerosene": 1e-7, "food": 3e-4, "dog": 1e-4, "zzz": 1e-8}


@pytest.fixture
def lexical() -> LexicalEncoder:
    return LexicalEncoder(FREQUENCIES, dims=4096)


def similarity(encoder: LexicalEncoder, left: str, right: str) -> float:
    a, b = normalize(encoder.encode([left, right]))
    return float(a @ b)


def test_inflected_forms_of_a_word_are_one_term(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "bean", "the BEANS") == pytest.approx(1)


def test_texts_without_a_common_word_have_a_cosine_of_zero(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "dog food", "kerosene bean") == pytest.approx(0, abs=1e-6)


def test_a_common_rare_word_has_a_higher_weight_than_a_frequent_one(lexical: LexicalEncoder) -> None:
    rare = similarity(lexical, "kerosene dog", "kerosene bean")
    frequent = similarity(lexical, "food dog", "food bean")
    assert rare > frequent > 0


def test_the_weight_of_a_repeated_word_saturates(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "dog bean", "dog " * 50 + "bean") > 0.8


def test_texts_without_informative_words_have_zero_vectors(lexical: LexicalEncoder) -> None:
    assert not lexical.encode(["the the", "", "!?", "\x00"]).any()


def test_japanese_texts_are_compared_by_pairs_of_characters(lexical: LexicalEncoder) -> None:
    near = similarity(lexical, "東京の天気", "天気は東京で晴れ")
    far = similarity(lexical, "東京の天気", "犬を飼う")
    assert near > 0.3 > 0.1 > far


def test_full_width_letters_equal_ascii_letters(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "ｄｏｇ", "dog") == pytest.approx(1)


def test_a_text_has_the_same_bytes_in_every_batch(lexical: LexicalEncoder) -> None:
    alone = lexical.encode(["dog food"])[0]
    batched = lexical.encode(["bean", "dog food", "kerosene"])[1]
    assert alone.tobytes() == batched.tobytes()


def test_earlier_texts_do_not_change_the_bytes(lexical: LexicalEncoder) -> None:
    extractor = [
        "dog",
        "bean",
        "beans'",
        "kerosene",
        "rock'n'roll",
        "snake_case",
        "天気",
        "the",
        "zzz",
        "don't",
        "3.5",
        "naïve",
        "x" * 300,
    ]
    random_source = random.Random(0)
    texts = [" ".join(random_source.choices(extractor, k=random_source.randrange(1, 60))) for _ in range(300)]
    first = lexical.encode(texts)
    random_source.shuffle(shuffled := list(range(300)))
    other = LexicalEncoder(FREQUENCIES, dims=4096)
    second = np.concatenate(
        [other.encode([texts[index] for index in shuffled[start : start + 7]]) for start in range(0, 300, 7)]
    )
    assert second.tobytes() == first[shuffled].tobytes()


def test_terms_evicted_from_the_cache_have_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, lexical: LexicalEncoder
) -> None:
    before = lexical.encode(["dog food", "kerosene"])
    monkeypatch.setattr(lexical_module, "_MAX_CACHED_TOKENS", 1)
    lexical.encode(["bean soup", "zzz"])
    assert lexical.encode(["dog food", "kerosene"]).tobytes() == before.tobytes()


@pytest.mark.parametrize(
    "text",
    [
        "Two beans, one can't!",
        "snake_case x.y(z)",
        "  ",
        "",
        "A\tB\nC\x00D\x7f",
        "it's 3.14 o'clock",
        "dogs' tails",
        "'tis",
        "''",
        "rock'n'roll",
    ],
)
def test_the_fast_ascii_tokenizer_finds_the_same_words(text: str) -> None:
    extractor = TermExtractor(FREQUENCIES, Rules())
    fast_tokens = extractor.tokenize_ascii(text)
    slow_words, n_words = extractor.tokenize(text)
    fast_words = [single_word(token) for token in fast_tokens]
    assert None in fast_words or (fast_words == slow_words and n_words == len(slow_words))


def test_a_misspelled_word_is_similar_to_the_word(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "kerosene", "kerosine") > 0.2 > similarity(lexical, "kerosene", "gasoline")


def test_identifiers_are_split_into_words() -> None:
    plain = LexicalEncoder(FREQUENCIES, dims=4096, weighting=Weighting(grams=0.0))
    split = LexicalEncoder(FREQUENCIES, dims=4096, weighting=Weighting(grams=0.0), rules=Rules(identifiers=True))
    assert similarity(plain, "def getDogFood()", "dog food") == pytest.approx(0, abs=0.05)
    assert similarity(split, "def getDogFood()", "dog food") > 0.3
    assert similarity(plain, "def get_dog_food()", "dog food") > 0.3


def test_queries_can_have_their_own_weighting() -> None:
    encoder = LexicalEncoder(FREQUENCIES, dims=64, query_weighting=Weighting(k1=0.0))
    query, document = (encoder.encode(["dog dog dog bean"], role=role) for role in (Role.QUERY, Role.DOCUMENT))
    once = encoder.encode(["dog bean"], role=Role.QUERY)
    assert np.allclose(query, once)
    assert not np.allclose(query, document)


def test_vectors_of_more_informative_texts_are_longer_but_shorter_than_one(lexical: LexicalEncoder) -> None:
    vectors = lexical.encode(["the", "dog", "bean food dog", "bean food dog kerosene zzz"])
    lengths = np.linalg.norm(vectors, axis=1)
    assert vectors.dtype == np.float32
    assert lengths[0] == 0
    assert 0 < lengths[1] < lengths[2] < lengths[3] < 1
