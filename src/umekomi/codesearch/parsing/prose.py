"""Prose by section: a heading of Markdown, reStructuredText or AsciiDoc, and what stands below it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .chunks import Chunk, ChunkKind

SECTION_LINES = 60
"""A section that is longer is cut at the empty lines."""

_ATX = re.compile(r"^(#{1,6}|={1,6})\s+(\S.*)$")
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")


def parse_prose(text: str) -> list[Chunk]:
    """Sections, in the order of the file; the scope of each is the headings that it stands below."""
    lines = text.split("\n")
    heads = [(0, 0, "", 0), *_headings(lines)]
    chunks: list[Chunk] = []
    above: list[tuple[int, str]] = []
    for place, (line, level, title, below) in enumerate(heads):
        end = heads[place + 1][0] if place + 1 < len(heads) else len(lines)
        above = [pair for pair in above if pair[0] < level]
        scope = ".".join(name for _, name in above)
        for first, last in _pieces(lines, line + below, end):
            body = "\n".join(lines[first:last]).strip()
            if sum(map(str.isalnum, body)) < 3:
                continue
            start = line + 1 if first == line + below and title else first + 1
            signature = title or next(row.strip() for row in lines[first:last] if row.strip())
            chunks.append(Chunk(ChunkKind.SECTION, title, scope, signature[:120], body, "", start, last))
        if title:
            above.append((level, title))
    return chunks


def _headings(lines: list[str]) -> Iterator[tuple[int, int, str, int]]:
    """The line of each heading, its level, its words, and how many lines it takes."""
    fenced = False
    styles: list[str] = []
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        if fenced:
            continue
        if found := _ATX.match(line):
            title = found[2].rstrip()
            yield number, len(found[1]), title.rstrip("#").rstrip() or title, 1
            continue
        under = lines[number + 1] if number + 1 < len(lines) else ""
        words = line.strip()
        if words and line[0] not in " \t|>-*+" and _UNDERLINE.match(under) and len(under.strip()) >= len(words) - 1:
            # As reStructuredText has it: the first kind of line seen is the outermost level.
            mark = under.strip()[0]
            if mark not in styles:
                styles.append(mark)
            yield number, styles.index(mark) + 1, words, 2


def _pieces(lines: list[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > SECTION_LINES:
        gaps = [line for line in range(start + SECTION_LINES // 2, start + SECTION_LINES) if not lines[line].strip()]
        cut = gaps[-1] if gaps else start + SECTION_LINES
        yield start, cut
        start = cut
    if end > start:
        yield start, end
