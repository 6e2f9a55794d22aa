"""The filter language: syntax, errors, and which rows a filter matches."""

from __future__ import annotations

import operator as op
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi.errors import FilterError
from umekomi.stores.columns import get_column_types
from umekomi.stores.filters.evaluate import evaluate, push_negations, to_sql
from umekomi.stores.filters.language import bind_where, parse_where

TABLE = pa.table(
    {
        "Score": pa.array([1, 2, None, 4], pa.int64()),
        "weight": pa.array([0.5, None, 2.5, -1.0], pa.float64()),
        "Summary": ["it's good", "", None, "悪い"],
        "verified": [True, False, None, True],
        "when": pa.array([datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3)] + [None], pa.timestamp("us", "UTC")),
        "Review date": ["a", "b", "c", "d"],
        'odd "name"': ["a", "b", "c", "d"],
    }
)


EDGES = [-(2**63), 1 - 2**63, -(2**63) // 2, -1, 0, 2**63 - 1]
OUT_OF_RANGE = [-(2**63) - 1, 2**63, 2**64, -(10**30)]


@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("value", [*EDGES, *OUT_OF_RANGE])
def test_every_64_bit_integer_can_be_compared(operator: str, value: int) -> None:
    table = pa.table({"n": pa.array(EDGES, pa.int64())})
    compare = {"=": op.eq, "!=": op.ne, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}[operator]
    tree = bind_where(parse_where(f"n {operator} {value}"), get_column_types(table.schema))
    assert evaluate(tree, table).to_pylist() == [compare(n, value) for n in EDGES]
    # Parsers that read the digits before the sign would overflow at 2^63.
    assert str(2**63) not in to_sql(tree, str)


@given(st.lists(st.sampled_from([*EDGES, *OUT_OF_RANGE]), min_size=1, max_size=4))
def test_every_64_bit_integer_can_be_in_a_list(values: list[int]) -> None:
    table = pa.table({"n": pa.array(EDGES, pa.int64())})
    tree = bind_where(parse_where(f"n in ({', '.join(map(str, values))})"), get_column_types(table.schema))
    assert evaluate(tree, table).to_pylist() == [n in values for n in EDGES]


def rows(expression: str) -> list[int]:
    """Return the indices of the rows of ``TABLE`` that match."""
    tree = bind_where(parse_where(expression), get_column_types(TABLE.schema))
    matches = [row for row, match in enumerate(evaluate(tree, TABLE).to_pylist()) if match]
    # The form for engines without SQL's "unknown" matches the same rows.
    assert matches == [row for row, match in enumerate(evaluate(push_negations(tree), TABLE).to_pylist()) if match]
    return matches


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Score = 2", [1]),
        ("Score != 2", [0, 3]),
        ("Score <> 2", [0, 3]),
        ("Score < 2", [0]),
        ("Score <= 2", [0, 1]),
        ("Score > 2", [3]),
        ("Score >= 2", [1, 3]),
        ("Score>=2 AND(Score<4)", [1]),
        ("Score > 1.5", [1, 3]),
        ("Score = 1.5", []),
        ("Score != 1.5", [0, 1, 3]),
        ("Score in (1, 2.0, 9)", [0, 1]),
        ("Score not in (1)", [1, 3]),
        ("Score < 1e3", [0, 1, 3]),
        ("Score < 100000000000000000000", [0, 1, 3]),
        ("Score > 100000000000000000000", []),
        ("weight = .5", [0]),
        ("weight < 0", [3]),
        ("weight = -1", [3]),
        ("Summary = 'it''s good'", [0]),
        ("Summary = ''", [1]),
        ("Summary = '悪い'", [3]),
        ("Summary > 'a'", [0, 3]),
        ("Summary in ('悪い', 'x')", [3]),
        ("verified = true", [0, 3]),
        ("verified != TRUE", [1]),
        ("when > '2020-01-01'", [1, 2]),
        ("when = '2020-01-02T00:00:00Z'", [1]),
        ("when = '2020-01-02T09:00:00+09:00'", [1]),
        ("when in ('2020-01-01', '2020-01-03')", [0, 2]),
        ("when in ('2020-01-02T09:00:00+09:00')", [1]),
        ("\"Review date\" = 'b'", [1]),
        ('"odd ""name""" = \'c\'', [2]),
    ],
)
def test_comparisons(expression: str, expected: list[int]) -> None:
    assert rows(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Score is null", [2]),
        ("Score is not null", [0, 1, 3]),
        ("not Score is null", [0, 1, 3]),
        ("not Score = 2", [0, 3]),  # null is unknown, and so is its negation
        ("not Score in (2)", [0, 3]),
        ("Score = 2 or Score != 2", [0, 1, 3]),
        ("Score = 9 or Summary is null", [2]),  # unknown or true is true
        ("not (Score = 9 and Summary = 'x')", [0, 1, 3]),
        ("Score is null and verified = true", []),
    ],
)
def test_null_is_handled_as_in_sql(expression: str, expected: list[int]) -> None:
    assert rows(expression) == expected


