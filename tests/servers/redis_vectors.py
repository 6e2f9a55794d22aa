"""Redis 8.2 without RediSearch: vector sets only."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from tests.servers.process import Server
from tests.servers.redis import serve as serve_redis


def serve(folder: Path) -> AbstractContextManager[Server]:
    """Start Redis with vector sets only."""
    return serve_redis(folder, search=False)
