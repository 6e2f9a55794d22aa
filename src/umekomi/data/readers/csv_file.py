"""Reads CSV and TSV files. A first pass checks every row and finds the type of each column.

A column becomes numeric only if a numeric type represents every cell exactly (see :class:`NumberProfile`): ``00123`` and ``+1``
stay text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import RecordError
from .base import CHUNK_CHARACTERS, CHUNK_ROWS, Records, source_column
from .numbers import NumberProfile
from .text_file import check_beginning, check_encoding, read_lines

MAX_CELL_CHARACTERS = 1 << 26
"""Limit that keeps a quote that is never closed from filling the memory."""

_BATCH_ROWS = 256
_ADVICE = "Name its encoding with --encoding, as cp932 or latin-1."


@dataclass(frozen=True, slots=True)
class _Dialect:
    path: Path
    encoding: str
    delimiter: str
    quoted: bool

    def header(self) -> list[str]:
        """Return the cells of the first row that is not blank."""
        with self._errors(0):
            return next((row for row in self._reader() if row), [])

    def chunks(self, n_columns: int) -> Iterator[list[list[str]]]:
        """Yield the rows after the header in chunks, without blank rows.

        Raises:
            RecordError: A row is malformed or does not have ``n_columns`` cells; the message names its line.
        """
        with self._errors(n_columns):
            rows = (row for row in self._reader() if row)
            next(rows, None)
            chunk: list[list[str]] = []
            n_characters = 0
            while batch := list(islice(rows, _BATCH_ROWS)):
                if any(len(row) != n_columns for row in batch):
                    raise csv.Error("ragged")
                chunk += batch
                n_characters += sum(map(len, chain.from_iterable(batch)))
                if len(chunk) >= CHUNK_ROWS or n_characters >= CHUNK_CHARACTERS:
                    yield chunk
                    chunk, n_characters = [], 0
            if chunk:
                yield chunk

    def _reader(self) -> Any:
        # The limit applies to the whole process, so it is never lowered.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL_CHARACTERS))
        return csv.reader(
            read_lines(self.path, self.encoding, advice=_ADVICE),
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            strict=True,
        )

    @contextmanager
    def _errors(self, n_columns: int) -> Iterator[None]:
        try:
            yield
        except csv.Error as error:
            raise self._first_error(n_columns) from error

    def _first_error(self, n_columns: int) -> RecordError:
        """Return the error of a malformed file. Reads it again row by row, which is the only way to find the line."""
        reader = self._reader()
        line = 1
        is_header = True
        try:
            for row in reader:
                if row and not is_header and len(row) != n_columns:
                    cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
                    columns = "1 column" if n_columns == 1 else f"{n_columns} columns"
                    return RecordError(f"Line {line} of {self.path} has {cells}; the header names {columns}.")
                is_header = is_header and not row
                line = reader.line_num + 1
        except csv.Error as error:
            return self._explain(error, line, reader.line_num)
        return RecordError(f"{self.path} was changed while it was read; start again.")

    def _explain(self, error: csv.Error, first: int, last: int) -> RecordError:
        """Turn an error of the parser into one that names the line of the quote that caused it."""
        opened = self._find_opening_quote(first) or first
        if "unexpected end" in str(error):
            return RecordError(f"Line {opened} of {self.path} opens a quote that is never closed.")
        if "limit" in str(error):
            return RecordError(
                f"A cell in line {opened} of {self.path} has more than {MAX_CELL_CHARACTERS:,} characters; its quote may "
                "never be closed."
            )
        if "expected after" in str(error):
            return RecordError(
                f"Line {opened} of {self.path} opens a quote that is closed in the middle of a cell (line {last}). Close it at "
                "the cell's end, and double the quotes inside."
            )
        return RecordError(f"Line {last} of {self.path} is not CSV: {error}.")

    def _find_opening_quote(self, first: int) -> int | None:
        """Return the line of the last opening quote in the malformed row that begins at line ``first``, or None."""
        opened = None
        is_inside, at_start = False, True
        n_characters = 0
        lines = read_lines(self.path, self.encoding, advice=_ADVICE)
        for number, line in enumerate(islice(lines, first - 1, None), start=first):
            position = 0
            while position < len(line):
                character = line[position]
                if is_inside:
                    if character == '"' and line[position + 1 : position + 2] == '"':
                        position += 1
                    elif character == '"':
                        is_inside = False
                        if line[position + 1 : position + 2] not in (self.delimiter, "\n", "\r", ""):
                            return opened
                elif character == '"' and at_start:
                    opened, is_inside = number, True
                at_start = character == self.delimiter or character in "\r\n"
                position += 1
            n_characters += len(line)
            if not is_inside or n_characters > 2 * MAX_CELL_CHARACTERS:
                break
        return opened


def open_csv(path: Path, encoding: str, delimiter: str = "") -> Records:
    """Open a CSV file with a header line.

    Args:
        path: Path of the file.
        encoding: Encoding of the file.
        delimiter: Character between two cells. By default a tab if the header contains one, else a comma.

    Raises:
        RecordError: The file is malformed; the message names the line.
    """
    encoding = check_encoding(encoding)
    check_beginning(path, encoding)
    dialect = _detect_dialect(path, encoding, delimiter)
    names = _make_unique([name.strip() for name in dialect.header()])
    if not names:
        raise RecordError(f"{path} has no header line.")
    profiles = [NumberProfile() for _ in names]
    n_rows = 0
    for chunk in dialect.chunks(len(names)):
        n_rows += len(chunk)
        for column, profile in enumerate(profiles):
            if profile.is_number:
                profile.add(_to_arrow([row[column] for row in chunk if row[column]], path, encoding))
    if n_rows == 0:
        raise RecordError(f"{path} has a header and no rows.")
    schema = pa.schema([(name, profile.type()) for name, profile in zip(names, profiles, strict=True)])

    def read(size: int, sources: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        wide = pa.schema([*schema, *((source_column(name), pa.string()) for name in sources)])
        for chunk in dialect.chunks(len(names)):
            texts = dict(zip(names, zip(*chunk, strict=True), strict=True))
            source = {name: _to_arrow(list(values), path, encoding) for name, values in texts.items()}
            typed = [_cast(source[field.name], field.type, path) for field in schema]
            yield pa.record_batch([*typed, *(source[name] for name in sources)], schema=wide)

    return Records(str(path), schema, n_rows, read, read_sources=read)


def _detect_dialect(path: Path, encoding: str, delimiter: str) -> _Dialect:
    if not delimiter:
        first = next(read_lines(path, encoding, advice=_ADVICE), "")
        cells = next(csv.reader([first], delimiter="\t"), [])
        delimiter = "\t" if len(cells) > 1 else ","
    # A tab-separated file that quotes nothing may contain single quotation marks.
    quoted = True
    if delimiter == "\t":
        with path.open(encoding=encoding, errors="replace") as stream:
            beginning = stream.read(1 << 16)
        quoted = re.search(r'(^|\t)"[^\t\n]*"(\t|$)', beginning, re.MULTILINE) is not None
    return _Dialect(path, encoding, delimiter, quoted)


def _make_unique(names: list[str]) -> list[str]:
    """Replace empty names of columns, and number repeated ones."""
    unique: dict[str, None] = {}
    for index, name in enumerate(names):
        plain = candidate = name or f"column_{index}"
        number = 0
        while candidate in unique or (number and candidate in names):
            number += 1
            candidate = f"{plain}_{number}"
        unique[candidate] = None
    return list(unique)


def _to_arrow(values: list[str], path: Path, encoding: str) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeError as error:
        raise RecordError(f"{path} holds characters that are not text when read in {encoding}.") from error


def _cast(column: pa.Array, dtype: pa.DataType, path: Path) -> pa.Array:
    if dtype == pa.string():
        return column
    try:
        return pc.if_else(pc.equal(column, ""), None, column).cast(dtype)
    except pa.ArrowInvalid as error:
        raise RecordError(f"{path} was changed while it was read; start again.") from error
