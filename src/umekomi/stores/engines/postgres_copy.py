"""Encoding of rows for PostgreSQL's COPY, as described in its manual under COPY, "Binary Format".

A vector of pgvector is the number of dimensions and a zero as 16-bit integers, followed by float32 values. All numbers
are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from ...vectors.arithmetic import FloatArray
from ..columns import ColumnType, get_column_types

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_END = struct.pack(">h", -1)
_NULL = struct.pack(">i", -1)
_EPOCH_US = 946_684_800_000_000
"""PostgreSQL counts times from the year 2000."""

_PIECE_ROWS = 256

_ENCODERS: dict[ColumnType, Callable[[Any], bytes]] = {
    ColumnType.TEXT: lambda value: _prefix_size(value.encode()),
    ColumnType.INTEGER: lambda value: struct.pack(">iq", 8, value),
    ColumnType.FLOAT: lambda value: struct.pack(">id", 8, value),
    ColumnType.BOOLEAN: lambda value: struct.pack(">i?", 1, value),
    ColumnType.TIME: lambda value: struct.pack(">iq", 8, value - _EPOCH_US),
}


def encode_copy(keys: Sequence[bytes], ids: Sequence[str], vectors: FloatArray, records: pa.Table) -> Iterator[bytes]:
    """Yield the pieces of a COPY of keys, ids, vectors ``(n, dims) float32`` and record columns, in this order."""
    encoders, columns = [], []
    for name, column_type in get_column_types(records.schema).items():
        column = records[name]
        encoders.append(_ENCODERS[column_type])
        columns.append((column.cast(pa.int64()) if column_type is ColumnType.TIME else column).to_pylist())
    n_fields = struct.pack(">h", 3 + len(columns))
    vector_header = struct.pack(">ihh", 4 + 4 * vectors.shape[1], vectors.shape[1], 0)
    data = vectors.astype(">f4")
    piece = [_HEADER]
    for row, (key, name) in enumerate(zip(keys, ids, strict=True)):
        piece += [n_fields, _prefix_size(key), _prefix_size(name.encode()), vector_header, data[row].tobytes()]
        for encode, column in zip(encoders, columns, strict=True):
            piece.append(_NULL if column[row] is None else encode(column[row]))
        if row % _PIECE_ROWS == _PIECE_ROWS - 1:
            yield b"".join(piece)
            piece = []
    yield b"".join([*piece, _END])


def _prefix_size(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data
