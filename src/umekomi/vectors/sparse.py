"""Sparse vectors: most numbers are zero, and only the others are stored, with their dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import RecordError
from ..extras import import_optional
from .arithmetic import FloatArray, IntArray

COLUMN_TYPE = pa.struct(
    [("indices", pa.list_(pa.field("element", pa.uint32()))), ("values", pa.list_(pa.field("element", pa.float32())))]
)
"""Type of columns of sparse vectors. The indices of a vector increase."""

IndexArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class SparseVectors:
    """Rows of numbers, of which only those that are not zero are stored, in the format CSR (compressed sparse rows).

    The numbers of row ``i`` are ``values[indptr[i] : indptr[i + 1]]``, in the dimensions ``indices[indptr[i] : indptr[i + 1]]``,
    which increase. ``len()`` is the number of rows.

    >>> vectors = SparseVectors.from_rows([{3: 1.5, 1: 0.5}, {}], dims=4)
    >>> vectors.row(0)
    {1: 0.5, 3: 1.5}
    """

    #: ``(n + 1,) int64``.
    indptr: IntArray
    #: ``(n_numbers,) int32``.
    indices: IndexArray
    #: ``(n_numbers,) float32``.
    values: FloatArray
    #: Number of dimensions.
    dims: int

    @classmethod
    def from_parts(cls, parts: Sequence[tuple[IndexArray, FloatArray]], *, dims: int) -> Self:
        """Return vectors of the indices and the values of each row."""
        indptr = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(indices) for indices, _ in parts], out=indptr[1:])
        return cls(
            indptr,
            np.concatenate([np.empty(0, np.int32), *(indices for indices, _ in parts)]),
            np.concatenate([np.empty(0, np.float32), *(values for _, values in parts)]),
            dims,
        )

    @classmethod
    def from_rows(cls, rows: Sequence[dict[int, float]], *, dims: int) -> Self:
        """Return vectors of a mapping from dimensions to numbers for each row."""
        ordered = [sorted(row.items()) for row in rows]
        return cls.from_parts(
            [
                (np.array([index for index, _ in row], np.int32), np.array([value for _, value in row], np.float32))
                for row in ordered
            ],
            dims=dims,
        )

    @classmethod
    def from_column(cls, column: pa.Array | pa.ChunkedArray, *, dims: int) -> Self:
        """Return the vectors of a column of :data:`COLUMN_TYPE`.

        Raises:
            RecordError: The column has another type, a vector is null or damaged, or an index is not below ``dims``.
        """
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if array.type != COLUMN_TYPE or array.null_count:
            raise RecordError(f"A column of type {array.type} does not contain sparse vectors.")
        indices, values = array.flatten()
        lengths = indices.value_lengths().to_numpy(zero_copy_only=False)
        if not np.array_equal(lengths, values.value_lengths().to_numpy(zero_copy_only=False)):
            raise RecordError("A sparse vector has more indices than values, or fewer.")
        numbers = indices.flatten().to_numpy(zero_copy_only=False)
        if len(numbers) and int(numbers.max()) >= dims:
            raise RecordError(f"A sparse vector has the index {numbers.max()}, but there are {dims:,} dimensions.")
        indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(indptr, numbers.astype(np.int32), values.flatten().to_numpy(zero_copy_only=False), dims)

    def to_column(self) -> pa.Array:
        """Return the vectors as a column of :data:`COLUMN_TYPE`."""
        offsets = pa.array(self.indptr, pa.int32())
        lists = [
            pa.ListArray.from_arrays(offsets, pa.array(self.indices.view(np.uint32))),
            pa.ListArray.from_arrays(offsets, pa.array(self.values)),
        ]
        return pa.StructArray.from_arrays(lists, fields=list(COLUMN_TYPE))

    def to_scipy(self) -> Any:
        """Return the vectors as a ``scipy.sparse.csr_array`` of ``(n, dims) float32``.

        Raises:
            MissingExtraError: SciPy is not installed.
        """
        csr_array = import_optional("scipy.sparse", "to_scipy()").csr_array
        return csr_array((self.values, self.indices, self.indptr), shape=(len(self), self.dims))

    @classmethod
    def concatenate(cls, vectors: Sequence[SparseVectors], *, dims: int) -> Self:
        """Return the rows of several vectors one after another."""
        lengths = np.concatenate([np.empty(0, np.int64), *(np.diff(each.indptr) for each in vectors)])
        return cls(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            np.concatenate([np.empty(0, np.int32), *(each.indices for each in vectors)]),
            np.concatenate([np.empty(0, np.float32), *(each.values for each in vectors)]),
            dims,
        )

    def take(self, rows: Sequence[int]) -> SparseVectors:
        """Return some of the rows."""
        return SparseVectors.from_parts([self._parts(row) for row in rows], dims=self.dims)

    def row(self, row: int) -> dict[int, float]:
        """Return the numbers of a row by their dimensions."""
        indices, values = self._parts(row)
        return dict(zip(indices.tolist(), values.tolist(), strict=True))

    def _parts(self, row: int) -> tuple[IndexArray, FloatArray]:
        part = slice(self.indptr[row], self.indptr[row + 1])
        return self.indices[part], self.values[part]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return f"SparseVectors({len(self)} rows, {self.dims} dims, {len(self.values)} numbers)"
