"""What a request for vectors goes through: its body, its checks, its tokens, the batcher, its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from ..catalog import Role
from ..embedder import Embedder, Prepared
from ..errors import OverloadedError
from ..vectors.arithmetic import FloatArray, shorten
from .batch_api.storage import KEY_BATCHES, KEY_BYTES
from .errors import BodyTooLargeError, DeadlineError
from .json_text import write_json
from .limits.buckets import Account
from .metrics import Metrics
from .models import Models
from .scheduler.batcher import BATCH_TOKENS, LONGEST_WAIT, WAITING_TOKENS, Batcher
from .scheduler.cache import VectorCache
from .scheduler.memory import MemoryBudget, MemoryLease
from .scheduler.offload import Offload, check_number_of_values
from .scheduler.queues import Priority, RoleEmbedder, TextEmbedder
from .schemas import (
    EmbeddingsRequest,
    EncodingFormat,
    RequestError,
    check_total_tokens,
    embeddings_body,
    parse_embeddings_request,
)

Result = TypeVar("Result")

_INLINE_BODY = 2**18
_INLINE_NUMBERS = 16_384
# Below these sizes a hop to another thread costs more than the work; above them the event loop would be held up.

_PARSED = 4
"""Bytes of memory that a byte of a body costs, once it is read, parsed and tokenized."""
_BYTES_A_NUMBER = {EncodingFormat.FLOAT: 20, EncodingFormat.BASE64: 12}
"""Bytes of memory that a number of an answer costs: four as a float, and its text."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the server takes: bytes of a body, requests at a time, bytes of all bodies and answers in memory, tokens that
    wait, seconds that they may wait at the speed of this machine, tokens in a call of a model, seconds for one request (reading
    its body included), bytes of the cache of vectors (0: none), and bytes of all stored files."""

    body_bytes: int = 16 * 2**20
    requests: int = 1024
    memory_bytes: int = 2**30
    waiting_tokens: int = WAITING_TOKENS
    waiting_seconds: float = LONGEST_WAIT
    batch_tokens: int = BATCH_TOKENS
    deadline: float = 600.0
    cache_bytes: int = 0
    stored_bytes: int = 50 * 2**30
    key_bytes: int = KEY_BYTES
    """Bytes of the files and batch results of one key."""
    key_batches: int = KEY_BATCHES
    """Unfinished batches of one key."""


class Service:
    """What the routes share. Its batcher is made in the event loop that serves: call :meth:`start` there."""

    batcher: Batcher

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models = models
        self.limits = limits
        self.metrics = Metrics()
        self.budget = MemoryBudget(limits.memory_bytes)
        self.offload = Offload()
        self._requests = 0

    def start(self) -> None:
        """Begin to take work."""
        cache = VectorCache(self.limits.cache_bytes) if self.limits.cache_bytes else None
        self.batcher = Batcher(
            batch_tokens=self.limits.batch_tokens,
            waiting_tokens=self.limits.waiting_tokens,
            waiting_seconds=self.limits.waiting_seconds,
            cache=cache,
        )

    async def stop(self) -> None:
        """Finish what is here."""
        await self.batcher.close()
        self.models.close()
        self.offload.close()

    async def with_limits(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The work of one request, within the number of requests and the time that there is for one."""
        if self._requests >= self.limits.requests:
            work.close()
            raise OverloadedError(f"{self._requests} requests are waiting; please try again in 1 s.", retry_after=1.0)
        self._requests += 1
        try:
            async with asyncio.timeout(self.limits.deadline):
                return await work
        except TimeoutError as error:
            raise DeadlineError(
                f"The request was not answered in {self.limits.deadline:g} s. Send fewer inputs at a time.",
                retry_after=5.0,
            ) from error
        finally:
            self._requests -= 1

    async def embeddings(self, request: Request, *, engine: str | None = None) -> Response:
        """``POST /v1/embeddings``; ``engine`` is the model that the path names, if it does."""
        return await self.with_limits(self._embeddings(request, engine))

    async def _embeddings(self, request: Request, engine: str | None) -> Response:
        asked = await self.parsed_body(request, partial(parse_embeddings_request, engine=engine))
        embedder = await self.model(request, asked.model)
        prepared, n_tokens = await cancel_on_disconnect(request, self.prepare(embedder, asked))
        count_tokens(request, n_tokens)
        numbers = len(prepared.texts) * (asked.dimensions or embedder.dims)
        memory_lease(request).take(numbers * _BYTES_A_NUMBER[asked.encoding_format])
        vectors = await cancel_on_disconnect(request, self.batcher.embed(embedder, prepared))
        self.metrics.embedded(asked.model, n_tokens)

        def write() -> bytes:
            return write_answer(asked, vectors, n_tokens)

        content = write() if vectors.size <= _INLINE_NUMBERS else await asyncio.to_thread(write)
        return Response(content, media_type="application/json", headers={"openai-model": asked.model})

    async def prepare(self, embedder: Embedder, asked: EmbeddingsRequest) -> tuple[Prepared, int]:
        """Inputs that were found good, and their tokens together.

        Raises:
            InputError: an input is not good, or the model cannot give vectors of this length.
        """
        if asked.dimensions is not None:
            _check_dimensions(embedder, asked.dimensions)
        prepared = await self.offload.prepare(embedder, asked.inputs)
        n_tokens = sum(prepared.n_tokens)
        check_total_tokens(n_tokens)
        return prepared, n_tokens

    async def background(self, asked: EmbeddingsRequest) -> tuple[bytes, int]:
        """The answer to a request of a batch, and its tokens; it gives way to those who wait at this moment."""
        embedder = self.models.ready(asked.model) or await self.models.get(asked.model)
        prepared, n_tokens = await self.prepare(embedder, asked)
        vectors = await self.batcher.embed(embedder, prepared, priority=Priority.BACKGROUND)
        self.metrics.embedded(asked.model, n_tokens)
        return await asyncio.to_thread(write_answer, asked, vectors, n_tokens), n_tokens

    async def query_vector(self, request: Request, model: str, query: str) -> tuple[FloatArray, int]:
        """The vector of a search's query, ``(1, dims) float32``, and its tokens."""
        embedder = await self.model(request, model)
        prepared = await cancel_on_disconnect(request, self.offload.prepare(embedder, [query]))
        n_tokens = sum(prepared.n_tokens)
        count_tokens(request, n_tokens)
        side: TextEmbedder = RoleEmbedder(embedder, Role.QUERY)
        vectors = await cancel_on_disconnect(request, self.batcher.embed(side, prepared))
        self.metrics.embedded(model, n_tokens)
        return vectors, n_tokens

    async def model(self, request: Request, model: str) -> Embedder:
        """A model in memory, loaded if need be."""
        embedder = self.models.ready(model)
        return await cancel_on_disconnect(request, self.models.get(model)) if embedder is None else embedder

    async def tokenize(self, request: Request) -> Response:
        """The token ids of inputs; nothing is embedded."""
        return await self.with_limits(self._tokenize(request))

    async def _tokenize(self, request: Request) -> Response:
        asked = await self.parsed_body(request, parse_embeddings_request)
        embedder = await self.model(request, asked.model)
        prepared, n_tokens = await cancel_on_disconnect(request, self.prepare(embedder, asked))

        def rows() -> bytes:
            data = [
                {"object": "tokens", "index": place, "tokens": embedder.tokenizer.encode(text), "n_tokens": count}
                for place, (text, count) in enumerate(zip(prepared.texts, prepared.n_tokens, strict=True))
            ]
            return write_json({"object": "list", "data": data, "model": asked.model})

        content = await cancel_on_disconnect(request, self.offload.run(rows, size=4 * n_tokens))
        return Response(content, media_type="application/json")

    async def parsed_body(self, request: Request, parse: Callable[[bytes], Result]) -> Result:
        """The body of a request that must be JSON, parsed; large ones in another thread.

        Raises:
            RequestError: The body is not what ``parse`` accepts.
            BodyTooLargeError: See :meth:`json_body`.
            OverloadedError: See :meth:`json_body`.
        """
        body = await self.json_body(request)
        if len(body) <= _INLINE_BODY:
            return parse(body)

        def check_and_parse() -> Result:
            check_number_of_values(body)
            return parse(body)

        return await cancel_on_disconnect(request, self.offload.run(check_and_parse, size=len(body)))

    async def json_body(self, request: Request) -> bytes:
        """The body of a request that must be JSON.

        Raises:
            RequestError: it says that it is something else.
            BodyTooLargeError: it has too many bytes.
            OverloadedError: all bodies and answers together would take too much memory.
        """
        _require_json(request)
        limit = self.limits.body_bytes
        lease = memory_lease(request)
        body = bytearray()
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                lease.take(_PARSED * len(chunk))
                body += chunk
            elif size > 4 * limit:
                break
            # Read a little past the limit without keeping it: most clients look for an answer only once they have sent all.
        if size > limit:
            raise BodyTooLargeError(
                f"The body of a request may have {limit:,} bytes at most. Send fewer inputs at a time."
            )
        return bytes(body)


