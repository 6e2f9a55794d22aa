"""The filter language of ``--where``, which every store supports.

::

    Score >= 4 and (Summary = 'Great' or not ProductId in ('B1', 'B2')) and "Review date" is not null

The operators are ``=  !=  <  <=  >  >=  in (…)  not in (…)  is null  is not null  and  or  not``, and parentheses. A
column is a bare word or a name in double quotes. A value is text in single quotes (a single quote in it is doubled), a number,
``true`` or ``false``. Text that is compared with a column of times is an ISO 8601 time; without a time zone it is UTC. Text is
compared by code points.

A comparison with null is unknown, as in SQL, and so is its negation. Only ``is null`` matches null.

Filters are used in two steps: :func:`parse_where` checks the syntax, and :func:`bind_where` checks the columns and converts the
values to their types. A bound filter has the same meaning in every engine.
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
"""Maximum nesting depth of an expression."""

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
    """``column is null``, which is never unknown."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """``not part``."""

    part: Where


@dataclass(frozen=True, slots=True)
class And:
    """Conjunction: every part is true."""

    parts: tuple[Where, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Disjunction: at least one part is true."""

    parts: tuple[Where, ...]


Where = Compare | In | IsNull | Not | And | Or

_TOKEN = re.compile(
    r"""(?P<space>[\s\u3000\u00a0]+)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w))
    |(?P<word>[^\W\d]\w*)
    |(?P<operator><=|>=|!=|<>|==|=|<|>)
    |(?P<punctuation>[(),])""",
    re.VERBOSE | re.ASCII,
)
_WORD = re.compile(r"[^\W\d]\w*")  # like the group "word" above, but in any script
_KEYWORDS = ("and", "or", "not", "in", "is", "null", "true", "false")


@dataclass(frozen=True, slots=True)
class _Token:
    #: Name of a group of ``_TOKEN``, "keyword" or "end".
    type: str
    text: str
    #: Position of the first character, from 1.
    position: int


def _tokenize(source: str) -> list[_Token]:
    tokens: list[_Token] = []
    start = 0
    while start < len(source):
        match = _WORD.match(source, start)
        token_type = "word"
        if match is None:
            match = _TOKEN.match(source, start)
            token_type = str(match.lastgroup) if match else ""
        if match is None:
            raise _syntax_error(source, start)
        text = match.group()
        if token_type == "word" and text.lower() in _KEYWORDS:
            token_type, text = "keyword", text.lower()
        if token_type != "space":
            tokens.append(_Token(token_type, text, start + 1))
        start = match.end()
    tokens.append(_Token("end", "", len(source) + 1))
    return tokens


def _syntax_error(source: str, start: int) -> FilterError:
    if source[start] in "'\"":
        return FilterError(
            f"The filter's quote at character {start + 1} is never closed; close it with {source[start]}."
        )
    word = (source[start:].split() or [source[start]])[0][:20]
    return FilterError(
        f"The filter cannot be read at {word!r} (character {start + 1}); put text in 'single' quotes and an unusual "
        'column name in "double" ones.'
    )


def parse_where(text: str) -> Where:
    """Parse an expression without knowledge of the columns.

    >>> parse_where("Score >= 4")
    Compare(column='Score', operator='>=', value=4)

    Raises:
        FilterError: The syntax is invalid. The message gives the position of the error, counting characters from 1.
    """
    return _Parser(text).parse()


