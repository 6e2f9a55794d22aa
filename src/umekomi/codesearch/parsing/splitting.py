"""One file to chunks, by the grammar of its language; by windows where there is none or it does not parse."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from .chunks import Chunk, ChunkKind, windows
from .languages import GRAMMARS
from .notebooks import Notebook, hide_magics, in_notebook, read_magic
from .prose import parse_prose
from .python import parse_python
from .trees import parse_tree

MAX_NAME, MAX_SCOPE, MAX_SIGNATURE = 200, 500, 300
"""Longest name, scope and signature of a chunk, in characters. Longer ones are data that looks like a name."""

_CPP = re.compile(r"^\s*(namespace\b|class\s+\w+|template\s*<|(public|private|protected)\s*:)", re.MULTILINE)


def cut_file(text: str, language: str) -> list[Chunk]:
    """Return the chunks of a file in a language of :func:`~.languages.language_of`, in the order of the file.

    Raises:
        MissingExtraError: The language's grammar is not installed.
    """
    try:
        chunks = _parse(text, language)
    except SyntaxError:
        chunks = windows(text)
    return [_bounded(chunk) for chunk in chunks]


def cut_notebook(notebook: Notebook) -> list[Chunk]:
    """Return the chunks of a notebook: each cell is cut like a file of its language.

    Raises:
        MissingExtraError: The language's grammar is not installed.
    """
    chunks: list[Chunk] = []
    for cell in map(read_magic, notebook.cells):
        try:
            cut: Iterable[Chunk] = _parse(cell.text, cell.language)
        except SyntaxError:
            cut = cut_file(hide_magics(cell.text) if cell.language == "python" else cell.text, cell.language)
        chunks.extend(_bounded(chunk) for chunk in in_notebook(iter(cut), cell))
    return chunks


def _parse(text: str, language: str) -> Iterable[Chunk]:
    """Cut a text by the grammar of its language.

    Raises:
        SyntaxError: The text does not parse, or is nested too deeply.
    """
    if language == "python":
        return parse_python(text)
    if language in GRAMMARS:
        # The name of a header does not say whether it is C or C++.
        return parse_tree(text, "c++" if language == "c" and _CPP.search(text) else language)
    return parse_prose(text) if language == "prose" else windows(text)


def _bounded(chunk: Chunk) -> Chunk:
    if len(chunk.name) <= MAX_NAME and len(chunk.scope) <= MAX_SCOPE and len(chunk.signature) <= MAX_SIGNATURE:
        return chunk
    name, scope, signature = chunk.name[:MAX_NAME], chunk.scope[:MAX_SCOPE], chunk.signature[:MAX_SIGNATURE]
    return replace(chunk, name=name, scope=scope, signature=signature)


__all__ = ["Chunk", "ChunkKind", "cut_file", "cut_notebook"]
