"""A filter in Milvus's expressions. A column is a field ``c0``, ``c1``, …; ``nulls`` has the numbers of the null ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ..base import ID
from ..columns import ColumnType
from ..filters.evaluate import push_negations
from ..filters.language import And, Compare, In, IsNull, Not, Or, Value, Where

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_expression(where: Where, columns: Mapping[str, ColumnType]) -> str:
    """A bound filter; nulls match as in SQL."""
    return _part(push_negations(where), {name: place for place, name in enumerate(columns)})


def _part(where: Where, places: Mapping[str, int]) -> str:
    match where:
        case And(parts) | Or(parts):
            word = " and " if isinstance(where, And) else " or "
            return f"({word.join(_part(part, places) for part in parts)})"
        case IsNull(column):
            return 'id == ""' if column == ID else _null(column, places)
        case Not(IsNull(column)):
            return 'id != ""' if column == ID else _there(column, places)
        case In(column, values):
            return _present(column, f"{_field(column, places)} in [{', '.join(map(literal, values))}]", places)
        case Not(In(column, values)):
            return _present(column, f"{_field(column, places)} not in [{', '.join(map(literal, values))}]", places)
        case Compare(column, operator, value):
            sign = "==" if operator == "=" else operator
            return _present(column, f"{_field(column, places)} {sign} {literal(value)}", places)
    raise AssertionError(where)


def _field(column: str, places: Mapping[str, int]) -> str:
    return "id" if column == ID else f"c{places[column]}"


def _there(column: str, places: Mapping[str, int]) -> str:
    return f"(not {_null(column, places)})"


def _null(column: str, places: Mapping[str, int]) -> str:
    return f'json_contains(nulls["n"], {places[column]})'


def _present(column: str, condition: str, places: Mapping[str, int]) -> str:
    return condition if column == ID else f"({condition} and {_there(column, places)})"


def literal(value: Value) -> str:
    """A value as Milvus reads it: its texts have the escapes of JSON, its times are microseconds since 1970."""
    if isinstance(value, datetime):
        value = (value - _EPOCH) // timedelta(microseconds=1)
    return json.dumps(value, ensure_ascii=False)
