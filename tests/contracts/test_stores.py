"""What every store promises. One suite for all engines; the exact store in memory is what the others are measured by."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from tests.contracts.engines import ENGINES, EngineCase, join_url, unique_name

from umekomi.data.embedded_file import Space
from umekomi.errors import CollectionNotFoundError, FilterError, InputError, SpaceMismatchError, StoreError
from umekomi.stores import Hit, MemoryStore, Store, create_store, list_stores, open_store

DIMS = 16
SPACE = Space("umekomi-fake", "0123456789abcdef", DIMS)
START = datetime(2012, 10, 1, tzinfo=UTC)

several = pytest.mark.parametrize("engine", [row for row in ENGINES if row.shared], indirect=True, ids=str)
on_disk = pytest.mark.parametrize("engine", [row for row in ENGINES if row.name == "lance"], indirect=True, ids=str)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty collection of each engine, gone after the test."""
    made = create_store(url, SPACE)
    yield made
    with contextlib.suppress(StoreError):
        made.drop()
    made.close()


@pytest.fixture(scope="session")
def library(engine: EngineCase, base: str) -> Iterator[Store]:
    """A collection of 300 rows of each engine, for tests that only read."""
    made = fill(create_store(join_url(base, unique_name()), SPACE))
    yield made
    made.drop()
    made.close()


def vectors(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((n, DIMS), dtype=np.float32)


def records(n: int, first: int = 0) -> pa.Table:
    """Columns of every kind, each with nulls."""
    rows = range(first, first + n)
    return pa.table(
        {
            "text": pa.array([None if r % 7 == 0 else f'it\'s \\n"row" {r} 行' for r in rows], pa.string()),
            "Score": pa.array([None if r % 5 == 0 else r % 6 for r in rows], pa.int64()),
            "weight": pa.array([None if r % 11 == 0 else r / 8 for r in rows], pa.float64()),
            "verified": pa.array([None if r % 3 == 0 else r % 2 == 0 for r in rows], pa.bool_()),
            "time": pa.array(
                [None if r % 13 == 0 else START + timedelta(hours=r) for r in rows], pa.timestamp("us", "UTC")
            ),
            "No. of `stars`": pa.array([r % 4 for r in rows], pa.int32()),
        }
    )


def names(n: int, first: int = 0) -> list[str]:
    return [f"row {r}" for r in range(first, first + n)]


def fill(store: Store, n: int = 300) -> Store:
    store.upsert(names(n), vectors(n), records(n))
    return store


def reference(n: int = 300) -> Store:
    return fill(MemoryStore("memory://reference", SPACE), n)


def test_an_empty_collection_has_nothing_to_find(store: Store) -> None:
    assert store.count() == 0
    assert store.search(vectors(2)) == [[], []]
    assert store.get(["row 1"]) == []
    assert list(store.iterate()) == []


def test_search_finds_what_the_exact_reference_finds(library: Store) -> None:
    queries = vectors(20, seed=1)
    for found, expected in zip(library.search(queries, k=10), reference().search(queries, k=10), strict=True):
        assert [hit.id for hit in found] == [hit.id for hit in expected]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-5)
        assert [hit.record for hit in found] == [hit.record for hit in expected]


def test_a_score_is_the_cosine_whatever_the_vectors_lengths(store: Store) -> None:
    along, across = np.eye(DIMS, dtype=np.float32)[:2]
    store.upsert(["same", "half", "across", "opposite"], np.stack([along, along + across, across, -along]) * 5, TINY)
    (hits,) = store.search(along * 100, k=4)
    assert [hit.id for hit in hits] == ["same", "half", "across", "opposite"]
    assert [hit.score for hit in hits] == pytest.approx([1, 0.5**0.5, 0, -1], abs=1e-6)


def test_rows_equally_near_come_in_the_order_of_their_ids(store: Store) -> None:
    store.upsert(["c", "a", "d", "b"], np.repeat(vectors(1), 4, axis=0), TINY)
    assert [hit.id for hit in store.search(vectors(1), k=4)[0]] == ["a", "b", "c", "d"]


