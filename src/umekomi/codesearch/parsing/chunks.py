"""Chunks, the units of code search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class ChunkType(StrEnum):
    """The type of a chunk."""

    FUNCTION = "function"
    METHOD = "method"
    CLASS = "class"
    #: The code outside all functions and classes.
    MODULE = "module"
    SECTION = "section"
    #: Some lines of a file that has no other chunks or that cannot be parsed.
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a source file that a search can return."""

    type: ChunkType
    name: str
    #: Names of the enclosing definitions or headings, outermost first, joined by dots.
    scope: str
    signature: str
    #: Docstring, or the comment above the definition without comment markers.
    doc: str
    #: Source code including the signature, without the docstring.
    code: str
    #: First line, from 1: the line of the signature or heading.
    start: int
    #: Last line, from 1.
    end: int
    #: Language of the notebook cell. Empty if it is the language of the file.
    lang: str = ""
    #: Number of the notebook cell, from 1. 0 outside notebooks.
    cell: int = 0

    @property
    def qualified(self) -> str:
        """The name with its scope, such as ``Class.method``."""
        return f"{self.scope}.{self.name}" if self.scope else self.name


WINDOW_LINES, OVERLAP_LINES = 40, 8


def split_into_windows(text: str) -> Iterator[Chunk]:
    """Yield windows of 40 lines that overlap by 8 lines. Windows without text are left out."""
    lines = text.split("\n")
    for start in range(0, max(1, len(lines) - OVERLAP_LINES), WINDOW_LINES - OVERLAP_LINES):
        window = lines[start : start + WINDOW_LINES]
        if signature := next((line.strip() for line in window if line.strip()), ""):
            yield Chunk(
                ChunkType.WINDOW, "", "", signature[:120], "", "\n".join(window), start + 1, start + len(window)
            )
