"""Loading of folders of shards: every row is loaded once and a sample is verified, also after interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import Run

from umekomi import Embedder
from umekomi.data.embedded_file import Space
from umekomi.errors import InputError, RecordError, SpaceMismatchError, StoreError
from umekomi.pipeline.sharded import ShardedDataset, embed_sharded, is_sharded, open_sharded
from umekomi.pipeline.shards import ShardJob
from umekomi.stores import MemoryStore, create_store, open_store
from umekomi.stores.load_shards import load_shards
from umekomi.vectors.arrow import VectorType


@pytest.fixture
def dataset(tmp_path: Path, fake: Embedder) -> ShardedDataset:
    return make_dataset(tmp_path, fake)


def make_dataset(folder: Path, fake: Embedder, *, rows: int = 150, **options: Any) -> ShardedDataset:
    (folder / "in").mkdir()
    for number in range(2):
        texts = ["" if row == 77 else f"file {number} text {row}" for row in range(rows)]
        table = pa.table({"key": [f"{number}-{row}" for row in range(rows)], "same": [1] * rows, "text": texts})
        pq.write_table(
            table.append_column("odd", pa.array([[row] for row in range(rows)])), folder / "in" / f"{number}.parquet"
        )
    job = ShardJob(f"{folder}/out/", "umekomi-fake", shard_rows=40, **options)
    summary = embed_sharded([f"{folder}/in"], job, embedder=fake)
    assert summary.rejected == 2
    return open_sharded(f"{folder}/out/")


class FailingStore(MemoryStore):
    """A store that fails at the third batch, like a server that stops."""

    remaining = 2

    def _upsert(self, *rows: Any) -> None:
        self.remaining -= 1
        if self.remaining < 0:
            raise StoreError("unavailable")
        super()._upsert(*rows)


class CountingStore(MemoryStore):
    """A store that counts the rows that are written."""

    written = 0

    def _upsert(self, ids: list[str], *rows: Any) -> None:
        self.written += len(ids)
        super()._upsert(ids, *rows)


@pytest.mark.parametrize("url", ["memory://shards-{}", "lance://{}/all", "qdrant-edge://{}/all"])
def test_every_row_of_every_shard_is_loaded(url: str, dataset: ShardedDataset, tmp_path: Path, fake: Embedder) -> None:
    if url.startswith("lance"):
        pytest.importorskip("lancedb")
    if url.startswith("qdrant"):
        pytest.importorskip("qdrant_edge")
    with create_store(url.format(tmp_path), dataset.space) as store:
        result = load_shards(dataset, store, id_column="key")
        assert (result.rows, result.written, result.checked, store.count()) == (298, 298, 64, 298)
        (row,) = store.get(["1-20"])
        assert row.record["text"] == "file 1 text 20"
        assert "odd" not in row.record
        (hit, *_), *_ = store.search(fake.embed(["file 0 text 140"]), k=3)
        assert (hit.id, round(hit.score, 3)) == ("0-140", 1.0)


def test_ids_consist_of_shard_and_row_index_without_an_id_column(dataset: ShardedDataset) -> None:
    store = MemoryStore("memory://named", dataset.space)
    load_shards(dataset, store)
    name = dataset.shards[0].name
    table = pq.read_table(f"{dataset.url}/{name}.parquet")
    assert store.get([f"{name}:3"])[0].record["text"] == table["text"][3].as_py()


@pytest.mark.parametrize("vector_type", [VectorType.INT8, VectorType.BINARY])
def test_quantized_vectors_are_loaded(vector_type: VectorType, tmp_path: Path, fake: Embedder) -> None:
    dataset = make_dataset(tmp_path, fake, vectors=vector_type)
    store = MemoryStore("memory://bytes", dataset.space)
    assert load_shards(dataset, store).checked == 64


def test_an_interrupted_load_resumes_with_the_missing_rows(
    dataset: ShardedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umekomi.stores.copying._MAX_BATCH_ROWS", 25)
    failing = FailingStore("memory://failing", dataset.space)
    with pytest.raises(StoreError, match="unavailable"):
        load_shards(dataset, failing)
    n_stored = failing.count()
    assert 25 < n_stored < 51
    counting = CountingStore("memory://counting", dataset.space)
    for ids, vectors, records in failing.iterate():
        counting.upsert(ids, vectors, records)
    counting.written = 0
    result = load_shards(dataset, counting, resume=True)
    assert (result.written, counting.written, counting.count()) == (298 - n_stored, 298 - n_stored, 298)
    again = load_shards(dataset, counting, resume=True)
    assert (again.written, again.checked) == (0, 64)


def test_a_store_that_holds_different_rows_is_reported(dataset: ShardedDataset) -> None:
    class CorruptingStore(MemoryStore):
        def _upsert(self, ids: list[str], vectors: Any, records: pa.Table) -> None:
            super()._upsert(ids, vectors, records.take(list(range(len(ids)))[::-1]))

    with pytest.raises(StoreError, match="a different row"):
        load_shards(dataset, CorruptingStore("memory://corrupting", dataset.space))


def test_ids_that_are_missing_or_not_unique_are_reported(dataset: ShardedDataset) -> None:
    with pytest.raises(InputError, match="more than once in the batch"):
        load_shards(dataset, MemoryStore("memory://same", dataset.space), id_column="same")
    with pytest.raises(InputError, match="There is no column"):
        load_shards(dataset, MemoryStore("memory://other", dataset.space), id_column="odd")
    with pytest.raises(SpaceMismatchError):
        load_shards(dataset, MemoryStore("memory://space", Space("other", "0" * 16, dataset.space.dims)))


def test_a_missing_or_unfinished_shard_is_reported(dataset: ShardedDataset, tmp_path: Path) -> None:
    Path(dataset.url, f"{dataset.shards[1].shard.name}.parquet").unlink()
    with pytest.raises(RecordError, match="cannot be read"):
        load_shards(dataset, MemoryStore("memory://gone", dataset.space))
    for entry in Path(dataset.url, "_done").iterdir():
        entry.unlink()
    with pytest.raises(RecordError, match="No shard of"):
        open_sharded(dataset.url)
    assert is_sharded(dataset.url)
    assert not is_sharded(str(tmp_path))


def test_a_killed_command_can_be_resumed(dataset: ShardedDataset, tmp_path: Path, umekomi: Run) -> None:
    pytest.importorskip("lancedb")
    url = f"lance://{tmp_path}/killed"
    command = [sys.executable, "-m", "umekomi", "store", "load", dataset.url, url, "--quiet", "--resume", "--json"]
    for delay in (1.0, 1.8):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = umekomi("store", "load", dataset.url, url, "--resume", "--json")
    assert result.returncode == 0, result.stderr
    assert "Columns omitted" in result.stderr
    report = json.loads(result.stdout)
    assert (report["rows"], report["checked"], report["shards"]) == (298, 64, 8)
    with open_store(url) as store:
        ids = sorted(row_id for batch, _, _ in store.iterate() for row_id in batch)
    assert ids == sorted(f"{shard.shard.name}:{row}" for shard in dataset.shards for row in range(shard.rows))


def test_a_folder_without_shards_is_rejected(tmp_path: Path, umekomi: Run) -> None:
    (tmp_path / "empty").mkdir()
    result = umekomi("store", "load", "empty", "memory://x")
    assert (result.returncode, "Traceback" in result.stderr) == (2, False)
