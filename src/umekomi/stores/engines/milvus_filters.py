"""Filters as expressions of Milvus. The field ``nulls`` of a row lists the numbers of the columns that are null."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from ..base import ID
from ..columns import to_microseconds
from ..filters.evaluate import push_negations
from ..filters.language import And, Compare, In, IsNull, Not, Or, Value, Where


def to_expression(where: Where, fields: Mapping[str, str]) -> str:
    """Return a bound filter as an expression, in which nulls match as in SQL.

    Args:
        where: Bound filter.
        fields: Field of each column, in the order of the columns.
    """
    return _MilvusFilterCompiler(fields).compile(push_negations(where))


class _MilvusFilterCompiler:
    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = {**fields, ID: "id"}
        self._numbers = {column: number for number, column in enumerate(fields)}

    def compile(self, where: Where) -> str:
        match where:
            case And(parts) | Or(parts):
                word = " and " if isinstance(where, And) else " or "
                return f"({word.join(map(self.compile, parts))})"
            case IsNull(column):
                return 'id == ""' if column == ID else self._is_null(column)
            case Not(IsNull(column)):
                return 'id != ""' if column == ID else f"(not {self._is_null(column)})"
            case In(column, values) | Not(In(column, values)):
                word = "not in" if isinstance(where, Not) else "in"
                return self._compare(column, word, f"[{', '.join(map(to_literal, values))}]")
            case Compare(column, operator, value):
                return self._compare(column, "==" if operator == "=" else operator, to_literal(value))
        raise AssertionError(where)

    def _is_null(self, column: str) -> str:
        return f'json_contains(nulls["n"], {self._numbers[column]})'

    def _compare(self, column: str, operator: str, value: str) -> str:
        condition = f"{self._fields[column]} {operator} {value}"
        return condition if column == ID else f"({condition} and (not {self._is_null(column)}))"


def to_literal(value: Value) -> str:
    """Return a value as a literal: text with the escapes of JSON, and times as microseconds since 1970."""
    return json.dumps(to_microseconds(value) if isinstance(value, datetime) else value, ensure_ascii=False)
