"""The contract of all stores: every engine returns what the exact store in memory returns."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from tests.contracts.engines import ENGINES, EngineCase
from tests.contracts.rows import DIMS, FILTERS, FOUR_RECORDS, SPACE, exact_store, fill, names, records, vectors

from umekomi.data.embedded_file import Space
from umekomi.errors import CollectionNotFoundError, FilterError, InputError, SpaceMismatchError, StoreError
from umekomi.stores import Store, create_store, list_stores, open_store

shared_engines = pytest.mark.parametrize("engine", [row for row in ENGINES if row.shared], indirect=True, ids=str)


def test_an_empty_collection_returns_no_rows(store: Store) -> None:
    assert store.count() == 0
    assert store.search(vectors(2)) == [[], []]
    assert store.get(["row 1"]) == []
    assert list(store.iterate()) == []


def test_search_returns_the_hits_of_the_exact_store(filled_store: Store) -> None:
    queries = vectors(20, seed=1)
    for hits, expected in zip(filled_store.search(queries, k=10), exact_store().search(queries, k=10), strict=True):
        assert [hit.id for hit in hits] == [hit.id for hit in expected]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)
        assert [hit.record for hit in hits] == [hit.record for hit in expected]


def test_scores_are_cosines_of_vectors_of_any_length(store: Store) -> None:
    first, second = np.eye(DIMS, dtype=np.float32)[:2]
    store.upsert(
        ["same", "half", "orthogonal", "opposite"], np.stack([first, first + second, second, -first]) * 5, FOUR_RECORDS
    )
    (hits,) = store.search(first * 100, k=4)
    assert [hit.id for hit in hits] == ["same", "half", "orthogonal", "opposite"]
    assert [hit.score for hit in hits] == pytest.approx([1, 0.5**0.5, 0, -1], abs=1e-6)


def test_ties_are_ordered_by_id(store: Store) -> None:
    store.upsert(["c", "a", "d", "b"], np.repeat(vectors(1), 4, axis=0), FOUR_RECORDS)
    assert [hit.id for hit in store.search(vectors(1), k=4)[0]] == ["a", "b", "c", "d"]


def test_k_may_exceed_the_number_of_rows(store: Store) -> None:
    assert len(fill(store, 5).search(vectors(1), k=100)[0]) == 5


@pytest.mark.parametrize("where", FILTERS)
def test_filters_match_the_same_rows_as_in_the_exact_store(filled_store: Store, where: str) -> None:
    exact = exact_store()
    assert filled_store.count(where) == exact.count(where)
    (hits,) = filled_store.search(vectors(1, seed=2), k=300, where=where)
    (expected,) = exact.search(vectors(1, seed=2), k=300, where=where)
    assert {hit.id for hit in hits} == {hit.id for hit in expected}


def test_most_filters_match_some_rows_but_not_all() -> None:
    counts = [exact_store().count(where) for where in FILTERS]
    assert sum(0 < count < 300 for count in counts) > 20


@pytest.mark.parametrize("where", ["stars > 3", "Score = 'x'", "text = 1", "time > 'soon'", "Score >", "Score = 1 --"])
def test_invalid_filters_are_rejected(filled_store: Store, where: str) -> None:
    with pytest.raises(FilterError):
        filled_store.search(vectors(1), where=where)
    with pytest.raises(FilterError):
        filled_store.count(where)


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


def test_any_text_can_be_an_id(store: Store) -> None:
    store.upsert(IDS, vectors(len(IDS)), pa.table({"text": IDS}))
    assert store.count() == len(IDS)
    for name in IDS:
        assert [(hit.id, hit.record["text"]) for hit in store.get([name])] == [(name, name)]
    for name in IDS:
        store.delete([name])
    assert store.count() == 0


@pytest.mark.parametrize("name", ["", "x" * 65_537, "a\0b", "\ud800", 7, None, b"x"])
def test_invalid_ids_are_rejected(store: Store, name: Any) -> None:
    with pytest.raises(InputError, match="id"):
        store.upsert(["ok", name], vectors(2), FOUR_RECORDS.slice(0, 2))
    assert store.count() == 0


def test_upsert_replaces_rows_by_id_and_is_idempotent(store: Store) -> None:
    fill(store, 10)
    store.upsert(names(10), vectors(10), records(10))
    assert store.count() == 10
    store.upsert(["row 3", "new"], vectors(2, seed=9), records(2, first=100))
    assert store.count() == 11
    (hit,) = store.search(vectors(2, seed=9)[0], k=1)[0]
    assert (hit.id, hit.score) == ("row 3", pytest.approx(1, abs=1e-6))
    assert hit.record == records(1, first=100).to_pylist()[0]


def test_delete_removes_only_the_rows_with_the_ids(store: Store) -> None:
    fill(store, 10).delete(["row 3", "row 4", "missing row"])
    store.delete([])
    assert store.count() == 8
    assert store.get(["row 3"]) == []
    assert {hit.id for hit in store.search(vectors(1), k=10)[0]} == set(names(10)) - {"row 3", "row 4"}


def test_vectors_are_returned_by_id(filled_store: Store) -> None:
    by_id = filled_store.get_vectors(["row 3", "row 7", "missing row"])
    assert set(by_id) == {"row 3", "row 7"}
    expected = {
        name: vector for ids, matrix, _ in filled_store.iterate() for name, vector in zip(ids, matrix, strict=True)
    }
    assert all(np.array_equal(by_id[name], expected[name]) for name in by_id)
    assert filled_store.get_vectors([]) == {}


def test_records_are_returned_unchanged(filled_store: Store) -> None:
    assert {hit.id: hit.record for hit in filled_store.get([*names(30), "missing row"])} == dict(
        zip(names(30), records(30).to_pylist(), strict=True)
    )


def test_iterate_returns_every_row_once(filled_store: Store) -> None:
    batches = list(filled_store.iterate(size=64))
    assert max(len(ids) for ids, _, _ in batches) <= 64
    ids = [name for batch_ids, _, _ in batches for name in batch_ids]
    assert sorted(ids) == sorted(names(300))
    unit = vectors(300) / np.linalg.norm(vectors(300), axis=1, keepdims=True)
    rows = [names(300).index(name) for name in ids]
    np.testing.assert_allclose(np.concatenate([matrix for _, matrix, _ in batches]), unit[rows], atol=1e-6)
    expected = records(300).to_pylist()
    assert [record for _, _, table in batches for record in table.to_pylist()] == [expected[row] for row in rows]


def test_columns_missing_from_a_later_batch_are_null(store: Store) -> None:
    fill(store, 2)
    store.upsert(["later"], vectors(1), records(1).select(["Score"]))
    assert store.get(["later"])[0].record["text"] is None


def test_the_error_for_a_new_column_contains_its_name(store: Store) -> None:
    fill(store, 2)
    with pytest.raises(InputError, match="color"):
        store.upsert(["later"], vectors(1), pa.table({"Score": [1], "color": ["red"]}))
    assert store.count() == 2


def test_the_error_for_another_column_type_contains_the_column(store: Store) -> None:
    fill(store, 2)
    with pytest.raises(InputError, match="Score"):
        store.upsert(["later"], vectors(1), pa.table({"Score": ["many"]}))
    assert store.count() == 2


@pytest.mark.parametrize("name", ["_id", "_vector"])
def test_reserved_column_names_are_rejected(store: Store, name: str) -> None:
    with pytest.raises(InputError, match=name):
        store.upsert(["a"], vectors(1), pa.table({name: ["x"]}))


def test_an_empty_batch_changes_nothing(store: Store) -> None:
    store.upsert([], np.empty((0, DIMS), np.float32), records(0))
    assert store.count() == 0


def with_last_row(n: int, value: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return vectors whose last row has the same value in every dimension."""
    matrix = vectors(n)
    matrix[-1] = value
    return matrix


