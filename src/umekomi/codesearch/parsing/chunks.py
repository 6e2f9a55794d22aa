"""What a source file is cut into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class ChunkKind(StrEnum):
    """What a chunk is.

    ``module`` is what stands outside every function and class; ``window`` some lines of a file without parts.
    """

    FUNCTION = "function"
    METHOD = "method"
    CLASS = "class"
    MODULE = "module"
    SECTION = "section"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a source file that can be found.

    ``scope`` names what it stands in, outermost first, joined by dots. ``doc`` is its docstring, or the comment above it,
    without the marks; ``code`` is the rest of it, signature included. ``start`` and ``end`` are its first and last line,
    from 1, where ``start`` is the line of its signature or heading.
    """

    kind: ChunkKind
    name: str
    scope: str
    signature: str
    doc: str
    code: str
    start: int
    end: int
    #: Language, if it is not that of the file: that of a notebook's cell.
    lang: str = ""
    #: Number of the notebook's cell, from 1. 0 outside of notebooks.
    cell: int = 0

    @property
    def qualified(self) -> str:
        """The name with its scope, as ``Class.method``."""
        return f"{self.scope}.{self.name}" if self.scope else self.name


WINDOW_LINES, OVERLAP_LINES = 40, 8


def windows(text: str) -> Iterator[Chunk]:
    """A file that has no parts, or does not parse, as windows of 40 lines, of which 8 are in the window before, too."""
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        piece = lines[start : start + WINDOW_LINES]
        code = "\n".join(piece)
        if code.strip():
            first = next(line.strip() for line in piece if line.strip())
            yield Chunk(ChunkKind.WINDOW, "", "", first[:120], "", code, start + 1, start + len(piece))
        if start + WINDOW_LINES >= len(lines):
            return
        start += WINDOW_LINES - OVERLAP_LINES
