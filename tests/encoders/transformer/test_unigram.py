"""The memory-mapped vocabulary gives the ids of the tokenizers library for every text."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from umekomi.encoders.transformer.unigram import UnigramArrays, UnigramTokenizer

PIECES = [
    "<unk>",
    "▁",
    "▁a",
    "a",
    "b",
    "ab",
    "▁ab",
    "abc",
    "c",
    "▁▁",
    "é",
    "▁日本",
    "本",
    "日",
    "語",
    "本語",
    "x" * 16,
    "🐱",
    "\t",
    "ab",
]
SCORES = [
    0.0,
    -2.0,
    -3.5,
    -4.0,
    -4.5,
    -5.0,
    -5.5,
    -6.0,
    -4.2,
    -9.0,
    -7.0,
    -6.5,
    -7.5,
    -8.0,
    -8.5,
    -7.0,
    -3.0,
    -10.0,
    -11.0,
    -4.9,
]


@pytest.fixture(scope="module")
def library() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram(list(zip(PIECES, np.float32(SCORES).tolist(), strict=True)), unk_id=0))
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    return tokenizer


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> UnigramArrays:
    folder = tmp_path_factory.mktemp("vocabulary")
    UnigramArrays.build([piece.encode() for piece in PIECES], np.array(SCORES, np.float32)).save(folder)
    return UnigramArrays.open(folder)


ALPHABET = "abcéx日本語🐱▁ \t\n\u3000\u200a\x1c\x85\0z"


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from(ALPHABET), max_size=40) | st.text(max_size=20))
def test_ids_equal_those_of_the_library(library: Tokenizer, arrays: UnigramArrays, text: str) -> None:
    expected = library.encode(text, add_special_tokens=False).ids
    assert UnigramTokenizer(arrays, unknown=0).ids(text) == expected


def test_unknown_neighbors_are_one_token(arrays: UnigramArrays) -> None:
    assert UnigramTokenizer(arrays, unknown=0).ids("zzz azz") == [1, 0, 2, 0]


def test_damaged_files_are_an_error(tmp_path: Path) -> None:
    UnigramArrays.build([b"a", b"b"], np.array([-1, -math.pi], np.float32)).save(tmp_path)
    (tmp_path / "ids.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises((OSError, ValueError)):
        UnigramArrays.open(tmp_path)
