"""Tests with a Ray cluster on this machine, one node of which is killed during the run."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tests.conftest import unavailable

from umekomi import Embedder
from umekomi.pipeline.sharded import embed_sharded
from umekomi.pipeline.shards import ShardJob


def test_no_row_is_lost_when_a_node_dies(tmp_path: Path, fake: Embedder) -> None:
    if importlib.util.find_spec("ray") is None:
        unavailable("Ray is not installed: pip install 'umekomi[ray]'")
    source = tmp_path / "in"
    source.mkdir()
    for number in range(8):
        pq.write_table(
            pa.table({"text": [f"file {number} text {row}" for row in range(200)]}), source / f"{number}.parquet"
        )
    embed_sharded([str(source)], ShardJob(str(tmp_path / "whole"), "umekomi-fake", shard_rows=32), embedder=fake)
    script = Path(__file__).with_name("ray_run.py")
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [sys.executable, str(script), str(source), str(tmp_path / "out"), str(tmp_path / "facts.json")],
        capture_output=True, text=True, timeout=400, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["nodes"], facts["alive"]) == (2, 1)
    assert (facts["rows"], facts["shards"], facts["rejected"]) == (1600, 56, 0)

    def shards(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}

    assert shards(tmp_path / "out") == shards(tmp_path / "whole")
