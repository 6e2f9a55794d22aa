"""Engines, started once a session, and fresh collections on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.contracts.engines import ENGINES, Engine, Servers, below, fresh_name


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Whatever servers the tests ask for; stopped at the end."""
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("servers"), stack)


@pytest.fixture(scope="session", params=ENGINES, ids=str)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    row: Engine = request.param
    return row


@pytest.fixture(scope="session")
def base(engine: Engine, servers: Servers) -> str:
    """The URL below which the engine's collections are made."""
    return engine.base(servers)


@pytest.fixture
def url(base: str) -> str:
    """The URL of a collection that is not there yet."""
    return below(base, fresh_name())
