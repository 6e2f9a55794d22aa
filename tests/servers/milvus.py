"""Milvus 2.3.5, a full server, from the wheel ``milvus`` in its own environment."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import Server, find_binary, free_port

VARIABLE = "UMEKOMI_TEST_MILVUS_SERVER"
INTERVALS = {
    "PROXY_TIMETICKINTERVAL": "40",
    "COMMON_TIMETICKINTERVAL": "40",
    "COMMON_SESSION_TTL": "5",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "50",
    "QUERYCOORD_CHECKCHANNELINTERVAL": "50",
    "QUERYCOORD_CHECKINDEXINTERVAL": "100",
    "QUERYCOORD_DISTPULLINTERVAL": "50",
    "QUERYCOORD_UPDATENEXTTARGETINTERVAL": "1",
}
SANDBOX = Path(__file__).with_name("milvus_sandbox.py")


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Start Milvus in its own network namespace, with a port on 127.0.0.1."""
    program = find_binary(VARIABLE, "a Milvus server")
    (folder / "data").mkdir(parents=True)
    grpc, health = free_port(), free_port()
    command = [sys.executable, str(SANDBOX), str(grpc), str(health), str(program), str(folder / "data")]
    # Short intervals make the tests faster: a consistent read waits for a tick, loading a collection for checks of the server,
    # and a restarted server for the end of the old one's session. Recovery after a kill takes a minute or more.
    server = Server(
        f"milvus://127.0.0.1:{grpc}",
        command,
        lambda: _is_healthy(health),
        folder / "log",
        INTERVALS,
        start_timeout_s=240.0,
    )
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as response:
            return response.read().strip() == b"OK"
    except (OSError, ValueError):
        return False
