"""Byte-pair encoding of very long runs of letters or symbols in linear time.

tiktoken merges the bytes of one *piece* (a word, a run of symbols) with a heap, which takes n log n steps and, worse, memory
that no cache holds: a megabyte without spaces takes ten times as long per byte as a page of text. This module encodes such
runs in windows and joins the windows' ids.

The ids are exactly those of tiktoken. A sequence of tokens is the encoding of a piece if and only if each pair of neighbors is
the encoding of its own bytes (https://github.blog/ai-and-ml/llms/so-many-tokens-so-little-time-introducing-a-faster-more-flexible-byte-pair-tokenizer/).
Each window begins where a token of the window before it ends, and must begin with the token that follows there. Then every
pair of the joined sequence is a pair of one of the windows.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

import tiktoken

WINDOW = 8_192
"""Characters of one window. tiktoken is fastest below about 16,000 bytes."""
_LOOKBACK = 48
"""Number of tokens of a window that the next one encodes again. They have fewer characters than a window."""
_RUNS = re.compile(rf"[^\W\d_]{{{WINDOW},}}+|(?:[^\w\s]|_){{{WINDOW},}}+|\d{{{WINDOW},}}+")


def encode_long(encoding: tiktoken.Encoding, text: str, *, digits_are_one_piece: bool) -> list[int]:
    """Return the ids of a text, which are those of ``encoding.encode_ordinary(text)``.

    Args:
        encoding: Vocabulary.
        text: Text without lone surrogates.
        digits_are_one_piece: Whether a run of digits is one piece (GPT-2) or pieces of three (cl100k_base).
    """
    cuts = [
        cut
        for run in _RUNS.finditer(text)
        if _is_one_piece(run[0], digits_are_one_piece)
        for cut in range(run.start() + WINDOW, run.end(), WINDOW)
    ]
    joined: list[int] = []
    ids = encoding.encode_ordinary(text[: cuts[0]] if cuts else text)
    for cut, end in pairwise([*cuts, len(text)]):
        index, start = _find_last_boundary(encoding, ids, cut)
        following = encoding.encode_ordinary(text[start:end])
        if cut - start > WINDOW // 2 or following[:1] != ids[index : index + 1]:
            # The windows disagree about the token at their boundary.
            return encoding.encode_ordinary(text)
        joined += ids[:index]
        ids = following
    return joined + ids


def _is_one_piece(run: str, digits_are_one_piece: bool) -> bool:
    """Return whether a run is inside one piece of the vocabulary's regular expression.

    Python and tiktoken may know different versions of Unicode. A character that is unassigned here may be a letter there.
    """
    categories = {unicodedata.category(character) for character in set(run)}
    classes = {name[0] if name[0] in "LN" else "other" for name in categories}
    return len(classes) == 1 and "Cn" not in categories and (classes != {"N"} or digits_are_one_piece)


def _find_last_boundary(encoding: tiktoken.Encoding, ids: list[int], end: int) -> tuple[int, int]:
    """Return the index of a token about 48 tokens before the last, and the position of its first character in the text.

    Args:
        encoding: Vocabulary.
        ids: Token ids of a text.
        end: Position of the end of that text.
    """
    index = max(1, len(ids) - _LOOKBACK)
    tail = b"".join(map(encoding.decode_single_token_bytes, ids[index:]))
    # A token may begin inside a character.
    while tail and tail[0] & 0xC0 == 0x80:
        tail = tail[len(encoding.decode_single_token_bytes(ids[index])) :]
        index += 1
    return index, end - len(tail.decode("utf-8"))