def test_not_binds_tighter_than_and_which_binds_tighter_than_or() -> None:
    assert rows("Score = 1 or Score = 2 and verified = true") == [0]
    assert rows("(Score = 1 or Score = 2) and verified = true") == [0]
    assert rows("(Score = 1 or Score = 2) and verified = false") == [1]
    assert rows("not Score = 1 and verified = true") == [3]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("Score", "comparison"),
        ("Score =", "value"),
        ("Score = 2 2", "'and', 'or'"),
        ("Score = = 2", "value"),
        ("= 2", "column"),
        ("Score = Summary", "single quotes"),
        ("Summary = 'open", "character 11"),
        ("(Score = 2", "')'"),
        ("Score = 2)", "'and', 'or'"),
        ("Score in ()", "value"),
        ("Score in 2", "'('"),
        ("Score in (1, 2", "')'"),
        ("Score is 2", "null"),
        ("Score = 2; drop table x", "character 10"),
        ("Score = null", "null"),
        ("Score = 2 and", "column"),
        ("Score = 12abc", "character"),
        ("Score not = 2", "comparison"),
    ],
)
def test_a_syntax_error_is_reported_in_one_line(expression: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_where(expression)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_for_an_unknown_column_lists_the_columns() -> None:
    with pytest.raises(FilterError, match=r"Stars.*Score, weight, Summary"):
        rows("Score = 2 and Stars > 3")


@pytest.mark.parametrize(
    "expression",
    [
        "Score = '2'",
        "Score = true",
        "Score in (1, 'x')",
        "weight > 'x'",
        "Summary = 2",
        "Summary = true",
        "verified = 1",
        "verified = 'true'",
        "verified < true",
        "when > 2020",
        "when > 'yesterday'",
    ],
)
def test_a_value_of_another_type_is_rejected(expression: str) -> None:
    with pytest.raises(FilterError):
        rows(expression)


@pytest.mark.parametrize("expression", ["weight > 1e999", "Score > 1e999", f"weight > {'9' * 5000}"])
def test_a_number_that_no_column_can_hold_is_rejected(expression: str) -> None:
    with pytest.raises(FilterError, match="large"):
        rows(expression)


def test_deep_nesting_is_rejected_but_long_chains_are_accepted() -> None:
    with pytest.raises(FilterError, match="deep"):
        parse_where("(" * 5000 + "Score = 1" + ")" * 5000)
    with pytest.raises(FilterError, match="deep"):
        parse_where("not " * 5000 + "Score = 1")
    assert rows(" or ".join(f"Score = {n}" for n in range(3, 3000))) == [3]


def test_to_sql_quotes_names_and_texts() -> None:
    tree = parse_where("Summary = 'x'' or 1=1 --' and \"Review date\" is null")
    assert to_sql(tree, lambda column: f"`{column}`") == "(`Summary` = 'x'' or 1=1 --' AND `Review date` IS NULL)"
