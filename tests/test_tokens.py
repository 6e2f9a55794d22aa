"""Token counts agree with OpenAI's published examples, and every shortcut agrees with plain tiktoken."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.errors import InputError
from umekomi.long_runs import WINDOW, encode_long
from umekomi.tokens import (
    SEGMENT,
    BytePairTokenizer,
    TokenCount,
    Tokenizer,
    load_tokenizer,
    price,
    well_formed,
)

NAMES = ("cl100k_base", "gpt2")
# Characters that segmentation must handle: all types of spaces, line ends, punctuation that absorbs them, scripts without spaces.
TRICKY = "aB'sé1 \t\n\r\v\x1c\x85\u00a0\u2028\u3000!.,)梅干。しを、🫠\u0301٣"
tricky_text = st.text(alphabet=st.one_of(st.sampled_from(TRICKY), st.characters()), max_size=60)


class Vocabularies(dict[str, Tokenizer]):
    """Tokenizers by name, loaded on first use. A test is skipped if the vocabulary that it needs is missing."""

    def __init__(self, store: AssetStore) -> None:
        self.store = store

    def __missing__(self, name: str) -> Tokenizer:
        missing = [row for row in load_catalog().tokenizers.get(name, {}).values() if self.find(row) is None]
        if missing:
            pytest.skip(f"the vocabulary of {name} is not on this machine ({missing[0]})")
        self[name] = load_tokenizer(name, assets=self.store)
        return self[name]

    def find(self, row: str) -> Path | None:
        return self.store.find(load_catalog().assets[row])


@pytest.fixture(scope="module")
def vocabularies(assets_here: AssetStore) -> Vocabularies:
    return Vocabularies(assets_here)


def tiktoken_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids that tiktoken computes without segmentation."""
    assert isinstance(tokenizer, BytePairTokenizer)
    return tokenizer._encoding.encode_ordinary(well_formed(text))


def longest_prefix(tokenizer: Tokenizer, text: str, limit: int) -> str:
    """Return the longest prefix within a limit by counting every prefix."""
    return max((text[:end] for end in range(len(text) + 1) if tokenizer.count(text[:end]) <= limit), key=len)


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "text", "ids"),
    [
        # OpenAI's cookbook, "How to count tokens with tiktoken", and tiktoken's own tests.
        ("cl100k_base", "tiktoken is great!", [83, 1609, 5963, 374, 2294, 0]),
        ("cl100k_base", "hello world", [15339, 1917]),
        ("cl100k_base", "rer", [38149]),
        ("cl100k_base", "'rer", [2351, 81]),
        ("cl100k_base", "today\n ", [31213, 198, 220]),
        ("cl100k_base", "today\n \n", [31213, 27907]),
        ("cl100k_base", "today\n  \n", [31213, 14211]),
        ("cl100k_base", "🌶", [9468, 234, 114]),
        ("cl100k_base", "👍", [9468, 239, 235]),
        ("gpt2", "hello world", [31373, 995]),
        ("gpt2", "<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
        ("gpt2", "0" * 4, [2388]),
        ("gpt2", "0" * 16, [25645]),
        ("gpt2", "0" * 17, [8269, 10535, 830]),
    ],
)
def test_token_ids_match_published_examples(vocabularies: Vocabularies, name: str, text: str, ids: list[int]) -> None:
    tokenizer = vocabularies[name]
    assert tokenizer.encode(text) == ids
    assert tokenizer.count(text) == len(ids)
    assert tokenizer.decode(ids) == text


