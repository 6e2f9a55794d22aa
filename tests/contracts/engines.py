"""The engines that the contract runs on: one row each. A row that cannot run says why, and fails where nothing may skip."""

from __future__ import annotations

import importlib
import importlib.util
import os
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import unavailable
from tests.servers.process import Server

from umekomi.settings import current


class Servers:
    """What the tests started: each server once a session, when the first test asks for it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._running: dict[str, Server] = {}

    def get(self, name: str) -> Server:
        """The server of ``tests/servers/NAME.py``."""
        if name not in self._running:
            start = importlib.import_module(f"tests.servers.{name}").serve
            self._running[name] = self._stack.enter_context(start(self.folder / name))
        return self._running[name]


@dataclass(frozen=True)
class Engine:
    """How an engine is reached, and what it can.

    Args:
        name: the scheme of its URL.
        base: the URL below which the tests may make collections; it starts what must run.
        shared: several processes may write to one collection.
        widest: the most dimensions that it takes.
    """

    name: str
    base: Callable[[Servers], str]
    shared: bool = True
    widest: int = 1 << 16

    def __str__(self) -> str:
        return self.name


def fresh_name() -> str:
    """A name that no collection has yet."""
    return f"t{uuid.uuid4().hex}"


def below(base: str, name: str) -> str:
    """The URL of a collection below an engine's own; parameters stay at the end."""
    path, mark, query = base.partition("?")
    between = "" if path.endswith("://") else "/"
    return f"{path}{between}{name}{mark}{query}"


def _lance(servers: Servers) -> str:
    if importlib.util.find_spec("lancedb") is None:
        unavailable("lancedb is not installed")
    return f"lance://{servers.folder}/house"


def _edge(servers: Servers) -> str:
    if importlib.util.find_spec("qdrant_edge") is None:
        unavailable("qdrant-edge-py is not installed")
    return f"qdrant-edge://{servers.folder}/edge"


def server(name: str) -> Callable[[Servers], str]:
    """The address of a real server: the one that UMEKOMI_TEST_<NAME>_URL names, else one that the test starts."""

    def base(servers: Servers) -> str:
        return os.environ.get(f"UMEKOMI_TEST_{name.upper()}_URL", "").rstrip("/") or servers.get(name).url

    return base


def _pinecone(servers: Servers) -> str:
    # The account that UMEKOMI_TEST_PINECONE_API_KEY opens, else the stand-in.
    key = os.environ.get("UMEKOMI_TEST_PINECONE_API_KEY", "")
    os.environ["PINECONE_API_KEY"] = key or "stand-in"
    current.cache_clear()
    return "pinecone://?timeout=120" if key else servers.get("pinecone").url


ENGINES = [
    Engine("memory", lambda servers: "memory://tests", shared=False),
    Engine("lance", _lance),
    Engine("milvus", server("milvus")),
    Engine("postgres", server("postgres")),
    Engine("pinecone", _pinecone, widest=20_000),
    Engine("qdrant", server("qdrant")),
    Engine("qdrant-edge", _edge, shared=False),
    Engine("redis", server("redis")),
    Engine("weaviate", server("weaviate")),
    Engine("redis_vectors", server("redis_vectors")),
]