def test_more_hits_than_rows_gives_the_rows(store: Store) -> None:
    assert len(fill(store, 5).search(vectors(1), k=100)[0]) == 5


FILTERS = [
    "Score = 3",
    "Score != 3",
    "Score > 2.5",
    "Score = 2.5",
    "Score != 2.5",
    "Score in (1, 2.5, 4.0)",
    "not Score in (1, 2)",
    "Score < 100000000000000000000",
    "Score = 100000000000000000000",
    "weight >= 12",
    "weight = 0.125",
    "weight < -1e-3 or weight > 3.0e1",
    "verified = true",
    "verified != true",
    "not verified = true",
    "time >= '2012-10-05'",
    "time = '2012-10-01T05:00:00+00:00'",
    "time = '2012-10-01T14:00:00+09:00'",
    "time in ('2012-10-01T01:00:00', '2012-10-01T02:00:00Z')",
    "time < '9999-12-31'",
    "time > '0001-01-01'",
    "text = 'it''s \\n\"row\" 8 行'",
    "text > 'it''s \\n\"row\" 2'",
    "text = 'x'' or 1=1 --'",
    "text in ('it''s \\n\"row\" 8 行', 'none')",
    "text is null",
    "text is not null and not (Score is null or weight is null)",
    "Score = 3 and (verified = true or weight < 5)",
    "Score = 3 or text is null",
    "not (Score = 3 or text is null)",
    '"No. of `stars`" >= 2',
    '"No. of `stars`" is null',
]


@pytest.mark.parametrize("where", FILTERS)
def test_a_filter_keeps_the_same_rows_everywhere(library: Store, where: str) -> None:
    exact = reference()
    assert library.count(where) == exact.count(where)
    (found,) = library.search(vectors(1, seed=2), k=300, where=where)
    (expected,) = exact.search(vectors(1, seed=2), k=300, where=where)
    assert {hit.id for hit in found} == {hit.id for hit in expected}


def test_the_filters_of_this_suite_are_neither_all_empty_nor_all_true() -> None:
    counts = [reference().count(where) for where in FILTERS]
    assert sum(0 < count < 300 for count in counts) > 20


@pytest.mark.parametrize("where", ["stars > 3", "Score = 'x'", "text = 1", "time > 'soon'", "Score >", "Score = 1 --"])
def test_a_bad_filter_is_the_same_error_everywhere(library: Store, where: str) -> None:
    with pytest.raises(FilterError):
        library.search(vectors(1), where=where)
    with pytest.raises(FilterError):
        library.count(where)


TINY = pa.table({"text": ["a", "b", "c", "d"]})
IDS = [
    "id",
    "りんご🍎",
    "' or 1=1 --",
    'q"`\\',
    " leading and trailing ",
    "a\nb\tc",
    "x" * 65_535,
    "あ" * 21_845,
    "%2E",
    "ID",
]


def test_any_text_is_an_id(store: Store) -> None:
    store.upsert(IDS, vectors(len(IDS)), pa.table({"text": IDS}))
    assert store.count() == len(IDS)
    for name in IDS:
        assert [(hit.id, hit.record["text"]) for hit in store.get([name])] == [(name, name)]
    for name in IDS:
        store.delete([name])
    assert store.count() == 0


@pytest.mark.parametrize("name", ["", "x" * 65_537, "a\0b", "\ud800", 7, None, b"x"])
def test_what_cannot_be_an_id_is_refused(store: Store, name: Any) -> None:
    with pytest.raises(InputError, match="id"):
        store.upsert(["ok", name], vectors(2), TINY.slice(0, 2))
    assert store.count() == 0


def test_upsert_replaces_by_id_and_does_no_harm_twice(store: Store) -> None:
    fill(store, 10)
    store.upsert(names(10), vectors(10), records(10))
    assert store.count() == 10
    store.upsert(["row 3", "new"], vectors(2, seed=9), records(2, first=100))
    assert store.count() == 11
    (hit,) = store.search(vectors(2, seed=9)[0], k=1)[0]
    assert (hit.id, hit.score) == ("row 3", pytest.approx(1, abs=1e-6))
    assert hit.record == records(1, first=100).to_pylist()[0]