@pytest.mark.assets
@pytest.mark.parametrize(
    ("text", "gpt2", "cl100k"),
    [("antidisestablishmentarianism", 5, 6), ("2 + 2 = 4", 5, 7), ("お誕生日おめでとう", 14, 9)],
)
def test_counts_match_the_comparison_in_openais_cookbook(
    vocabularies: Vocabularies, text: str, gpt2: int, cl100k: int
) -> None:
    assert (vocabularies["gpt2"].count(text), vocabularies["cl100k_base"].count(text)) == (gpt2, cl100k)


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(text=tricky_text)
def test_decoding_returns_the_encoded_text(vocabularies: Vocabularies, name: str, text: str) -> None:
    tokenizer = vocabularies[name]
    assert tokenizer.decode(tokenizer.encode(text)) == well_formed(text)


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=300)
@given(text=tricky_text)
def test_texts_can_be_divided_at_every_boundary(vocabularies: Vocabularies, name: str, text: str) -> None:
    # Whatever follows a boundary, the ids of the two sides, joined, are the ids of the text.
    tokenizer = vocabularies[name]
    for boundary in (match.start() for match in tokenizer._boundary.finditer(text)):
        for end in range(boundary + 1, len(text) + 1):
            assert tiktoken_ids(tokenizer, text[:boundary]) + tiktoken_ids(
                tokenizer, text[boundary:end]
            ) == tiktoken_ids(tokenizer, text[:end])


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(10))
def test_long_texts_have_the_same_ids_as_tiktoken(vocabularies: Vocabularies, name: str, seed: int) -> None:
    # Long enough for several segments, with long runs of spaces before every type of character.
    random_source = random.Random(seed)
    words = ["word", "!", "'s", "梅干し。", "1234", "\x1c", "", "a.b\n"]
    spaces = [" ", " \t", " \n", "\r\n ", "\u3000 \n\x85"]
    parts: list[str] = []
    for _ in range(80):
        run = random_source.choices(random_source.choice(spaces), k=random_source.randint(1, 2_500))
        parts += [random_source.choice(words), *run]
    text = "".join(parts) + random_source.choice(["", "x", "!"])
    assert len(text) > 2 * SEGMENT
    tokenizer = vocabularies[name]
    assert tokenizer.encode(text) == tiktoken_ids(tokenizer, text)
    assert tokenizer.exceeds(text, tokenizer.count(text) - 1)
    assert not tokenizer.exceeds(text, tokenizer.count(text))


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", [" " * 1_100_000 + "x", "\t " * 550_000 + "x", "a" * 1_000_000, "。" * 300_000])
def test_texts_of_a_million_characters_are_counted(vocabularies: Vocabularies, name: str, text: str) -> None:
    # tiktoken alone overflows its stack on the runs of spaces, with an error that `except Exception` does not catch.
    tokenizer = vocabularies[name]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.exceeds(text, 8191) == (tokenizer.count(text) > 8191)


@pytest.mark.assets
def test_runs_of_spaces_that_overflow_tiktoken_are_encoded_in_pieces(vocabularies: Vocabularies) -> None:
    tokenizer = vocabularies["cl100k_base"]
    assert tokenizer.encode(" " * 1_100_000 + "x") == tiktoken_ids(tokenizer, " " * 1_099_999) + tiktoken_ids(
        tokenizer, " x"
    )


@pytest.mark.assets
@pytest.mark.parametrize("name", [*NAMES, "bytes"])
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ude00\ud83d", "x\ud83d\ude00"])
def test_surrogates_are_encoded_like_well_formed_text(vocabularies: Vocabularies, name: str, text: str) -> None:
    tokenizer = vocabularies[name]
    assert tokenizer.encode(text) == tokenizer.encode(well_formed(text))
    assert tokenizer.decode(tokenizer.encode(text)) == well_formed(text)
    assert "".join(tokenizer.split(text, 10)) == well_formed(text)
    assert not tokenizer.exceeds(text, tokenizer.count(text))


def test_well_formed_joins_surrogate_pairs_and_replaces_lone_surrogates() -> None:
    assert well_formed("\ud83d\ude00") == "😀"
    assert well_formed("a\ud83db") == "a\ufffdb"


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=300)
@given(text=tricky_text.map(well_formed), limit=st.integers(0, 20))
def test_truncate_returns_the_longest_prefix_within_the_limit(
    vocabularies: Vocabularies, name: str, text: str, limit: int
) -> None:
    tokenizer = vocabularies[name]
    assert tokenizer.truncate(text, limit) == longest_prefix(tokenizer, text, limit)


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["umeboshi", " ", "\n", "  ", "梅干し。", "don't", "3.14", ", ", "🫠"]), max_size=120
    ),
    limit=st.integers(1, 90),
)
def test_truncate_returns_the_longest_prefix_of_longer_texts(
    vocabularies: Vocabularies, name: str, words: list[str], limit: int
) -> None:
    tokenizer = vocabularies[name]
    text = "".join(words)
    assert tokenizer.truncate(text, limit) == longest_prefix(tokenizer, text, limit)


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(text=tricky_text.map(well_formed), limit=st.integers(6, 20), overlap=st.integers(0, 5))
def test_split_returns_pieces_within_the_limit_that_join_to_the_text(
    vocabularies: Vocabularies, name: str, text: str, limit: int, overlap: int
) -> None:
    tokenizer = vocabularies[name]
    pieces_without_overlap = tokenizer.split(text, limit)
    assert "".join(pieces_without_overlap) == text
    pieces = tokenizer.split(text, limit, overlap=overlap)
    assert all(0 < tokenizer.count(piece) <= limit for piece in pieces_without_overlap + pieces)
    if text:
        assert text.startswith(pieces[0])
        assert text.endswith(pieces[-1])
    for left, right in pairwise(pieces):
        # The overlap is the end of one piece and the beginning of the next, and within the limit.
        assert any(
            left + right[shared:] in text
            and left.endswith(right[:shared])
            and tokenizer.count(right[:shared]) <= overlap
            for shared in range(min(len(left), len(right) - 1) + 1)
        )


