"""How every command speaks: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime

import click
from tqdm import tqdm


def note(line: str) -> None:
    """One line for the user that is not a result."""
    click.echo(line, err=True)


def print_json(value: object) -> None:
    """One JSON document; times become ISO text."""
    click.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under a header, as wide as their widest cell; a Japanese character is two wide."""
    widths = [max(map(_width, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def shorten(text: str, width: int) -> str:
    """A text on one line of at most ``width`` columns."""
    line = " ".join(text.split())
    if _width(line) <= width:
        return line
    while line and _width(line) > width - 1:
        line = line[:-1]
    return line + "…"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@contextmanager
def working(label: str) -> Iterator[None]:
    """While the block runs, a line on the terminal that says what is done and for how long; nothing elsewhere.

    For work that has no count of its steps. The line is gone when the block ends, in whatever way.
    """
    if not sys.stderr.isatty():
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def turn() -> None:
        while not ended.wait(0.2):
            seconds = int(time.monotonic() - began)
            sys.stderr.write(f"\r{label} … {seconds // 60}:{seconds % 60:02} \x1b[K")
            sys.stderr.flush()

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


class TransferBar:
    """A progress bar of the bytes of one file after another, on a terminal; nothing elsewhere, where lines tell enough."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None

    def __call__(self, label: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes of the file ``label`` are here; how many there are need not be known."""
        if not sys.stderr.isatty():
            return
        if self._bar is None or self._bar.desc != f"{label}: ":
            self._bar = tqdm(total=total, desc=label, unit="B", unit_scale=True, file=sys.stderr, leave=False)
        self._bar.update(done - self._bar.n)
        if total is not None and done >= total:
            self._bar.close()
            self._bar = None


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error; its context gives what a task tells of its progress."""
    interval = 0.5 if sys.stderr.isatty() else 10.0
    with tqdm(total=total, desc=label, unit=" texts", file=sys.stderr, mininterval=interval, delay=0.5) as bar:
        advance: Callable[[int], None] = bar.update
        yield advance
