"""Integers above 2^63 - 1: exact in filters of Parquet files and the memory store, text in other stores."""

from __future__ import annotations

import operator as op
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi import Embedder
from umekomi.data.embedded_file import Space, write_embedded
from umekomi.errors import InputError
from umekomi.stores import Store, create_store, open_store
from umekomi.stores.columns import ColumnType, convert_records

MAX_UNSIGNED = 2**64 - 1
VECTOR = np.array([[1.0, 0.5]], np.float32)
NUMBERS = [0, 3, 2**53 + 1, 2**63 - 1, 2**63, MAX_UNSIGNED - 1, MAX_UNSIGNED]

OPERATORS = {"=": op.eq, "!=": op.ne, "<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}


@pytest.fixture
def store(tmp_path: Path, fake: Embedder) -> Store:
    texts = [f"text {number}" for number in NUMBERS]
    records = pa.table({"n": pa.array(NUMBERS, pa.uint64()), "text": texts})
    write_embedded(tmp_path / "a.parquet", fake.embed(texts), records, Space(fake.model, fake.fingerprint, fake.dims))
    return open_store(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "value", ["18446744073709551614", "9223372036854775808", "9007199254740993", "0", "-1", "2.5", "1e30"]
)
def test_filters_on_unsigned_columns_are_exact(store: Store, operator: str, value: str) -> None:
    number = Fraction(value)
    expected = [n for n in NUMBERS if OPERATORS[operator](n, number)]
    assert store.count(f"n {operator} {value}") == len(expected)


@given(st.lists(st.integers(-5, 2**65), min_size=1, max_size=4))
def test_in_lists_are_exact(values: list[int]) -> None:
    store = create_store("memory://unsigned", Space("m", "f", 2))
    store.upsert(
        [str(n) for n in NUMBERS], VECTOR.repeat(len(NUMBERS), 0), pa.table({"n": pa.array(NUMBERS, pa.uint64())})
    )
    values = [*values, MAX_UNSIGNED]
    listed = ", ".join(map(str, values))
    assert store.count(f"n in ({listed})") == len(set(values) & set(NUMBERS))
    store.drop()


def test_unsigned_integers_become_text_in_stores_without_them() -> None:
    large = pa.table({"n": pa.array([1, MAX_UNSIGNED], pa.uint64())})
    small = pa.table({"n": pa.array([1, 2], pa.uint64())})
    assert convert_records(large, {})["n"].to_pylist() == ["1", "18446744073709551615"]
    assert convert_records(small, {})["n"].to_pylist() == [1, 2]
    assert convert_records(small, {"n": ColumnType.TEXT})["n"].to_pylist() == ["1", "2"]


def test_numbers_outside_the_range_of_a_column_are_rejected() -> None:
    store = create_store("memory://signed", Space("m", "f", 2))
    store.upsert(["a"], VECTOR, pa.table({"n": [-1]}))
    with pytest.raises(InputError, match="The column 'n' has values"):
        store.upsert(["b"], VECTOR, pa.table({"n": pa.array([MAX_UNSIGNED], pa.uint64())}))
    store.drop()
