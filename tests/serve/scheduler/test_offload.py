"""Work on large and adversarial bodies is limited, stops on disconnect, and does not delay other requests."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi import Embedder
from umekomi.serve.errors import RequestError
from umekomi.serve.scheduler.offload import Offload, check_number_of_values
from umekomi.serve.schemas.requests import MAX_REQUEST_TOKENS
from umekomi.serve.service import Limits

from ..conftest import MODEL, Serving
from ..raw import connected, head


def error_of(address: str, body: object, path: str = "embeddings") -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(f"{address}/{path}", content=content, headers={"content-type": "application/json"}, timeout=60)
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize("path", ["embeddings", "tokenize", "engines/umekomi-fake/embeddings"])
def test_a_much_too_long_text_gets_the_error_of_the_api(address: str, path: str) -> None:
    status, error = error_of(address, {"model": MODEL, "input": ["beans", "a" * 900_000]}, path)
    assert status == 400
    assert error["message"].startswith("This model's maximum context length is 8191 tokens, however you requested ")


@pytest.mark.parametrize(
    "value",
    [
        "[" + "1," * 399_999 + "1]",
        "[" + "[]," * 399_999 + "[]]",
        "[" + '"",' * 399_999 + '""]',
        "[" + ("[" * 500 + "]" * 500 + ",") * 700 + "1]",
        "[" + ('{"a":' * 500 + "1" + "}" * 500 + ",") * 300 + "1" + "[]" * 200_000 + "]",
        '"' + '\\"' * 100_000 + '", "x": [' + "1," * 399_999 + "1]",
    ],
)
def test_bodies_with_too_many_values_are_rejected_before_parsing(address: str, value: str) -> None:
    body = f'{{"model": "{MODEL}", "input": {value}}}'.encode()
    with_limit = len(body) <= 1_000_000
    status, error = error_of(address, body)
    assert (status, error["code"]) == ((400, "max_tokens_per_request") if with_limit else (413, "request_too_large"))


@pytest.mark.parametrize("text", [",", '",', '\\",', "\\\\,", ",\\\\\\"])
def test_commas_in_texts_are_not_values(text: str) -> None:
    # Longer than a block, so that blocks end within escape sequences.
    for shift in range(5):
        body = json.dumps({"x": "." * shift, "input": [text * 200_000] * 2}).encode()
        assert body.count(b",") > MAX_REQUEST_TOKENS
        check_number_of_values(body)
        with pytest.raises(RequestError):
            check_number_of_values(body + b",1" * 310_000)


@given(st.lists(st.text(alphabet='",\\[]a', max_size=12), max_size=20), st.integers(0, 3))
def test_only_values_outside_of_strings_are_counted(texts: list[str], shift: int) -> None:
    good = json.dumps(["." * shift, *texts]).encode()
    filler = b"," * 302_100  # below the limit together with up to 48 values
    outside = len(texts) + 1
    if outside <= 48:
        check_number_of_values(good + filler[: 302_148 - outside])
        with pytest.raises(RequestError):
            check_number_of_values(good + b"," * (302_149 - outside))


def test_cancellation_stops_token_counting(fake: Embedder) -> None:
    counted: list[str] = []
    started = threading.Event()
    resume = threading.Event()
    tokenizer = fake.tokenizer

    class SlowTokenizer:
        name = "slow"

        def count_many_within(self, texts: Sequence[str], limit: int) -> Any:
            return [self.count_within(text, limit) for text in texts]

        def count_within(self, text: str, limit: int, **options: Any) -> Any:
            counted.append(text)
            started.set()
            assert resume.wait(60)
            return tokenizer.count_within(text, limit)

    embedder = Embedder(MODEL)
    embedder._tokenizer = SlowTokenizer()  # type: ignore[assignment]

    async def work() -> None:
        offload = Offload()
        task = asyncio.create_task(offload.prepare(embedder, ["x" * 5000] * 50))
        await asyncio.to_thread(started.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        resume.set()
        # The thread is free again.
        assert await offload.run(lambda: "free", size=5000) == "free"
        offload.close()

    asyncio.run(work())
    assert len(counted) == 1


def test_token_counting_stops_at_the_limit_of_a_request(fake: Embedder) -> None:
    async def work() -> str:
        offload = Offload()
        with pytest.raises(RequestError) as caught:
            await offload.prepare(fake, ["x" * 8000] * 2000)
        offload.close()
        return str(caught.value)

    assert asyncio.run(work()) == "Requested at least 608000 tokens, max 300000 tokens per request"


def test_token_counts_slightly_above_the_limit_are_exact(address: str) -> None:
    status, error = error_of(address, {"model": MODEL, "input": ["x" * 8000] * 40})
    assert (status, error["message"]) == (400, "Requested 320000 tokens, max 300000 tokens per request")


def test_short_requests_are_answered_while_tokens_of_large_ones_are_counted(serving: Serving) -> None:
    resume, started = threading.Event(), threading.Event()

    class PausedEmbedder(Embedder):
        def prepare(self, inputs: Any, **options: Any) -> Any:
            if sum(map(len, inputs)) > 100_000:
                started.set()
                assert resume.wait(60)
            return super().prepare(inputs, **options)

    large = json.dumps({"model": MODEL, "input": ["x" * 8000] * 20}).encode()
    with serving(load=PausedEmbedder, limits=Limits()) as address:
        with connected(address) as one, connected(address) as two, connected(address) as three:
            for connection in (one, two, three):
                connection.send(head(length=len(large)) + large)
            assert started.wait(60)
            # Small bodies are handled in the event loop, and medium ones in separate threads.
            for size in (10, 30_000):
                body = {"model": MODEL, "input": ["x" * 5000] * (size // 5000) or "x"}
                assert httpx.post(f"{address}/embeddings", json=body, timeout=60).status_code == 200
            assert not resume.is_set()
            resume.set()
            assert [connection.read().status for connection in (one, two, three)] == [200] * 3


def test_a_disconnect_stops_token_counting(serving: Serving) -> None:
    stopped = threading.Event()

    class EndlessEmbedder(Embedder):
        def prepare(self, inputs: Any, *, check: Any = None) -> Any:
            if check is None:
                return super().prepare(inputs)
            try:
                while True:
                    check(0)
                    time.sleep(0.01)
            except asyncio.CancelledError:
                stopped.set()
                raise

    body = json.dumps({"model": MODEL, "input": "x" * 8000}).encode()
    with serving(load=EndlessEmbedder) as address:
        with connected(address) as connection:
            connection.send(head(length=len(body)) + body)
            time.sleep(0.1)
        assert stopped.wait(60)