def write_answer(asked: EmbeddingsRequest, vectors: FloatArray, n_tokens: int) -> bytes:
    """The answer to a request whose vectors ``(n, dims) float32`` have come, as bytes of JSON."""
    rows = vectors if asked.dimensions is None else shorten(vectors, asked.dimensions)
    return embeddings_body(rows, model=asked.model, n_tokens=n_tokens, encoding_format=asked.encoding_format)


def json_response(content: object, status: int = 200) -> Response:
    """Plain data as JSON."""
    return Response(write_json(content), status, media_type="application/json")


def memory_lease(request: Request) -> MemoryLease:
    """The memory that this request holds."""
    lease: MemoryLease = request.state.lease
    return lease


def key_name(request: Request) -> str:
    """The name of the key that a request came with; empty where there are no keys."""
    account: Account | None = getattr(request.state, "account", None)
    return account.key.name if account else ""


def count_tokens(request: Request, n_tokens: int) -> None:
    """Count tokens against the client's limit. Raises RateLimitError if there are not so many left."""
    account: Account | None = getattr(request.state, "account", None)
    if account is not None:
        account.take("tokens", n_tokens)


def _require_json(request: Request) -> None:
    header = request.headers.get("content-type", "")
    if header.partition(";")[0].strip().lower() != "application/json":
        shown = header[:80]
        raise RequestError(
            f"Unsupported content type: '{shown}'. This API method only accepts 'application/json' requests, but you "
            f"specified the header 'Content-Type: {shown}'. Please try again with a supported content type.",
            code="unsupported_content_type",
        )


def _check_dimensions(embedder: Embedder, dimensions: int) -> None:
    if not embedder.card.can_shorten and dimensions != embedder.dims:
        raise RequestError("This model does not support specifying dimensions.")
    embedder.check_dimensions(dimensions)


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work gives; if the client goes away first the work is dropped, and ClientDisconnect raised."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