def test_delete_takes_only_what_it_names(store: Store) -> None:
    fill(store, 10).delete(["row 3", "row 4", "no such row"])
    store.delete([])
    assert store.count() == 8
    assert store.get(["row 3"]) == []
    assert {hit.id for hit in store.search(vectors(1), k=10)[0]} == set(names(10)) - {"row 3", "row 4"}


def test_vectors_come_back_by_their_ids(library: Store) -> None:
    kept = library.get_vectors(["row 3", "row 7", "no such row"])
    assert set(kept) == {"row 3", "row 7"}
    wanted = {name: vector for ids, matrix, _ in library.iterate() for name, vector in zip(ids, matrix, strict=True)}
    assert all(np.array_equal(kept[name], wanted[name]) for name in kept)
    assert library.get_vectors([]) == {}


def test_records_come_back_as_they_went_in(library: Store) -> None:
    assert {hit.id: hit.record for hit in library.get([*names(30), "no such row"])} == dict(
        zip(names(30), records(30).to_pylist(), strict=True)
    )


def test_iterate_gives_every_row_once(library: Store) -> None:
    pieces = list(library.iterate(size=64))
    assert max(len(ids) for ids, _, _ in pieces) <= 64
    ids = [name for piece, _, _ in pieces for name in piece]
    assert sorted(ids) == sorted(names(300))
    unit = vectors(300) / np.linalg.norm(vectors(300), axis=1, keepdims=True)
    place = [names(300).index(name) for name in ids]
    np.testing.assert_allclose(np.concatenate([some for _, some, _ in pieces]), unit[place], atol=1e-6)
    assert [row for _, _, table in pieces for row in table.to_pylist()] == [records(300).to_pylist()[p] for p in place]


def test_a_column_that_a_later_batch_lacks_is_null_there(store: Store) -> None:
    fill(store, 2)
    store.upsert(["later"], vectors(1), records(1).select(["Score"]))
    assert store.get(["later"])[0].record["text"] is None


def test_a_column_that_is_new_is_refused_by_name(store: Store) -> None:
    fill(store, 2)
    with pytest.raises(InputError, match="colour"):
        store.upsert(["later"], vectors(1), pa.table({"Score": [1], "colour": ["red"]}))
    assert store.count() == 2


def test_a_column_of_another_type_is_refused_by_name(store: Store) -> None:
    fill(store, 2)
    with pytest.raises(InputError, match="Score"):
        store.upsert(["later"], vectors(1), pa.table({"Score": ["many"]}))
    assert store.count() == 2


@pytest.mark.parametrize("name", ["_id", "_vector"])
def test_the_stores_own_column_names_are_taken(store: Store, name: str) -> None:
    with pytest.raises(InputError, match=name):
        store.upsert(["a"], vectors(1), pa.table({name: ["x"]}))


def test_an_empty_batch_changes_nothing(store: Store) -> None:
    store.upsert([], np.empty((0, DIMS), np.float32), records(0))
    assert store.count() == 0


