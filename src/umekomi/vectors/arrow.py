"""A column of vectors in a table: float32, or in fewer bytes. The column itself says which; read back it is float32."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import pyarrow as pa

from ..errors import RecordError
from .arithmetic import FloatArray, normalize
from .quantization import from_bits, from_int8, to_bits, to_int8


class VectorType(StrEnum):
    """What a vector is kept as: 4, 2, 1 or an eighth of a byte a dimension. docs/scale.md has the recall that each keeps."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


_NUMBERS = {VectorType.FLOAT32: pa.float32(), VectorType.FLOAT16: pa.float16(), VectorType.INT8: pa.int8()}


def column_type(kind: VectorType, dims: int) -> pa.DataType:
    """The type of the column: fixed-size lists of numbers, or fixed-size bytes of eight dimensions each.

    Raises:
        RecordError: bits, and ``dims`` is no multiple of 8.
    """
    if kind is VectorType.BINARY:
        if dims % 8:
            raise RecordError(f"Vectors of {dims} dimensions cannot be kept as binary: it must be a multiple of 8.")
        return pa.binary(dims // 8)
    return pa.list_(_NUMBERS[kind], dims)


def column_of(vectors: FloatArray, kind: VectorType) -> pa.Array:
    """Vectors ``(n, dims) float32`` as a column of this type."""
    dims = vectors.shape[1]
    if kind is VectorType.BINARY:
        codes = np.ascontiguousarray(to_bits(vectors))
        return pa.FixedSizeBinaryArray.from_buffers(column_type(kind, dims), len(codes), [None, pa.py_buffer(codes)])
    numbers = to_int8(vectors) if kind is VectorType.INT8 else vectors.astype(kind.value)
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1), _NUMBERS[kind]), dims)


def matrix_of(column: pa.Array) -> FloatArray:
    """A column of vectors, whatever they are kept as: ``(n, dims) float32``; of length 1 where it was not float32.

    Raises:
        RecordError: the column holds something else than vectors.
    """
    kind = column.type
    if pa.types.is_fixed_size_binary(kind):
        width = kind.byte_width
        raw = np.frombuffer(column.buffers()[1], np.uint8, count=len(column) * width, offset=column.offset * width)
        return from_bits(raw.reshape(len(column), width))
    if not pa.types.is_fixed_size_list(kind):
        raise RecordError(f"A column of {kind} holds no vectors.")
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), kind.list_size)
    if kind.value_type == pa.int8():
        return from_int8(values)
    matrix: FloatArray = np.ascontiguousarray(values, dtype=np.float32)
    return normalize(matrix) if kind.value_type == pa.float16() else matrix
