"""Output of all commands: results go to standard output, everything else to standard error.

Text from files, models and servers is untrusted. On a terminal, its control characters and bidirectional overrides are printed
as escapes, so that a file cannot move the cursor, hide text or imitate a prompt. Pipes and files receive the exact text.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from ..escaping import json_visible, visible
from ..progress import Progress
from .status_line import status_line

if TYPE_CHECKING:
    from tqdm import tqdm

_FAILED = 2


class Markup(str):
    """Text whose untrusted parts are escaped already. It may contain control sequences of the terminal."""

    __slots__ = ()


class OutputError(Exception):
    """Standard output cannot be written.

    ``is_broken_pipe`` is True if its reader has exited, as ``head`` does.
    """

    def __init__(self, message: str, *, is_broken_pipe: bool = False) -> None:
        super().__init__(message)
        self.is_broken_pipe = is_broken_pipe


def is_terminal(*, err: bool = False) -> bool:
    """Return True if standard output (or standard error) is a terminal."""
    stream = sys.stderr if err else sys.stdout
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError):
        return False


def escape(text: object, *, err: bool = False) -> str:
    """Return an untrusted value as text, escaped to one line if the stream is a terminal."""
    return visible(str(text), is_one_line=True) if is_terminal(err=err) else str(text)


def style(text: object, **options: Any) -> Markup:
    """Return an untrusted text with terminal colors; plain if standard output is not a terminal.

    Args:
        text: Text to escape and style.
        options: As for ``click.style``.
    """
    return Markup(click.style(escape(text), **options) if is_terminal() else str(text))


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text. All output of the commands goes through this function.

    Raises:
        OutputError: Standard output cannot be written. Failures of standard error are ignored.
    """
    line = str(text)
    if is_terminal(err=err) and not isinstance(text, Markup):
        line = visible(line)
    stream = sys.stderr if err else sys.stdout
    try:
        if stream is None:
            raise OSError("It is closed")
        with status_line.hidden(is_result=not err):
            _write(stream, line + "\n" * nl)
    except (OSError, ValueError) as error:
        if not err:
            raise _output_error(error) from error


def _output_error(error: OSError | ValueError) -> OutputError:
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return OutputError(
        f"Standard output cannot be written: {reason}.", is_broken_pipe=isinstance(error, BrokenPipeError)
    )


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        # The encoding of the stream lacks a character. Print its code point.
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def echo_err(line: str) -> None:
    """Print a line that is not a result to standard error."""
    echo(line, err=True)


def confirm(question: str) -> None:
    """Ask a yes-or-no question on standard error.

    Raises:
        click.Abort: The answer is not yes.
    """
    with status_line.hidden():
        click.confirm(escape(question, err=True), abort=True, err=True)


def print_json(value: object) -> None:
    """Print one JSON document. Its value is the same on terminals and in every encoding. Dates become ISO 8601 text."""
    import json  # imported lazily, so that --help is fast

    document = json.dumps(value, ensure_ascii=not _is_unicode(sys.stdout), default=_to_json)
    echo(Markup(json_visible(document)) if is_terminal() else document)


def _is_unicode(stream: TextIO | None) -> bool:
    return stream is None or (getattr(stream, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def _to_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def print_facts(facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print one line per entry, or JSON. In lines, nested dictionaries and lists are joined with commas."""
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(
                f"{key} ({entry:,})" if isinstance(entry, int) else f"{key} ({entry})" for key, entry in value.items()
            )
        elif isinstance(value, list):
            value = ", ".join(value)
        echo(f"{name:12} {f'{value:,}' if isinstance(value, int) else value}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns under a header. East Asian wide characters count as two columns."""
    lines = [[escape(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        echo("  ".join(cells).rstrip())


def shorten(text: str, width: int) -> str:
    """Return a text on one line of at most ``width`` columns, escaped if standard output is a terminal."""
    line = escape(" ".join(text.split()))
    if _width(line) <= width:
        return line
    while line and _width(line) > width - 1:
        line = line[:-1]
    return line + "…"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


class TransferBar:
    """Progress bar for downloads, one file after another. It is shown only on a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None

    def __call__(self, label: str, done: int, total: int | None) -> None:
        """Update the bar.

        Args:
            label: Name of the file.
            done: Number of bytes downloaded so far.
            total: Size of the file in bytes, or None if it is unknown.
        """
        if not is_terminal(err=True):
            return
        label = visible(label, is_one_line=True)
        if self._bar is None or self._bar.desc != f"{label}: ":
            self._bar = _bar_class()(total=total, desc=label, unit="B", unit_scale=True, file=sys.stderr, leave=False)
        self._bar.update(done - self._bar.n)
        if total is not None and done >= total:
            self._bar.close()
            self._bar = None


@cache
def _bar_class() -> type[tqdm[None]]:
    from tqdm import tqdm  # imported lazily, because it is slow

    class Bar(tqdm):  # type: ignore[misc]
        """A progress bar that is shown instead of the status line."""

        def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
            status_line.show_bar(self)
            shown: bool | None = super().display(msg, pos)
            if self.total and self.n >= self.total:
                # What follows the last unit, such as statistics, may take long.
                status_line.hide_bar(self)
            return shown

        def close(self) -> None:
            super().close()
            status_line.hide_bar(self)

    return Bar


def create_bar(
    total: int | None = None, *, label: str = "", unit: str = " texts", quiet: bool = False, leave: bool = True
) -> tqdm[None]:
    """Return a progress bar on standard error. It is shown after half a second.

    Args:
        total: Number of units, or None if it is unknown.
        label: Text before the bar.
        unit: Name of a unit, with a space before it.
        quiet: Show no bar.
        leave: Keep the bar on the terminal when it is finished.
    """
    interval = 0.5 if is_terminal(err=True) else 10.0
    return _bar_class()(
        total=total,
        desc=escape(label, err=True),
        unit=unit,
        disable=quiet,
        file=sys.stderr,
        mininterval=interval,
        delay=0.5,
        leave=leave,
    )


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Progress]:
    """Show a progress bar for ``total`` texts. The context is the callback that advances it."""
    with create_bar(total, label=label) as bar:
        yield bar.update


class _ErrorStream:
    """Standard error whose write errors are ignored, so that the command continues."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _ClosedOutput(io.TextIOBase):
    """Standard output that was closed before the start. Writing fails, so that results are not lost silently."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def prepare_streams() -> None:
    """Make the standard streams safe to use. Call this once at the start of the program.

    Characters that the encoding of a stream lacks are written as escapes. Closed descriptors are opened on the null device, so
    that no file that is opened later gets the number of a standard stream.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process exits
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = cast(TextIO, _ErrorStream(sys.stderr))


def flush_output(status: int) -> int:
    """Flush standard output and return the exit status, which is 2 if a result could not be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except (OSError, ValueError) as error:
        # Python flushes the stream again at exit and would print a traceback. Redirect it to the null device.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError) or status:
            return status
        echo_err(f"Error: {_output_error(error)}")
        return _FAILED