def _bad(n: int, value: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = vectors(n)
    found[-1] = value
    return found


@pytest.mark.parametrize(
    ("ids", "matrix", "said"),
    [
        (["a", "b", "a"], vectors(3), "more than once"),
        (["a", "b"], vectors(3), "2 ids"),
        (names(3), _bad(3, np.nan), "finite"),
        (names(3), _bad(3, np.inf), "finite"),
        (names(3), _bad(3, 0), "zero"),
        (names(3), np.ones((3, DIMS + 1), np.float32), "dimensions"),
    ],
)
def test_a_bad_batch_is_refused_whole(store: Store, ids: list[str], matrix: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        store.upsert(ids, matrix, records(3))
    assert store.count() == 0


@pytest.mark.parametrize(
    ("query", "k"), [(np.ones(DIMS + 1), 3), (np.full(DIMS, np.nan), 3), (np.zeros(DIMS), 3), (np.ones(DIMS), 0)]
)
def test_a_bad_query_is_refused(library: Store, query: Any, k: int) -> None:
    with pytest.raises(InputError):
        library.search(query, k=k)


def test_another_space_is_refused(store: Store, url: str) -> None:
    fill(store, 3)
    other = Space("other-model", "fedcba9876543210", DIMS)
    with pytest.raises(SpaceMismatchError, match=r"umekomi-fake.*other-model"):
        create_store(url, other)
    with pytest.raises(SpaceMismatchError):
        store.require_space(other)
    store.require_space(SPACE)


def test_the_other_side_of_a_search_is_refused(url: str) -> None:
    documents, queries = (Space(f"fake-{role}", "0123456789abcdef", DIMS, role) for role in ("document", "query"))
    with create_store(url, documents) as made:
        fill(made, 3)
    assert open_store(url).space.role == "document"
    with pytest.raises(SpaceMismatchError, match=r"role document \(fake-document\).*role query \(fake-query\)"):
        create_store(url, queries)
    # A space that names no role, as all did at first, goes with either.
    with create_store(url, SPACE) as again:
        assert again.count() == 3
        again.drop()


def test_reopening_finds_everything(store: Store, url: str) -> None:
    fill(store, 20)
    again = open_store(url)
    assert again.space == SPACE
    assert again.count() == 20
    assert again.schema().names == records(1).schema.names
    assert create_store(url, SPACE).count() == 20


def test_a_collection_that_is_not_there_is_said_so(url: str) -> None:
    with pytest.raises(CollectionNotFoundError, match="no collection"):
        open_store(url)


def test_a_dropped_collection_is_gone_and_can_be_made_again(store: Store, url: str) -> None:
    fill(store, 3).drop()
    with pytest.raises(CollectionNotFoundError):
        open_store(url)
    other = create_store(url, Space("other-model", "fedcba9876543210", 4))
    other.upsert(["a"], np.ones((1, 4), np.float32), pa.table({"colour": ["red"]}))
    assert open_store(url).count() == 1


def test_collections_are_listed_by_their_urls(library: Store, base: str) -> None:
    assert library.url in list_stores(base)
    assert open_store(library.url).count() == 300


def test_info_says_what_a_collection_is(library: Store, record_property: Callable[[str, object], None]) -> None:
    about = library.info()
    assert (about["engine"], about["rows"], about["model"], about["dims"]) == (library.engine, 300, SPACE.model, DIMS)
    assert list(cast(dict[str, str], about["columns"])) == records(1).schema.names
    record_property("version", about.get("version", ""))


def test_twelve_thousand_dimensions_work_or_the_limit_is_named(engine: EngineCase, url: str) -> None:
    wide = np.random.default_rng(0).standard_normal((5, 12_288), dtype=np.float32)
    space = Space("wide", "0" * 16, 12_288)
    if engine.max_dims < 12_288:
        with pytest.raises(InputError, match=f"{engine.max_dims:,}"):
            create_store(url, space).upsert(names(5), wide, records(5))
        return
    store = create_store(url, space)
    store.upsert(names(5), wide, records(5))
    assert [hits[0].id for hits in store.search(wide, k=1)] == names(5)
    store.drop()


@on_disk
def test_an_index_is_built_and_is_near_the_exact_answer(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 1000)
    n = 2000
    fill(store, n).optimize()
    exact = reference(n)
    queries = vectors(20, seed=3)
    for where in (None, "Score = 3", "Score = 4 and verified = true and weight < 60"):
        found = store.search(queries, k=10, where=where)
        expected = exact.search(queries, k=10, where=where)
        shared = sum(len({h.id for h in a} & {h.id for h in b}) for a, b in zip(found, expected, strict=True))
        assert shared >= 0.95 * sum(map(len, expected))
        scores = {(q, hit.id): hit.score for q, hits in enumerate(expected) for hit in hits}
        for q, hits in enumerate(found):
            for hit in hits:
                assert hit.score == pytest.approx(scores.get((q, hit.id), hit.score), abs=1e-5)
    store.upsert(["after"], queries[:1], records(1))
    assert open_store(url).search(queries[0], k=1)[0][0].id == "after"


@on_disk
def test_a_few_bits_a_dimension_find_the_exact_answer_after_every_change(
    engine: EngineCase, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the default does with long vectors and many rows: clustered ones, as those of texts are.
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 1000)
    n, dims = 2000, 256
    space = Space("umekomi-fake", "0123456789abcdef", dims)
    random = np.random.default_rng(1)
    centres = random.standard_normal((40, dims), dtype=np.float32)
    rows = centres[random.integers(40, size=n)] + 0.6 * random.standard_normal((n, dims), dtype=np.float32)
    queries = rows[::100] + 0.3 * random.standard_normal((20, dims), dtype=np.float32)
    made, exact = create_store(url, space), MemoryStore("exact", space)
    for one in (made, exact):
        one.upsert(names(n), rows, records(n))
    made.optimize()
    assert made.info()["index"] == "IvfRq"
    with contextlib.closing(open_store(f"{url}?ef_search=1")) as hasty:
        assert len(hasty.search(queries, k=10, where="Score = 3")) == len(queries)

    def check() -> None:
        with contextlib.closing(open_store(url)) as again:
            assert again.count() == exact.count()
            for where in (None, "Score = 3", "Score = 4 and verified = true and weight < 60"):
                found = again.search(queries, k=10, where=where)
                expected = exact.search(queries, k=10, where=where)
                pairs = list(zip(found, expected, strict=True))
                shared = sum(len({hit.id for hit in a} & {hit.id for hit in b}) for a, b in pairs)
                assert shared >= 0.95 * sum(map(len, expected))
                assert all(a[0].id == b[0].id and a[0].score == pytest.approx(b[0].score, abs=1e-5) for a, b in pairs)
                assert all(a[0].record == b[0].record for a, b in pairs)

    check()
    moved = np.ascontiguousarray(rows[::-1])
    for one in (made, exact):  # rows that were indexed get other vectors, some go, and some are new
        one.upsert(names(300), moved[:300], records(300))
        one.delete(names(n)[500:700])
        one.upsert([f"new {place}" for place in range(20)], 2 * queries, records(20))
    check()
    made.optimize()
    check()


@on_disk
def test_filters_and_ids_say_the_same_with_indexes_and_beside_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 100)
    exact = reference(0)

    def change(do: Callable[[Store], object]) -> None:
        for one in (store, exact):
            do(one)

    def check() -> None:
        for where in FILTERS:
            assert store.count(where) == exact.count(where), where
            (found,) = store.search(vectors(1, seed=2), k=400, where=where)
            assert {hit.id for hit in found} == {
                hit.id for hit in exact.search(vectors(1, seed=2), k=400, where=where)[0]
            }
        asked = ["row 0", "row 299", "row 305", "none"]
        for one in (store, exact):
            assert {hit.id: hit.record for hit in one.get(asked)} == {hit.id: hit.record for hit in exact.get(asked)}

    change(lambda one: fill(one, 300))
    store.optimize()
    assert store.info()["indexed columns"] == sorted(records(1).column_names)
    check()
    # Rows that were indexed get other records, some go, and some are new and in no index yet.
    change(lambda one: one.upsert(names(50), vectors(50), records(50, first=7)))
    change(lambda one: one.delete(names(300)[250:]))
    change(lambda one: one.upsert(names(30, first=300), vectors(30), records(30, first=20)))
    check()
    store.optimize()
    check()


@on_disk
def test_where_every_vector_is_compared_only_filters_have_an_index(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 100)
    with contextlib.closing(create_store(f"{url}?exact=true", SPACE)) as made:
        made.upsert(names(200), vectors(200), [{"number": place} for place in range(200)])
        made.optimize()
        about = made.info()
        assert about["index"] == "none: every vector is compared"
        assert about["indexed columns"] == ["number"]
        (found,) = made.search(vectors(1, seed=2), k=10, where="number < 50")
        assert len(found) == 10
        made.drop()


@on_disk
def test_long_texts_are_not_held_once_more_by_an_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.engines.lance.MIN_INDEX_ROWS", 100)
    rows = [{"body": f"{place} " + "long " * 30, "name": f"name {place}"} for place in range(200)]
    store.upsert(names(200), vectors(200), rows)
    store.optimize()
    assert store.info()["indexed columns"] == ["name"]
    assert store.count(f"body = '{rows[7]['body']}'") == store.count("name = 'name 7'") == 1


@on_disk
def test_a_store_is_searched_from_many_threads_and_from_a_running_loop(library: Store) -> None:
    queries = vectors(16, seed=5)
    expected = library.search(queries, k=5)

    async def notebook() -> list[list[Hit]]:
        return library.search(queries, k=5)

    assert asyncio.run(notebook()) == expected
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: library.search(queries, k=5), range(32)):
            assert found == expected
    assert [library.search(query, k=5)[0] for query in queries] == expected


