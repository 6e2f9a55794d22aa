"""Rows in the binary form of PostgreSQL's COPY, whose description is in its manual under COPY, "Binary Format".

A vector of pgvector is its number of dimensions and a zero as 16-bit numbers, then float32; everything is big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from ...vectors.arithmetic import FloatArray
from ..columns import ColumnType, get_column_type

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_END = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
_EPOCH_US = 946_684_800_000_000
"""PostgreSQL counts from the year 2000."""

_PIECE_ROWS = 256

_ENCODERS: dict[ColumnType, Callable[[Any], bytes]] = {
    ColumnType.TEXT: lambda value: _sized(value.encode()),
    ColumnType.INTEGER: lambda value: struct.pack(">iq", 8, value),
    ColumnType.FLOAT: lambda value: struct.pack(">id", 8, value),
    ColumnType.BOOLEAN: lambda value: struct.pack(">i?", 1, value),
    ColumnType.TIME: lambda value: struct.pack(">iq", 8, value - _EPOCH_US),
}


def copy_rows(keys: Sequence[bytes], ids: Sequence[str], vectors: FloatArray, records: pa.Table) -> Iterator[bytes]:
    """Keys, ids, vectors ``(n, dims) float32`` and the records' columns, in this order, as pieces of one COPY."""
    encoders, columns = [], []
    for field in records.schema:
        kind = get_column_type(field.type)
        assert kind is not None  # noqa: S101 - the table was made of the five kinds
        column = records[field.name]
        encoders.append(_ENCODERS[kind])
        columns.append((column.cast(pa.int64()) if kind is ColumnType.TIME else column).to_pylist())
    n_fields = struct.pack(">h", 3 + len(columns))
    size, dims = struct.pack(">i", 4 + 4 * vectors.shape[1]), struct.pack(">hh", vectors.shape[1], 0)
    raw = vectors.astype(">f4")
    piece = [_HEADER]
    for row, (key, name) in enumerate(zip(keys, ids, strict=True)):
        piece += [n_fields, _sized(key), _sized(name.encode()), size, dims, raw[row].tobytes()]
        for encode, column in zip(encoders, columns, strict=True):
            piece.append(_NULL if column[row] is None else encode(column[row]))
        if row % _PIECE_ROWS == _PIECE_ROWS - 1:
            yield b"".join(piece)
            piece = []
    yield b"".join([*piece, _END])


def _sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data
