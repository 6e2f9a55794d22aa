"""Qdrant Edge: kills, its lock, exact numbers, and quantization."""

from __future__ import annotations

import importlib.util
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from umekomi.data.embedded_file import Space
from umekomi.errors import InputError, StoreError
from umekomi.stores import create_store, open_store

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("qdrant_edge") is None, reason="qdrant-edge-py is not installed"
)

SPACE = Space("umekomi-fake", "0123456789abcdef", 16)
WRITER = """
import sys
import numpy as np
from umekomi.data.embedded_file import Space
from umekomi.stores import create_store

store = create_store(sys.argv[1], Space("umekomi-fake", "0123456789abcdef", 16))
for batch in range(10_000):
    vectors = np.random.default_rng(batch).standard_normal((200, 16), dtype=np.float32)
    store.upsert([f"{batch} {row}" for row in range(200)], vectors, [{"batch": batch}] * 200)
    print(batch, flush=True)
"""


def start_writer(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kill_after", [0, 3, 9])
def test_acknowledged_batches_survive_a_kill_of_the_writer(tmp_path: Path, kill_after: int) -> None:
    url = f"qdrant-edge://{tmp_path}/reviews"
    with start_writer(url) as writer:
        assert writer.stdout is not None
        acknowledged = next(int(line) for line in writer.stdout if int(line) >= kill_after)
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
    store = open_store(url)
    for batch in range(acknowledged + 1):
        assert store.count(f"batch = {batch}") == 200
    assert store.count() in ((acknowledged + 1) * 200, (acknowledged + 2) * 200)
    store.upsert(["after"], np.ones((1, 16), np.float32), [{"batch": 0}])
    assert store.search(np.ones(16), k=1)[0][0].id == "after"
    store.drop()


def test_another_process_cannot_open_the_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.engines.qdrant_edge._LOCK_TIMEOUT_S", 0.2)
    url = f"qdrant-edge://{tmp_path}/reviews"
    with start_writer(url) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(StoreError, match="open in another process"):
            open_store(url)
        writer.kill()
    assert open_store(url).count() >= 200


def test_numbers_are_exact(tmp_path: Path) -> None:
    rng = random.Random(0)
    values = [rng.random() * 10.0 ** rng.randint(-300, 300) for _ in range(2000)]
    store = create_store(f"qdrant-edge://{tmp_path}/numbers", SPACE)
    ids = [str(row) for row in range(len(values))]
    store.upsert(ids, np.ones((len(values), 16), np.float32), pa.table({"x": values}))
    assert {hit.id: hit.record["x"] for hit in store.get(ids)} == dict(zip(ids, values, strict=True))
    for value in values[:50]:
        assert store.count(f"x = {value!r}") == 1
        assert store.count(f"x < {value!r}") == sum(other < value for other in values)
    store.drop()


@pytest.mark.parametrize(
    "options", ["quantization=int8", "quantization=float16", "quantization=binary", "exact=true", "m=8&ef=64"]
)
def test_the_nearest_rows_are_found_with_every_option(tmp_path: Path, options: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 64), dtype=np.float32)
    url = f"qdrant-edge://{tmp_path}/reviews"
    store = create_store(f"{url}?{options}", Space("umekomi-fake", "0" * 16, 64))
    store.upsert([str(row) for row in range(3000)], vectors, [{"n": row} for row in range(3000)])
    store.optimize()
    queries = vectors[:20] + 0.1 * rng.standard_normal((20, 64), dtype=np.float32)
    assert [hits[0].id for hits in store.search(queries, k=3)] == [str(row) for row in range(20)]
    assert open_store(url).info()["rows"] == 3000
    with pytest.raises(InputError, match="created with"):
        open_store(f"{url}?m=40")
    store.drop()


def test_a_kill_during_the_first_write_leaves_an_empty_collection(tmp_path: Path) -> None:
    url = f"qdrant-edge://{tmp_path}/reviews"
    store = create_store(url, SPACE)
    store.upsert(["a"], np.ones((1, 16), np.float32), [{"n": 1}])
    store.close()
    del store
    (tmp_path / "reviews" / "shard" / "edge_config.json").unlink()
    reopened = create_store(url, SPACE)
    assert reopened.count() == 0
    reopened.upsert(["a"], np.ones((1, 16), np.float32), [{"n": 1}])
    assert reopened.count() == 1


@pytest.mark.parametrize("url", ["qdrant-edge://", "qdrant-edge:///", "qdrant-edge://name", "qdrant-edge:///a/b c"])
def test_a_url_without_a_valid_name_is_rejected(url: str) -> None:
    with pytest.raises(InputError):
        create_store(url, SPACE)
