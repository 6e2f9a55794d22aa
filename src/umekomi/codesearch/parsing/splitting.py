"""Splitting of a file into chunks by the grammar of its language, or into windows if there is none or parsing fails."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from .chunks import Chunk, split_into_windows
from .languages import GRAMMARS
from .notebooks import Notebook, apply_cell_magic, comment_out_magics, move_to_notebook
from .prose import parse_prose
from .python import parse_python
from .trees import parse_tree

MAX_NAME, MAX_SCOPE, MAX_SIGNATURE = 200, 500, 300
"""Maximum length of the name, scope and signature of a chunk, in characters. Longer ones are data that looks like a name."""

_CPP = re.compile(r"^\s*(namespace\b|class\s+\w+|template\s*<|(public|private|protected)\s*:)", re.MULTILINE)


def split_file(text: str, language: str) -> list[Chunk]:
    """Return the chunks of a file in a language of :func:`~.languages.detect_language`, in the order of the file.

    Raises:
        MissingExtraError: The language's grammar is not installed.
    """
    try:
        chunks = _parse(text, language)
    except SyntaxError:
        chunks = split_into_windows(text)
    return [_truncate(chunk) for chunk in chunks]


def split_notebook(notebook: Notebook) -> list[Chunk]:
    """Return the chunks of a notebook, in which each cell is split like a file of its language.

    Raises:
        MissingExtraError: The language's grammar is not installed.
    """
    chunks: list[Chunk] = []
    for cell in map(apply_cell_magic, notebook.cells):
        try:
            cell_chunks: Iterable[Chunk] = _parse(cell.text, cell.language)
        except SyntaxError:
            cell_chunks = split_file(
                comment_out_magics(cell.text) if cell.language == "python" else cell.text, cell.language
            )
        chunks.extend(_truncate(chunk) for chunk in move_to_notebook(cell_chunks, cell))
    return chunks


def _parse(text: str, language: str) -> Iterable[Chunk]:
    """Split a text by the grammar of its language.

    Raises:
        SyntaxError: The text does not parse, or is nested too deeply.
    """
    if language == "python":
        return parse_python(text)
    if language in GRAMMARS:
        # The name of a header file does not distinguish C and C++.
        return parse_tree(text, "c++" if language == "c" and _CPP.search(text) else language)
    return parse_prose(text) if language == "prose" else split_into_windows(text)


def _truncate(chunk: Chunk) -> Chunk:
    if len(chunk.name) <= MAX_NAME and len(chunk.scope) <= MAX_SCOPE and len(chunk.signature) <= MAX_SIGNATURE:
        return chunk
    name, scope, signature = chunk.name[:MAX_NAME], chunk.scope[:MAX_SCOPE], chunk.signature[:MAX_SIGNATURE]
    return replace(chunk, name=name, scope=scope, signature=signature)
