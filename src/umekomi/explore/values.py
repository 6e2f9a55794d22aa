"""Values of columns for people and for the browser: exact text for records, float64 for scales, cells for CSV files."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..vectors.arithmetic import DoubleArray

_LARGEST_EXACT = 2**53 - 1
"""JavaScript's numbers are float64: larger integers are sent as text, so that no digit changes."""
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class CsvStyle(StrEnum):
    """What a CSV file is for: spreadsheets, where no cell may start a formula, or programs, which need the exact values."""

    SPREADSHEET = "spreadsheet"
    EXACT = "exact"


def plain_array(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in a type that Arrow's functions can handle: no dictionaries, views or nulls without a type."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return plain_array(values.cast(kind.value_type))
    if pa.types.is_null(kind) or pa.types.is_string_view(kind) or pa.types.is_large_string(kind):
        return values.cast(pa.string())
    if pa.types.is_binary_view(kind):
        return values.cast(pa.binary())
    return values


def displayed(values: pa.ChunkedArray) -> list[Any]:
    """Values as JSON can hold them without loss: text, booleans, null, lists, dictionaries, and numbers where they are exact.

    Times are ISO 8601 text in the column's time zone with all digits; bytes that are not UTF-8 are hexadecimal text.
    """
    if pa.types.is_timestamp(values.type):
        return _timestamps(values)
    if pa.types.is_date(values.type) or pa.types.is_time(values.type):
        return list(pc.cast(values, pa.string()).to_pylist())
    try:
        return [_displayed(value) for value in values.to_pylist()]
    except (ValueError, OverflowError, pa.ArrowInvalid):
        return [_scalar(value) for value in values]


def _timestamps(values: pa.ChunkedArray) -> list[str | None]:
    unit = values.type.unit
    try:
        texts = pc.cast(values, pa.string()).to_pylist()
    except pa.ArrowInvalid:  # this machine does not know the time zone
        texts = pc.cast(values.cast(pa.timestamp(unit)), pa.string()).to_pylist()
    counts = values.cast(pa.int64()).to_pylist()
    # Arrow has no text for years that a calendar of four digits does not have.
    return [
        f"{count} {unit} since 1970" if text is not None and text.startswith("<") else text
        for text, count in zip(texts, counts, strict=True)
    ]


def _scalar(value: pa.Scalar) -> Any:
    if not value.is_valid:
        return None
    try:
        return _displayed(value.as_py())
    except UnicodeDecodeError:
        return value.as_buffer().to_pybytes().decode("utf-8", "replace")
    except (ValueError, OverflowError, pa.ArrowInvalid):
        return "(a value that cannot be shown)"


def _displayed(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return _text_of(value)
    if isinstance(value, list | tuple):
        return [_displayed(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _displayed(item) for name, item in value.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    return str(value)


def _text_of(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def as_numbers(values: pa.ChunkedArray) -> DoubleArray:
    """Numbers, or times as seconds since 1970 in UTC: ``(rows,) float64``, NaN where a value is missing.

    Integers above 2^53 are rounded to the nearest float64; any date and any unit of time fits.
    """
    kind = values.type
    if pa.types.is_decimal(kind):
        found = [math.nan if value is None else float(value) for value in values.to_pylist()]
        return np.array(found, dtype=np.float64)
    scale = 1.0
    if pa.types.is_date32(kind):
        values, scale = values.cast(pa.int32()), float(_DAY)
    elif pa.types.is_date64(kind):
        values, scale = values.cast(pa.int64()), 1e-3
    elif pa.types.is_timestamp(kind):
        values, scale = values.cast(pa.int64()), 1 / _PER_SECOND[kind.unit]
    numbers = pc.cast(values, pa.float64(), safe=False).to_numpy()
    return np.asarray(numbers, dtype=np.float64) * scale


def as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], *, style: CsvStyle) -> str:
    """Rows of displayed values as CSV. For spreadsheets the file starts with a byte order mark, which Excel needs for UTF-8."""
    output = io.StringIO()
    writer = csv.writer(output)
    cell = _spreadsheet_cell if style is CsvStyle.SPREADSHEET else _exact_cell
    if style is CsvStyle.SPREADSHEET:
        output.write("\ufeff")
    writer.writerow([cell(name) for name in header])
    writer.writerows([cell(value) for value in row] for row in rows)
    return output.getvalue()


def _exact_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _spreadsheet_cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe comes before what could start one. Numbers stay numbers."""
    text = _exact_cell(value)
    if text.startswith(_FORMULA_STARTS) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text