class _Parser:
    """Recursive-descent parser: ``or`` binds weakest, then ``and``, then ``not``."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokenize(text)
        self._index = 0
        self._depth = 0

    @property
    def _token(self) -> _Token:
        return self._tokens[self._index]

    def parse(self) -> Where:
        if self._token.type == "end":
            raise FilterError("The filter is empty; write it like: Score >= 4 and Summary != 'Bad'.")
        where = self._parse_or()
        if self._token.type != "end":
            raise self._error("'and', 'or' or its end")
        return where

    def _parse_or(self) -> Where:
        return self._parse_chain("or", self._parse_and, Or)

    def _parse_and(self) -> Where:
        return self._parse_chain("and", self._parse_not, And)

    def _parse_chain(self, keyword: str, parse_part: Callable[[], Where], node: type[And] | type[Or]) -> Where:
        parts = [parse_part()]
        while self._accept(keyword):
            parts.append(parse_part())
        return parts[0] if len(parts) == 1 else node(tuple(parts))

    def _parse_not(self) -> Where:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(f"The filter is nested more than {MAX_DEPTH} deep; simplify it.")
        if self._accept("not"):
            where: Where = Not(self._parse_not())
        elif self._accept("("):
            where = self._parse_or()
            self._expect(")")
        else:
            where = self._parse_condition()
        self._depth -= 1
        return where

    def _parse_condition(self) -> Where:
        column = self._parse_column()
        if self._accept("is"):
            negated = self._accept("not")
            self._expect("null")
            return Not(IsNull(column)) if negated else IsNull(column)
        negated = self._accept("not")
        if self._accept("in"):
            self._expect("(")
            values = [self._parse_value()]
            while self._accept(","):
                values.append(self._parse_value())
            self._expect(")")
            return Not(In(column, tuple(values))) if negated else In(column, tuple(values))
        if negated or self._token.type != "operator":
            raise self._error("a comparison (=, !=, <, <=, >, >=), 'in' or 'is'")
        operator = {"==": "=", "<>": "!="}.get(self._token.text, self._token.text)
        self._index += 1
        return Compare(column, operator, self._parse_value())

    def _parse_column(self) -> str:
        token = self._token
        if token.type not in ("word", "quoted"):
            raise self._error("a column")
        self._index += 1
        return token.text[1:-1].replace('""', '"') if token.type == "quoted" else token.text

    def _parse_value(self) -> Value:
        token = self._token
        if token.type == "keyword" and token.text == "null":
            raise FilterError(f"The filter compares with null at character {token.position}; write 'is null'.")
        if token.type not in ("text", "number") and token.text not in ("true", "false"):
            raise self._error("a value ('text' in single quotes, a number, true or false)")
        self._index += 1
        if token.type == "text":
            return token.text[1:-1].replace("''", "'")
        return token.text == "true" if token.type == "keyword" else _parse_number(token)

    def _accept(self, text: str) -> bool:
        """Skip the next token if it is this keyword or punctuation mark; return whether it is."""
        is_match = self._token.type in ("keyword", "punctuation") and self._token.text == text
        self._index += is_match
        return is_match

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._error(f"{text!r}")

    def _error(self, expected: str) -> FilterError:
        token = self._token
        actual = "its end" if token.type == "end" else f"{token.text!r} (character {token.position})"
        return FilterError(f"The filter needs {expected} at {actual}.")


def _parse_number(token: _Token) -> int | float:
    # Check the length first, because Python refuses to parse very long integers.
    if len(token.text) < 400:
        if token.text.lstrip("+-").isdigit():
            return int(token.text)
        number = float(token.text)
        if math.isfinite(number):
            return number
    raise FilterError(f"The filter's number at character {token.position} is too large for any column.")


def bind_where(where: Where, columns: Mapping[str, ColumnType]) -> Where:
    """Return the filter with every value converted to the type of its column: str, int, float, bool or a UTC datetime.

    Raises:
        FilterError: A column does not exist, or is compared with a value of another type.
    """
    match where:
        case And(parts) | Or(parts):
            return type(where)(tuple(bind_where(part, columns) for part in parts))
        case Not(part):
            return Not(bind_where(part, columns))
        case IsNull(column):
            _type_of(column, columns)
            return where
        case In(column, values):
            column_type = _type_of(column, columns)
            bound = tuple(_bind_value(column, value, column_type) for value in values)
            return _bind_integers(column, bound, column_type) if column_type in _RANGES else In(column, bound)
        case Compare(column, operator, value):
            column_type = _type_of(column, columns)
            value = _bind_value(column, value, column_type)
            if column_type is ColumnType.BOOLEAN and operator not in ("=", "!="):
                raise FilterError(f"The column {column!r} holds true or false; compare it with = or !=.")
            if column_type in _RANGES and isinstance(value, int | float):
                return _compare_integer(column, operator, value, column_type)
            return Compare(column, operator, value)


def _type_of(column: str, columns: Mapping[str, ColumnType]) -> ColumnType:
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


_NUMERIC = (ColumnType.INTEGER, ColumnType.UNSIGNED, ColumnType.FLOAT)


def _bind_value(column: str, value: Value, column_type: ColumnType) -> Value:
    if column_type is ColumnType.TIME and isinstance(value, str):
        try:
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise FilterError(f"{value!r} is not a time; {_ADVICE[column_type]}.") from error
    if isinstance(value, bool):
        is_valid = column_type is ColumnType.BOOLEAN
    else:
        is_valid = column_type is ColumnType.TEXT if isinstance(value, str) else column_type in _NUMERIC
    if not is_valid:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise FilterError(
            f"The column {column!r} holds {column_type}; it cannot be compared with {shown}: {_ADVICE[column_type]}."
        )
    if column_type is ColumnType.FLOAT and isinstance(value, int):
        try:
            return float(value)
        except OverflowError as error:
            raise FilterError(f"The filter's number beside {column!r} is too large for any column.") from error
    return value


_MIN_INTEGER = -(2**63)
"""The smallest 64-bit integer. No bound filter contains it, because many parsers read its digits before its sign and overflow."""


def _bind_integers(column: str, values: tuple[Value, ...], column_type: ColumnType) -> Where:
    """Return ``column in (values)`` without values that no 64-bit integer equals."""
    lowest, highest = _RANGES[column_type]
    integers = tuple(int(v) for v in values if isinstance(v, int | float) and v == int(v) and lowest <= v <= highest)
    others = tuple(v for v in integers if v != _MIN_INTEGER)
    parts: list[Where] = [In(column, others)] if others else []
    if len(others) < len(integers):
        parts.append(Compare(column, "<", _MIN_INTEGER + 1))
    return Or(tuple(parts)) if len(parts) > 1 else parts[0] if parts else _never(column)


def _compare_integer(column: str, operator: str, value: int | float, column_type: ColumnType) -> Where:
    """Return a comparison of an integer column as one with a 64-bit integer.

    Engines disagree on comparisons of integers with fractions such as 1.5 and with numbers that need more than 64 bits.
    """
    low, high = math.floor(value), math.ceil(value)
    lowest, highest = _RANGES[column_type]
    if low < lowest or high > highest:
        outside = (">", ">=") if high > highest else ("<", "<=")
        return _never(column) if operator in ("=", *outside) else _always(column)
    if low == _MIN_INTEGER:
        if operator in ("<", ">="):
            return _never(column) if operator == "<" else _always(column)
        return Compare(column, "<" if operator in ("=", "<=") else ">=", _MIN_INTEGER + 1)
    if low == high:
        return Compare(column, operator, low)
    if operator in ("=", "!="):
        return _never(column) if operator == "=" else _always(column)
    return Compare(column, "<=", low) if operator in ("<", "<=") else Compare(column, ">=", high)


def _never(column: str) -> Where:
    """Return a filter that is false for every number and unknown for null, like a comparison."""
    return And((Compare(column, "<", 0), Compare(column, ">=", 0)))


def _always(column: str) -> Where:
    """Return a filter that is true for every number and unknown for null, like a comparison."""
    return Or((Compare(column, "<", 0), Compare(column, ">=", 0)))
