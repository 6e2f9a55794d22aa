"""Tests with inputs and shards in S3. Arrow's client uses HTTP and moto's server, which replaces Amazon's."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from tests.conftest import Run, unavailable

from umekomi import Embedder
from umekomi.pipeline.sharded import embed_sharded
from umekomi.pipeline.shards import ShardJob


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment variables that make s3:// URLs use moto's server, which has a bucket ``data``."""
    python = os.environ.get("UMEKOMI_TEST_MOTO_PYTHON")
    if not python:
        unavailable("UMEKOMI_TEST_MOTO_PYTHON names no Python with moto's server: see .ci/needs/s3.sh")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [python, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=stream,
            stderr=stream,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        bucket(url).create_dir("data")
        yield environment
    finally:
        server.terminate()
        server.wait(20)


def bucket(url: str) -> pafs.S3FileSystem:
    return pafs.S3FileSystem(
        access_key="testing",
        secret_key="testing",
        region="us-east-1",
        endpoint_override=url,
        allow_bucket_creation=True,
    )


def test_a_run_from_s3_to_s3_writes_the_same_bytes_as_on_disk(
    s3: dict[str, str], tmp_path: Path, fake: Embedder, umekomi: Run
) -> None:
    system = bucket(s3["AWS_ENDPOINT_URL"])
    (tmp_path / "in").mkdir()
    for number in range(2):
        table = pa.table({"id": range(100), "text": [f"file {number} text {row}" for row in range(100)]})
        pq.write_table(table, tmp_path / "in" / f"{number}.parquet")
        with system.open_output_stream(f"data/in/{number}.parquet") as stream:
            stream.write((tmp_path / "in" / f"{number}.parquet").read_bytes())
    command = ["embed", "s3://data/in", "-o", "s3://data/out/", "-m", "umekomi-fake", "--shard-rows", "40", "--quiet"]
    done = umekomi(*command, **s3)
    assert done.returncode == 0, done.stderr
    again = umekomi(*command, "--json", **s3)
    assert '"new_shards": 0' in again.stdout, again.stderr
    embed_sharded([f"{tmp_path}/in"], ShardJob(f"{tmp_path}/out", "umekomi-fake", shard_rows=40), embedder=fake)
    rows = system.get_file_info(pafs.FileSelector("data/out"))
    found = sorted(system.open_input_file(row.path).read() for row in rows if row.path.endswith(".parquet"))
    # The names of the shards differ, because those of the inputs do.
    assert found == sorted(path.read_bytes() for path in (tmp_path / "out").glob("*.parquet"))
    loaded = umekomi("store", "load", "s3://data/out/", f"lance://{tmp_path}/all", "--json", **s3)
    assert '"rows": 200' in loaded.stdout, loaded.stderr


def test_a_missing_bucket_is_reported_in_one_sentence(s3: dict[str, str], umekomi: Run) -> None:
    done = umekomi("embed", "s3://nowhere/in", "-o", "s3://data/other/", "-m", "umekomi-fake", "--quiet", **s3)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
