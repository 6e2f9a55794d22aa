"""Columns of vectors in Arrow tables. The column's type determines how vectors are stored; they are read back as float32."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import pyarrow as pa

from ..errors import RecordError
from .arithmetic import FloatArray, normalize
from .quantization import from_bits, from_int8, to_bits, to_int8


class VectorType(StrEnum):
    """How vectors are stored: 4, 2, 1 or 1/8 bytes per dimension. docs/scale.md lists the recall of each type."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


_NUMBER_TYPES = {VectorType.FLOAT32: pa.float32(), VectorType.FLOAT16: pa.float16(), VectorType.INT8: pa.int8()}


def arrow_type(vector_type: VectorType, dims: int) -> pa.DataType:
    """Return the type of a column: fixed-size lists of numbers, or fixed-size bytes with eight dimensions each.

    Raises:
        RecordError: The type is ``binary`` and ``dims`` is not a multiple of 8.
    """
    if vector_type is VectorType.BINARY:
        if dims % 8:
            raise RecordError(
                f"Vectors of {dims} dimensions cannot be stored as binary, because {dims} is not a multiple of 8."
            )
        return pa.binary(dims // 8)
    return pa.list_(_NUMBER_TYPES[vector_type], dims)


def to_column(vectors: FloatArray, vector_type: VectorType) -> pa.Array:
    """Convert vectors ``(n, dims) float32`` to a column."""
    dims = vectors.shape[1]
    if vector_type is VectorType.BINARY:
        codes = np.ascontiguousarray(to_bits(vectors))
        buffers = [None, pa.py_buffer(codes)]
        return pa.FixedSizeBinaryArray.from_buffers(arrow_type(vector_type, dims), len(codes), buffers)
    numbers = to_int8(vectors) if vector_type is VectorType.INT8 else vectors.astype(vector_type.value)
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1), _NUMBER_TYPES[vector_type]), dims)


def from_column(column: pa.Array) -> FloatArray:
    """Convert a column of any :class:`VectorType` to ``(n, dims) float32``. Vectors that were not float32 have length 1.

    Raises:
        RecordError: The column does not contain vectors.
    """
    dtype = column.type
    if pa.types.is_fixed_size_binary(dtype):
        width = dtype.byte_width
        raw = np.frombuffer(column.buffers()[1], np.uint8, count=len(column) * width, offset=column.offset * width)
        return from_bits(raw.reshape(len(column), width))
    if not pa.types.is_fixed_size_list(dtype):
        raise RecordError(f"A column of type {dtype} does not contain vectors.")
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), dtype.list_size)
    if dtype.value_type == pa.int8():
        return from_int8(values)
    matrix: FloatArray = np.ascontiguousarray(values, dtype=np.float32)
    return normalize(matrix) if dtype.value_type == pa.float16() else matrix
