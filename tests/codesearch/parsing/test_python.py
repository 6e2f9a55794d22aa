"""Python by its own grammar: what is cut out, and that every line number is the file's own."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from umekomi.codesearch.parsing.chunks import OVERLAP_LINES, WINDOW_LINES, ChunkKind, windows
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


def test_each_definition_has_its_scope_signature_doc_and_lines() -> None:
    found = {chunk.qualified: chunk for chunk in parse_python(MODULE) if chunk.name}
    assert {name: chunk.kind for name, chunk in found.items()} == {
        "Shop": ChunkKind.CLASS,
        "Shop.total": ChunkKind.METHOD,
        "buy": ChunkKind.FUNCTION,
        "buy.pay": ChunkKind.FUNCTION,
    }
    total, buy = found["Shop.total"], found["buy"]
    assert (total.start, total.end) == (12, 14)
    assert total.signature == "def total(self) -> dict[str, int]"
    assert (total.doc, total.code.splitlines()[0]) == ("Everything, added up.", "@property")
    assert buy.signature == "async def buy( name: str, *, count: int = 1, ) -> None"
    assert (buy.doc, buy.start, buy.end) == ("Buys one thing.", 17, 23)


def test_the_docstring_is_not_in_the_code_and_a_class_leaves_bodies_to_its_methods() -> None:
    shop = next(chunk for chunk in parse_python(MODULE) if chunk.name == "Shop")
    assert shop.code == ("class Shop(Base):\n    open = True\n    def total(self) -> dict[str, int]:")
    assert all("added up" not in chunk.code for chunk in parse_python(MODULE))


def test_what_stands_outside_definitions_is_one_chunk_without_imports() -> None:
    module = parse_python(MODULE)[0]
    assert (module.kind, module.doc, module.code) == (ChunkKind.MODULE, "What a shop sells.", 'PRICES = {"bean": 2}')


@pytest.mark.parametrize("text", ["def f(:\n  pass", "x = " + "(" * 5000, "a\0b", "print 'two'"])
def test_what_is_not_python_is_a_syntax_error(text: str) -> None:
    with pytest.raises(SyntaxError):
        parse_python(text)


def test_lines_are_counted_as_the_parser_counts_them() -> None:
    text = 'x = "\u2028\x0b"\r\n\x0c\r\ndef after():\r\n    return 1\r\n'
    assert [(c.name, c.start, c.end) for c in parse_python(text) if c.name] == [("after", 3, 4)]


def test_every_function_of_the_standard_library_is_found_on_its_own_line() -> None:
    paths = sorted(Path(ast.__file__).parent.glob("*.py"))
    assert len(paths) > 100
    for path in paths:
        text = path.read_text("utf-8")
        defined = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        found = [c for c in parse_python(text) if c.kind in (ChunkKind.FUNCTION, ChunkKind.METHOD)]
        assert sorted((c.name, c.start, c.end) for c in found) == sorted(
            (n.name, n.lineno, n.end_lineno) for n in defined
        )


@pytest.mark.parametrize("length", [0, 1, WINDOW_LINES, WINDOW_LINES + 1, 500])
def test_windows_hold_every_line_and_overlap(length: int) -> None:
    pieces = list(windows("\n".join(f"line {number}" for number in range(1, length + 1))))
    assert {line for piece in pieces for line in range(piece.start, piece.end + 1)} == set(range(1, length + 1))
    for before, after in pairwise(pieces):
        assert after.start == before.end - OVERLAP_LINES + 1
