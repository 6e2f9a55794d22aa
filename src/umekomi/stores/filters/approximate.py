"""Filters that an engine can answer only in part: it gives candidates, and what it cannot decide is decided here.

:func:`loosen` makes two filters of one: ``outer`` keeps every row that matches, and others; ``inner`` keeps only rows that match,
not all of them. Where both count the same, that is the count; hits of ``outer`` are looked at one by one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..base import ID, Hit
from ..columns import ARROW_TYPES, ColumnType
from .evaluate import evaluate, without_not
from .language import And, Compare, In, IsNull, Not, Or, Where

WHOLE = 2**53
"""From here on two whole numbers may be one double, and microseconds of time too."""

_MOST = sys.float_info.max

Leaf = Compare | In
Bounds = tuple[Where, Where] | None
"""The outer and the inner filter of a comparison; None where the engine answers it exactly."""


@dataclass(frozen=True, slots=True)
class Loosened:
    """A filter without ``not`` before anything but ``in`` and ``is null``, in its two forms."""

    outer: Where
    inner: Where

    @property
    def is_exact(self) -> bool:
        """The engine answers it whole."""
        return self.outer == self.inner


def loosen(where: Where, bounds: Callable[[Leaf, bool], Bounds]) -> Loosened:
    """Both filters.

    Args:
        where: a bound filter.
        bounds: what the engine makes of a comparison; the second argument is true where ``not`` stands before it.
    """
    return _loosen(without_not(where), bounds)


def _loosen(where: Where, bounds: Callable[[Leaf, bool], Bounds]) -> Loosened:
    match where:
        case And(parts) | Or(parts):
            both = [_loosen(part, bounds) for part in parts]
            kind = type(where)
            return Loosened(kind(tuple(part.outer for part in both)), kind(tuple(part.inner for part in both)))
        case Not(In() as leaf) | (Compare() | In() as leaf):
            made = bounds(leaf, isinstance(where, Not))
            return Loosened(where, where) if made is None else Loosened(*made)
        case _:
            return Loosened(where, where)


def unknowable(column: str) -> tuple[Where, Where]:
    """A comparison of which the engine knows nothing, but that a null does not match."""
    there = Not(IsNull(column))
    return there, And((there, IsNull(column)))


def finite(value: float) -> float:
    """A number as engines keep it that have no infinite ones: the largest double of the same sign stands for infinity."""
    return max(-_MOST, min(_MOST, value))


def may_stand_for_infinity(leaf: Leaf) -> bool:
    """Whether a comparison of numbers cannot tell :func:`finite` values from infinite ones."""
    values = leaf.values if isinstance(leaf, In) else (leaf.value,)
    return any(abs(float(value)) >= _MOST for value in values)  # type: ignore[arg-type]  # bind_where saw to it


def near_enough(leaf: Leaf, *, steps: int) -> Bounds:
    """A comparison of numbers that the engine keeps to ``steps`` units in the last place.

    Equality widens to a range, and an order's bound moves.
    """
    if isinstance(leaf, In):
        return unknowable(leaf.column)
    value = float(leaf.value)  # type: ignore[arg-type]  # bind_where saw to it
    low = high = value
    for _ in range(steps):
        low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    column = leaf.column
    if not (math.isfinite(low) and math.isfinite(high)):
        return unknowable(column)
    match leaf.operator:
        case "=":
            return And((Compare(column, ">=", low), Compare(column, "<=", high))), unknowable(column)[1]
        case "!=":
            return unknowable(column)[0], Or((Compare(column, "<", low), Compare(column, ">", high)))
        case "<" | "<=":
            return Compare(column, "<=", high), Compare(column, "<", low)
        case _:
            return Compare(column, ">=", low), Compare(column, ">", high)


def matching(hits: Sequence[Hit], where: Where, columns: Mapping[str, ColumnType]) -> list[Hit]:
    """Those of the hits that a bound filter keeps."""
    if not hits:
        return []
    schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])
    table = pa.Table.from_pylist([hit.record for hit in hits], schema=schema) if columns else None
    ids = pa.array([hit.id for hit in hits], pa.string())
    table = pa.table({ID: ids}) if table is None else table.append_column(ID, ids)
    return [hit for hit, is_match in zip(hits, evaluate(where, table).to_pylist(), strict=True) if is_match]


def nearest_matching(
    nearest: Callable[[int], list[Hit]], k: int, where: Where, columns: Mapping[str, ColumnType], *, most: int = 1 << 62
) -> list[Hit]:
    """The ``k`` nearest that match: more and more candidates are asked for until there are enough or no others.

    Args:
        nearest: the candidates, at most so many, nearest first.
        k: how many hits.
        where: the bound filter.
        columns: the record's columns.
        most: more the engine does not give.
    """
    n = min(max(2 * k, k + 32), most)
    while True:
        found = nearest(n)
        hits = matching(found, where, columns)
        if len(hits) >= k or len(found) < n or n >= most:
            return hits[:k]
        n = min(4 * n, most)
