"""Reading of text files by lines, and checks of their encoding."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

from ...errors import RecordError

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_encoding(encoding: str) -> str:
    """Return the name of the codec that reads an encoding. The codec for UTF-8 skips a byte order mark.

    Raises:
        RecordError: Python has no such encoding.
    """
    try:
        name = codecs.lookup(encoding).name
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    except (LookupError, ValueError, UnicodeError) as error:
        raise RecordError(
            f"There is no text encoding named {encoding!r}; use a name like utf-8, utf-16, cp932 or latin-1."
        ) from error
    return "utf-8-sig" if name == "utf-8" else name


def read_lines(path: Path, encoding: str, *, advice: str) -> Iterator[str]:
    """Yield the lines of a file with their line ends, which may be LF, CR LF or CR.

    Args:
        path: Path of the file.
        encoding: Name of a codec, from :func:`check_encoding`.
        advice: Sentence that is added to the message if the file is not in this encoding.

    Raises:
        RecordError: A line is not in the encoding, or contains a NUL character.
    """
    number = 0
    try:
        with path.open(encoding=encoding, newline="") as stream:
            for number, line in enumerate(stream, start=1):
                if number == 1:
                    # The codecs utf-16-le and utf-32-be, for example, keep the byte order mark.
                    line = line.removeprefix("\ufeff")
                if "\0" in line:
                    raise RecordError(f"Line {number} of {path} holds a NUL character, so it is not a text file.")
                yield line
    except UnicodeError as error:
        line_number = _find_undecodable_line(path, encoding)
        position = f"Line {line_number} of {path}" if line_number else f"{path}"
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        shown = "UTF-8" if encoding == "utf-8-sig" else encoding
        raise RecordError(f"{position} is not text in {shown}: {reason}. {advice}") from error


def check_beginning(path: Path, encoding: str) -> None:
    """Raise RecordError if the file begins like UTF-16 and the encoding is another one."""
    with path.open("rb") as stream:
        beginning = stream.read(2)
    if beginning in _UTF16_MARKS and "16" not in encoding and "32" not in encoding:
        raise RecordError(f"{path} begins like UTF-16. Read a CSV file with --encoding utf-16, or convert it to UTF-8.")


def _find_undecodable_line(path: Path, encoding: str) -> int | None:
    """Return the number of the first line that is not in the encoding, or None if line ends are several bytes long."""
    if "16" in encoding or "32" in encoding:
        return None
    codec = encoding.removesuffix("-sig")
    number = 1
    with path.open("rb") as stream:
        for raw in stream:
            for line in raw.splitlines(keepends=True):
                try:
                    line.decode(codec)
                except UnicodeError:
                    return number
                number += 1 if line.endswith((b"\n", b"\r")) else 0
    return None
