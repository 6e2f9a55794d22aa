"""Engines that the contract tests run on. A test of an engine that is not installed is skipped, or fails in strict mode."""

from __future__ import annotations

import importlib
import importlib.util
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import unavailable
from tests.servers.process import Server


class Servers:
    """The servers of a test session. Each one starts when the first test needs it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._running: dict[str, Server] = {}

    def get(self, name: str) -> Server:
        """Return the server of ``tests/servers/NAME.py``."""
        if name not in self._running:
            start = importlib.import_module(f"tests.servers.{name}").serve
            self._running[name] = self._stack.enter_context(start(self.folder / name))
        return self._running[name]


@dataclass(frozen=True)
class EngineCase:
    """How the tests reach an engine, and what it supports."""

    #: Scheme of its URLs.
    name: str
    #: Returns the URL below which the tests create collections, and starts the server.
    base: Callable[[Servers], str]
    #: Whether several processes can write to one collection.
    shared: bool = True
    #: Maximum number of dimensions.
    max_dims: int = 1 << 16
    #: Returns the environment variables that the engine needs.
    environment: Callable[[], Mapping[str, str]] = dict

    def __str__(self) -> str:
        return self.name


def unique_name() -> str:
    """Return a name that no collection has."""
    return f"t{uuid.uuid4().hex}"


def join_url(base: str, name: str) -> str:
    """Return the URL of a collection below the URL of an engine, whose parameters stay at the end."""
    path, question_mark, query = base.partition("?")
    separator = "" if path.endswith("://") else "/"
    return f"{path}{separator}{name}{question_mark}{query}"


def _lance(servers: Servers) -> str:
    if importlib.util.find_spec("lancedb") is None:
        unavailable("lancedb is not installed")
    return f"lance://{servers.folder}/lance"


def _edge(servers: Servers) -> str:
    if importlib.util.find_spec("qdrant_edge") is None:
        unavailable("qdrant-edge-py is not installed")
    return f"qdrant-edge://{servers.folder}/edge"


def server(name: str) -> Callable[[Servers], str]:
    """Return a function that returns the URL of a real server.

    UMEKOMI_TEST_<NAME>_URL names the server. Otherwise the tests start one.
    """

    def base(servers: Servers) -> str:
        return os.environ.get(f"UMEKOMI_TEST_{name.upper()}_URL", "").rstrip("/") or servers.get(name).url

    return base


def _pinecone(servers: Servers) -> str:
    is_real = bool(os.environ.get("UMEKOMI_TEST_PINECONE_API_KEY"))
    return "pinecone://?timeout=120" if is_real else servers.get("pinecone").url


def _pinecone_environment() -> dict[str, str]:
    # The key of a real account, or the key of the stand-in.
    return {"PINECONE_API_KEY": os.environ.get("UMEKOMI_TEST_PINECONE_API_KEY") or "stand-in"}


ENGINES = [
    EngineCase("memory", lambda servers: "memory://tests", shared=False),
    EngineCase("lance", _lance),
    EngineCase("milvus", server("milvus")),
    EngineCase("postgres", server("postgres")),
    EngineCase("pinecone", _pinecone, max_dims=20_000, environment=_pinecone_environment),
    EngineCase("qdrant", server("qdrant")),
    EngineCase("qdrant-edge", _edge, shared=False),
    EngineCase("redis", server("redis")),
    EngineCase("weaviate", server("weaviate")),
    EngineCase("redis_vectors", server("redis_vectors")),
]
