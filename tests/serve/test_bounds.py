"""Limits on the memory for bodies, responses, cached vectors and request heads."""

import asyncio
import contextlib
import socket
import threading
import time

import httpx
import numpy as np
import pytest

from umekomi import Embedder
from umekomi.embedder import Prepared
from umekomi.errors import OverloadedError
from umekomi.serve.scheduler.batcher import Batcher
from umekomi.serve.scheduler.cache import VectorCache
from umekomi.serve.scheduler.memory import MemoryBudget
from umekomi.serve.scheduler.queues import Priority
from umekomi.serve.service import Limits

from .conftest import MODEL, RecordingEmbedder, Serving


def test_a_memory_budget_is_shared_and_released() -> None:
    budget = MemoryBudget(100)
    one, two = budget.lease(), budget.lease()
    one.take(60)
    with pytest.raises(OverloadedError):
        two.take(50)
    two.take(40)
    one.release()
    two.take(60)
    two.release()
    assert budget.used == 0
    one.take(1000)  # a single lease can exceed the budget


def test_responses_that_exceed_the_memory_budget_get_429_with_retry_after(
    serving: Serving, recorder: RecordingEmbedder
) -> None:
    recorder.gate.clear()
    with serving(load=lambda model: recorder, limits=Limits(max_memory_bytes=3000)) as address:
        body = {"model": MODEL, "input": "x"}
        first = threading.Thread(target=lambda: httpx.post(f"{address}/embeddings", json=body, timeout=60))
        first.start()
        while not recorder.calls:
            time.sleep(0.005)
        rejected = httpx.post(f"{address}/embeddings", json={"model": MODEL, "input": ["x", "y"]})
        assert (rejected.status_code, rejected.headers["retry-after"]) == (429, "1")
        recorder.gate.set()
        first.join()
        assert httpx.post(f"{address}/embeddings", json=body).status_code == 200
        page = httpx.get(address.removesuffix("/v1") + "/metrics").text
        assert "umekomi_request_memory_bytes 0" in page


def test_the_cache_evicts_the_least_recently_used_vector() -> None:
    cache = VectorCache(2 * (4 * 64 + 250))
    rows = np.eye(3, 64, dtype=np.float32)
    keys = [cache.key("space", text) for text in "abc"]
    cache.put(keys[0], rows[0])
    cache.put(keys[1], rows[1])
    assert (cache.get(keys[0]) == rows[0]).all()
    cache.put(keys[2], rows[2])
    assert cache.get(keys[1]) is None
    assert (cache.get(keys[2]) == rows[2]).all()
    assert cache.key("other space", "a") != keys[0]


def test_a_running_or_waiting_text_is_not_embedded_twice(recorder: RecordingEmbedder, fake: Embedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=40)
        recorder.gate.clear()
        texts = tuple(f"a long text {n}".ljust(30) for n in range(10))
        long = asyncio.create_task(batcher.embed(recorder, Prepared(texts, (30,) * 10)))
        while not recorder.calls:
            await asyncio.sleep(0.001)
        running = recorder.calls[0][0]
        same = [running, next(text for text in texts if text != running)]
        others = [asyncio.create_task(batcher.embed(recorder, Prepared((text,), (30,)))) for text in same * 3]
        await asyncio.sleep(0.01)
        recorder.gate.set()
        vectors = await asyncio.gather(*others)
        assert all((row == fake.embed([text])).all() for row, text in zip(vectors, same * 3, strict=True))
        assert (await long == fake.embed(texts)).all()
        await batcher.close()

    asyncio.run(work())
    embedded = [text for call in recorder.calls for text in call]
    assert len(embedded) == len(set(embedded)) == 10


def test_jobs_that_share_texts_with_a_failed_or_cancelled_job_are_answered(
    recorder: RecordingEmbedder, fake: Embedder
) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=1000)
        recorder.gate.clear()
        bad = asyncio.create_task(batcher.embed(recorder, Prepared(("bad luck", "shared"), (8, 6))))
        while not recorder.calls:
            await asyncio.sleep(0.001)
        cancelled = asyncio.create_task(batcher.embed(recorder, Prepared(("later", "shared"), (5, 6))))
        follower = asyncio.create_task(batcher.embed(recorder, Prepared(("shared", "later"), (6, 5))))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        await asyncio.sleep(0.01)
        recorder.gate.set()
        with pytest.raises(RuntimeError):
            await bad
        assert (await follower == fake.embed(["shared", "later"])).all()
        assert batcher.waiting_tokens == 0
        await batcher.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_background_jobs_have_low_priority_but_do_not_starve(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=40)
        background = asyncio.create_task(
            batcher.embed(recorder, Prepared(("background".ljust(40),), (40,)), priority=Priority.BACKGROUND)
        )
        await background
        recorder.calls.clear()
        recorder.gate.clear()
        queries = [
            asyncio.create_task(batcher.embed(recorder, Prepared((f"query {n}".ljust(40),), (40,)))) for n in range(60)
        ]
        await asyncio.sleep(0)
        background = asyncio.create_task(
            batcher.embed(recorder, Prepared(("in the background".ljust(40),), (40,)), priority=Priority.BACKGROUND)
        )
        await asyncio.sleep(0.01)
        recorder.gate.set()
        await asyncio.gather(background, *queries)
        await batcher.close()

    asyncio.run(work())
    position = next(n for n, call in enumerate(recorder.calls) if call[0].startswith("in the background"))
    assert 15 <= position <= 21


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"BREW /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
     b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"],
    ids=["nonsense", "version", "method", "length"],
)  # fmt: skip
def test_invalid_http_gets_an_error_object(address: str, sent: bytes) -> None:
    host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert list(httpx.Response(400, content=body).json()["error"]) == ["message", "type", "param", "code"]


def test_an_endless_request_head_is_interrupted(address: str) -> None:
    host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        with contextlib.suppress(ConnectionError):
            while sent < 100_000_000:
                sent += connection.send(b"a" * 65_536)
    assert sent < 20_000_000


def test_a_short_query_is_accepted_while_long_requests_fill_the_queue(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=80, max_waiting_tokens=400)
        recorder.gate.clear()
        texts = tuple(f"long {n}".ljust(20) for n in range(30))
        long = asyncio.create_task(batcher.embed(recorder, Prepared(texts, (20,) * 30)))
        while not recorder.calls:
            await asyncio.sleep(0.001)
        with pytest.raises(OverloadedError):
            await batcher.embed(recorder, Prepared(("x" * 20,), (20,)))
        query = asyncio.create_task(batcher.embed(recorder, Prepared(("a query",), (7,))))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        assert (await query).shape == (1, 64)
        await long
        await batcher.close()

    asyncio.run(work())
    assert "a query" in recorder.calls[1]
