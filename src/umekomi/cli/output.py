"""Everything that the commands print: results to standard output, everything else to standard error.

Text from files, models and servers is untrusted. On a terminal, control characters and bidirectional overrides in it are shown
as escapes, so that a file cannot move the cursor, hide text or imitate a prompt. In pipes and files the text is exact.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

from ..escaping import json_visible, visible
from ..progress import Progress

if TYPE_CHECKING:
    from tqdm import tqdm


class Markup(str):
    """Text whose untrusted parts have been escaped; it may hold the terminal's control sequences."""

    __slots__ = ()


class OutputError(Exception):
    """Standard output cannot be written. ``is_broken_pipe`` if its reader has ended, as ``head`` does."""

    def __init__(self, message: str, *, is_broken_pipe: bool = False) -> None:
        super().__init__(message)
        self.is_broken_pipe = is_broken_pipe


def is_terminal(*, err: bool = False) -> bool:
    """Whether standard output (or standard error) is a terminal."""
    stream = sys.stderr if err else sys.stdout
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError):
        return False


def shown(text: object, *, err: bool = False) -> str:
    """An untrusted value in a line: escaped to one line if the stream is a terminal, else as it is."""
    return visible(str(text), is_one_line=True) if is_terminal(err=err) else str(text)


def style(text: object, **options: Any) -> Markup:
    """An untrusted text in a color or weight; plain where standard output is not a terminal."""
    return Markup(click.style(shown(text), **options) if is_terminal() else str(text))


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text. All output of the commands goes through this function.

    Raises:
        OutputError: Standard output cannot be written. Failures of standard error are ignored: there is nobody to tell.
    """
    line = str(text)
    if is_terminal(err=err) and not isinstance(text, Markup):
        line = visible(line)
    stream = sys.stderr if err else sys.stdout
    try:
        if stream is None:
            raise OSError("it is closed")
        _write(stream, line + "\n" * nl)
    except (OSError, ValueError) as error:
        if not err:
            raise output_error(error) from error


def output_error(error: OSError | ValueError) -> OutputError:
    """The error of standard output that cannot be written."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return OutputError(
        f"Standard output cannot be written: {reason}.", is_broken_pipe=isinstance(error, BrokenPipeError)
    )


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        # The stream's encoding lacks a character: it is shown by its code.
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def note(line: str) -> None:
    """One line for the user that is not a result."""
    echo(line, err=True)


def confirm(question: str) -> None:
    """Ask on standard error.

    Raises:
        click.Abort: The answer is not yes.
    """
    click.confirm(shown(question, err=True), abort=True, err=True)


def print_json(value: object) -> None:
    """One JSON document; times become ISO text. It has the same value on a terminal and in every encoding."""
    document = json.dumps(value, ensure_ascii=not _is_unicode(sys.stdout), default=_plain)
    echo(Markup(json_visible(document)) if is_terminal() else document)


def _is_unicode(stream: TextIO | None) -> bool:
    return stream is None or (getattr(stream, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under a header, as wide as their widest cell; a Japanese character is two wide."""
    lines = [[shown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        echo("  ".join(cells).rstrip())


def shorten(text: str, width: int) -> str:
    """A text on one line of at most ``width`` columns, with visible escapes if standard output is a terminal."""
    line = shown(" ".join(text.split()))
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
    if not is_terminal(err=True):
        yield
        return
    ended, began = threading.Event(), time.monotonic()
    label = visible(label, is_one_line=True)

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
        if not is_terminal(err=True):
            return
        label = visible(label, is_one_line=True)
        if self._bar is None or self._bar.desc != f"{label}: ":
            from tqdm import tqdm  # imported lazily: slow

            self._bar = tqdm(total=total, desc=label, unit="B", unit_scale=True, file=sys.stderr, leave=False)
        self._bar.update(done - self._bar.n)
        if total is not None and done >= total:
            self._bar.close()
            self._bar = None


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Progress]:
    """Show a progress bar on standard error. The context is the callback that advances it."""
    interval = 0.5 if is_terminal(err=True) else 10.0
    label = shown(label, err=True)
    from tqdm import tqdm  # imported lazily: slow

    with tqdm(total=total, desc=label, unit=" texts", file=sys.stderr, mininterval=interval, delay=0.5) as bar:
        yield bar.update
