"""A filter in RediSearch's language and in that of vector sets, and what a row must hold for them.

A row has for its column number ``n`` a field ``cn``: a number (times in microseconds), ``1`` or ``0``, or a hash of a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from ..base import ID
from ..columns import ColumnType
from ..filters.approximate import clamp_to_finite
from ..filters.evaluate import push_negations
from ..filters.language import And, Compare, In, IsNull, Not, Or, Value, Where

ID_FIELD = "key"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT = {ColumnType.TEXT: "", ColumnType.BOOLEAN: -1}
_LONGEST_LITERAL = 40
_WHOLE = 2**53
"""From here on two whole numbers may be one double."""


@dataclass
class TextFilter:
    """A filter as the engine reads it. Where it is not exact it keeps every row that matches, and others."""

    text: str = ""
    params: dict[str, float | str] = field(default_factory=dict)
    is_exact: bool = True


def digest(text: str) -> str:
    """What stands for a text: 128 bits in hexadecimal."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def fields(name: str, row: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """The fields of a hash that RediSearch indexes."""
    data: dict[str, Any] = {ID_FIELD: digest(name)}
    nulls = []
    for place, (column, kind) in enumerate(columns.items()):
        value = row[column]
        if value is None:
            nulls.append(f"c{place}")
        else:
            data[f"c{place}"] = _kept(value, kind)
    return {**data, "nulls": ",".join(nulls) or "-"}


def attributes(name: str, row: Mapping[str, Any], columns: Mapping[str, ColumnType]) -> dict[str, Any]:
    """The attributes of an element of a vector set; ``pn`` says whether column ``n`` is there."""
    data: dict[str, Any] = {ID_FIELD: digest(name), f"p{ID_FIELD}": 1}
    for place, (column, kind) in enumerate(columns.items()):
        value = row[column]
        data[f"pc{place}"] = 0 if value is None else 1
        # One attribute that is not there makes all of a filter false.
        data[f"c{place}"] = _ABSENT.get(kind, 0) if value is None else _kept(value, kind)
    return data


def _kept(value: Any, kind: ColumnType) -> Any:
    if kind is ColumnType.TEXT:
        return digest(value)
    # JSON has no infinite numbers, and one attribute that cannot be read hides the row from all filters.
    return int(value) if kind is ColumnType.BOOLEAN else clamp_to_finite(value) if kind is ColumnType.FLOAT else value


def _number(value: Value) -> int | float:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    assert not isinstance(value, str)  # noqa: S101 - bind_where saw to it
    return value


def _is_number(value: Value) -> bool:
    return not isinstance(value, str | bool)


class _Compiler:
    """What both languages have in common."""

    def __init__(self, columns: Mapping[str, ColumnType]) -> None:
        self._fields = {column: f"c{place}" for place, column in enumerate(columns)} | {ID: ID_FIELD}
        self.made = TextFilter()

    def compile(self, where: Where) -> TextFilter:
        self.made.text = self._part(push_negations(where))
        return self.made

    def _part(self, where: Where) -> str:
        match where:
            case And(parts) | Or(parts):
                return self._joined([self._part(part) for part in parts], every=isinstance(where, And))
            case IsNull(column):
                return self._null(self._fields[column])
            case Not(IsNull(column)):
                return self._there(self._fields[column])
            case In(column, values):
                return self._joined([self._equal(self._fields[column], value) for value in values], every=False)
            case Not(In(column, values)):
                unlike = [self._unlike(self._fields[column], value) for value in values]
                return self._joined(unlike, every=True)
            case Compare(column, "=", value):
                return self._equal(self._fields[column], value)
            case Compare(column, "!=", value):
                return self._unlike(self._fields[column], value)
            case Compare(column, operator, value):
                return self._ordered(self._fields[column], operator, value)
        raise AssertionError(where)

    def _equal(self, name: str, value: Value) -> str:
        if _is_number(value):
            if abs(_number(value)) >= _WHOLE:
                self.made.is_exact = False
            return self._number_is(name, _number(value))
        return self._text_is(name, digest(value) if isinstance(value, str) else str(int(bool(value))))

    def _unlike(self, name: str, value: Value) -> str:
        if _is_number(value) and abs(_number(value)) >= _WHOLE:
            self.made.is_exact = False
            return self._there(name)
        equal = self._equal(name, value)
        if not self.made.is_exact:
            # What is looser than equality must not be negated.
            return self._there(name)
        return self._joined([self._there(name), self._negated(equal)], every=True)

    def _ordered(self, name: str, operator: str, value: Value) -> str:
        if not _is_number(value):
            self.made.is_exact = False
            return self._there(name)
        number = _number(value)
        if abs(number) >= _WHOLE:
            self.made.is_exact = False
            operator = operator[0] + "="
        return self._compared(name, operator, number)

    def _joined(self, parts: list[str], *, every: bool) -> str:
        raise NotImplementedError

    def _negated(self, part: str) -> str:
        raise NotImplementedError

    def _null(self, name: str) -> str:
        raise NotImplementedError

    def _there(self, name: str) -> str:
        raise NotImplementedError

    def _number_is(self, name: str, value: float) -> str:
        raise NotImplementedError

    def _text_is(self, name: str, value: str) -> str:
        raise NotImplementedError

    def _compared(self, name: str, operator: str, value: float) -> str:
        raise NotImplementedError


class _Search(_Compiler):
    """The language of FT.SEARCH, dialect 2. A space joins what must all hold, ``|`` what may."""

    def _joined(self, parts: list[str], *, every: bool) -> str:
        return f"({(' ' if every else '|').join(parts)})"

    def _negated(self, part: str) -> str:
        return f"(-{part})"

    def _null(self, name: str) -> str:
        return f"@nulls:{{{name}}}"

    def _there(self, name: str) -> str:
        return f"(-@nulls:{{{name}}})"

    def _number_is(self, name: str, value: float) -> str:
        bound = self._param(value)
        return f"@{name}:[{bound} {bound}]"

    def _text_is(self, name: str, value: str) -> str:
        return f"@{name}:{{{value}}}"

    def _compared(self, name: str, operator: str, value: float) -> str:
        bound = self._param(value)
        outside = "" if operator.endswith("=") else "("
        return f"@{name}:[-inf {outside}{bound}]" if operator[0] == "<" else f"@{name}:[{outside}{bound} +inf]"

    def _param(self, value: float) -> str:
        name = f"n{len(self.made.params)}"
        self.made.params[name] = repr(value)
        return f"${name}"


class _Set(_Compiler):
    """The language of VSIM's FILTER."""

    def _joined(self, parts: list[str], *, every: bool) -> str:
        return f"({(' and ' if every else ' or ').join(parts)})"

    def _negated(self, part: str) -> str:
        return f"(not {part})"

    def _null(self, name: str) -> str:
        return f"(.p{name} == 0)"

    def _there(self, name: str) -> str:
        return f"(.p{name} == 1)"

    def _number_is(self, name: str, value: float) -> str:
        return self._compared(name, "==", value)

    def _text_is(self, name: str, value: str) -> str:
        # Truth is kept as a number, a text as its hash.
        return f"(.{name} == {value})" if len(value) == 1 else f'(.{name} == "{value}")'

    def _compared(self, name: str, operator: str, value: float) -> str:
        # It reads no exponents, and only short numbers.
        literal = format(Decimal(repr(value)), "f")
        if len(literal) > _LONGEST_LITERAL:
            self.made.is_exact = False
            return self._there(name)
        return f"(.p{name} == 1 and .{name} {operator} {literal})"


def search_filter(where: Where, columns: Mapping[str, ColumnType]) -> TextFilter:
    """A bound filter for FT.SEARCH."""
    return _Search(columns).compile(where)


def set_filter(where: Where, columns: Mapping[str, ColumnType]) -> TextFilter:
    """A bound filter for VSIM."""
    return _Set(columns).compile(where)
