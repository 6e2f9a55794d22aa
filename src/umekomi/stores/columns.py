"""Column types of records: text, integers, floating-point numbers, booleans and times, the same in every engine.

Input files have dozens of types, and engines differ in most of them. Every column is therefore converted to one of five
Arrow types: int64, float64, bool, string, and microseconds in UTC. A time without a time zone is UTC; a date is
midnight of that day. NaN becomes null, because engines disagree on how it compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import InputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FLOAT64_DIGITS = 15


class ColumnType(StrEnum):
    """The type of a record column. The value is its name in error messages."""

    TEXT = "text"
    INTEGER = "integers"
    #: Unsigned 64-bit integers. Only filters of stores that support uint64 columns use this type.
    UNSIGNED = "unsigned integers"
    FLOAT = "floating-point numbers"
    BOOLEAN = "booleans"
    TIME = "times"


ARROW_TYPES = {
    ColumnType.TEXT: pa.string(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.UNSIGNED: pa.uint64(),
    ColumnType.FLOAT: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.TIME: pa.timestamp("us", "UTC"),
}
_MIN_TIME, _MAX_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Range of Python's datetime (years 1 to 9999), in microseconds since 1970."""


def get_column_type(dtype: pa.DataType) -> ColumnType | None:
    """Return the column type for an Arrow type, or None for lists, structs and binary data."""
    if pa.types.is_dictionary(dtype):
        return get_column_type(dtype.value_type)
    if pa.types.is_null(dtype) or pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return ColumnType.TEXT
    if pa.types.is_integer(dtype):
        return ColumnType.INTEGER
    if pa.types.is_floating(dtype) or pa.types.is_decimal(dtype):
        return ColumnType.FLOAT
    if pa.types.is_boolean(dtype):
        return ColumnType.BOOLEAN
    return ColumnType.TIME if pa.types.is_timestamp(dtype) or pa.types.is_date(dtype) else None


def get_column_types(schema: pa.Schema) -> dict[str, ColumnType]:
    """Return the type of every column that a record can hold."""
    return {field.name: column_type for field in schema if (column_type := get_column_type(field.type)) is not None}


def find_text_columns(file: pq.ParquetFile, *, supports_unsigned: bool) -> list[str]:
    """Return the numeric columns of a Parquet file that a store must keep as text to stay exact.

    These are integers above 2**63 - 1, and decimal numbers with more digits than float64 has.

    Args:
        file: The Parquet file.
        supports_unsigned: Whether the store has uint64 columns.
    """
    names = []
    for field in file.schema_arrow:
        if pa.types.is_uint64(field.type) and not supports_unsigned:
            column = file.read(columns=[field.name])[field.name]
            needs_text = _convert_unsigned_type(column, None) is ColumnType.TEXT
        elif pa.types.is_decimal(field.type) and field.type.precision > _FLOAT64_DIGITS:
            values = file.read(columns=[field.name])[field.name].unique().to_pylist()
            needs_text = any(value is not None and Decimal(repr(float(value))) != value for value in values)
        else:
            needs_text = False
        names += [field.name] if needs_text else []
    return names


def cast_to_text(rows: pa.RecordBatch | pa.Table, names: Sequence[str]) -> Any:
    """Return the rows with the named columns as text."""
    for name in names:
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, name, rows.column(index).cast(pa.string()))
    return rows


