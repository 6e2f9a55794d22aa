"""A filter, bound to its columns, as engines want it: a mask over an Arrow table, or SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from .language import And, Compare, In, IsNull, Not, Or, Value, Where

_KERNELS: Mapping[str, Callable[[pa.ChunkedArray, pa.Scalar], pa.ChunkedArray]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def evaluate(where: Where, table: pa.Table) -> pa.ChunkedArray:
    """Which rows match: booleans, null where SQL says unknown."""
    match where:
        case And(parts) | Or(parts):
            join = pc.and_kleene if isinstance(where, And) else pc.or_kleene
            mask = evaluate(parts[0], table)
            for part in parts[1:]:
                mask = join(mask, evaluate(part, table))
            return mask
        case Not(part):
            return pc.invert(evaluate(part, table))
        case IsNull(column):
            return pc.is_null(table[column])
        case In(column, values):
            kind = table.schema.field(column).type
            found = pc.is_in(table[column], value_set=pa.array(values, kind))
            # Arrow says false of a null; SQL says unknown.
            return pc.if_else(pc.is_valid(table[column]), found, None)
        case Compare(column, operator, value):
            return _KERNELS[operator](table[column], pa.scalar(value, table.schema.field(column).type))


_OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def without_not(where: Where) -> Where:
    """The same rows for engines that know no "unknown": ``not`` stands only before ``in`` and ``is null``.

    Every comparison left, and ``not … in``, means that the column is there and compares so: an engine whose ``!=`` also finds
    rows without the column must ask for the column too.

    >>> from umekomi.stores.filters.language import parse_where
    >>> without_not(parse_where("not (a < 1 and b = 'x')"))
    Or(parts=(Compare(column='a', operator='>=', value=1), Compare(column='b', operator='!=', value='x')))
    """
    return _positive(where, negated=False)


def _positive(where: Where, *, negated: bool) -> Where:
    match where:
        case And(parts) | Or(parts):
            kind = And if isinstance(where, And) is not negated else Or
            return kind(tuple(_positive(part, negated=negated) for part in parts))
        case Not(part):
            return _positive(part, negated=not negated)
        case IsNull() | In():
            return Not(where) if negated else where
        case Compare(column, operator, value):
            return Compare(column, _OPPOSITE[operator], value) if negated else where


def to_sql(where: Where, name: Callable[[str], str]) -> str:
    """The filter as standard SQL; ``name`` gives a column's quoted name.

    >>> from umekomi.stores.filters.language import parse_where
    >>> to_sql(parse_where("a = 'it''s' or b is null"), lambda column: f'"{column}"')
    '("a" = \\'it\\'\\'s\\' OR "b" IS NULL)'
    """
    match where:
        case And(parts) | Or(parts):
            word = " AND " if isinstance(where, And) else " OR "
            return f"({word.join(to_sql(part, name) for part in parts)})"
        case Not(part):
            return f"(NOT {to_sql(part, name)})"
        case IsNull(column):
            return f"{name(column)} IS NULL"
        case In(column, values):
            return f"{name(column)} IN ({', '.join(map(sql_value, values))})"
        case Compare(column, operator, value):
            return f"{name(column)} {operator} {sql_value(value)}"


def sql_value(value: Value) -> str:
    """A literal of SQL, quoted where it is text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return f"timestamp '{value.isoformat(sep=' ')}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
