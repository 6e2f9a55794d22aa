"""A row as a point of Qdrant, and a filter as Qdrant's: for the server and for the engine in process alike.

A point's id is the first half of a hash of the row's id, which makes any text an id. The payload has the id and the columns under
their own names, times as microseconds since 1970. What is null is left out.

Measured with Qdrant's own engine (edge 0.9): a number that needs 17 digits comes back off by one in the last place, one in six of
such. So those are kept as text beside the number, and a comparison with a number is decided here where it is so close. Its
``MatchValue(True)`` finds nothing: booleans are kept as 1 and 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

from ..base import ID
from ..columns import ColumnType
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

_EXACT = "_exact"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = re.compile(r"-?\d{1,15}(\.0)?|-?0\.\d{1,14}|-?(?=[\d.]{3,16}$)\d+\.\d+")

INDEXES = {
    ColumnType.TEXT: "keyword",
    ColumnType.INTEGER: "integer",
    ColumnType.FLOAT: "float",
    ColumnType.BOOLEAN: "integer",
    ColumnType.TIME: "integer",
}
"""The kind of index on a column."""


def point_id(name: str) -> UUID:
    """The id of a row's point."""
    return UUID(bytes=blake2b(name.encode(), digest_size=16).digest())


def field(column: str) -> str:
    """A column's name in the payload: a path takes no quote, and names with ``_`` first are ours."""
    return re.sub(r'^_|^$|["\\%]', lambda match: f"%{ord(match.group() or chr(0)):02X}", column)


def path(column: str) -> str:
    """Where a filter finds a column."""
    return ID if column == ID else f'"{field(column)}"'


def payload_of(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's payload."""
    there = {
        field(column): int(value) if isinstance(value, bool) else value
        for column, value in row.items()
        if value is not None
    }
    long = {
        column: repr(value)
        for column, value in there.items()
        if isinstance(value, float) and not _SHORT.fullmatch(repr(value))
    }
    # JSON has no infinite numbers: the text beside the number has them.
    plain = {column: clamp_to_finite(value) if isinstance(value, float) else value for column, value in there.items()}
    return {ID: name, **plain, **({_EXACT: long} if long else {})}


def row_of(payload: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """The reverse of :func:`payload_of`, without the id."""
    exact = payload.get(_EXACT, {})
    row = {}
    for column, kind in columns.items():
        name = field(column)
        value = payload.get(name)
        if kind is ColumnType.FLOAT and value is not None:
            value = float(exact.get(name, value))
        row[column] = bool(value) if kind is ColumnType.BOOLEAN and value is not None else value
    return row


def loosened(where: Where, columns: Mapping[str, ColumnType]) -> Approximation:
    """A bound filter as far as Qdrant can decide it: not the order of texts, nor of numbers to the last place."""
    kinds = {**columns, ID: ColumnType.TEXT}

    def bounds(leaf: Condition, negated: bool) -> Bounds:
        kind = kinds[leaf.column]
        if kind is ColumnType.FLOAT:
            return undecidable(leaf.column) if negated else widen_by_ulps(leaf, ulps=2)
        if isinstance(leaf, In) or leaf.operator in ("=", "!="):
            return None
        if kind is ColumnType.TEXT or abs(int(plain(leaf.value))) >= MAX_EXACT_INTEGER:
            return undecidable(leaf.column)
        return None

    return approximate(where, bounds)


def plain(value: Value) -> Any:
    """A value as the payload has it."""
    if isinstance(value, bool):
        return int(value)
    return (value - _EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


def conditions(where: Where) -> dict[str, Any]:
    """A loosened filter as Qdrant's own, in the form of its HTTP API.

    >>> conditions(Compare("a", "=", 1))
    {'must': [{'key': '"a"', 'match': {'value': 1}}]}
    """
    match where:
        case And(parts):
            return {"must": [conditions(part) for part in parts]}
        case Or(parts):
            return {"should": [conditions(part) for part in parts]}
        case IsNull(column):
            return {"must": [_empty(column)]}
        case Not(IsNull(column)):
            return {"must_not": [_empty(column)]}
        case In(column, values):
            return {"must": [_among(column, values)]}
        case Not(In(column, values)):
            return {"must_not": [_among(column, values), _empty(column)]}
        case Compare(column, "=", value):
            return {"must": [{"key": path(column), "match": {"value": plain(value)}}]}
        case Compare(column, "!=", value):
            return {"must_not": [{"key": path(column), "match": {"value": plain(value)}}, _empty(column)]}
        case Compare(column, operator, value):
            name = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[operator]
            return {"must": [{"key": path(column), "range": {name: plain(value)}}]}
    raise AssertionError(where)


def _empty(column: str) -> dict[str, Any]:
    return {"is_empty": {"key": path(column)}}


def _among(column: str, values: Sequence[Value]) -> dict[str, Any]:
    return {"key": path(column), "match": {"any": [plain(value) for value in values]}}
