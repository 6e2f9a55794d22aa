"""A real server on a free port, in a thread, with an embedder that records its calls and can be paused."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import openai
import pytest
import uvicorn

from umekomi import Embedder
from umekomi.catalog import Catalog
from umekomi.serve.app import create_app
from umekomi.serve.limits.connections import HttpProtocol
from umekomi.serve.models import Models
from umekomi.serve.service import Limits
from umekomi.vectors.arithmetic import FloatArray

MODEL = "umekomi-fake"


class RecordingEmbedder(Embedder):
    """The fake model. It records the texts of each call, and waits while its gate is closed."""

    def __init__(self, model: str = MODEL) -> None:
        super().__init__(model)
        self.calls: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def embed_texts(self, texts: Sequence[str], **options: object) -> FloatArray:
        self.calls.append(list(texts))
        assert self.gate.wait(timeout=60)
        if "bad luck" in texts:
            raise RuntimeError(f"no vectors for {texts}")
        return super().embed_texts(texts, **options)  # type: ignore[arg-type]


Serving = Callable[..., AbstractContextManager[str]]


@contextlib.contextmanager
def run_server(
    load: Callable[[str], Embedder] = RecordingEmbedder,
    *,
    catalog: Catalog | None = None,
    http: type[HttpProtocol] = HttpProtocol,
    **options: Any,
) -> Iterator[str]:
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(Models(load=load, catalog=catalog), **options),
            port=0,
            log_config=None,
            lifespan="on",
            ws="none",
            http=http,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.fixture
def serving() -> Serving:
    """Context manager that starts a server: ``with serving(load=…, limits=…) as address``."""
    return run_server


@pytest.fixture
def recorder() -> RecordingEmbedder:
    return RecordingEmbedder()


@pytest.fixture(scope="package")
def address() -> Iterator[str]:
    """Base URL of a server that all tests of this folder share. Its limit for bodies is a megabyte."""
    with run_server(limits=Limits(max_body_bytes=1_000_000)) as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=address, api_key="any", max_retries=0) as client:
        yield client
