"""Sparse vectors: rows, conversions to SciPy and to Arrow, and damaged columns."""

import numpy as np
import pyarrow as pa
import pytest

from umekomi import RecordError, SparseVectors
from umekomi.vectors.sparse import COLUMN_TYPE

ROWS = [{7: 0.5, 2: 1.0}, {}, {9: 3.0}]


def test_rows_are_stored_in_the_order_of_their_dimensions() -> None:
    vectors = SparseVectors.from_rows(ROWS, dims=10)
    assert (vectors.indptr.tolist(), vectors.indices.tolist(), vectors.values.tolist()) == (
        [0, 2, 2, 3],
        [2, 7, 9],
        [1.0, 0.5, 3.0],
    )
    assert [vectors.row(row) for row in range(len(vectors))] == [{2: 1.0, 7: 0.5}, {}, {9: 3.0}]
    assert vectors.take([2, 0]).indices.tolist() == [9, 2, 7]
    assert repr(vectors) == "SparseVectors(3 rows, 10 dims, 3 numbers)"


def test_scipy_gets_the_same_matrix() -> None:
    matrix = SparseVectors.from_rows(ROWS, dims=10).to_scipy()
    assert matrix.shape == (3, 10)
    assert matrix.dtype == np.float32
    assert matrix.toarray()[[0, 0, 2], [2, 7, 9]].tolist() == [1.0, 0.5, 3.0]


@pytest.mark.parametrize("dims", [10, 2**31 - 1])
def test_a_column_returns_the_same_vectors(dims: int) -> None:
    column = SparseVectors.from_rows([*ROWS, {dims - 1: 1.0}], dims=dims).to_column()
    assert column.type == COLUMN_TYPE
    vectors = SparseVectors.from_column(pa.chunked_array([column, column]).slice(2, 3), dims=dims)
    assert [vectors.row(row) for row in range(3)] == [{9: 3.0}, {dims - 1: 1.0}, {2: 1.0, 7: 0.5}]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"indices": [1, 2], "values": [1.0]}], "more indices than values"),
        ([{"indices": [10], "values": [1.0]}], "has the index 10, but there are 10 dimensions"),
        ([None], "does not contain sparse vectors"),
    ],
)
def test_damaged_columns_are_rejected(rows: list[object], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        SparseVectors.from_column(pa.array(rows, COLUMN_TYPE), dims=10)
