"""Loading of files and folders of shards: replaced and deleted rows, foreign files, and the lock of a collection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import Run

from umekomi import Embedder
from umekomi.data.embedded_file import Space, embedded_schema
from umekomi.errors import CollectionNotFoundError, InputError, OutputLockedError, StoreError
from umekomi.files.ownership import MARKER
from umekomi.pipeline.sharded import embed_sharded, open_sharded
from umekomi.pipeline.shards import ShardJob
from umekomi.settings import current
from umekomi.stores import (
    EngineSpec,
    MemoryStore,
    Store,
    copy_store,
    create_store,
    list_text_columns,
    load_file,
    lock_store,
    open_parquet,
    open_store,
)
from umekomi.stores.load_shards import load_shards
from umekomi.stores.locking import lock_collection
from umekomi.stores.url import parse_address

SPACE = Space("umekomi-fake", "0123456789abcdef", 4)
ONE_VECTOR = np.ones((1, 4), np.float32)


def write_embedded_file(path: Path, texts: list[str], *, seed: int = 0, **columns: Any) -> Path:
    """Write a file like those of `umekomi embed`."""
    vectors = np.random.default_rng(seed).standard_normal((len(texts), 4), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    arrays = {name: pa.array(column) if isinstance(column, list) else column for name, column in columns.items()}
    table = pa.table(
        {
            **arrays,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 4),
            "n_tokens": pa.array([1] * len(texts), pa.int32()),
            "text": texts,
        }
    )
    schema = embedded_schema(pa.schema([(name, column.type) for name, column in arrays.items()]), SPACE)
    pq.write_table(table.cast(schema), path)
    return path


def texts_by_id(store: Store) -> dict[str, str]:
    return {
        row_id: text
        for ids, _, table in store.iterate()
        for row_id, text in zip(ids, table["text"].to_pylist(), strict=True)
    }


@pytest.fixture
def target() -> MemoryStore:
    return MemoryStore("memory://target", SPACE)


def test_a_second_file_without_ids_replaces_rows_only_with_overwrite(target: MemoryStore, tmp_path: Path) -> None:
    first = write_embedded_file(tmp_path / "first.parquet", ["a", "b", "c"])
    second = write_embedded_file(tmp_path / "second.parquet", ["d", "e"], seed=1)
    assert load_file(first, target) == 3
    for call in (lambda: load_file(second, target, size=1), lambda: copy_store(open_parquet(second), target)):
        with pytest.raises(InputError, match=r"different rows with the number 0.*--id COLUMN.*--overwrite"):
            call()
    assert texts_by_id(target) == {"0": "a", "1": "b", "2": "c"}
    assert load_file(second, target, overwrite=True) == 2
    assert texts_by_id(target) == {"0": "d", "1": "e", "2": "c"}


def test_conflicts_in_later_batches_are_detected_before_writing(target: MemoryStore, tmp_path: Path) -> None:
    target.upsert(["3"], ONE_VECTOR, [{"text": "foreign", "n_tokens": 1}])
    with pytest.raises(InputError, match="with the number 3"):
        load_file(write_embedded_file(tmp_path / "a.parquet", ["a", "b", "c", "d"]), target, size=1)
    assert texts_by_id(target) == {"3": "foreign"}


def test_a_file_without_ids_can_be_loaded_again_after_an_interruption(target: MemoryStore, tmp_path: Path) -> None:
    path = write_embedded_file(tmp_path / "a.parquet", ["a", "b", "c"])
    load_file(path, target)
    target.delete(["1"])
    assert load_file(path, target) == 1
    assert texts_by_id(target) == {"0": "a", "1": "b", "2": "c"}


@pytest.mark.parametrize("changed", ["vector", "record"])
def test_resume_replaces_rows_with_other_vectors_or_records(changed: str, target: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    load_file(write_embedded_file(path, ["a", "b", "c"], id=["x", "y", "z"]), target)
    texts = ["a", "b", "other"] if changed == "record" else ["a", "b", "c"]
    write_embedded_file(path, texts, id=["x", "y", "z"], seed=0 if changed == "record" else 1)
    assert load_file(path, target, resume=True) == (1 if changed == "record" else 3)
    assert texts_by_id(target) == dict(zip("xyz", texts, strict=True))
    expected = {
        row_id: vector
        for ids, matrix, _ in open_parquet(path).iterate()
        for row_id, vector in zip(ids, matrix, strict=True)
    }
    for row_id, vector in target.get_vectors(["x", "y", "z"]).items():
        np.testing.assert_allclose(vector, expected[row_id], atol=1e-6)
    assert load_file(path, target, resume=True) == 0


def write_shards(folder: Path, files: dict[str, list[str]], fake: Embedder, **options: Any) -> Any:
    (folder / "in").mkdir(exist_ok=True)
    for path in (folder / "in").iterdir():
        path.unlink()
    for name, texts in files.items():
        pq.write_table(
            pa.table({"key": [f"key {text}" for text in texts], "text": texts}), folder / "in" / f"{name}.parquet"
        )
    embed_sharded([f"{folder}/in"], ShardJob(f"{folder}/out", "umekomi-fake", shard_rows=3), embedder=fake, **options)
    return open_sharded(f"{folder}/out")


BEFORE = {"a": ["1", "2", "3", "4"], "b": ["5", "6"], "c": ["7"]}
CHANGES = {
    "a file is removed": {"a": ["1", "2", "3", "4"], "c": ["7"]},
    "a file has fewer rows": {"a": ["1", "2", "3", "4"], "b": ["6"], "c": ["7"]},
    "a file has fewer shards": {"a": ["1", "2", "3"], "b": ["5", "6"], "c": ["7"]},
    "rows are replaced": {"a": ["8", "2", "3", "9"], "b": ["5", "6"], "c": ["7"]},
    "everything is replaced": {"d": ["x"]},
}


@pytest.mark.parametrize("id_column", [None, "key"])
@pytest.mark.parametrize("change", CHANGES)
def test_rows_missing_from_the_new_shards_are_deleted(
    change: str, id_column: str | None, tmp_path: Path, fake: Embedder
) -> None:
    dataset = write_shards(tmp_path, BEFORE, fake)
    target = MemoryStore("memory://shards", dataset.space)
    load_shards(dataset, target, id_column=id_column)
    target.upsert(
        ["foreign"], np.ones((1, dataset.space.dims), np.float32), [{"key": "", "n_tokens": 0, "text": "foreign"}]
    )
    after = write_shards(tmp_path, CHANGES[change], fake, changed_only=True)
    result = load_shards(after, target, id_column=id_column)
    texts = [text for file_texts in CHANGES[change].values() for text in file_texts]
    assert sorted(texts_by_id(target).values()) == sorted([*texts, "foreign"])
    again = load_shards(after, target, id_column=id_column, resume=True)
    assert (again.written, again.removed) == (0, 0)
    assert result.rows == len(texts)


def test_rows_of_an_interrupted_load_are_deleted_by_the_next_load(tmp_path: Path, fake: Embedder) -> None:
    class FailingStore(MemoryStore):
        remaining = 1

        def _upsert(self, *rows: Any) -> None:
            self.remaining -= 1
            if self.remaining < 0:
                raise StoreError("unavailable")
            super()._upsert(*rows)

    dataset = write_shards(tmp_path, BEFORE, fake)
    target = FailingStore("memory://failing", dataset.space)
    with pytest.raises(StoreError, match="unavailable"):
        load_shards(dataset, target, id_column="key")
    assert 0 < target.count() < 7
    target.remaining = 100
    load_shards(write_shards(tmp_path, {"d": ["x"]}, fake, changed_only=True), target, id_column="key")
    assert list(texts_by_id(target).values()) == ["x"]


MAX_UINT64 = 2**64 - 1


def test_inexact_numbers_become_text_with_a_notice(tmp_path: Path, umekomi: Run) -> None:
    columns = {
        "big": pa.array([MAX_UINT64, 1, None], pa.uint64()),
        "small": pa.array([5, 1, None], pa.uint64()),
        "exact": pa.array([Decimal("12345678901234567890"), None, Decimal(2)], pa.decimal128(25, 0)),
        "price": pa.array([Decimal("0.10"), None, Decimal("2.5")], pa.decimal128(38, 10)),
    }
    path = write_embedded_file(tmp_path / "big.parquet", ["a", "b", "c"], **columns)
    pytest.importorskip("lancedb")
    store = open_store(str(path))
    assert list_text_columns(path, store) == ["exact"]
    result = umekomi("store", "load", path, "lance://db/x", "--quiet")
    with open_store(f"lance://{tmp_path}/db/x") as loaded, create_store(f"lance://{tmp_path}/db/y", SPACE) as copied:
        assert list_text_columns(path, loaded) == ["big", "exact"]
        copy_store(store, copied)
        for checked_store, big in ((loaded, str(MAX_UINT64)), (copied, str(MAX_UINT64)), (store, MAX_UINT64)):
            assert checked_store.get(["0"])[0].record == {
                "big": big, "small": 5, "exact": "12345678901234567890", "price": 0.1, "n_tokens": 1, "text": "a",
            }  # fmt: skip
            assert [hit.id for hit in checked_store.search(ONE_VECTOR, where=f"big = {big!r}")[0]] == ["0"]
            assert [hit.id for hit in checked_store.search(ONE_VECTOR, where="small > 2 and price < 1")[0]] == ["0"]
    assert (result.returncode, "Columns stored as text" in result.stderr, "big, exact" in result.stderr) == (
        0,
        True,
        True,
    )


def test_large_integers_in_dictionaries_become_text(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    with create_store(f"lance://{tmp_path}/x", SPACE) as store:
        store.upsert(["a", "b"], np.ones((2, 4), np.float32), [{"n": MAX_UINT64}, {"n": 7}])
        store.upsert(["c"], ONE_VECTOR, pa.table({"n": pa.array([9], pa.uint64())}))
        assert {hit.id: hit.record["n"] for hit in store.get(["a", "b", "c"])} == {
            "a": str(MAX_UINT64),
            "b": "7",
            "c": "9",
        }


ENGINES = [pytest.param("lance", "x.lance", id="lance"), pytest.param("qdrant-edge", "x", id="qdrant-edge")]


def require_engine(scheme: str) -> None:
    pytest.importorskip({"lance": "lancedb", "qdrant-edge": "qdrant_edge"}[scheme])


def create(url: str, n: int = 1) -> None:
    with create_store(url, SPACE) as store:
        store.upsert([f"{row}" for row in range(n)], np.ones((n, 4), np.float32), [{"n": row} for row in range(n)])


@pytest.mark.parametrize(("scheme", "folder"), ENGINES)
@pytest.mark.parametrize("foreign", ["foreign.txt", "shard/foreign.txt", "data/foreign.txt", ".hidden"])
def test_a_folder_that_umekomi_did_not_create_is_neither_written_nor_deleted(
    scheme: str, folder: str, foreign: str, tmp_path: Path
) -> None:
    require_engine(scheme)
    file = tmp_path / folder / foreign
    file.parent.mkdir(parents=True)
    file.write_text("foreign")
    url = f"{scheme}://{tmp_path}/x"
    with pytest.raises(InputError, match="not created by Umekomi"):
        create(url)
    with pytest.raises((CollectionNotFoundError, InputError)):
        open_store(url).drop()
    files = sorted(path.relative_to(tmp_path / folder) for path in (tmp_path / folder).rglob("*") if path.is_file())
    assert (files, file.read_text()) == ([Path(foreign)], "foreign")


@pytest.mark.parametrize(("scheme", "folder"), ENGINES)
def test_dropping_a_collection_keeps_foreign_files(scheme: str, folder: str, tmp_path: Path) -> None:
    require_engine(scheme)
    url = f"{scheme}://{tmp_path}/x"
    create(url)
    (tmp_path / folder / "foreign.txt").write_text("foreign")
    with open_store(url) as store:
        store.drop()
    assert sorted(path.name for path in (tmp_path / folder).iterdir()) == [MARKER, "foreign.txt"]
    with pytest.raises(CollectionNotFoundError):
        open_store(url)
    create(url)
    with open_store(url) as reopened:
        assert reopened.count() == 1


@pytest.mark.parametrize(("scheme", "folder"), ENGINES)
def test_dropping_a_collection_deletes_its_folder(scheme: str, folder: str, tmp_path: Path) -> None:
    require_engine(scheme)
    create(f"{scheme}://{tmp_path}/x")
    with open_store(f"{scheme}://{tmp_path}/x") as store:
        store.drop()
    assert not (tmp_path / folder).exists()


def test_a_lance_table_that_umekomi_did_not_create_is_neither_written_nor_dropped(tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb")
    lancedb.connect(str(tmp_path)).create_table("x", pa.table({"a": [1, 2]}))
    for call in (lambda: create(f"lance://{tmp_path}/x"), lambda: open_store(f"lance://{tmp_path}/x").drop()):
        with pytest.raises(CollectionNotFoundError, match="not created by Umekomi"):
            call()
    assert lancedb.connect(str(tmp_path)).open_table("x").count_rows() == 2


LOCK_HOLDER = """
import sys
from umekomi.stores import lock_store
with lock_store(sys.argv[1], purpose="umekomi store load"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("url", "equivalent"),
    [
        ("lance://{}/x", "lance://{}/../{name}/x"),
        ("qdrant-edge://{}/x", "qdrant-edge://{}/x?ef_search=9"),
        ("postgresql://me:secret@localhost/db/x", "postgresql://127.0.0.1:5432/db/x"),
        ("redis://h/x", "rediss://H:6379/x?timeout=9"),
    ],
)
def test_only_one_process_loads_into_a_collection(
    url: str, equivalent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("lancedb", "qdrant_edge", "psycopg", "redis"):
        pytest.importorskip(module)
    url, equivalent = (text.replace("{name}", tmp_path.name).format(tmp_path) for text in (url, equivalent))
    environment = {**os.environ, "UMEKOMI_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", LOCK_HOLDER, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "locked\n"
        code = "import sys; from umekomi.cli.main import main; main(['store', 'load', *sys.argv[1:]])"
        path = write_embedded_file(tmp_path / "a.parquet", ["a"])
        result = subprocess.run(
            [sys.executable, "-c", code, str(path), equivalent],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 2
        assert f"process {holder.pid}" in result.stderr
        assert "umekomi store load, since" in result.stderr
        assert "secret" not in result.stderr
        holder.stdin.close()
    with lock_store(f"lance://{tmp_path}/y", purpose="one"), pytest.raises(OutputLockedError, match="one, since"):
        with lock_store(f"lance://{tmp_path}/y", purpose="other"):
            pass


def test_collections_on_the_server_of_a_plugin_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMEKOMI_CACHE", str(tmp_path))
    current.cache_clear()
    address = parse_address("example://host/x", EngineSpec("umekomi_example"), {})
    with lock_collection(address, purpose="a test"):
        assert list(tmp_path.glob("locks/*.lock"))
    current.cache_clear()


CREATOR = """
import sys, time
import numpy as np
from umekomi.errors import StoreError
from umekomi.data.embedded_file import Space
from umekomi.stores import create_store
url, name = sys.argv[1:]
for attempt in range(100):
    try:
        with create_store(url, Space("umekomi-fake", "0123456789abcdef", 4)) as store:
            store.upsert([name], np.ones((1, 4), np.float32), [{"n": 1}])
        break
    except StoreError as error:
        assert "is open in another process" in str(error), error
"""


def test_processes_can_create_the_same_qdrant_edge_collection_one_after_another(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    url = f"qdrant-edge://{tmp_path}/x"
    command = [sys.executable, "-c", CREATOR, url]
    creators = [subprocess.Popen([*command, f"row {n}"], stderr=subprocess.PIPE, text=True) for n in range(3)]
    for creator in creators:
        _, stderr = creator.communicate(timeout=120)
        assert creator.returncode == 0, stderr
    with open_store(url) as store:
        assert {hit.id for hit in store.get([f"row {n}" for n in range(3)])} == {"row 0", "row 1", "row 2"}


def test_the_command_reports_removed_rows(tmp_path: Path, fake: Embedder, umekomi: Run) -> None:
    pytest.importorskip("lancedb")
    write_shards(tmp_path, BEFORE, fake)
    url = f"lance://{tmp_path}/db/x"
    assert umekomi("store", "load", "out", url, "--quiet").returncode == 0
    write_shards(tmp_path, {"a": BEFORE["a"]}, fake, changed_only=True)
    result = umekomi("store", "load", "out", url, "--quiet", "--json")
    report = json.loads(result.stdout)
    assert (report["rows"], report["removed"]) == (4, 3)
