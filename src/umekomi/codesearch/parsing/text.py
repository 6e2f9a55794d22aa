"""What of a chunk is embedded: its name in plain words, its docstring, and its code, a piece at a time.

The numbers are tuned by ``benchmarks/code.py`` (see docs/code-search.md). The path is left out: it did not help, and without it
a file that is renamed keeps its vectors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .chunks import Chunk, ChunkKind

PIECE_CHARS = 600
"""Code of one piece, in characters: more in one vector blurs what the first lines say."""

DOC_CHARS = 500
MAX_PIECES = 6


@dataclass(frozen=True, slots=True)
class Recipe:
    """What goes into the text of a piece."""

    name: bool = True
    doc: bool = True
    piece_chars: int = PIECE_CHARS
    max_pieces: int = MAX_PIECES


def piece_texts(chunk: Chunk, recipe: Recipe | None = None) -> list[str]:
    """The texts of a chunk to embed: its head, then more of its body where it is long. One at least, none empty."""
    recipe = recipe or Recipe()
    words = split_identifiers(chunk.qualified).lower()
    head = words if recipe.name and chunk.kind is not ChunkKind.SECTION else chunk.qualified if recipe.name else ""
    doc = chunk.doc if recipe.doc else ""
    room = recipe.piece_chars
    if chunk.kind is ChunkKind.SECTION:
        bodies = _cut(doc, room) or [""]
        return [f"{head}\n{body}".strip() or chunk.signature for body in bodies[: recipe.max_pieces]]
    bodies = _cut(chunk.code, room) or [""]
    texts = ["\n".join(part for part in (head, doc[:DOC_CHARS], bodies[0]) if part)]
    texts += [f"{head}\n{body}".strip() for body in bodies[1 : recipe.max_pieces]]
    return [text if text.strip() else chunk.signature or chunk.kind.value for text in texts]


def split_identifiers(text: str) -> str:
    """Identifiers as words.

    >>> split_identifiers("HTTPServer.parse_request2")
    'HTTP Server parse request2'
    """
    # Look-around and no repetition, so that the time is linear.
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return " ".join(re.sub(r"[_\W]+", " ", text).split())


def _cut(text: str, room: int) -> list[str]:
    """Text in pieces of about ``room`` characters that end with a line where they can."""
    pieces: list[str] = []
    while len(text) > room * 1.25:
        end = text.rfind("\n", room // 2, room) + 1 or room
        pieces.append(text[:end].strip("\n"))
        text = text[end:]
    pieces.append(text.strip("\n"))
    return [piece for piece in pieces if piece.strip()]
