"""Standard streams that are closed, full, or in an encoding that lacks characters."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

from .output import echo, output_error

_FAILED = 2


class _ErrorStream:
    """Standard error that nobody can read: what is written there is lost, and the command goes on."""

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
    """Standard output that was closed before the start: writing fails, as results must not be lost silently."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def prepare() -> None:
    """Make the standard streams of this process safe to use. For the start of the program.

    Characters that an encoding lacks are written as escapes. Closed descriptors are opened on the null device, so that a file
    that is opened later does not get the number of a standard stream.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = cast(TextIO, _ErrorStream(sys.stderr))


def flush(status: int) -> int:
    """Write what is still in memory, and give the exit status: a result that cannot be written is a failure."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except (OSError, ValueError) as error:
        # Python writes the rest when it ends, and complains: let it write that to nowhere.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError) or status:
            return status
        echo(f"Error: {output_error(error)}", err=True)
        return _FAILED
