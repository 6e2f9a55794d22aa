"""Arrow columns of any type: as types that every part of Umekomi can process, and as the texts that templates embed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ...errors import RecordError

Column: TypeAlias = pa.Array | pa.ChunkedArray

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The days 0001-01-01 and 9999-12-31, counted from 1970-01-01."""

_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that :func:`plain_column` returns for a column of this type.

    Encodings (dictionary, run-end, views, large offsets) and extension types become what they encode. A column of nothing
    but nulls becomes text.
    """
    if isinstance(kind, pa.UuidType):
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    if (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    ):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    return kind


def plain_column(column: pa.Array) -> pa.Array:
    """A column in its :func:`plain_type`."""
    kind, wanted = column.type, plain_type(column.type)
    if kind == wanted:
        return column
    if isinstance(kind, pa.UuidType):
        return pa.array([None if raw is None else str(uuid.UUID(bytes=raw)) for raw in column.storage.to_pylist()])
    if isinstance(kind, pa.BaseExtensionType):
        return plain_column(column.storage)
    if pa.types.is_dictionary(kind):
        return plain_column(column.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return plain_column(pc.run_end_decode(column))
    if pa.types.is_nested(kind):
        # Rare, and Arrow has no casts between all nested types.
        return pa.array(column.to_pylist(), wanted)
    return column.cast(wanted)


def plain_schema(schema: pa.Schema, *, name: str) -> pa.Schema:
    """The schema of a table whose columns are made plain.

    Raises:
        RecordError: Two columns have the same name, or a column's type cannot be converted or written to Parquet.
    """
    fields = []
    for field in schema:
        if schema.names.count(field.name) > 1:
            raise RecordError(f"{name} has two columns named {field.name!r}; rename one.")
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


def _is_encoded(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) or pa.types.is_run_end_encoded(kind) or pa.types.is_dictionary(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a plain column holds bytes, which may or may not be UTF-8 text."""
    return bool(pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def decode_utf8(column: Column, column_name: str, *, first_row: int, name: str) -> Column:
    """A column of bytes as text.

    Raises:
        RecordError: A value is not UTF-8; the message names column and row.
    """
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    try:
        return column.cast(pa.string())
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
    """The values of a column as a template embeds them; None for null.

    Numbers are written with the fewest digits that give the same value, booleans as ``true`` and ``false``, times in ISO 8601
    with a space. The elements of a list of texts or whole numbers are joined with ``", "``.

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
        kind = plain.type
        if is_bytes(kind):
            plain = decode_utf8(plain, column_name, first_row=first_row, name=name)
        elif pa.types.is_floating(kind):
            plain = pa.array(_float_texts(plain), pa.string())
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            _require_years(plain, column_name, first_row=first_row, name=name)
            plain = _time_texts(plain)
        elif pa.types.is_time(kind):
            plain = _time_texts(plain)
        elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            item = kind.value_type
            if not (pa.types.is_string(item) or pa.types.is_integer(item)):
                raise _not_text(column_name, name, kind)
            joined = [
                None if row is None else ", ".join(str(value) for value in row if value is not None)
                for row in plain.to_pylist()
            ]
            plain = pa.array(joined, pa.string())
        elif pa.types.is_nested(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
            raise _not_text(column_name, name, kind)
        elif not pa.types.is_string(kind):
            plain = plain.cast(pa.string())
    except _ERRORS as error:
        if isinstance(error, RecordError):
            raise
        raise _not_text(column_name, name, column.type) from error
    values: list[str | None] = plain.to_pylist()
    return values


def _require_years(column: pa.Array, column_name: str, *, first_row: int, name: str) -> None:
    # Arrow writes a date out of its range as "<value out of range: 99999999>", or with a wrong year.
    kind = column.type
    per_day = (
        86_400 * _PER_SECOND[kind.unit] if pa.types.is_timestamp(kind) else 86_400_000 if kind == pa.date64() else 1
    )
    integers = column.view(pa.int32() if kind == pa.date32() else pa.int64())
    days = integers.fill_null(0).to_numpy() // per_day
    wrong = (days < _FIRST_DAY) | (days > _LAST_DAY)
    if wrong.any():
        raise RecordError(
            f"Row {first_row + int(wrong.argmax())} of {name} holds a date in the column {column_name!r} that is not in the "
            "years 1 to 9999."
        )


def _not_text(column: str, name: str, kind: pa.DataType) -> RecordError:
    return RecordError(f"The column {column!r} of {name} holds {kind}, which a template cannot embed as text.")


def _float_texts(column: pa.Array) -> list[str | None]:
    # NumPy prints the shortest digits of the column's own precision: 0.1 is "0.1" in float32, too.
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return [str(value) if valid else None for value, valid in zip(values, column.is_valid().to_pylist(), strict=True)]


def _time_texts(column: pa.Array) -> pa.Array:
    texts = pc.replace_substring_regex(column.cast(pa.string()), r"\.0+(Z|[+-][0-9]+)?$", r"\1")
    texts = pc.replace_substring_regex(texts, "Z$", "+00:00")
    return pc.replace_substring_regex(texts, r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2")
