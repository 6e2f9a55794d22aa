"""Fixtures: every engine in turn, its server, and the URL of a new collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.contracts.engines import ENGINES, EngineCase, Servers, join_url, unique_name

from umekomi.settings import current


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers that start on the first request and stop at the end of the session."""
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


@pytest.fixture(scope="session", params=ENGINES, ids=str)
def engine(request: pytest.FixtureRequest) -> EngineCase:
    """Return each engine in turn."""
    case: EngineCase = request.param
    return case


@pytest.fixture(scope="session")
def base(engine: EngineCase, servers: Servers) -> Iterator[str]:
    """URL below which the engine's collections are created. The engine's environment variables are set while it is used."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in engine.environment().items():
            monkeypatch.setenv(name, value)
        current.cache_clear()
        yield engine.base(servers)
    current.cache_clear()


@pytest.fixture
def url(base: str) -> str:
    """URL of a collection that does not exist."""
    return join_url(base, unique_name())