@pytest.mark.parametrize(
    ("ids", "matrix", "message"),
    [
        (["a", "b", "a"], vectors(3), "more than once"),
        (["a", "b"], vectors(3), "2 ids"),
        (names(3), with_last_row(3, np.nan), "finite"),
        (names(3), with_last_row(3, np.inf), "finite"),
        (names(3), with_last_row(3, 0), "zero"),
        (names(3), np.ones((3, DIMS + 1), np.float32), "dimensions"),
    ],
)
def test_an_invalid_batch_is_rejected_completely(store: Store, ids: list[str], matrix: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        store.upsert(ids, matrix, records(3))
    assert store.count() == 0


@pytest.mark.parametrize(
    ("query", "k"), [(np.ones(DIMS + 1), 3), (np.full(DIMS, np.nan), 3), (np.zeros(DIMS), 3), (np.ones(DIMS), 0)]
)
def test_invalid_queries_are_rejected(filled_store: Store, query: Any, k: int) -> None:
    with pytest.raises(InputError):
        filled_store.search(query, k=k)


def test_vectors_of_another_space_are_rejected(store: Store, url: str) -> None:
    fill(store, 3)
    other = Space("other-model", "fedcba9876543210", DIMS)
    with pytest.raises(SpaceMismatchError, match=r"umekomi-fake.*other-model"):
        create_store(url, other)
    with pytest.raises(SpaceMismatchError):
        store.require_space(other)
    store.require_space(SPACE)


def test_vectors_of_the_other_role_are_rejected(url: str) -> None:
    documents, queries = (Space(f"fake-{role}", "0123456789abcdef", DIMS, role) for role in ("document", "query"))
    with create_store(url, documents) as store:
        fill(store, 3)
    assert open_store(url).space.role == "document"
    with pytest.raises(SpaceMismatchError, match=r"role document \(fake-document\).*role query \(fake-query\)"):
        create_store(url, queries)
    # A space without a role is compatible with every role.
    with create_store(url, SPACE) as reopened:
        assert reopened.count() == 3
        reopened.drop()


def test_a_reopened_collection_has_its_rows_and_space(store: Store, url: str) -> None:
    fill(store, 20)
    reopened = open_store(url)
    assert reopened.space == SPACE
    assert reopened.count() == 20
    assert reopened.schema().names == records(1).schema.names
    assert create_store(url, SPACE).count() == 20


def test_opening_a_missing_collection_raises_an_error(url: str) -> None:
    with pytest.raises(CollectionNotFoundError, match="no collection"):
        open_store(url)


def test_a_dropped_collection_can_be_created_again(store: Store, url: str) -> None:
    fill(store, 3).drop()
    with pytest.raises(CollectionNotFoundError):
        open_store(url)
    other = create_store(url, Space("other-model", "fedcba9876543210", 4))
    other.upsert(["a"], np.ones((1, 4), np.float32), pa.table({"color": ["red"]}))
    assert open_store(url).count() == 1


def test_collections_are_listed_by_url(filled_store: Store, base: str) -> None:
    assert filled_store.url in list_stores(base)
    assert open_store(filled_store.url).count() == 300


def test_info_describes_the_collection(filled_store: Store, record_property: Callable[[str, object], None]) -> None:
    about = filled_store.info()
    assert (about["engine"], about["rows"], about["model"], about["dims"]) == (
        filled_store.engine,
        300,
        SPACE.model,
        DIMS,
    )
    assert list(cast(dict[str, str], about["columns"])) == records(1).schema.names
    record_property("version", about.get("version", ""))


def test_12288_dimensions_work_or_the_error_contains_the_limit(engine: EngineCase, url: str) -> None:
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


@shared_engines
def test_an_open_store_sees_the_rows_of_later_writers(store: Store, url: str) -> None:
    fill(store, 10)
    reader = open_store(url)
    assert reader.count() == 10
    run_writer(url, n_batches=3, size=10).communicate(timeout=300)
    assert reader.count() == 40
    assert reader.search(vectors(1), k=100)[0]


@shared_engines
@pytest.mark.parametrize(("prefixes", "rows"), [(("left", "right"), 320), (("same", "same"), 160)])
def test_concurrent_writers_neither_lose_nor_duplicate_rows(url: str, prefixes: tuple[str, str], rows: int) -> None:
    writers = [run_writer(url, n_batches=8, size=20, prefix=prefix) for prefix in prefixes]
    for writer in writers:
        _, stderr = writer.communicate(timeout=300)
        assert writer.returncode == 0, stderr
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


@shared_engines
@pytest.mark.parametrize("kill_after", [0, 2, 5])
def test_acknowledged_batches_survive_a_kill_of_the_writer(url: str, kill_after: int) -> None:
    writer = run_writer(url, n_batches=10_000, size=500)
    assert writer.stdout is not None
    assert writer.stderr is not None
    acknowledged = -1
    for line in writer.stdout:
        acknowledged = int(line)
        if acknowledged >= kill_after:
            break
    writer.send_signal(signal.SIGKILL)
    # The writer may have acknowledged more batches before the kill.
    acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
    assert writer.wait(timeout=30) == -signal.SIGKILL
    writer.stdout.close()
    writer.stderr.close()

    store = open_store(url)
    for batch in range(acknowledged + 1):
        assert store.count(f"Score = {batch}") == 500
    assert store.count() in (
        (acknowledged + 1) * 500,
        (acknowledged + 2) * 500,
    )  # batches are written completely or not at all
    store.upsert(["after"], vectors(1), pa.table({"Score": pa.array([1], pa.int64())}))
    assert [hit.id for hit in store.get(["after", f"new {acknowledged} 499"])] != []


def test_an_unwritable_folder_raises_a_store_error(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError):
        create_store(f"lance://{tmp_path}/file/reviews", SPACE).upsert(["a"], vectors(1), FOUR_RECORDS.slice(0, 1))


@pytest.mark.parametrize("url", ["nosuch://x/y", "lance://", "lance:///", "lance://x/", "no such file.parquet"])
def test_invalid_urls_are_rejected(url: str) -> None:
    with pytest.raises(InputError):
        open_store(url)
