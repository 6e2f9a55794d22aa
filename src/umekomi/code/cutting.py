"""One file to chunks, by the grammar of its language; by windows where there is none or it does not parse."""

from __future__ import annotations

import re

from .chunks import Chunk, ChunkKind, windows
from .languages import GRAMMARS
from .prose import parse_prose
from .python import parse_python
from .trees import parse_tree

_CPP = re.compile(r"^\s*(namespace\b|class\s+\w+|template\s*<|(public|private|protected)\s*:)", re.MULTILINE)


def cut_file(text: str, language: str) -> list[Chunk]:
    """The chunks of a file in a language that :func:`~umekomi.code.languages.language_of` knows, in the order of the file.

    Raises:
        MissingExtraError: the language's grammar is not installed.
    """
    try:
        if language == "python":
            return parse_python(text)
        if language in GRAMMARS:
            # A header does not say in its name whether it is C or C++.
            return parse_tree(text, "c++" if language == "c" and _CPP.search(text) else language)
    except SyntaxError:
        return list(windows(text))
    return parse_prose(text) if language == "prose" else list(windows(text))


__all__ = ["Chunk", "ChunkKind", "cut_file"]
