"""Filtered searches are complete and find the nearest rows under every filter. A small version of the benchmark."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from tests.contracts.engines import EngineCase, join_url, unique_name
from tests.contracts.filtered import Case, Rows
from tests.contracts.rows import SPACE, vectors

from umekomi.stores import MemoryStore, Store, create_store

ROWS = Rows(1500, 256, n_clusters=20)
SIZES = [1, 10, 100, 750]
CASES = list(ROWS.cases(SIZES, n_queries=2))


@pytest.fixture(scope="module", params=["fresh", "optimized"])
def loaded_store(request: pytest.FixtureRequest, engine: EngineCase, base: str) -> Iterator[Store]:
    """The rows in each engine, with an index even though they are few, which is used for all but the smallest filters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 1000)
        store = create_store(join_url(base, unique_name()), ROWS.space)
        if type(store).max_exact_rows > 20:
            patch.setattr(type(store), "max_exact_rows", 20)
        ROWS.load(store)
        if request.param == "optimized":
            store.optimize()
        yield store
        store.drop()
        store.close()


def test_every_filter_finds_all_of_the_nearest_rows(loaded_store: Store) -> None:
    recalls = []
    for case in CASES:
        result = ROWS.measure(loaded_store, case)
        assert (case.where, result.n_short, result.n_wrong) == (case.where, 0, 0)
        recalls.append(result.recalls)
    assert np.concatenate(recalls).mean() >= 0.97


@pytest.mark.parametrize("k", [1_200, 5_000, 10_000_000])
def test_many_hits_are_complete(loaded_store: Store, k: int) -> None:
    all_rows = Case("none", None, np.arange(len(ROWS)), ROWS.vectors[:1])
    half_of_the_rows = Case("random", "pick < 750", np.flatnonzero(ROWS.pick < 750), ROWS.vectors[:1])
    for case in (all_rows, half_of_the_rows):
        result = ROWS.measure(loaded_store, case, k=k)
        assert (result.n_short, result.n_wrong) == (0, 0)
        assert result.recalls.min() >= 0.97


EXTREMES = [
    float("inf"),
    float("-inf"),
    sys.float_info.max,
    1e300,
    -1e300,
    1e-300,
    -1e-300,
    5e-324,
    123456789012345678.0,
    0.0,
    0.1,
    None,
]
EXTREME_FILTERS = [
    "x > 5",
    "x < -1e299",
    "x >= 1e300",
    "x <= 1e300",
    "x = 1e-300",
    "x != 1e-300",
    "x < 1e-299 and x > -1e-299",
    "x > 5e-324",
    "x in (1e300, 0, 0.1)",
    "not x in (1e300, 0)",
    f"x = {sys.float_info.max!r}",
    f"x < {sys.float_info.max!r}",
    f"x >= {sys.float_info.max!r}",
    "x = 123456789012345678",
    "n = 1",
    "not x > 5 or n = 3",
    *(f"n {operator} {-(2**63)}" for operator in ("=", "!=", "<", "<=", ">", ">=")),
    f"not n in (3, {-(2**63)})",
    f"n >= {2**63 - 1}",
]


def test_infinite_and_extreme_numbers_are_stored_and_filtered_as_in_memory(base: str, engine: EngineCase) -> None:
    ids = [f"row {row}" for row in range(len(EXTREMES))]
    records = [{"x": value, "n": row} for row, value in enumerate(EXTREMES)]
    records[0]["n"], records[-1]["n"] = -(2**63), 2**63 - 1
    exact = MemoryStore("memory://extremes", SPACE)
    with create_store(join_url(base, unique_name()), SPACE) as store:
        for target in (store, exact):
            target.upsert(ids, vectors(len(ids)), records)
        assert {hit.id: hit.record for hit in store.get(ids)} == dict(zip(ids, records, strict=True))
        for where in EXTREME_FILTERS:
            expected = {hit.id for hit in exact.search(vectors(1), k=100, where=where)[0]}
            assert {hit.id for hit in store.search(vectors(1), k=100, where=where)[0]} == expected, where
            assert store.count(where) == len(expected), where
        store.drop()
