"""What the Qdrant server and Qdrant Edge have in common: rows as points, and filters as Qdrant's conditions.

The id of a point is a 128-bit hash of the row's id, so that any text can be an id. The payload has the id and the
columns under their own names, with times as microseconds since 1970. Null values are left out.

Two limits of Qdrant's engine (measured with Edge 0.9) shape the payload. It returns one in six of the numbers that need
17 digits with a different last digit. These numbers are also stored as text, and comparisons with close numbers are
repeated in this process. Its ``MatchValue(True)`` finds nothing, so that booleans are stored as 1 and 0.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from ...vectors.arithmetic import FloatArray, normalize
from ...vectors.sparse import SparseVectors
from ..base import ID, Hit
from ..columns import ColumnType, rows_to_records, rows_to_table, to_json_rows, to_microseconds
from ..filters.approximate import (
    MAX_EXACT_INTEGER,
    Approximation,
    Bounds,
    Condition,
    approximate,
    clamp_to_finite,
    undecidable,
    widen_by_ulps,
)
from ..filters.language import And, Compare, In, IsNull, Not, Or, Value, Where
from ..url import Quantization
from .base import FilteredStore

DEFAULT_M, DEFAULT_EF, DEFAULT_EF_SEARCH = 16, 200, 128
OVERSAMPLING = {Quantization.INT8: 2.0, Quantization.BINARY: 6.0}
"""Candidates per hit that are compared again with their uncompressed vectors."""

SPARSE = "_sparse"
"""Key of a row's sparse vector until it is written."""
SPARSE_NAME = "sparse"
"""Name of the sparse vectors in the engine. The others have no name."""

_EXACT = "_exact"
_EXACT_NUMBER = re.compile(r"-?\d{1,15}(\.0)?|-?0\.\d{1,14}|-?(?=[\d.]{3,16}$)\d+\.\d+")
"""Decimal form of numbers that the engine returns unchanged."""

INDEX_TYPES = {
    ColumnType.TEXT: "keyword",
    ColumnType.INTEGER: "integer",
    ColumnType.FLOAT: "float",
    ColumnType.BOOLEAN: "integer",
    ColumnType.TIME: "integer",
}
"""Type of the payload index of each column."""


class PointStore(FilteredStore):
    """Base class of the stores whose rows are points."""

    max_dims = 65_536

    def _approximate(self, where: Where) -> Approximation:
        return approximate_filter(where, self._columns)

    def _encode(self, ids: list[str], records: pa.Table, columns: Mapping[str, ColumnType]) -> list[dict[str, Any]]:
        return [to_payload(name, row) for name, row in zip(ids, to_json_rows(records, columns), strict=True)]

    def _add_sparse(self, rows: list[dict[str, Any]], sparse: SparseVectors) -> list[dict[str, Any]]:
        return [{**row, SPARSE: sparse.row(index)} for index, row in enumerate(rows)]

    @abstractmethod
    def _retrieve(self, ids: list[str], *, with_vectors: bool) -> Sequence[Any]:
        """Return the points of rows."""

    @abstractmethod
    def _scroll(self, size: int, where: Where | None, *, with_vectors: bool = False) -> Iterator[Sequence[Any]]:
        """Yield all points, or those under a filter, at most ``size`` at a time."""

    def _scan(self, where: Where) -> Iterator[list[Hit]]:
        for points in self._scroll(1024, where):
            yield self._to_hits(points, score=1.0)

    def _get(self, ids: list[str]) -> list[Hit]:
        return self._to_hits(self._retrieve(ids, with_vectors=False), score=1.0)

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        points = self._retrieve(ids, with_vectors=True)
        return {point.payload[ID]: normalize(np.array([_dense(point.vector)], np.float32))[0] for point in points}

    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        for points in self._scroll(size, None, with_vectors=True):
            rows = [from_payload(point.payload, self._columns) for point in points]
            vectors = normalize(np.array([_dense(point.vector) for point in points], dtype=np.float32))
            yield [point.payload[ID] for point in points], vectors, rows_to_table(rows, self._columns)

    def _ef_search(self, k: int) -> int:
        return max(self._options.ef_search or DEFAULT_EF_SEARCH, 2 * k)

    def _to_hits(self, points: Iterable[Any], score: float | None = None) -> list[Hit]:
        """Return points as hits with their own scores, or all with the same score."""
        points = list(points)
        records = rows_to_records([from_payload(point.payload, self._columns) for point in points], self._columns)
        return [
            Hit(point.payload[ID], point.score if score is None else score, record)
            for point, record in zip(points, records, strict=True)
        ]

    def _describe_index(self, n_rows: int | None) -> str:
        return "none: every vector is compared" if self._options.exact else f"HNSW over {n_rows or 0:,} rows"


