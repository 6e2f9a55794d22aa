"""Evaluation of bound filters on Arrow tables, and translation to SQL."""

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
    """Return a boolean for each row of the table: whether it matches. Null stands for SQL's unknown."""
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
            is_match = pc.is_in(table[column], value_set=pa.array(values, table.schema.field(column).type))
            # For null, Arrow returns false, but SQL returns unknown.
            return pc.if_else(pc.is_valid(table[column]), is_match, None)
        case Compare(column, operator, value):
            return _KERNELS[operator](table[column], pa.scalar(value, table.schema.field(column).type))


_OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def push_negations(where: Where) -> Where:
    """Return an equivalent filter in which ``not`` occurs only before ``in`` and ``is null``.

    This suits engines without SQL's unknown. Every remaining comparison and every ``not … in`` requires that the column is not
    null. An engine whose ``!=`` also matches rows without the column must check that in addition.

    >>> from umekomi.stores.filters.language import parse_where
    >>> push_negations(parse_where("not (a < 1 and b = 'x')"))
    Or(parts=(Compare(column='a', operator='>=', value=1), Compare(column='b', operator='!=', value='x')))
    """
    return _push(where, negated=False)


def _push(where: Where, *, negated: bool) -> Where:
    match where:
        case And(parts) | Or(parts):
            node = And if isinstance(where, And) is not negated else Or
            return node(tuple(_push(part, negated=negated) for part in parts))
        case Not(part):
            return _push(part, negated=not negated)
        case IsNull() | In():
            return Not(where) if negated else where
        case Compare(column, operator, value):
            return Compare(column, _OPPOSITE[operator], value) if negated else where


def to_sql(where: Where, quote: Callable[[str], str]) -> str:
    """Return a filter as standard SQL.

    Args:
        where: The filter.
        quote: Function that returns the quoted name of a column.

    >>> from umekomi.stores.filters.language import parse_where
    >>> to_sql(parse_where("a = 'it''s' or b is null"), lambda column: f'"{column}"')
    '("a" = \\'it\\'\\'s\\' OR "b" IS NULL)'
    """
    match where:
        case And(parts) | Or(parts):
            joiner = " AND " if isinstance(where, And) else " OR "
            return f"({joiner.join(to_sql(part, quote) for part in parts)})"
        case Not(part):
            return f"(NOT {to_sql(part, quote)})"
        case IsNull(column):
            return f"{quote(column)} IS NULL"
        case In(column, values):
            return f"{quote(column)} IN ({', '.join(map(sql_literal, values))})"
        case Compare(column, operator, value):
            return f"{quote(column)} {operator} {sql_literal(value)}"


def sql_literal(value: Value) -> str:
    """Return a value as an SQL literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return f"timestamp '{value.isoformat(sep=' ')}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
