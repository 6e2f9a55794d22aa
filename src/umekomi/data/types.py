"""Column types: conversion to types that every part of Umekomi can process, and to the texts that templates embed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import RecordError

Column: TypeAlias = pa.Array | pa.ChunkedArray

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The days 0001-01-01 and 9999-12-31, counted from 1970-01-01."""

_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError)


def plain_type(dtype: pa.DataType) -> pa.DataType:
    """Return the type that :func:`plain_column` returns for a column of this type.

    Encodings (dictionary, run-end, views, large offsets) and extension types are replaced by the types that they encode. A
    column that contains only nulls becomes text.
    """
    if isinstance(dtype, pa.UuidType):
        return pa.string()
    if isinstance(dtype, pa.BaseExtensionType):
        return plain_type(dtype.storage_type)
    if pa.types.is_dictionary(dtype) or pa.types.is_run_end_encoded(dtype):
        return plain_type(dtype.value_type)
    if pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype) or pa.types.is_null(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype) or pa.types.is_binary_view(dtype):
        return pa.binary()
    if pa.types.is_fixed_size_list(dtype):
        return pa.list_(plain_type(dtype.value_type), dtype.list_size)
    if (
        pa.types.is_list(dtype)
        or pa.types.is_large_list(dtype)
        or pa.types.is_list_view(dtype)
        or pa.types.is_large_list_view(dtype)
    ):
        return pa.list_(plain_type(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(plain_type(field.type)) for field in dtype])
    return dtype


def plain_column(column: pa.Array) -> pa.Array:
    """Convert a column to its :func:`plain_type`."""
    dtype, plain = column.type, plain_type(column.type)
    if dtype == plain:
        return column
    if isinstance(dtype, pa.UuidType):
        return pa.array([None if raw is None else str(uuid.UUID(bytes=raw)) for raw in column.storage.to_pylist()])
    if isinstance(dtype, pa.BaseExtensionType):
        return plain_column(column.storage)
    if pa.types.is_dictionary(dtype):
        return plain_column(column.dictionary_decode())
    if pa.types.is_run_end_encoded(dtype):
        return plain_column(pc.run_end_decode(column))
    if pa.types.is_nested(dtype):
        # Nested types are rare, and Arrow cannot cast between all of them.
        return pa.array(column.to_pylist(), plain)
    return column.cast(plain)


def plain_schema(schema: pa.Schema, *, name: str) -> pa.Schema:
    """Return the schema of a table after its columns have been made plain.

    Raises:
        RecordError: Two columns have the same name, or a column's type cannot be converted or written to Parquet.
    """
    if duplicate := find_duplicate(schema.names):
        raise RecordError(f"{name} has two columns named {duplicate!r}; rename one.")
    fields = []
    for field in schema:
        try:
            plain = pa.field(field.name, plain_type(field.type))
            plain_column(pa.array([], field.type) if not _is_encoded(field.type) else pa.nulls(0, field.type))
            pq.write_table(pa.schema([plain]).empty_table(), pa.BufferOutputStream())
        except _ERRORS as error:
            raise RecordError(
                f"The column {field.name!r} of {name} has the type {field.type}, which cannot be processed. Leave it out."
            ) from error
        fields.append(plain)
    return pa.schema(fields)


def plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Convert a batch to a plain schema.

    Raises:
        KeyError: A column is missing.
        pa.ArrowInvalid: A value does not fit its column.
    """
    arrays = []
    for field in schema:
        column = plain_column(batch.column(field.name))
        if column.type != field.type:
            column = _variable_size(column).cast(field.type)
        arrays.append(column)
    return pa.record_batch(arrays, schema=schema)


def find_duplicate(names: Sequence[str]) -> str | None:
    """Return the first name that occurs more than once, or None."""
    return next((name for name in names if names.count(name) > 1), None)


def _is_encoded(dtype: pa.DataType) -> bool:
    return (
        isinstance(dtype, pa.BaseExtensionType) or pa.types.is_run_end_encoded(dtype) or pa.types.is_dictionary(dtype)
    )


def is_text(dtype: pa.DataType) -> bool:
    """Return whether a type stores text, or bytes that may be UTF-8 text."""
    return dtype in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())


def is_bytes(dtype: pa.DataType) -> bool:
    """Return whether a plain column stores bytes, which may or may not be UTF-8 text."""
    return bool(pa.types.is_binary(dtype) or pa.types.is_fixed_size_binary(dtype))


def _variable_size(column: Column) -> Column:
    # Arrow casts only bytes of variable size to text.
    return column.cast(pa.binary()) if pa.types.is_fixed_size_binary(column.type) else column


def is_utf8(column: pa.Array) -> bool:
    """Return whether all values of a column of bytes are UTF-8."""
    try:
        _variable_size(column).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def decode_utf8(column: Column, column_name: str, *, first_row: int, name: str) -> Column:
    """Convert a column of bytes to text.

    Args:
        column: The column.
        column_name: Name of the column, for messages.
        first_row: Number of the first row, for messages.
        name: Name of the file, for messages.

    Raises:
        RecordError: A value is not UTF-8; the message names column and row.
    """
    try:
        return _variable_size(column).cast(pa.string())
    except pa.ArrowInvalid:
        for row, value in enumerate(column.to_pylist(), start=first_row):
            try:
                (value or b"").decode("utf-8")
            except UnicodeDecodeError as error:
                raise RecordError(
                    f"Row {row} of {name} holds bytes in the column {column_name!r} that are not UTF-8 text."
                ) from error
        raise


def column_texts(column: Column, column_name: str, *, first_row: int, name: str) -> Sequence[str | None]:
    """Return the values of a column as a template embeds them; None for null. The arguments are those of :func:`decode_utf8`.

    Numbers are written with the fewest digits that give the same value, booleans as ``true`` and ``false``, times in ISO 8601
    with a space. The elements of a list of texts or integers are joined with ``", "``.

    Raises:
        RecordError: The values are structures, maps or durations, or bytes that are not UTF-8.
    """
    if isinstance(column, pa.ChunkedArray):
        texts: list[str | None] = []
        for chunk in column.chunks:
            texts.extend(column_texts(chunk, column_name, first_row=first_row + len(texts), name=name))
        return texts
    try:
        plain = plain_column(column)
        dtype = plain.type
        if is_bytes(dtype):
            plain = decode_utf8(plain, column_name, first_row=first_row, name=name)
        elif pa.types.is_floating(dtype):
            plain = pa.array(_float_texts(plain), pa.string())
        elif pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
            _require_years(plain, column_name, first_row=first_row, name=name)
            plain = _time_texts(plain)
        elif pa.types.is_time(dtype):
            plain = _time_texts(plain)
        elif pa.types.is_list(dtype) or pa.types.is_fixed_size_list(dtype):
            item = dtype.value_type
            if not (pa.types.is_string(item) or pa.types.is_integer(item)):
                raise _not_text(column_name, name, dtype)
            joined = [
                None if row is None else ", ".join(str(value) for value in row if value is not None)
                for row in plain.to_pylist()
            ]
            plain = pa.array(joined, pa.string())
        elif pa.types.is_nested(dtype) or pa.types.is_duration(dtype) or pa.types.is_interval(dtype):
            raise _not_text(column_name, name, dtype)
        elif not pa.types.is_string(dtype):
            plain = plain.cast(pa.string())
    except _ERRORS as error:
        if isinstance(error, RecordError):
            raise
        raise _not_text(column_name, name, column.type) from error
    values: list[str | None] = plain.to_pylist()
    return values


def _require_years(column: pa.Array, column_name: str, *, first_row: int, name: str) -> None:
    # Arrow writes a date out of its range as "<value out of range: 99999999>", or with a wrong year.
    dtype = column.type
    per_day = 1
    if pa.types.is_timestamp(dtype):
        per_day = 86_400 * _PER_SECOND[dtype.unit]
    elif dtype == pa.date64():
        per_day = 86_400_000
    integers = column.view(pa.int32() if dtype == pa.date32() else pa.int64())
    days = integers.fill_null(0).to_numpy() // per_day
    is_invalid = (days < _FIRST_DAY) | (days > _LAST_DAY)
    if is_invalid.any():
        raise RecordError(
            f"Row {first_row + int(is_invalid.argmax())} of {name} holds a date in the column {column_name!r} that is not in "
            "the years 1 to 9999."
        )


def _not_text(column: str, name: str, dtype: pa.DataType) -> RecordError:
    return RecordError(f"The column {column!r} of {name} holds {dtype}, which a template cannot embed as text.")


def _float_texts(column: pa.Array) -> list[str | None]:
    # NumPy prints the shortest digits of the column's own precision: 0.1 is "0.1" in float32, too.
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return [str(value) if valid else None for value, valid in zip(values, column.is_valid().to_pylist(), strict=True)]


def _time_texts(column: pa.Array) -> pa.Array:
    texts = pc.replace_substring_regex(column.cast(pa.string()), r"\.0+(Z|[+-][0-9]+)?$", r"\1")
    texts = pc.replace_substring_regex(texts, "Z$", "+00:00")
    return pc.replace_substring_regex(texts, r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2")
