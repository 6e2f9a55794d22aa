"""What a row keeps beside its record for filters, in engines whose own types are fewer or whose texts are short.

The record is one JSON text, exact. Column number ``n`` is also an attribute ``cn``: a number, a boolean, a time as
microseconds since 1970, or a hash in a text's place, so that equality is exact for any text of any length. What is null has
none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

from ..base import ID
from ..columns import ColumnType
from .approximate import (
    WHOLE,
    Bounds,
    Leaf,
    Loosened,
    finite,
    loosen,
    may_stand_for_infinity,
    near_enough,
    unknowable,
)
from .language import In, Value, Where

KEY, NAME, RECORD = "key", "name", "record"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def row_uuid(name: str) -> UUID:
    """128 bits of a hash of an id."""
    return UUID(bytes=blake2b(name.encode(), digest_size=16).digest())


def digest(text: str) -> str:
    """What stands for a text."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def attributes_of(name: str, row: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """A row's id, record and attributes."""
    data: dict[str, Any] = {KEY: digest(name), NAME: name}
    data[RECORD] = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    for place, column in enumerate(columns):
        value = row[column]
        if value is not None:
            data[f"c{place}"] = (
                digest(value) if isinstance(value, str) else finite(value) if isinstance(value, float) else value
            )
    return data


def names_of(columns: Mapping[str, ColumnType]) -> dict[str, str]:
    """The attribute of each column, and of the id."""
    return {column: f"c{place}" for place, column in enumerate(columns)} | {ID: KEY}


def kept(value: Value) -> Any:
    """A filter's value as the attribute has it."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    return digest(value) if isinstance(value, str) else value


def loosened(where: Where, columns: Mapping[str, ColumnType], *, steps: int) -> Loosened:
    """A bound filter as far as the attributes decide it: not the order of texts, nor whole numbers past 2^53.

    Args:
        where: it.
        columns: the record's columns.
        steps: to how many units in the last place the engine keeps numbers; 0 is exactly.
    """
    kinds = {**columns, ID: ColumnType.TEXT}

    def bounds(leaf: Leaf, negated: bool) -> Bounds:
        kind = kinds[leaf.column]
        if kind is ColumnType.FLOAT and steps:
            return unknowable(leaf.column) if negated else near_enough(leaf, steps=steps)
        if kind is ColumnType.FLOAT and may_stand_for_infinity(leaf):
            return unknowable(leaf.column)
        values = leaf.values if isinstance(leaf, In) else (leaf.value,)
        if kind in (ColumnType.INTEGER, ColumnType.TIME) and any(abs(kept(value)) >= WHOLE for value in values):
            return unknowable(leaf.column)
        is_order = not isinstance(leaf, In) and leaf.operator not in ("=", "!=")
        return unknowable(leaf.column) if kind is ColumnType.TEXT and is_order else None

    return loosen(where, bounds)
