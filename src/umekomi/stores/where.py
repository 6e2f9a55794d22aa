"""The language of ``--where``: one for every store, compiled to each engine's own.

::

    Score >= 4 and (Summary = 'Great' or not ProductId in ('B1', 'B2')) and "Review date" is not null

Columns are bare words or in double quotes; text is in single quotes, a quote in it doubled; numbers, ``true``, ``false``.
A time is ISO text compared with a column of times. A comparison with null is never true, as in SQL, and ``not`` of it
neither: only ``is null`` finds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import FilterError

Value = str | int | float | bool
OPERATORS: Mapping[str, Callable[[pa.Array, pa.Scalar], pa.Array]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """``column operator value``."""

    column: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Among:
    """``column in (values)``."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """``column is null``."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """``not part``."""

    part: Where


@dataclass(frozen=True, slots=True)
class Both:
    """``left and right``."""

    left: Where
    right: Where


@dataclass(frozen=True, slots=True)
class Either:
    """``left or right``."""

    left: Where
    right: Where


Where = Comparison | Among | IsNull | Not | Both | Either

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")+")|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"""
    r"""|(?P<operator><=|>=|!=|<>|=|<|>|\(|\)|,)|(?P<word>[^\W\d]\w*))"""
)


def parse_where(text: str) -> Where:
    """Read an expression.

    >>> parse_where("Score >= 4")
    Comparison(column='Score', operator='>=', value=4)

    Raises:
        FilterError: it is not a good expression; the message says where.
    """
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None:
                raise FilterError(
                    f"The filter cannot be read at {text[place:].strip()[:20]!r} (character {place + 1})."
                )
            kind = match.lastgroup or ""
            self._tokens.append((kind, match.group(kind), match.start(kind)))
            place = match.end()
        self._place = 0

    def whole(self) -> Where:
        if not self._tokens:
            raise FilterError("The filter is empty; write it like: Score >= 4 and Summary != 'Bad'.")
        tree = self._either()
        if self._place < len(self._tokens):
            raise self._wrong("'and', 'or' or the end")
        return tree

    def _either(self) -> Where:
        tree = self._both()
        while self._takes("or"):
            tree = Either(tree, self._both())
        return tree

    def _both(self) -> Where:
        tree = self._negated()
        while self._takes("and"):
            tree = Both(tree, self._negated())
        return tree

    def _negated(self) -> Where:
        if self._takes("not"):
            return Not(self._negated())
        if self._takes("("):
            tree = self._either()
            self._demand(")")
            return tree
        return self._condition()

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
            return Not(Among(column, tuple(values))) if negated else Among(column, tuple(values))
        kind, token, _ = self._peek()
        operator = "!=" if token == "<>" else token
        if negated or kind != "operator" or operator not in OPERATORS:
            raise self._wrong("a comparison (=, !=, <, <=, >, >=), 'in' or 'is'")
        self._place += 1
        return Comparison(column, operator, self._value())

    def _column(self) -> str:
        kind, token, _ = self._peek()
        if kind == "quoted":
            self._place += 1
            return token[1:-1].replace('""', '"')
        if kind == "word" and token.lower() not in ("and", "or", "not", "in", "is", "null", "true", "false"):
            self._place += 1
            return token
        raise self._wrong("a column")

    def _value(self) -> Value:
        kind, token, _ = self._peek()
        self._place += 1
        if kind == "text":
            return token[1:-1].replace("''", "'")
        if kind == "number":
            return int(token) if re.fullmatch(r"-?\d+", token) else float(token)
        if kind == "word" and token.lower() in ("true", "false"):
            return token.lower() == "true"
        self._place -= 1
        raise self._wrong("a value: 'text' in single quotes, a number, true or false")

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._place] if self._place < len(self._tokens) else ("end", "", -1)

    def _takes(self, wanted: str) -> bool:
        kind, token, _ = self._peek()
        found = kind in ("word", "operator") and token.lower() == wanted
        self._place += found
        return found

    def _demand(self, wanted: str) -> None:
        if not self._takes(wanted):
            raise self._wrong(f"{wanted!r}")

    def _wrong(self, wanted: str) -> FilterError:
        kind, token, start = self._peek()
        found = "its end" if kind == "end" else f"{token!r} (character {start + 1})"
        return FilterError(f"The filter needs {wanted} at {found}.")