def _dense(vector: Any) -> Any:
    """Return the vector of a point that may also have a sparse one."""
    return vector[""] if isinstance(vector, dict) else vector


def _to_field(column: str) -> str:
    """Return the name of a column in the payload. Quotes are not allowed, and ``_…`` is reserved."""
    return re.sub(r'^_|^$|["\\%]', lambda match: f"%{ord(match.group() or chr(0)):02X}", column)


def to_path(column: str) -> str:
    """Return the path of a column in filters."""
    return ID if column == ID else f'"{_to_field(column)}"'


def to_payload(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload of a row."""
    payload: dict[str, Any] = {ID: name}
    exact = {}
    for column, value in row.items():
        field = _to_field(column)
        if isinstance(value, float):
            if not _EXACT_NUMBER.fullmatch(repr(value)):
                exact[field] = repr(value)
            # JSON has no infinity. The text form has it.
            value = clamp_to_finite(value)
        if value is not None:
            payload[field] = int(value) if isinstance(value, bool) else value
    return {**payload, _EXACT: exact} if exact else payload


def from_payload(payload: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """Return the row of a payload, without its id."""
    exact = payload.get(_EXACT, {})
    row = {}
    for column, column_type in columns.items():
        field = _to_field(column)
        value = payload.get(field)
        if value is not None and column_type is ColumnType.FLOAT:
            value = float(exact.get(field, value))
        elif value is not None and column_type is ColumnType.BOOLEAN:
            value = bool(value)
        row[column] = value
    return row


def approximate_filter(where: Where, columns: Mapping[str, ColumnType]) -> Approximation:
    """Return the filters that Qdrant can evaluate. It does not order text, and compares numbers inexactly."""
    column_types = {**columns, ID: ColumnType.TEXT}

    def bound(condition: Condition, negated: bool) -> Bounds:
        column_type = column_types[condition.column]
        if column_type is ColumnType.FLOAT:
            return undecidable(condition.column) if negated else widen_by_ulps(condition, ulps=2)
        if isinstance(condition, In) or condition.operator in ("=", "!="):
            return None
        if column_type is ColumnType.TEXT or abs(int(_to_payload_value(condition.value))) >= MAX_EXACT_INTEGER:
            return undecidable(condition.column)
        return None

    return approximate(where, bound)


def _to_payload_value(value: Value) -> Any:
    if isinstance(value, bool):
        return int(value)
    return to_microseconds(value) if isinstance(value, datetime) else value


def to_conditions(where: Where) -> dict[str, Any]:
    """Return a filter of :func:`approximate_filter` in the form of Qdrant's HTTP API.

    >>> to_conditions(Compare("a", "=", 1))
    {'must': [{'key': '"a"', 'match': {'value': 1}}]}
    """
    match where:
        case And(parts):
            return {"must": [to_conditions(part) for part in parts]}
        case Or(parts):
            return {"should": [to_conditions(part) for part in parts]}
        case IsNull(column):
            return {"must": [_is_empty(column)]}
        case Not(IsNull(column)):
            return {"must_not": [_is_empty(column)]}
        case In(column, values):
            return {"must": [_is_in(column, values)]}
        case Not(In(column, values)):
            return {"must_not": [_is_in(column, values), _is_empty(column)]}
        case Compare(column, "=", value):
            return {"must": [_equals(column, value)]}
        case Compare(column, "!=", value):
            return {"must_not": [_equals(column, value), _is_empty(column)]}
        case Compare(column, operator, value):
            bound = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[operator]
            return {"must": [{"key": to_path(column), "range": {bound: _to_payload_value(value)}}]}
    raise AssertionError(where)


def _is_empty(column: str) -> dict[str, Any]:
    return {"is_empty": {"key": to_path(column)}}


def _equals(column: str, value: Value) -> dict[str, Any]:
    return {"key": to_path(column), "match": {"value": _to_payload_value(value)}}


def _is_in(column: str, values: Sequence[Value]) -> dict[str, Any]:
    return {"key": to_path(column), "match": {"any": [_to_payload_value(value) for value in values]}}
