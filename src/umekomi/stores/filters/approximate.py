"""Approximate filters for engines that cannot decide every condition exactly.

:func:`approximate` turns a filter into two: ``looser`` matches every row that the filter matches, and possibly more; ``stricter``
matches only rows that the filter matches, but possibly fewer. If both count the same number of rows, that number is exact.
Otherwise the hits of ``looser`` are candidates, which are checked against the filter in this process.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..base import ID, Hit
from ..columns import ARROW_TYPES, ColumnType
from .evaluate import evaluate, push_negations
from .language import And, Compare, In, IsNull, Not, Or, Value, Where

MAX_EXACT_INTEGER = 2**53
"""From this value on, float64 does not represent every integer (or every microsecond of a time)."""

_MAX_FLOAT = sys.float_info.max

Condition = Compare | In
Bounds = tuple[Where, Where] | None
"""The looser and the stricter filter for a condition. None if the engine decides the condition exactly."""


@dataclass(frozen=True, slots=True)
class Approximation:
    """Two filters that enclose a filter. In both, ``not`` occurs only before ``in`` and ``is null``."""

    #: Matches every row that the filter matches.
    looser: Where
    #: Matches only rows that the filter matches.
    stricter: Where

    @property
    def is_exact(self) -> bool:
        """Whether the engine can evaluate the filter exactly."""
        return self.looser == self.stricter


def approximate(where: Where, bound: Callable[[Condition, bool], Bounds]) -> Approximation:
    """Return the looser and the stricter form of a filter.

    Args:
        where: A bound filter.
        bound: Function that returns the bounds of a condition. Its second argument is whether the condition is negated.
    """
    return _approximate(push_negations(where), bound)


def _approximate(where: Where, bound: Callable[[Condition, bool], Bounds]) -> Approximation:
    match where:
        case And(parts) | Or(parts):
            node = type(where)
            pairs = [_approximate(part, bound) for part in parts]
            return Approximation(
                node(tuple(pair.looser for pair in pairs)), node(tuple(pair.stricter for pair in pairs))
            )
        case Not(In() as condition) | (Compare() | In() as condition):
            bounds = bound(condition, isinstance(where, Not))
            return Approximation(where, where) if bounds is None else Approximation(*bounds)
        case _:
            return Approximation(where, where)


def undecidable(column: str) -> tuple[Where, Where]:
    """Return the bounds of a condition that the engine cannot evaluate: every row that is not null, and no row."""
    not_null = Not(IsNull(column))
    return not_null, And((not_null, IsNull(column)))


def clamp_to_finite(value: float) -> float:
    """Return a number with infinity replaced by the largest float64, for engines that cannot store infinity."""
    return max(-_MAX_FLOAT, min(_MAX_FLOAT, value))


def get_values(condition: Condition) -> tuple[Value, ...]:
    """Return the values that a condition compares a column with."""
    return condition.values if isinstance(condition, In) else (condition.value,)


def may_be_clamped(condition: Condition) -> bool:
    """Return whether a numeric condition cannot distinguish clamped values from infinite ones."""
    return any(abs(float(value)) >= _MAX_FLOAT for value in get_values(condition))  # type: ignore[arg-type]  # bind_where checked it


def widen_by_ulps(condition: Condition, *, ulps: int) -> Bounds:
    """Return the bounds of a numeric condition in an engine that stores numbers with a small error.

    Equality becomes a range, and the limit of an inequality moves.

    Args:
        condition: A condition on a column of floating-point numbers.
        ulps: Error of stored numbers, in units in the last place.
    """
    column = condition.column
    if isinstance(condition, In):
        return undecidable(column)
    low = high = float(condition.value)  # type: ignore[arg-type]  # bind_where checked it
    for _ in range(ulps):
        low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    if not (math.isfinite(low) and math.isfinite(high)):
        return undecidable(column)
    not_null, nothing = undecidable(column)
    match condition.operator:
        case "=":
            return And((Compare(column, ">=", low), Compare(column, "<=", high))), nothing
        case "!=":
            return not_null, Or((Compare(column, "<", low), Compare(column, ">", high)))
        case "<" | "<=":
            return Compare(column, "<=", high), Compare(column, "<", low)
        case _:
            return Compare(column, ">=", low), Compare(column, ">", high)


def filter_hits(hits: Sequence[Hit], where: Where, columns: Mapping[str, ColumnType]) -> list[Hit]:
    """Return the hits that match a bound filter.

    Args:
        hits: Hits with their complete records.
        where: A bound filter.
        columns: Types of the record columns.
    """
    if not hits:
        return []
    schema = pa.schema([(name, ARROW_TYPES[column_type]) for name, column_type in columns.items()])
    table = pa.Table.from_pylist([hit.record for hit in hits], schema=schema) if columns else None
    ids = pa.array([hit.id for hit in hits], pa.string())
    table = pa.table({ID: ids}) if table is None else table.append_column(ID, ids)
    return [hit for hit, is_match in zip(hits, evaluate(where, table).to_pylist(), strict=True) if is_match]


def search_candidates(
    search: Callable[[int], list[Hit]],
    k: int,
    where: Where,
    columns: Mapping[str, ColumnType],
    *,
    max_candidates: int = 1 << 62,
) -> list[Hit]:
    """Return the ``k`` nearest rows that match, requesting more candidates until there are enough or no more.

    Args:
        search: Function that returns at most the given number of candidates, nearest first.
        k: Maximum number of hits.
        where: A bound filter.
        columns: Types of the record columns.
        max_candidates: Maximum number of candidates that the engine returns.
    """
    n = min(max(2 * k, k + 32), max_candidates)
    while True:
        candidates = search(n)
        hits = filter_hits(candidates, where, columns)
        if len(hits) >= k or len(candidates) < n or n >= max_candidates:
            return hits[:k]
        n = min(4 * n, max_candidates)
