"""The language of ``--where``: one for every store, compiled to each engine's own (in ``compiled.py``).

::

    Score >= 4 and (Summary = 'Great' or not ProductId in ('B1', 'B2')) and "Review date" is not null

Operators are ``=  !=  <  <=  >  >=  in (…)  not in (…)  is null  is not null  and  or  not`` and parentheses. A column is a
bare word or in double quotes; a value is text in single quotes (a quote in it doubled), a number, ``true`` or ``false``.
Text beside a column of times is an ISO 8601 time, in UTC where it names no zone. Text compares by its code points.

A comparison with null is unknown, as in SQL, and ``not`` of it is too: only ``is null`` finds it.

An expression is used in two steps: :func:`parse_where` (its syntax) and :func:`bind_where` (the columns that are there).
What the second gives leaves nothing for an engine to decide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ...errors import FilterError
from ..columns import ColumnType

MAX_DEPTH = 100
_RANGES = {ColumnType.INTEGER: (-(2**63), 2**63 - 1), ColumnType.UNSIGNED: (0, 2**64 - 1)}

Value = str | int | float | bool | datetime


@dataclass(frozen=True, slots=True)
class Compare:
    """``column operator value``; the operator is one of ``=  !=  <  <=  >  >=``."""

    column: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """``column in (values)``."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """``column is null``: always true or false."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """``not part``."""

    part: Where


@dataclass(frozen=True, slots=True)
class And:
    """Every part."""

    parts: tuple[Where, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any part."""

    parts: tuple[Where, ...]


Where = Compare | In | IsNull | Not | And | Or

_TOKEN = re.compile(
    r"""(?P<space>[\s\u3000\u00a0]+)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
    |(?P<word>[^\W\d]\w*)
    |(?P<operator><=|>=|!=|<>|==|=|<|>)
    |(?P<mark>[(),])""",
    re.VERBOSE | re.ASCII,
)
_WORD = re.compile(r"[^\W\d]\w*")  # as above, in any script
_KEYWORDS = ("and", "or", "not", "in", "is", "null", "true", "false")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = 0
    while place < len(source):
        match = _WORD.match(source, place)
        kind = "word"
        if match is None:
            match = _TOKEN.match(source, place)
            kind = str(match.lastgroup) if match else ""
        if match is None:
            raise _unreadable(source, place)
        text = match.group()
        if kind == "word" and text.lower() in _KEYWORDS:
            kind, text = "keyword", text.lower()
        if kind != "space":
            tokens.append(_Token(kind, text, place + 1))
        place = match.end()
    tokens.append(_Token("end", "", len(source) + 1))
    return tokens


def _unreadable(source: str, place: int) -> FilterError:
    if source[place] in "'\"":
        return FilterError(
            f"The filter's quote at character {place + 1} is never closed; close it with {source[place]}."
        )
    word = (source[place:].split() or [source[place]])[0][:20]
    return FilterError(
        f"The filter cannot be read at {word!r} (character {place + 1}); put text in 'single' quotes and an unusual "
        'column name in "double" ones.'
    )


def parse_where(text: str) -> Where:
    """Read an expression; nothing is known of the columns yet.

    >>> parse_where("Score >= 4")
    Compare(column='Score', operator='>=', value=4)

    Raises:
        FilterError: it is not a good expression; the message says at which character, counted from 1.
    """
    return _Parser(text).whole()


