"""Attributes that a row stores for filters, in engines that lack column types or limit the length of text.

The record itself is stored exactly, as JSON. In addition, column number ``n`` becomes an attribute ``cn``: a number, a boolean, a
time in microseconds since 1970, or the hash of a text, which makes equality exact for text of any length. A null column has no
attribute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

from ..base import ID
from ..columns import ColumnType, to_microseconds
from .approximate import (
    MAX_EXACT_INTEGER,
    Approximation,
    Bounds,
    Condition,
    approximate,
    clamp_to_finite,
    get_values,
    may_be_clamped,
    undecidable,
    widen_by_ulps,
)
from .language import In, Value, Where

KEY, NAME, RECORD = "key", "name", "record"
"""Attributes for the hash of the id, the id, and the record."""


def hash_to_uuid(text: str) -> UUID:
    """Return a 128-bit BLAKE2b hash of a text as a UUID."""
    return UUID(bytes=blake2b(text.encode(), digest_size=16).digest())


def to_attribute(value: Value) -> Any:
    """Return a value as the attribute stores it."""
    if isinstance(value, datetime):
        return to_microseconds(value)
    return hash_to_uuid(value).hex if isinstance(value, str) else value


def make_attributes(row_id: str, row: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """Return the attributes of a row: its id, its record and its columns.

    Args:
        row_id: Id of the row.
        row: The record. Times are already in microseconds.
        columns: Types of the record columns.
    """
    data = {
        KEY: to_attribute(row_id),
        NAME: row_id,
        RECORD: json.dumps(row, ensure_ascii=False, separators=(",", ":")),
    }
    for number, column in enumerate(columns):
        value = row[column]
        if value is not None:
            data[f"c{number}"] = clamp_to_finite(value) if isinstance(value, float) else to_attribute(value)
    return data


def attribute_names(columns: Mapping[str, ColumnType]) -> dict[str, str]:
    """Return the name of the attribute of each column, and of the id."""
    return {column: f"c{number}" for number, column in enumerate(columns)} | {ID: KEY}


def approximate_by_attributes(where: Where, columns: Mapping[str, ColumnType], *, ulps: int) -> Approximation:
    """Return the approximation of a filter that attributes can decide.

    Attributes decide neither the order of texts nor integers above 2**53.

    Args:
        where: A bound filter.
        columns: Types of the record columns.
        ulps: Error of the numbers that the engine stores, in units in the last place. 0 means exact.
    """
    types = {**columns, ID: ColumnType.TEXT}

    def bound(condition: Condition, negated: bool) -> Bounds:
        column_type = types[condition.column]
        if column_type is ColumnType.FLOAT:
            if ulps and not negated:
                return widen_by_ulps(condition, ulps=ulps)
            is_exact = not ulps and not may_be_clamped(condition)
        elif column_type is ColumnType.TEXT:
            is_exact = isinstance(condition, In) or condition.operator in ("=", "!=")
        elif column_type in (ColumnType.INTEGER, ColumnType.TIME):
            is_exact = all(abs(to_attribute(value)) < MAX_EXACT_INTEGER for value in get_values(condition))
        else:
            is_exact = True
        return None if is_exact else undecidable(condition.column)

    return approximate(where, bound)
