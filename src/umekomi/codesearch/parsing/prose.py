"""Splitting of prose into sections, at the headings of Markdown, reStructuredText and AsciiDoc."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .chunks import Chunk, ChunkType

MAX_SECTION_LINES = 60
"""A longer section is split at empty lines."""

_ATX = re.compile(r"^(#{1,6}|={1,6})\s+(\S.*)$")
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")


def parse_prose(text: str) -> list[Chunk]:
    """Return the sections in the order of the file. The scope of a section consists of the enclosing headings."""
    lines = text.split("\n")
    heads = [(0, 0, "", 0), *_headings(lines)]
    chunks: list[Chunk] = []
    outer: list[tuple[int, str]] = []
    ends = [line for line, *_ in heads[1:]] + [len(lines)]
    for (line, level, title, height), end in zip(heads, ends, strict=True):
        outer = [heading for heading in outer if heading[0] < level]
        scope = ".".join(name for _, name in outer)
        for first, last in _split(lines, line + height, end):
            body = "\n".join(lines[first:last]).strip()
            if sum(map(str.isalnum, body)) < 3:
                continue
            start = line + 1 if first == line + height and title else first + 1
            signature = title or next(row.strip() for row in lines[first:last] if row.strip())
            chunks.append(Chunk(ChunkType.SECTION, title, scope, signature[:120], body, "", start, last))
        if title:
            outer.append((level, title))
    return chunks


def _headings(lines: list[str]) -> Iterator[tuple[int, int, str, int]]:
    """Yield the line, level, text and number of lines of each heading."""
    fenced = False
    styles: list[str] = []
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        if fenced:
            continue
        if match := _ATX.match(line):
            title = match[2].rstrip()
            yield number, len(match[1]), title.rstrip("#").rstrip() or title, 1
            continue
        underline = lines[number + 1] if number + 1 < len(lines) else ""
        title = line.strip()
        if (
            title
            and line[0] not in " \t|>-*+"
            and _UNDERLINE.match(underline)
            and len(underline.strip()) >= len(title) - 1
        ):
            # As in reStructuredText, the first underline style in a file is the outermost level.
            mark = underline.strip()[0]
            if mark not in styles:
                styles.append(mark)
            yield number, styles.index(mark) + 1, title, 2


def _split(lines: list[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > MAX_SECTION_LINES:
        gaps = [
            line for line in range(start + MAX_SECTION_LINES // 2, start + MAX_SECTION_LINES) if not lines[line].strip()
        ]
        middle = gaps[-1] if gaps else start + MAX_SECTION_LINES
        yield start, middle
        start = middle
    if end > start:
        yield start, end