@pytest.mark.assets
def test_long_runs_without_boundaries_are_split_without_loss(vocabularies: Vocabularies) -> None:
    tokenizer = vocabularies["cl100k_base"]
    text = "梅" * 4_000 + "a" * 30_000 + " " * 9_000 + "x"
    pieces = tokenizer.split(text, 500)
    assert "".join(pieces) == text
    counts = [tokenizer.count(piece) for piece in pieces]
    assert max(counts) <= 500
    assert min(counts[:-1]) >= 490


@pytest.mark.assets
def test_count_many_returns_the_count_of_each_text(vocabularies: Vocabularies) -> None:
    tokenizer = vocabularies["cl100k_base"]
    texts = [f"review {number} " * number for number in range(250)]
    assert sum(map(len, texts)) > 200_000
    assert tokenizer.count_many(texts) == [tokenizer.count(text) for text in texts]
    assert tokenizer.count_many([]) == []


@pytest.mark.assets
@pytest.mark.parametrize("name", [*NAMES, "bytes"])
@pytest.mark.parametrize(
    ("bad", "message"), [(-1, "-1"), (2**31, "2147483648"), (2**70, "1180"), ("7", "str"), (1.5, "float")]
)
def test_decoding_an_id_outside_the_vocabulary_is_an_error_that_names_it(
    vocabularies: Vocabularies, name: str, bad: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        vocabularies[name].decode([104, bad])


@pytest.mark.assets
def test_decoding_an_unassigned_id_is_an_error_that_names_it(vocabularies: Vocabularies) -> None:
    with pytest.raises(InputError, match=r"^The token id 100262 is not in the vocabulary cl100k_base\.$"):
        vocabularies["cl100k_base"].decode([15339, 100257, 100262, 100263])


def test_incomplete_utf8_decodes_to_the_replacement_character() -> None:
    assert load_tokenizer("bytes").decode([0xE6, 0xA2]) == "\ufffd"


def test_split_by_bytes_returns_pieces_of_maximum_length() -> None:
    tokenizer = load_tokenizer("bytes")
    assert tokenizer.split("umeboshi 梅干し", 5) == ["umebo", "shi ", "梅", "干", "し"]
    assert tokenizer.split("umeboshi", 4, overlap=2) == ["umeb", "ebos", "oshi"]


def test_split_rejects_a_limit_below_the_length_of_a_character() -> None:
    tokenizer = load_tokenizer("bytes")
    assert tokenizer.truncate("a梅", 2) == "a"
    with pytest.raises(InputError, match="梅"):
        tokenizer.split("a梅", 2)


def test_invalid_limits_are_rejected() -> None:
    tokenizer = load_tokenizer("bytes")
    with pytest.raises(InputError, match="max_tokens is 0"):
        tokenizer.split("abc", 0)
    for overlap in (-1, 3):
        with pytest.raises(InputError, match=f"overlap is {overlap}"):
            tokenizer.split("abc", 3, overlap=overlap)


def test_an_empty_text_has_no_tokens_and_no_pieces() -> None:
    tokenizer = load_tokenizer("bytes")
    assert (tokenizer.count(""), tokenizer.split("", 5), tokenizer.truncate("", 5)) == (0, [], "")


def test_price_equals_the_price_of_the_hosted_model() -> None:
    catalog = load_catalog()
    assert price(800 * 3000, catalog.model("text-embedding-ada-002")) == pytest.approx(0.96)
    assert price(1000, catalog.model("umekomi-fake")) is None


def test_an_unknown_tokenizer_is_rejected() -> None:
    with pytest.raises(InputError, match="cl100k_base"):
        load_tokenizer("o200k_base")


@pytest.mark.assets
def test_loading_a_vocabulary_does_not_fill_the_cache_of_tiktoken(
    assets_here: AssetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The readers of tiktoken would write an unverified copy to this folder and trust it the next time.
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert load_tokenizer("cl100k_base", assets=assets_here).encode("hello world") == [15339, 1917]
    assert list(tmp_path.iterdir()) == []


RUN_ALPHABETS = [
    "a",
    "ab",
    "Aa",
    "abcdefghijklmnopqrstuvwxyz",
    "梅干し",
    "éa",
    "À",
    "!",
    "!?.-=#",
    "-",
    "'",
    "123",
    "\u0301",
]


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_long_runs_have_the_same_ids_as_tiktoken(vocabularies: Vocabularies, name: str, data: st.DataObject) -> None:
    random_source = random.Random(data.draw(st.integers(0, 2**32)))
    parts: list[str] = []
    for _ in range(data.draw(st.integers(1, 3))):
        alphabet = data.draw(st.sampled_from(RUN_ALPHABETS))
        parts += ["".join(random_source.choices(alphabet, k=random_source.randint(WINDOW, 5 * WINDOW)))]
        parts += [data.draw(st.sampled_from(["", " ", "\n", "'s", "'S!", " x", "12", "\u2160", "\U0001f9ff", "_"]))]
    text = "".join(parts)
    tokenizer = vocabularies[name]
    assert tokenizer.encode(text) == tiktoken_ids(tokenizer, text)
    assert tokenizer.encode("x" + text) == tiktoken_ids(tokenizer, "x" + text)


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alphabet", ["a", "abcdefghijklmnopqrstuvwxyz", "梅干し", "!?.-="])
def test_long_runs_are_encoded_in_pieces(vocabularies: Vocabularies, name: str, alphabet: str) -> None:
    encoding = vocabularies[name]._encoding

    class Recording:
        """An encoding that records the lengths of its texts."""

        lengths: ClassVar[list[int]] = []

        def encode_ordinary(self, text: str) -> list[int]:
            self.lengths.append(len(text))
            return encoding.encode_ordinary(text)

        def decode_single_token_bytes(self, token: int) -> bytes:
            return encoding.decode_single_token_bytes(token)

    text = "".join(random.Random(0).choices(alphabet, k=100_000))
    ids = encode_long(Recording(), text, digits_are_one_piece=False)  # type: ignore[arg-type]
    assert ids == encoding.encode_ordinary(text)
    assert max(Recording.lengths) < 2 * WINDOW


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=100)
@given(alphabet=tricky_text.filter(bool), n=st.integers(1, 3000), limit=st.integers(0, 300))
def test_count_within_is_exact_or_a_lower_bound_above_the_limit(
    vocabularies: Vocabularies, name: str, alphabet: str, n: int, limit: int
) -> None:
    tokenizer = vocabularies[name]
    text = (alphabet * n)[:4000]
    count, truth = tokenizer.count_within(text, limit), len(tiktoken_ids(tokenizer, well_formed(text)))
    assert count.n_tokens == truth if count.is_exact else limit < count.n_tokens <= truth
    assert tokenizer.exceeds(text, limit) == (truth > limit)


@pytest.mark.assets
@pytest.mark.parametrize("name", NAMES)
def test_texts_that_are_much_too_long_are_not_encoded(
    vocabularies: Vocabularies, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = vocabularies[name]
    encoded: list[int] = []
    original = tokenizer._encode_segment
    monkeypatch.setattr(tokenizer, "_encode_segment", lambda part: (encoded.append(len(part)), original(part))[1])
    for text in ("a" * 16_000_000, "word " * 3_000_000, " " * 16_000_000, "。\n" * 5_000_000, "1" * 16_000_000):
        count = tokenizer.count_within(text, 8191)
        assert count.n_tokens > 8191
        assert not count.is_exact
    assert not encoded
    # Texts slightly above the limit are counted exactly.
    assert tokenizer.count_within("word " * 9000, 8191) == TokenCount(tokenizer.count("word " * 9000))
    # For longer texts, the count stops early.
    encoded.clear()
    assert not tokenizer.count_within("x. " * 60_000, 8191).is_exact
    assert sum(encoded) < 120_000


@pytest.mark.assets
def test_check_can_interrupt_count_within(vocabularies: Vocabularies) -> None:
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        vocabularies["cl100k_base"].count_within("so many words " * 8_000, 100_000, check=check)
    assert len(calls) == 3