def convert_records(
    records: pa.Table | Sequence[Mapping[str, Any]],
    columns: Mapping[str, ColumnType],
    *,
    supports_unsigned: bool = False,
) -> pa.Table:
    """Convert records to a table with columns of the five types.

    Args:
        records: A table, or one dictionary per row.
        columns: Types of the columns that the collection already has. The records are converted to them.
        supports_unsigned: Keep uint64 columns. By default they become int64, or text if a value is too large.

    Raises:
        InputError: A column has an unsupported type, such as lists, or not the type of the collection's column.
    """
    table = records if isinstance(records, pa.Table) else _to_table(records)
    repeated = {name for name in table.column_names if table.column_names.count(name) > 1}
    if repeated:
        raise InputError(f"The column {min(repeated)!r} occurs more than once. Column names must be unique.")
    converted = {}
    for field in table.schema:
        column_type = get_column_type(field.type)
        if column_type is None:
            raise InputError(
                f"The column {field.name!r} has the type {field.type}. Records can hold text, numbers, booleans "
                "and times. Leave the column out."
            )
        if field.type == pa.uint64():
            if supports_unsigned:
                converted[field.name] = table.column(field.name)
                continue
            column_type = _convert_unsigned_type(table.column(field.name), columns.get(field.name))
        target = columns.get(field.name, column_type)
        # Text that looks like a number must not become a number, nor a number text.
        is_widening = column_type is ColumnType.INTEGER and target is ColumnType.FLOAT
        if column_type is not target and not is_widening and field.type != pa.null():
            raise InputError(f"The column {field.name!r} holds {column_type}; in the collection it holds {target}.")
        converted[field.name] = _convert_column(field.name, table.column(field.name), target)
    return pa.table(converted)


def _convert_unsigned_type(column: pa.ChunkedArray, target: ColumnType | None) -> ColumnType:
    """Return the type that a column of uint64 gets in a store without unsigned integers."""
    if target is ColumnType.TEXT:
        return ColumnType.TEXT
    largest = pc.max(column).as_py()
    return ColumnType.TEXT if largest is not None and largest >= 2**63 else ColumnType.INTEGER


def _to_table(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for record in records for name in record)
    columns = {}
    for name in names:
        values = [record.get(name) for record in records]
        numbers = [value for value in values if value is not None]
        is_unsigned = all(
            isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64 for value in numbers
        )
        dtype = pa.uint64() if is_unsigned and max(numbers, default=0) >= 2**63 else None
        try:
            columns[name] = pa.array(values, dtype)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError) as error:
            raise InputError(f"The column {name!r} has values of several types: {_first_line(error)}.") from error
    return pa.table(columns)


def _convert_column(name: str, column: pa.ChunkedArray, column_type: ColumnType) -> pa.ChunkedArray:
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("us"))
        if pa.types.is_timestamp(column.type):
            # Fractions of a microsecond are dropped, because no engine stores them.
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        converted = column.cast(ARROW_TYPES[column_type])
        if column_type is ColumnType.TIME:
            limits = pc.min_max(converted.cast(pa.int64()))
            if limits["min"].is_valid and (limits["min"].as_py() < _MIN_TIME or limits["max"].as_py() > _MAX_TIME):
                raise InputError(
                    f"The column {name!r} cannot be stored as {column_type}: a time is outside the years 1 to 9999."
                )
        return converted
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"The column {name!r} cannot be stored as {column_type}: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")


def to_json_rows(records: pa.Table, columns: Mapping[str, ColumnType]) -> list[dict[str, Any]]:
    """Return records as JSON-compatible dictionaries with every column in order.

    Missing columns are null. Times are microseconds since 1970 in UTC.
    """
    if not columns:
        return [{} for _ in range(len(records))]
    values = []
    for name, column_type in columns.items():
        column = records[name] if name in records.column_names else pa.nulls(len(records), ARROW_TYPES[column_type])
        values.append((column.cast(pa.int64()) if column_type is ColumnType.TIME else column).to_pylist())
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def rows_to_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, ColumnType]) -> pa.Table:
    """Convert rows of :func:`to_json_rows` back to a table. Missing values become null."""
    arrays = {}
    for name, column_type in columns.items():
        dtype = pa.int64() if column_type is ColumnType.TIME else ARROW_TYPES[column_type]
        arrays[name] = pa.array([row.get(name) for row in rows], dtype).cast(ARROW_TYPES[column_type])
    return pa.table(arrays) if arrays else empty_table(len(rows))


def rows_to_records(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, ColumnType]) -> list[dict[str, Any]]:
    """Convert rows of :func:`to_json_rows` to dictionaries whose times are datetime objects."""
    return rows_to_table(rows, columns).to_pylist() if columns else [{} for _ in rows]


def empty_table(n_rows: int) -> pa.Table:
    """Return a table that has rows but no columns."""
    return pa.table({"": pa.nulls(n_rows)}).drop_columns([""])


def to_microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970 in UTC."""
    return (time - _EPOCH) // timedelta(microseconds=1)