def columns_of(where: Where) -> set[str]:
    """The columns that an expression names."""
    match where:
        case Not(part):
            return columns_of(part)
        case Both(left, right) | Either(left, right):
            return columns_of(left) | columns_of(right)
        case _:
            return {where.column}


def check_where(where: Where, schema: pa.Schema) -> None:
    """Raise FilterError unless every column is there and is compared with values of its own kind."""
    for column in sorted(columns_of(where)):
        if column not in schema.names:
            raise FilterError(f"The filter names the column {column!r}; the columns are {', '.join(schema.names)}.")
    _check_values(where, schema)


def _check_values(where: Where, schema: pa.Schema) -> None:
    match where:
        case Not(part):
            _check_values(part, schema)
        case Both(left, right) | Either(left, right):
            _check_values(left, schema)
            _check_values(right, schema)
        case Comparison(column, _, value):
            literal(value, column, schema.field(column).type)
        case Among(column, values):
            for value in values:
                literal(value, column, schema.field(column).type)
        case IsNull():
            pass


def literal(value: Value, column: str, kind: pa.DataType) -> Value | datetime:
    """A value as a column's type wants it. FilterError when text meets a number, or the like."""
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if pa.types.is_boolean(kind) and isinstance(value, bool):
        return value
    if numeric and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and isinstance(value, str):
        return value
    if pa.types.is_temporal(kind) and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError as error:
            raise FilterError(
                f"{value!r} is not a time; write it like '2024-01-31' or '2024-01-31T12:00:00'."
            ) from error
    raise FilterError(f"The column {column!r} holds {kind}; it cannot be compared with {value!r}.")


def evaluate(where: Where, table: pa.Table) -> pa.Array:
    """Which rows match: booleans, null where SQL says unknown."""
    match where:
        case Not(part):
            return pc.invert(evaluate(part, table))
        case Both(left, right):
            return pc.and_kleene(evaluate(left, table), evaluate(right, table))
        case Either(left, right):
            return pc.or_kleene(evaluate(left, table), evaluate(right, table))
        case IsNull(column):
            return pc.is_null(table[column])
        case Comparison(column, operator, value):
            return OPERATORS[operator](table[column], _scalar(value, column, table.schema))
        case Among(column, values):
            found = [pc.equal(table[column], _scalar(value, column, table.schema)) for value in values]
            result = found[0]
            for more in found[1:]:
                result = pc.or_kleene(result, more)
            return result


def _scalar(value: Value, column: str, schema: pa.Schema) -> pa.Scalar:
    kind = schema.field(column).type
    ready = literal(value, column, kind)
    # A fraction against whole numbers must not be cut to a whole number.
    if isinstance(ready, datetime):
        zoned = pa.types.is_timestamp(kind) and kind.tz is not None
        return pa.scalar(ready.astimezone() if zoned and ready.tzinfo is None else ready).cast(kind)
    return pa.scalar(ready) if isinstance(ready, float) else pa.scalar(ready).cast(kind, safe=False)


def to_sql(where: Where, schema: pa.Schema, quote: str = "`") -> str:
    """The expression as SQL for engines that read it, every name and text quoted."""
    match where:
        case Not(part):
            return f"(NOT {to_sql(part, schema, quote)})"
        case Both(left, right):
            return f"({to_sql(left, schema, quote)} AND {to_sql(right, schema, quote)})"
        case Either(left, right):
            return f"({to_sql(left, schema, quote)} OR {to_sql(right, schema, quote)})"
        case IsNull(column):
            return f"({_name(column, quote)} IS NULL)"
        case Comparison(column, operator, value):
            return f"({_name(column, quote)} {operator} {_sql_value(value, column, schema)})"
        case Among(column, values):
            return f"({_name(column, quote)} IN ({', '.join(_sql_value(value, column, schema) for value in values)}))"


def _name(column: str, quote: str) -> str:
    return quote + column.replace(quote, quote * 2) + quote


def _sql_value(value: Value, column: str, schema: pa.Schema) -> str:
    ready = literal(value, column, schema.field(column).type)
    if isinstance(ready, datetime):
        return f"timestamp '{ready.isoformat(sep=' ')}'"
    if isinstance(ready, bool):
        return "true" if ready else "false"
    return "'" + ready.replace("'", "''") + "'" if isinstance(ready, str) else repr(ready)
