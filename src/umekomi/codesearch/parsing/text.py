"""The text that is embedded for a chunk: its name in words, its docstring, and its code, one piece at a time.

The numbers are tuned by ``benchmarks/code.py`` (see docs/code-search.md). The path is not included: it did not improve the
results, and without it a renamed file keeps its vectors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .chunks import Chunk, ChunkType

PIECE_CHARS = 600
"""Characters of code in a piece. With more code, a vector represents the first lines less well."""

DOC_CHARS = 500
MAX_PIECES = 6


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What the text of a piece contains."""

    #: Include the name of the chunk.
    name: bool = True
    #: Include the docstring.
    doc: bool = True
    #: Characters of code in a piece.
    piece_chars: int = PIECE_CHARS
    #: Maximum number of pieces of a chunk.
    max_pieces: int = MAX_PIECES


def format_pieces(chunk: Chunk, options: TextOptions | None = None) -> list[str]:
    """Return the texts of a chunk to embed, one for each piece. There is at least one, and none is empty."""
    options = options or TextOptions()
    doc = chunk.doc if options.doc else ""
    if chunk.type is ChunkType.SECTION:
        head = chunk.qualified if options.name else ""
        bodies = _split(doc, options.piece_chars) or [""]
        return [f"{head}\n{body}".strip() or chunk.signature for body in bodies[: options.max_pieces]]
    head = split_identifiers(chunk.qualified).lower() if options.name else ""
    bodies = _split(chunk.code, options.piece_chars) or [""]
    texts = ["\n".join(part for part in (head, doc[:DOC_CHARS], bodies[0]) if part)]
    texts += [f"{head}\n{body}".strip() for body in bodies[1 : options.max_pieces]]
    return [text if text.strip() else chunk.signature or chunk.type.value for text in texts]


def split_identifiers(text: str) -> str:
    """Return a text with identifiers split into words.

    >>> split_identifiers("HTTPServer.parse_request2")
    'HTTP Server parse request2'
    """
    # Lookarounds without repetition keep the time linear.
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return " ".join(re.sub(r"[_\W]+", " ", text).split())


def _split(text: str, size: int) -> list[str]:
    """Split a text into pieces of about ``size`` characters, at line ends where possible."""
    pieces: list[str] = []
    while len(text) > size * 1.25:
        end = text.rfind("\n", size // 2, size) + 1 or size
        pieces.append(text[:end].strip("\n"))
        text = text[end:]
    pieces.append(text.strip("\n"))
    return [piece for piece in pieces if piece.strip()]
