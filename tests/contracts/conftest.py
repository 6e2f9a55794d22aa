"""Fixtures: every engine in turn, its server, the URL of a new collection, and stores with and without rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from tests.contracts.engines import ENGINES, EngineCase, Servers, join_url, unique_name
from tests.contracts.rows import SPACE, fill

from umekomi.errors import StoreError
from umekomi.settings import current
from umekomi.stores import Store, create_store


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


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty collection of each engine, which is dropped after the test."""
    store = create_store(url, SPACE)
    yield store
    with suppress(StoreError):
        store.drop()
    store.close()


@pytest.fixture(scope="session")
def filled_store(engine: EngineCase, base: str) -> Iterator[Store]:
    """A collection of 300 rows of each engine, for tests that only read."""
    store = fill(create_store(join_url(base, unique_name()), SPACE))
    yield store
    store.drop()
    store.close()
