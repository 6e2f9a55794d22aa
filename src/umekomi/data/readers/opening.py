"""Opening of records in every supported format: CSV, TSV, JSON Lines and Parquet files, folders of texts, and standard input."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from ...errors import RecordError
from .base import Records
from .csv_file import open_csv
from .jsonl import open_jsonl
from .parquet import open_parquet
from .text_file import check_encoding

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
TEXT_SUFFIXES = (".txt", ".md", ".rst")
_OPENERS: dict[str, Callable[[Path, str], Records]] = {
    "csv": open_csv,
    "tsv": lambda path, encoding: open_csv(path, encoding, "\t"),
    "jsonl": open_jsonl,
    "parquet": open_parquet,
}


def open_records(source: str | Path, *, format: str | None = None, encoding: str = "utf-8") -> Records:  # noqa: A002
    """Open a file, a pipe, a folder of texts, or ``-`` for standard input.

    Memory holds one batch at a time, whatever the size of the file.

    Args:
        source: Path. A folder has the columns ``path`` and ``text``.
        format: ``csv``, ``tsv``, ``jsonl`` or ``parquet``. By default the suffix of the file (or the content of a pipe)
            determines it.
        encoding: Encoding of a CSV file.

    Raises:
        RecordError: The file does not exist, is empty, or is not of its format.
    """
    check_encoding(encoding)
    if str(source) == "-":
        if sys.stdin is None:
            raise RecordError("Standard input is closed; name a file.")
        return _open_stream(sys.stdin.buffer, "standard input", format, encoding)
    path = Path(source)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise RecordError(f"There is no file {path}. Give a CSV, JSON Lines or Parquet file, a folder of texts, or -.")
    format = format or FORMATS.get(path.suffix.lower())  # noqa: A001
    is_regular = path.is_file()
    if not is_regular:
        _require_finite(path)
    # A file under /dev/stdin or /proc/self/fd has no suffix.
    if not is_regular or (format is None and str(path).startswith(("/dev/", "/proc/"))):
        with path.open("rb") as stream:
            return _open_stream(stream, str(path), format, encoding)
    if format not in _OPENERS:
        raise RecordError(f"{path} has no known suffix ({', '.join(FORMATS)}); name its format with --format.")
    if path.stat().st_size == 0:
        raise RecordError(f"{path} is empty.")
    return _OPENERS[format](path, encoding)


def _require_finite(path: Path) -> None:
    """Reject devices that never end, like /dev/zero. The terminal or device behind standard input is accepted."""
    mode = path.stat().st_mode
    is_standard_input = False
    if sys.stdin is not None:
        with suppress(OSError, ValueError):
            is_standard_input = os.path.samestat(path.stat(), os.fstat(sys.stdin.fileno()))
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or is_standard_input or str(path) == os.devnull):
        raise RecordError(f"{path} is a device, not a file or a pipe.")


def _open_stream(stream: BinaryIO, name: str, format_: str | None, encoding: str) -> Records:
    # The readers read a file more than once, so the content of a pipe is copied to a temporary file.
    spool = tempfile.NamedTemporaryFile(suffix=".input")  # noqa: SIM115 - the records keep it open
    shutil.copyfileobj(stream, spool)
    spool.flush()
    path = Path(spool.name)
    with path.open("rb") as copy:
        beginning = copy.read(4096)
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text:
        raise RecordError(f"{name[0].upper()}{name[1:]} is empty.")
    if format_ is None:
        format_ = "parquet" if beginning.startswith(b"PAR1") else "jsonl" if text.startswith(b"{") else "csv"
    try:
        records = _OPENERS[format_](path, encoding)
    except RecordError as error:
        raise RecordError(str(error).replace(str(path), name)) from error
    records.name = name
    records.resource = spool
    return records


def _open_folder(folder: Path) -> Records:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in TEXT_SUFFIXES and path.is_file())
    if not files:
        raise RecordError(f"{folder} holds no text files ({', '.join(TEXT_SUFFIXES)}).")
    schema = pa.schema([("path", pa.string()), ("text", pa.string())])

    def read(size: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(files), size):
            batch = files[start : start + size]
            texts = [path.read_text("utf-8", errors="replace") for path in batch]
            # Bytes of a name that are not UTF-8 become U+FFFD.
            names = [os.fsencode(path.relative_to(folder)).decode("utf-8", "replace") for path in batch]
            yield pa.record_batch([pa.array(names), pa.array(texts)], schema=schema)

    return Records(str(folder), schema, len(files), read)
