"""Indexes, threads and damaged files of LanceDB collections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.contracts.engines import ENGINES
from tests.contracts.rows import FILTERS, SPACE, count_shared_hits, exact_store, fill, names, records, vectors

from umekomi.data.embedded_file import Space
from umekomi.errors import StoreError
from umekomi.stores import Hit, MemoryStore, Store, create_store, open_store

pytestmark = pytest.mark.parametrize(
    "engine", [case for case in ENGINES if case.name == "lance"], indirect=True, ids=str
)


def test_index_results_are_close_to_the_exact_ones(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 1000)
    n = 2000
    fill(store, n).optimize()
    exact = exact_store(n)
    queries = vectors(20, seed=3)
    for where in (None, "Score = 3", "Score = 4 and verified = true and weight < 60"):
        results = store.search(queries, k=10, where=where)
        expected = exact.search(queries, k=10, where=where)
        assert count_shared_hits(results, expected) >= 0.95 * sum(map(len, expected))
        scores = {(q, hit.id): hit.score for q, hits in enumerate(expected) for hit in hits}
        for q, hits in enumerate(results):
            for hit in hits:
                assert hit.score == pytest.approx(scores.get((q, hit.id), hit.score), abs=1e-5)
    store.upsert(["after"], queries[:1], records(1))
    assert open_store(url).search(queries[0], k=1)[0][0].id == "after"


def test_quantized_index_results_are_close_to_the_exact_ones_after_changes(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The default index of long vectors is quantized. The vectors are clustered, like those of texts.
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 1000)
    n, dims = 2000, 256
    space = Space("umekomi-fake", "0123456789abcdef", dims)
    random = np.random.default_rng(1)
    centers = random.standard_normal((40, dims), dtype=np.float32)
    rows = centers[random.integers(40, size=n)] + 0.6 * random.standard_normal((n, dims), dtype=np.float32)
    queries = rows[::100] + 0.3 * random.standard_normal((20, dims), dtype=np.float32)
    indexed, exact = create_store(url, space), MemoryStore("exact", space)
    for store in (indexed, exact):
        store.upsert(names(n), rows, records(n))
    indexed.optimize()
    assert indexed.info()["index"] == "IvfRq"
    with contextlib.closing(open_store(f"{url}?ef_search=1")) as fast:
        assert len(fast.search(queries, k=10, where="Score = 3")) == len(queries)

    def check() -> None:
        with contextlib.closing(open_store(url)) as reopened:
            assert reopened.count() == exact.count()
            for where in (None, "Score = 3", "Score = 4 and verified = true and weight < 60"):
                results = reopened.search(queries, k=10, where=where)
                expected = exact.search(queries, k=10, where=where)
                assert count_shared_hits(results, expected) >= 0.95 * sum(map(len, expected))
                pairs = list(zip(results, expected, strict=True))
                assert all(a[0].id == b[0].id and a[0].score == pytest.approx(b[0].score, abs=1e-5) for a, b in pairs)
                assert all(a[0].record == b[0].record for a, b in pairs)

    check()
    moved = np.ascontiguousarray(rows[::-1])
    for store in (indexed, exact):  # some indexed rows get other vectors, some are deleted, and some rows are new
        store.upsert(names(300), moved[:300], records(300))
        store.delete(names(n)[500:700])
        store.upsert([f"new {row}" for row in range(20)], 2 * queries, records(20))
    check()
    indexed.optimize()
    check()


def test_filters_and_lookups_are_exact_for_indexed_and_new_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 100)
    exact = exact_store(0)

    def change(call: Callable[[Store], object]) -> None:
        for target in (store, exact):
            call(target)

    def check() -> None:
        for where in FILTERS:
            assert store.count(where) == exact.count(where), where
            (hits,) = store.search(vectors(1, seed=2), k=400, where=where)
            assert {hit.id for hit in hits} == {
                hit.id for hit in exact.search(vectors(1, seed=2), k=400, where=where)[0]
            }
        ids = ["row 0", "row 299", "row 305", "none"]
        assert {hit.id: hit.record for hit in store.get(ids)} == {hit.id: hit.record for hit in exact.get(ids)}

    change(lambda target: fill(target, 300))
    store.optimize()
    assert store.info()["indexed columns"] == sorted(records(1).column_names)
    check()
    # Some indexed rows get other records, some are deleted, and some rows are new and not yet indexed.
    change(lambda target: target.upsert(names(50), vectors(50), records(50, first=7)))
    change(lambda target: target.delete(names(300)[250:]))
    change(lambda target: target.upsert(names(30, first=300), vectors(30), records(30, first=20)))
    check()
    store.optimize()
    check()


def test_exact_collections_index_only_the_filtered_columns(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 100)
    with contextlib.closing(create_store(f"{url}?exact=true", SPACE)) as store:
        store.upsert(names(200), vectors(200), [{"number": row} for row in range(200)])
        store.optimize()
        about = store.info()
        assert about["index"] == "none: every vector is compared"
        assert about["indexed columns"] == ["number"]
        (hits,) = store.search(vectors(1, seed=2), k=10, where="number < 50")
        assert len(hits) == 10
        store.drop()


def test_columns_of_long_texts_are_not_indexed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 100)
    rows = [{"body": f"{row} " + "long " * 30, "name": f"name {row}"} for row in range(200)]
    store.upsert(names(200), vectors(200), rows)
    store.optimize()
    assert store.info()["indexed columns"] == ["name"]
    assert store.count(f"body = '{rows[7]['body']}'") == store.count("name = 'name 7'") == 1


def test_a_store_can_be_searched_from_threads_and_from_a_running_event_loop(filled_store: Store) -> None:
    queries = vectors(16, seed=5)
    expected = filled_store.search(queries, k=5)

    async def notebook() -> list[list[Hit]]:
        return filled_store.search(queries, k=5)

    assert asyncio.run(notebook()) == expected
    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(lambda _: filled_store.search(queries, k=5), range(32)):
            assert results == expected
    assert [filled_store.search(query, k=5)[0] for query in queries] == expected


def test_a_damaged_collection_raises_a_store_error(store: Store, url: str) -> None:
    fill(store, 10)
    store.close()
    for file in Path(url.removeprefix("lance://") + ".lance").rglob("*.manifest"):
        file.write_bytes(b"damaged")
    with pytest.raises(StoreError):
        open_store(url).count()