@several
def test_an_open_reader_sees_what_a_writer_adds_later(store: Store, url: str) -> None:
    fill(store, 10)
    reader = open_store(url)
    assert reader.count() == 10
    run_writer(url, n_batches=3, size=10).communicate(timeout=300)
    assert reader.count() == 40
    assert reader.search(vectors(1), k=100)[0]


@several
@pytest.mark.parametrize(("prefixes", "rows"), [(("left", "right"), 320), (("same", "same"), 160)])
def test_two_writers_at_once_lose_nothing_and_double_nothing(url: str, prefixes: tuple[str, str], rows: int) -> None:
    writers = [run_writer(url, n_batches=8, size=20, prefix=prefix) for prefix in prefixes]
    for writer in writers:
        _, said = writer.communicate(timeout=300)
        assert writer.returncode == 0, said
    assert open_store(url).count() == rows


WRITER = """
import sys
import numpy as np, pyarrow as pa
from umekomi.data.embedded_file import Space
from umekomi.stores import create_store

url, prefix, n_batches, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = create_store(url, Space("umekomi-fake", "0123456789abcdef", 16))
for batch in range(n_batches):
    ids = [f"{prefix} {batch} {row}" for row in range(size)]
    vectors = np.random.default_rng(batch).standard_normal((size, 16), dtype=np.float32)
    store.upsert(ids, vectors, pa.table({"Score": pa.array([batch] * size, pa.int64())}))
    print(batch, flush=True)
"""


