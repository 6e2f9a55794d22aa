import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("學校的漢字", "学校的汉字"),
        ("國會圖書館", "国会図書館"),
        ("ラーメンとウドン", "らーめんとうどん"),
        ("ｶﾂ丼", "カツ丼"),
        ("人々と時々", "人人と時時"),
        ("いすゞ", "いすず"),
        ("العَرَبِيَّة", "العربية"),
        ("שָׁלוֹם", "שלום"),
        ("cafe\u0301 bean", "café bean"),
    ],
)
def test_variants_of_characters_are_the_same_term(left: str, right: str, lexical: LexicalEncoder) -> None:
    assert similarity(lexical, left, right) >= 0.99


def test_simplified_characters_that_are_also_traditional_ones_stay_as_they_are(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "里", "裏") == pytest.approx(0, abs=1e-6)


def test_a_korean_word_is_similar_to_itself_with_a_particle(lexical: LexicalEncoder) -> None:
    assert similarity(lexical, "한국어는", "한국어를") > 0.4 > similarity(lexical, "한국어는", "고양이는")


def test_vowel_signs_are_part_of_indic_words() -> None:
    tokens, n_words = TermExtractor(FREQUENCIES, Rules()).tokenize("हिन्दी में লেখা தமிழ்")
    assert tokens == ["हिन्दी", "में", "লেখা", "தமிழ்"]
    assert n_words == 4


def test_frequent_words_of_other_languages_are_stop_words(lexical: LexicalEncoder) -> None:
    assert not lexical.encode(["und der ist nicht", "que pour les", "и на не", "है में"]).any()
    assert similarity(lexical, "der Hund und die Katze", "und der Hund") > similarity(lexical, "der Hund", "der Vogel")


def test_hiragana_weigh_less_than_other_characters(lexical: LexicalEncoder) -> None:
    noun = similarity(lexical, "天気です", "天気か")
    ending = similarity(lexical, "天気です", "大雪です")
    assert noun > ending


def test_queries_in_scripts_without_spaces_have_the_weight_that_their_role_has() -> None:
    encoder = LexicalEncoder(FREQUENCIES, dims=64, query_weighting=Weighting(unspaced_factor=1.0))
    text, query = (encoder.encode(["東京の天気"], role=role) for role in (None, Role.QUERY))
    assert np.linalg.norm(query) > np.linalg.norm(text) > 0
    assert normalize(query) == pytest.approx(normalize(text), abs=1e-6)


@given(st.lists(st.text(max_size=80), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_vectors_are_finite_short_and_independent_of_the_order(texts: list[str], random_source: random.Random) -> None:
    encoder = LexicalEncoder(FREQUENCIES, dims=256)
    vectors = encoder.encode(texts)
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.isfinite(vectors).all()
    assert (lengths < 1).all()
    random_source.shuffle(order := list(range(len(texts))))
    assert encoder.encode([texts[index] for index in order]).tobytes() == vectors[order].tobytes()


def test_vectors_of_known_texts_do_not_change() -> None:
    encoder = LexicalEncoder(FREQUENCIES, dims=16)
    texts = ["Two beans and kerosene", "東京の天気は晴れ", "국어를 배운다", "国々のラーメン getUserName 10²"]
    thousandths = [
        [0, 0, 0, 343, -347, -226, 0, 226, 110, -226, 381, 0, 0, -188, 0, 0],
        [0, 0, 0, -114, 0, 0, 91, 114, 91, 0, 0, 229, 0, -114, 183, -91],
        [0, 0, -161, 0, 0, 0, 161, 0, 0, 161, 0, 161, 0, 0, 0, 0],
        [0, 96, -273, -110, -89, -71, 0, 362, 248, 0, 89, -273, 0, 273, -96, 186],
    ]
    assert np.abs(encoder.encode(texts) * 1000 - thousandths).max() < 0.6
