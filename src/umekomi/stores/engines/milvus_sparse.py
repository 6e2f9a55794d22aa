"""Sparse vectors in Milvus 2.4 or later: a field of the type SPARSE_FLOAT_VECTOR with an inverted index.

Milvus rejects a row without numbers in some versions. Every row therefore also has a number in a dimension that no query has.
"""

from __future__ import annotations

import re
from typing import Any

from pymilvus import DataType

from ...vectors.sparse import SparseVectors

FIELD = "sparse"
_MIN_VERSION = (2, 4)


def supports_sparse(version: str) -> bool:
    """Return whether a version of Milvus has sparse vectors.

    >>> supports_sparse("v2.3.5-lite"), supports_sparse("2.6.0"), supports_sparse("dev")
    (False, True, True)
    """
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return match is None or (int(match[1]), int(match[2])) >= _MIN_VERSION


def add_field(schema: Any) -> None:
    """Add the field to the schema of a collection."""
    schema.add_field(FIELD, DataType.SPARSE_FLOAT_VECTOR)


def add_index(index: Any) -> None:
    """Add the index of the field to the indexes of a collection."""
    index.add_index(FIELD, index_name=FIELD, metric_type="IP", index_type="SPARSE_INVERTED_INDEX", params={})


def to_queries(sparse: SparseVectors) -> list[dict[int, float]]:
    """Return queries. One without numbers gets a dimension that no row has."""
    return [sparse.row(row) or {sparse.dims + 1: 1.0} for row in range(len(sparse))]


def to_rows(sparse: SparseVectors) -> list[dict[int, float]]:
    """Return the values of the field."""
    return [{**sparse.row(row), sparse.dims: 1.0} for row in range(len(sparse))]
