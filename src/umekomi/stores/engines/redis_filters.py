"""Filters in the query language of RediSearch and in that of vector sets, and the row attributes that they compare.

The attribute ``cN`` of a row is the value of column number N: a number (times in microseconds), 1 or 0 for booleans, or
a hash of a text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..columns import ColumnType, to_microseconds
from ..filters.approximate import (
    Approximation,
    Bounds,
    Condition,
    approximate,
    clamp_to_finite,
    get_values,
    undecidable,
)
from ..filters.attributes import KEY, approximate_by_attributes, attribute_names, hash_to_uuid
from ..filters.evaluate import push_negations
from ..filters.language import And, Compare, In, IsNull, Not, Or, Value, Where

_NULL_VALUES = {ColumnType.TEXT: "", ColumnType.BOOLEAN: -1}
_MAX_LITERAL_CHARS = 40


@dataclass
class CompiledFilter:
    """A filter in the language of the server."""

    text: str = ""
    #: Values of the parameters in the text.
    params: dict[str, str] = field(default_factory=dict)


def to_search_fields(name: str, row: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """Return the fields of a hash that RediSearch indexes. The field ``nulls`` lists the attributes that are null."""
    data: dict[str, Any] = {KEY: hash_to_uuid(name).hex}
    nulls = []
    for index, column in enumerate(columns):
        if row[column] is None:
            nulls.append(f"c{index}")
        else:
            data[f"c{index}"] = _to_attribute(row[column])
    return {**data, "nulls": ",".join(nulls) or "-"}


def to_set_attributes(name: str, row: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """Return the attributes of an element of a vector set. The attribute ``pcN`` is 0 if column N is null, else 1."""
    data: dict[str, Any] = {KEY: hash_to_uuid(name).hex, f"p{KEY}": 1}
    for index, (column, column_type) in enumerate(columns.items()):
        value = row[column]
        data[f"pc{index}"] = 0 if value is None else 1
        # A filter is false for every element that lacks one of its attributes.
        data[f"c{index}"] = _NULL_VALUES.get(column_type, 0) if value is None else _to_attribute(value)
    return data


def _to_attribute(value: Any) -> Any:
    if isinstance(value, str):
        return hash_to_uuid(value).hex
    # JSON has no infinity, and an attribute that the server cannot parse hides the row from all filters.
    return int(value) if isinstance(value, bool) else clamp_to_finite(value) if isinstance(value, float) else value


def approximate_filter(where: Where, columns: Mapping[str, ColumnType], *, has_search: bool) -> Approximation:
    """Return the filters that the server can evaluate: not the order of text, and not integers above 2^53.

    Vector sets also do not support numbers whose decimal form is long.
    """
    approximation = approximate_by_attributes(where, columns, ulps=0)
    if has_search:
        return approximation

    def bound(condition: Condition, negated: bool) -> Bounds:
        is_short = all(
            len(_to_decimal(value)) <= _MAX_LITERAL_CHARS
            for value in get_values(condition)
            if not isinstance(value, (str, bool))
        )
        return None if is_short else undecidable(condition.column)

    return Approximation(
        approximate(approximation.looser, bound).looser, approximate(approximation.stricter, bound).stricter
    )


def _to_number(value: Value) -> int | float:
    if isinstance(value, datetime):
        return to_microseconds(value)
    assert not isinstance(value, str)  # noqa: S101 - the compiler passes numbers only
    return value


def _to_decimal(value: Value) -> str:
    """Return a number without an exponent, which vector sets do not support."""
    return format(Decimal(repr(_to_number(value))), "f")


class _FilterCompiler(ABC):
    """The structure that both languages share."""

    def __init__(self, columns: Mapping[str, ColumnType]) -> None:
        self._fields = attribute_names(columns)
        self._params: dict[str, str] = {}

    def compile(self, where: Where) -> CompiledFilter:
        """Compile a filter of :func:`approximate_filter`."""
        return CompiledFilter(self._compile(push_negations(where)), self._params)

    def _compile(self, where: Where) -> str:
        match where:
            case And(parts) | Or(parts):
                return self._join([self._compile(part) for part in parts], is_and=isinstance(where, And))
            case IsNull(column):
                return self._is_null(self._fields[column])
            case Not(IsNull(column)):
                return self._is_not_null(self._fields[column])
            case In(column, values):
                return self._join([self._equals(self._fields[column], value) for value in values], is_and=False)
            case Not(In(column, values)):
                return self._join([self._differs(self._fields[column], value) for value in values], is_and=True)
            case Compare(column, "=", value):
                return self._equals(self._fields[column], value)
            case Compare(column, "!=", value):
                return self._differs(self._fields[column], value)
            case Compare(column, operator, value):
                return self._compare(self._fields[column], operator, value)
        raise AssertionError(where)

    def _equals(self, name: str, value: Value) -> str:
        if isinstance(value, str):
            return self._has_tag(name, hash_to_uuid(value).hex)
        return self._has_tag(name, str(int(value))) if isinstance(value, bool) else self._compare(name, "=", value)

    def _differs(self, name: str, value: Value) -> str:
        return self._join([self._is_not_null(name), self._negate(self._equals(name, value))], is_and=True)

    @abstractmethod
    def _join(self, parts: list[str], *, is_and: bool) -> str: ...

    @abstractmethod
    def _negate(self, part: str) -> str: ...

    @abstractmethod
    def _is_null(self, name: str) -> str: ...

    @abstractmethod
    def _is_not_null(self, name: str) -> str: ...

    @abstractmethod
    def _has_tag(self, name: str, value: str) -> str: ...

    @abstractmethod
    def _compare(self, name: str, operator: str, value: Value) -> str: ...


class _SearchCompiler(_FilterCompiler):
    """The language of FT.SEARCH, dialect 2. A space means "and", a vertical bar means "or"."""

    def _join(self, parts: list[str], *, is_and: bool) -> str:
        return f"({(' ' if is_and else '|').join(parts)})"

    def _negate(self, part: str) -> str:
        return f"(-{part})"

    def _is_null(self, name: str) -> str:
        return f"@nulls:{{{name}}}"

    def _is_not_null(self, name: str) -> str:
        return f"(-@nulls:{{{name}}})"

    def _has_tag(self, name: str, value: str) -> str:
        return f"@{name}:{{{value}}}"

    def _compare(self, name: str, operator: str, value: Value) -> str:
        param = f"n{len(self._params)}"
        self._params[param] = repr(_to_number(value))
        ranges = {"=": "${0} ${0}", "<": "-inf (${0}", "<=": "-inf ${0}", ">": "(${0} +inf", ">=": "${0} +inf"}
        return f"@{name}:[{ranges[operator].format(param)}]"


class _SetCompiler(_FilterCompiler):
    """The language of VSIM's FILTER."""

    def _join(self, parts: list[str], *, is_and: bool) -> str:
        return f"({(' and ' if is_and else ' or ').join(parts)})"

    def _negate(self, part: str) -> str:
        return f"(not {part})"

    def _is_null(self, name: str) -> str:
        return f"(.p{name} == 0)"

    def _is_not_null(self, name: str) -> str:
        return f"(.p{name} == 1)"

    def _has_tag(self, name: str, value: str) -> str:
        # Booleans are stored as numbers, texts as their hashes.
        return f"(.{name} == {value})" if len(value) == 1 else f'(.{name} == "{value}")'

    def _compare(self, name: str, operator: str, value: Value) -> str:
        symbol = "==" if operator == "=" else operator
        return f"(.p{name} == 1 and .{name} {symbol} {_to_decimal(value)})"


def compile_filter(where: Where, columns: Mapping[str, ColumnType], *, has_search: bool) -> CompiledFilter:
    """Compile a filter that :func:`approximate_filter` returned for FT.SEARCH, or else for VSIM."""
    return (_SearchCompiler if has_search else _SetCompiler)(columns).compile(where)
