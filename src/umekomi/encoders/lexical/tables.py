"""The tables of the lexical encoder, which ``benchmarks/lexical_tables.py`` generates."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources


def _read_lines(name: str) -> Iterator[str]:
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    return (line for line in text.splitlines() if not line.startswith("#"))


@cache
def function_words() -> frozenset[str]:
    """Return words that are more than a thousandth of the text in a language other than English, and rare in English."""
    return frozenset(_read_lines("function_words.txt"))


@cache
def standard_characters() -> dict[int, int]:
    """Return a table for :meth:`str.translate`: katakana to hiragana, and variants of Han characters to the traditional one.

    >>> "カナ 国 囯 國".translate(standard_characters())
    'かな 國 囯 國'
    """
    table = {ord(variant): ord(line[0]) for line in _read_lines("variants.txt") for variant in line[1:]}
    return table | {code: code - 0x60 for code in range(ord("ァ"), ord("ヶ") + 1)}