def run_writer(url: str, *, n_batches: int, size: int, prefix: str = "new") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, prefix, str(n_batches), str(size)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@several
@pytest.mark.parametrize("kill_after", [0, 2, 5])
def test_a_kill_in_mid_load_keeps_every_acknowledged_batch(url: str, kill_after: int) -> None:
    writer = run_writer(url, n_batches=10_000, size=500)
    assert writer.stdout is not None
    assert writer.stderr is not None
    acknowledged = -1
    for line in writer.stdout:
        acknowledged = int(line)
        if acknowledged >= kill_after:
            break
    writer.send_signal(signal.SIGKILL)
    # What was printed before the kill and not yet read was acknowledged too.
    acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
    assert writer.wait(timeout=30) == -signal.SIGKILL
    writer.stdout.close()
    writer.stderr.close()

    store = open_store(url)
    for batch in range(acknowledged + 1):
        assert store.count(f"Score = {batch}") == 500
    assert store.count() in ((acknowledged + 1) * 500, (acknowledged + 2) * 500)  # a batch is there whole or not at all
    store.upsert(["after"], vectors(1), pa.table({"Score": pa.array([1], pa.int64())}))
    assert [hit.id for hit in store.get(["after", f"new {acknowledged} 499"])] != []


@on_disk
def test_a_damaged_collection_is_one_sentence(store: Store, url: str) -> None:
    fill(store, 10)
    store.close()
    for file in Path(url.removeprefix("lance://") + ".lance").rglob("*.manifest"):
        file.write_bytes(b"rubbish")
    with pytest.raises(StoreError):
        open_store(url).count()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError):
        create_store(f"lance://{tmp_path}/file/reviews", SPACE).upsert(["a"], vectors(1), TINY.slice(0, 1))


@pytest.mark.parametrize("bad", ["nosuch://x/y", "lance://", "lance:///", "lance://x/", "no such file.parquet"])
def test_a_url_that_names_no_store_is_refused(bad: str) -> None:
    with pytest.raises(InputError):
        open_store(bad)
