"""Splitting of Python: chunks, docstrings, signatures and line numbers."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from umekomi.codesearch.parsing.chunks import OVERLAP_LINES, WINDOW_LINES, ChunkType, split_into_windows
from umekomi.codesearch.parsing.python import parse_python

MODULE = '''\
"""What a shop sells."""
import os

PRICES = {"bean": 2}

class Shop(Base):
    """A shop."""

    open = True

    @property
    def total(self) -> dict[str, int]:
        """Everything, added up."""
        return sum(PRICES.values())

# Buys one thing.
async def buy(
    name: str,  # of the thing
    *, count: int = 1,
) -> None:
    def pay():
        return count
    pay()
'''


def test_definitions_have_scope_signature_docstring_and_lines() -> None:
    chunks = {chunk.qualified: chunk for chunk in parse_python(MODULE) if chunk.name}
    assert {name: chunk.type for name, chunk in chunks.items()} == {
        "Shop": ChunkType.CLASS,
        "Shop.total": ChunkType.METHOD,
        "buy": ChunkType.FUNCTION,
        "buy.pay": ChunkType.FUNCTION,
    }
    total, buy = chunks["Shop.total"], chunks["buy"]
    assert (total.start, total.end) == (12, 14)
    assert total.signature == "def total(self) -> dict[str, int]"
    assert (total.doc, total.code.splitlines()[0]) == ("Everything, added up.", "@property")
    assert buy.signature == "async def buy( name: str, *, count: int = 1, ) -> None"
    assert (buy.doc, buy.start, buy.end) == ("Buys one thing.", 17, 23)


def test_code_excludes_the_docstring_and_classes_exclude_method_bodies() -> None:
    shop = next(chunk for chunk in parse_python(MODULE) if chunk.name == "Shop")
    assert shop.code == ("class Shop(Base):\n    open = True\n    def total(self) -> dict[str, int]:")
    assert all("added up" not in chunk.code for chunk in parse_python(MODULE))


def test_code_outside_definitions_is_one_chunk_without_imports() -> None:
    module = parse_python(MODULE)[0]
    assert (module.type, module.doc, module.code) == (ChunkType.MODULE, "What a shop sells.", 'PRICES = {"bean": 2}')


@pytest.mark.parametrize("text", ["def f(:\n  pass", "x = " + "(" * 5000, "a\0b", "print 'two'"])
def test_invalid_python_is_a_syntax_error(text: str) -> None:
    with pytest.raises(SyntaxError):
        parse_python(text)


def test_lines_are_counted_like_the_parser() -> None:
    text = 'x = "\u2028\x0b"\r\n\x0c\r\ndef after():\r\n    return 1\r\n'
    assert [(c.name, c.start, c.end) for c in parse_python(text) if c.name] == [("after", 3, 4)]


def test_every_function_of_the_standard_library_is_found_with_its_lines() -> None:
    paths = sorted(Path(ast.__file__).parent.glob("*.py"))
    assert len(paths) > 100
    for path in paths:
        text = path.read_text("utf-8")
        defined = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        chunks = [c for c in parse_python(text) if c.type in (ChunkType.FUNCTION, ChunkType.METHOD)]
        assert sorted((c.name, c.start, c.end) for c in chunks) == sorted(
            (n.name, n.lineno, n.end_lineno) for n in defined
        )


@pytest.mark.parametrize("length", [0, 1, WINDOW_LINES, WINDOW_LINES + 1, 500])
def test_windows_contain_every_line_and_overlap(length: int) -> None:
    pieces = list(split_into_windows("\n".join(f"line {number}" for number in range(1, length + 1))))
    assert {line for piece in pieces for line in range(piece.start, piece.end + 1)} == set(range(1, length + 1))
    for before, after in pairwise(pieces):
        assert after.start == before.end - OVERLAP_LINES + 1