class _Parser:
    """Recursive descent: ``or`` binds loosest, then ``and``, then ``not``."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._place = 0
        self._depth = 0

    @property
    def _token(self) -> _Token:
        return self._tokens[self._place]

    def whole(self) -> Where:
        if self._token.kind == "end":
            raise FilterError("The filter is empty; write it like: Score >= 4 and Summary != 'Bad'.")
        tree = self._either()
        if self._token.kind != "end":
            raise self._wrong("'and', 'or' or its end")
        return tree

    def _either(self) -> Where:
        return self._joined("or", self._both, Or)

    def _both(self) -> Where:
        return self._joined("and", self._negated, And)

    def _joined(self, word: str, part: Callable[[], Where], kind: type[And] | type[Or]) -> Where:
        parts = [part()]
        while self._takes(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _negated(self) -> Where:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(f"The filter is nested more than {MAX_DEPTH} deep; simplify it.")
        if self._takes("not"):
            tree: Where = Not(self._negated())
        elif self._takes("("):
            tree = self._either()
            self._demand(")")
        else:
            tree = self._condition()
        self._depth -= 1
        return tree

    def _condition(self) -> Where:
        column = self._column()
        if self._takes("is"):
            negated = self._takes("not")
            self._demand("null")
            return Not(IsNull(column)) if negated else IsNull(column)
        negated = self._takes("not")
        if self._takes("in"):
            self._demand("(")
            values = [self._value()]
            while self._takes(","):
                values.append(self._value())
            self._demand(")")
            return Not(In(column, tuple(values))) if negated else In(column, tuple(values))
        if negated or self._token.kind != "operator":
            raise self._wrong("a comparison (=, !=, <, <=, >, >=), 'in' or 'is'")
        operator = {"==": "=", "<>": "!="}.get(self._token.text, self._token.text)
        self._place += 1
        return Compare(column, operator, self._value())

    def _column(self) -> str:
        token = self._token
        if token.kind not in ("word", "quoted"):
            raise self._wrong("a column")
        self._place += 1
        return token.text[1:-1].replace('""', '"') if token.kind == "quoted" else token.text

    def _value(self) -> Value:
        token = self._token
        if token.kind == "keyword" and token.text == "null":
            raise FilterError(f"The filter compares with null at character {token.position}; write 'is null'.")
        if token.kind not in ("text", "number") and token.text not in ("true", "false"):
            raise self._wrong("a value ('text' in single quotes, a number, true or false)")
        self._place += 1
        if token.kind == "text":
            return token.text[1:-1].replace("''", "'")
        return token.text == "true" if token.kind == "keyword" else _number(token)

    def _takes(self, wanted: str) -> bool:
        found = self._token.kind in ("keyword", "mark") and self._token.text == wanted
        self._place += found
        return found

    def _demand(self, wanted: str) -> None:
        if not self._takes(wanted):
            raise self._wrong(f"{wanted!r}")

    def _wrong(self, wanted: str) -> FilterError:
        token = self._token
        found = "its end" if token.kind == "end" else f"{token.text!r} (character {token.position})"
        return FilterError(f"The filter needs {wanted} at {found}.")


def _number(token: _Token) -> int | float:
    # Checked by its length first: Python refuses to read very long whole numbers.
    if len(token.text) < 400:
        if token.text.lstrip("+-").isdigit():
            return int(token.text)
        number = float(token.text)
        if math.isfinite(number):
            return number
    raise FilterError(f"The filter's number at character {token.position} is too large for any column.")


def bind_where(where: Where, columns: Mapping[str, ColumnType]) -> Where:
    """The same filter with each literal of its column's type: str, int, float, bool or a UTC datetime.

    Raises:
        FilterError: a column is not there, or is compared with a value of another type.
    """
    match where:
        case And(parts) | Or(parts):
            return type(where)(tuple(bind_where(part, columns) for part in parts))
        case Not(part):
            return Not(bind_where(part, columns))
        case IsNull(column):
            _kind(column, columns)
            return where
        case In(column, values):
            kind = _kind(column, columns)
            bound = tuple(_literal(column, value, kind) for value in values)
            if kind in _RANGES:
                return _among_integers(column, bound, kind)
            return In(column, bound)
        case Compare(column, operator, value):
            kind = _kind(column, columns)
            literal = _literal(column, value, kind)
            if kind is ColumnType.BOOLEAN and operator not in ("=", "!="):
                raise FilterError(f"The column {column!r} holds true or false; compare it with = or !=.")
            if kind in _RANGES and isinstance(literal, int | float):
                return _compare_integer(column, operator, literal, kind)
            return Compare(column, operator, literal)


def _kind(column: str, columns: Mapping[str, ColumnType]) -> ColumnType:
    if column not in columns:
        raise FilterError(f"The filter names the column {column!r}; the columns are {', '.join(columns) or 'none'}.")
    return columns[column]


_ADVICE = {
    ColumnType.TEXT: "put the value in single quotes",
    ColumnType.INTEGER: "write a number without quotes",
    ColumnType.UNSIGNED: "write a number without quotes",
    ColumnType.FLOAT: "write a number without quotes",
    ColumnType.BOOLEAN: "write true or false without quotes",
    ColumnType.TIME: "write a time like '2024-01-31' or '2024-01-31T12:00:00Z'",
}


def _literal(column: str, value: Value, kind: ColumnType) -> Value:
    if kind is ColumnType.TIME and isinstance(value, str):
        try:
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise FilterError(f"{value!r} is not a time; {_ADVICE[kind]}.") from error
    if isinstance(value, bool):
        fits = kind is ColumnType.BOOLEAN
    else:
        fits = (
            kind is ColumnType.TEXT
            if isinstance(value, str)
            else kind in (ColumnType.INTEGER, ColumnType.UNSIGNED, ColumnType.FLOAT)
        )
    if not fits:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise FilterError(f"The column {column!r} holds {kind}; it cannot be compared with {shown}: {_ADVICE[kind]}.")
    if kind is ColumnType.FLOAT and isinstance(value, int):
        try:
            return float(value)
        except OverflowError as error:
            raise FilterError(f"The filter's number beside {column!r} is too large for any column.") from error
    return value


_LEAST = -(2**63)
"""The least 64-bit integer. No filter contains it: many parsers read its digits as a number that is too large, then negate it."""


def _among_integers(column: str, values: tuple[Value, ...], kind: ColumnType) -> Where:
    lowest, highest = _RANGES[kind]
    whole = tuple(int(v) for v in values if isinstance(v, int | float) and v == int(v) and lowest <= v <= highest)
    others = tuple(v for v in whole if v != _LEAST)
    parts: list[Where] = [In(column, others)] if others else []
    if len(others) < len(whole):
        parts.append(Compare(column, "<", _LEAST + 1))
    return Or(tuple(parts)) if len(parts) > 1 else parts[0] if parts else _never(column)


def _compare_integer(column: str, operator: str, value: int | float, kind: ColumnType) -> Where:
    """Engines differ on ``whole = 1.5`` and on numbers past 64 bits: here both become comparisons they agree on."""
    low, high = math.floor(value), math.ceil(value)
    lowest, highest = _RANGES[kind]
    if low < lowest or high > highest:
        beyond = (">", ">=") if high > highest else ("<", "<=")
        return _never(column) if operator in ("=", *beyond) else _always(column)
    if low == _LEAST:
        if operator in ("<", ">="):
            return _never(column) if operator == "<" else _always(column)
        return Compare(column, "<" if operator in ("=", "<=") else ">=", _LEAST + 1)
    if low == high:
        return Compare(column, operator, low)
    if operator in ("=", "!="):
        return _never(column) if operator == "=" else _always(column)
    return Compare(column, "<=", low) if operator in ("<", "<=") else Compare(column, ">=", high)


def _never(column: str) -> Where:
    """False for every number and unknown for null, as a comparison must be."""
    return And((Compare(column, "<", 0), Compare(column, ">=", 0)))


def _always(column: str) -> Where:
    return Or((Compare(column, "<", 0), Compare(column, ">=", 0)))
