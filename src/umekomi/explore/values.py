"""Column values in the formats of the explorer: JSON for records, float64 for scales, and cells of CSV files."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..vectors.arithmetic import DoubleArray

# Numbers in JavaScript are float64. Larger integers are sent as text, so that no digit changes.
_MAX_EXACT_INTEGER = 2**53 - 1
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class CsvStyle(StrEnum):
    """Purpose of a CSV file: spreadsheets, where no cell may start a formula, or programs, which need exact values."""

    SPREADSHEET = "spreadsheet"
    EXACT = "exact"


def to_plain_type(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast a column to a type that Arrow's functions support: no dictionaries, views or untyped nulls."""
    dtype = values.type
    if pa.types.is_dictionary(dtype):
        return to_plain_type(values.cast(dtype.value_type))
    if pa.types.is_null(dtype) or pa.types.is_string_view(dtype) or pa.types.is_large_string(dtype):
        return values.cast(pa.string())
    if pa.types.is_binary_view(dtype):
        return values.cast(pa.binary())
    return values


def to_json_values(values: pa.ChunkedArray) -> list[Any]:
    """Convert values to JSON types without loss: text, booleans, null, lists, dictionaries, and numbers if they are
    exact.

    Times are ISO 8601 text in the column's time zone with all digits. Bytes that are not UTF-8 are hexadecimal text.
    """
    if pa.types.is_timestamp(values.type):
        return _timestamps_to_text(values)
    if pa.types.is_date(values.type) or pa.types.is_time(values.type):
        return list(pc.cast(values, pa.string()).to_pylist())
    try:
        return [_to_json(value) for value in values.to_pylist()]
    except (ValueError, OverflowError, pa.ArrowInvalid):
        return [_scalar_to_json(value) for value in values]


def _timestamps_to_text(values: pa.ChunkedArray) -> list[str | None]:
    unit = values.type.unit
    try:
        texts = pc.cast(values, pa.string()).to_pylist()
    except pa.ArrowInvalid:  # the time zone is unknown on this machine
        texts = pc.cast(values.cast(pa.timestamp(unit)), pa.string()).to_pylist()
    counts = values.cast(pa.int64()).to_pylist()
    # Arrow cannot format years outside of four digits.
    return [
        f"{count} {unit} since 1970" if text is not None and text.startswith("<") else text
        for text, count in zip(texts, counts, strict=True)
    ]


def _scalar_to_json(value: pa.Scalar) -> Any:
    if not value.is_valid:
        return None
    try:
        return _to_json(value.as_py())
    except UnicodeDecodeError:
        return value.as_buffer().to_pybytes().decode("utf-8", "replace")
    except (ValueError, OverflowError, pa.ArrowInvalid):
        return "(a value that cannot be displayed)"


def _to_json(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MAX_EXACT_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return _decode(value)
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _to_json(item) for name, item in value.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)


def _decode(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def as_numbers(values: pa.ChunkedArray) -> DoubleArray:
    """Convert numbers, or times as seconds since 1970 in UTC, to ``(rows,) float64``, with NaN for missing values.

    Integers above 2^53 are rounded to the nearest float64. All dates and time units are supported.
    """
    dtype = values.type
    if pa.types.is_decimal(dtype):
        return np.array([math.nan if value is None else float(value) for value in values.to_pylist()], dtype=np.float64)
    scale = 1.0
    if pa.types.is_date32(dtype):
        values, scale = values.cast(pa.int32()), float(_DAY)
    elif pa.types.is_date64(dtype):
        values, scale = values.cast(pa.int64()), 1e-3
    elif pa.types.is_timestamp(dtype):
        values, scale = values.cast(pa.int64()), 1 / _PER_SECOND[dtype.unit]
    numbers = pc.cast(values, pa.float64(), safe=False).to_numpy()
    return np.asarray(numbers, dtype=np.float64) * scale


def as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], *, style: CsvStyle) -> str:
    """Format rows of JSON values as CSV. For spreadsheets it starts with a byte order mark, which Excel needs for UTF-8."""
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
    """Put an apostrophe before text that could start a formula. Numbers are unchanged."""
    text = _exact_cell(value)
    if text.startswith(_FORMULA_STARTS) and not _PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text
