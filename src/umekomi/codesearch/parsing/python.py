"""Splitting of Python into functions, methods, classes, and the module code outside them, with the standard parser."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator

from .chunks import Chunk, ChunkType

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def parse_python(text: str) -> list[Chunk]:
    """Return the chunks of a Python module in the order of the file.

    Raises:
        SyntaxError: The text is not valid in the running version of Python, or is nested too deeply.
    """
    try:
        with warnings.catch_warnings():
            # Invalid escapes in the parsed code are not our problem.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        # Count lines like the parser, which does not end a line at form feeds or Unicode line separators.
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        chunks = [*_parse_module_code(tree, lines), *_iterate_definitions(tree, lines, "", in_class=False)]
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from error
    return sorted(chunks, key=lambda chunk: chunk.start)


def _iterate_definitions(node: ast.AST, lines: list[str], scope: str, *, in_class: bool) -> Iterator[Chunk]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            yield _make_chunk(child, lines, scope, in_class=in_class)
            inner = f"{scope}.{child.name}" if scope else child.name
            yield from _iterate_definitions(child, lines, inner, in_class=isinstance(child, ast.ClassDef))
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _iterate_definitions(child, lines, scope, in_class=in_class)


def _make_chunk(node: _Definition, lines: list[str], scope: str, *, in_class: bool) -> Chunk:
    end = node.end_lineno or node.lineno
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    docstring = _find_docstring(node)
    if isinstance(node, ast.ClassDef):
        chunk_type, code = ChunkType.CLASS, _make_outline(node, lines, first, docstring)
    else:
        chunk_type = ChunkType.METHOD if in_class else ChunkType.FUNCTION
        code = _join_lines(lines, range(first, end + 1), without=docstring)
    doc = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
    signature = _read_signature(node, lines)
    return Chunk(
        chunk_type, node.name, scope, signature, doc or _read_comment_above(lines, first), code, node.lineno, end
    )


def _read_signature(node: _Definition, lines: list[str]) -> str:
    """Return the text from ``def`` or ``class`` to the colon, on one line."""
    stop = max(node.lineno, node.body[0].lineno - 1) if node.body else node.lineno
    head = " ".join(line.split("  #")[0].strip() for line in lines[node.lineno - 1 : stop])
    depth = 0
    for index, character in enumerate(head):
        depth += (character in "([{") - (character in ")]}")
        if character == ":" and depth == 0:
            head = head[:index]
            break
    return head.strip()


def _make_outline(node: ast.ClassDef, lines: list[str], first: int, docstring: range) -> str:
    """Return a class without the bodies of its methods, which are separate chunks."""
    numbers: list[int] = list(range(first, node.body[0].lineno))
    for child in node.body:
        top = child.lineno
        if isinstance(child, _Definition):
            numbers.append(top)
        else:
            numbers += range(top, (child.end_lineno or top) + 1)
    return _join_lines(lines, sorted(set(numbers)), without=docstring)


def _find_docstring(node: _Definition | ast.Module) -> range:
    if node.body and isinstance(node.body[0], ast.Expr) and ast.get_docstring(node, clean=False) is not None:
        statement = node.body[0]
        return range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    return range(0)


def _join_lines(lines: list[str], numbers: range | list[int], *, without: range) -> str:
    selected = [lines[number - 1] for number in numbers if number not in without]
    return inspect.cleandoc("\n" + "\n".join(selected)) if selected else ""


def _read_comment_above(lines: list[str], first: int) -> str:
    comment: list[str] = []
    for line in reversed(lines[: first - 1]):
        if not line.strip().startswith("#"):
            break
        comment.append(line.strip().lstrip("#").strip())
    return "\n".join(reversed(comment))


def _parse_module_code(tree: ast.Module, lines: list[str]) -> Iterator[Chunk]:
    """Yield a chunk of the statements outside functions and classes, except imports."""
    docstring = _find_docstring(tree)
    numbers = [
        number
        for node in tree.body
        if not isinstance(node, _Definition | ast.Import | ast.ImportFrom)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    ]
    code = _join_lines(lines, sorted(set(numbers)), without=docstring)
    doc = inspect.cleandoc(ast.get_docstring(tree, clean=False) or "")
    if numbers and (doc or code.strip()):
        head = next((line.strip() for line in (doc or code).splitlines() if line.strip()), "")
        yield Chunk(ChunkType.MODULE, "", "", head[:120], doc, code, numbers[0], max(numbers))
