"""The columns of a record: text, whole numbers, numbers, booleans and times, with the same types in every engine.

Files bring dozens of types; engines differ on most. So whatever comes is brought to one of five, once, here: int64,
float64, bool, string, and microseconds in UTC (a time that names no zone is taken as UTC; a date is its midnight). NaN
becomes null, since engines disagree on how it compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import InputError

_DIGITS_OF_A_DOUBLE = 15


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "whole numbers"
    UNSIGNED = "whole numbers from 0"
    """Of 64 bits without a sign; only filters of stores that keep uint64 columns know it."""
    FLOAT = "numbers"
    BOOLEAN = "true or false"
    TIME = "times"


TYPES = {
    Kind.TEXT: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.UNSIGNED: pa.uint64(),
    Kind.FLOAT: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.TIME: pa.timestamp("us", "UTC"),
}
_FIRST_TIME, _LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The times that Python's datetime has, in microseconds since 1970: all of the years 1 to 9999."""


def kind_of(kind: pa.DataType) -> Kind | None:
    """What a column of an Arrow type becomes; None for lists, structures and bytes, which a record cannot hold."""
    if pa.types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Kind.TEXT
    if pa.types.is_integer(kind):
        return Kind.INTEGER
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Kind.FLOAT
    if pa.types.is_boolean(kind):
        return Kind.BOOLEAN
    return Kind.TIME if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else None


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    """The columns that a record can hold, and what each holds."""
    return {field.name: kind for field in schema if (kind := kind_of(field.type)) is not None}


def text_columns(file: pq.ParquetFile, *, keeps_unsigned: bool) -> list[str]:
    """The columns of a Parquet file whose numbers a store cannot hold exactly as numbers; they are kept as text.

    These are whole numbers above 2**63 - 1, and decimal numbers of more digits than a double has.

    Args:
        file: The file.
        keeps_unsigned: Whether the store has uint64 columns.
    """
    found = []
    for field in file.schema_arrow:
        if pa.types.is_uint64(field.type) and not keeps_unsigned:
            column = file.read(columns=[field.name])[field.name]
            needs_text = _kind_of_unsigned(column, None) is Kind.TEXT
        elif pa.types.is_decimal(field.type) and field.type.precision > _DIGITS_OF_A_DOUBLE:
            needs_text = not _fits_doubles(file.read(columns=[field.name])[field.name])
        else:
            needs_text = False
        found += [field.name] if needs_text else []
    return found


def _fits_doubles(column: pa.ChunkedArray) -> bool:
    """Whether decimal numbers stay the same as doubles."""
    return all(value is None or Decimal(repr(float(value))) == value for value in column.unique().to_pylist())


def as_text(rows: pa.RecordBatch | pa.Table, names: Sequence[str]) -> Any:
    """Rows with some of their columns as text."""
    for name in names:
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, rows.column(place).cast(pa.string()))
    return rows


def plain_table(
    records: pa.Table | Sequence[Mapping[str, Any]], there: Mapping[str, Kind], *, keeps_unsigned: bool = False
) -> pa.Table:
    """Records with columns of the five types.

    Args:
        records: a table, or one dictionary a row.
        there: the columns that the collection has already; a batch is brought to their types.
        keeps_unsigned: Keep uint64 columns. By default they become int64, or text if a value is larger than that.

    Raises:
        InputError: a column holds lists or the like, or values that are not of its collection's type.
    """
    table = records if isinstance(records, pa.Table) else _table(records)
    repeated = {name for name in table.column_names if table.column_names.count(name) > 1}
    if repeated:
        raise InputError(f"The column {min(repeated)!r} comes twice; a record has each column once.")
    columns = {}
    for field in table.schema:
        kind = kind_of(field.type)
        if kind is None:
            raise InputError(
                f"The column {field.name!r} holds {field.type}; a record holds text, numbers, booleans and times. Leave it out."
            )
        if field.type == pa.uint64():
            if keeps_unsigned:
                columns[field.name] = table.column(field.name)
                continue
            kind = _kind_of_unsigned(table.column(field.name), there.get(field.name))
        wanted = there.get(field.name, kind)
        # Text that looks like a number must not become one, nor the other way about.
        if kind is not wanted and not (kind is Kind.INTEGER and wanted is Kind.FLOAT) and field.type != pa.null():
            raise InputError(f"The column {field.name!r} holds {kind}; the collection's holds {wanted}.")
        columns[field.name] = _plain(field.name, table.column(field.name), wanted)
    return pa.table(columns)


def _kind_of_unsigned(column: pa.ChunkedArray, there: Kind | None) -> Kind:
    largest = pc.max(column).as_py()
    return Kind.TEXT if there is Kind.TEXT or (largest is not None and largest >= 2**63) else Kind.INTEGER


def _table(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for record in records for name in record)
    columns = {}
    for name in names:
        values = [record.get(name) for record in records]
        numbers = [value for value in values if value is not None]
        is_whole = all(
            isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64 for value in numbers
        )
        try:
            columns[name] = pa.array(values, pa.uint64() if is_whole and max(numbers, default=0) >= 2**63 else None)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError) as error:
            raise InputError(f"The column {name!r} holds values of several types: {_first_line(error)}.") from error
    return pa.table(columns)


def _plain(name: str, column: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("us"))
        if pa.types.is_timestamp(column.type):
            # Finer than a microsecond is cut: no engine keeps it.
            column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        plain = column.cast(TYPES[kind])
        if kind is Kind.TIME:
            ends = pc.min_max(plain.cast(pa.int64()))
            if ends["min"].is_valid and (ends["min"].as_py() < _FIRST_TIME or ends["max"].as_py() > _LAST_TIME):
                raise InputError(
                    f"The column {name!r} cannot be stored as {kind}: a time is not in the years 1 to 9999."
                )
        return plain
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"The column {name!r} cannot be stored as {kind}: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")


def plain_rows(records: pa.Table, columns: Mapping[str, Kind]) -> list[dict[str, Any]]:
    """Records as JSON can hold them: every column of the collection in its order, times as microseconds since 1970 in UTC."""
    n = len(records)
    values = []
    for name, kind in columns.items():
        column = records[name] if name in records.column_names else pa.nulls(n, TYPES[kind])
        values.append((column.cast(pa.int64()) if kind is Kind.TIME else column).to_pylist())
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)] if columns else [{}] * n


def table_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind]) -> pa.Table:
    """The reverse of :func:`plain_rows`; what a row lacks is null."""
    made = {}
    for name, kind in columns.items():
        values = [row.get(name) for row in rows]
        made[name] = (
            pa.array(values, pa.int64()).cast(TYPES[kind]) if kind is Kind.TIME else pa.array(values, TYPES[kind])
        )
    return pa.table(made) if made else pa.table({"": pa.nulls(len(rows))}).drop_columns([""])


def records_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind]) -> list[dict[str, Any]]:
    """The same as dictionaries, with times as times."""
    return table_of(rows, columns).to_pylist() if columns else [{} for _ in rows]
