"""The steps of a request for vectors: read the body, validate it, count tokens, batch, and write the response."""

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
from .batch_api.storage import MAX_KEY_BATCHES, MAX_KEY_BYTES
from .errors import BodyTooLargeError, DeadlineError, RequestError
from .limits.buckets import Account
from .metrics import Metrics
from .models import Models
from .scheduler.batcher import BATCH_TOKENS, MAX_WAIT_SECONDS, MAX_WAITING_TOKENS, Batcher
from .scheduler.cache import VectorCache
from .scheduler.memory import MemoryBudget, MemoryLease
from .scheduler.offload import Offload, check_number_of_values
from .scheduler.queues import Priority, RoleEmbedder, TextEmbedder
from .schemas.input_types import resolve_role
from .schemas.json_text import write_json
from .schemas.requests import EmbeddingsRequest, EncodingFormat, check_total_tokens, parse_embeddings_request
from .schemas.responses import embeddings_body

Result = TypeVar("Result")

# Below these sizes, switching to another thread takes longer than the work. Above them, the work would block the event loop.
_INLINE_BODY = 2**18
_INLINE_NUMBERS = 16_384
#: Bytes of memory for each byte of a body, including its parsed values and its tokens.
_MEMORY_PER_BODY_BYTE = 4
#: Bytes of memory for each number of a response: four for the float32, and its text.
_MEMORY_PER_NUMBER = {EncodingFormat.FLOAT: 20, EncodingFormat.BASE64: 12}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the server."""

    #: Bytes of one body.
    max_body_bytes: int = 16 * 2**20
    #: Number of concurrent requests.
    max_requests: int = 1024
    #: Bytes of all bodies and responses in memory.
    max_memory_bytes: int = 2**30
    #: Tokens that wait for a model.
    max_waiting_tokens: int = MAX_WAITING_TOKENS
    #: Seconds that tokens wait for a model, at the measured speed of this machine.
    max_wait_seconds: float = MAX_WAIT_SECONDS
    #: Tokens in one call of a model.
    batch_tokens: int = BATCH_TOKENS
    #: Seconds for one request, including the time to read its body.
    deadline: float = 600.0
    #: Bytes of the cache of vectors. 0 disables it.
    cache_bytes: int = 0
    #: Bytes of all stored files.
    max_stored_bytes: int = 50 * 2**30
    #: Bytes of the files and batch results of one key.
    max_key_bytes: int = MAX_KEY_BYTES
    #: Unfinished batches of one key.
    max_key_batches: int = MAX_KEY_BATCHES


class Service:
    """State that the routes share. Call :meth:`start` in the event loop that serves the requests."""

    batcher: Batcher

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models = models
        self.limits = limits
        self.metrics = Metrics()
        self.budget = MemoryBudget(limits.max_memory_bytes)
        self.offload = Offload()
        self._n_requests = 0

    def start(self) -> None:
        """Start the batcher."""
        self.batcher = Batcher(
            batch_tokens=self.limits.batch_tokens,
            max_waiting_tokens=self.limits.max_waiting_tokens,
            max_wait_seconds=self.limits.max_wait_seconds,
            cache=VectorCache(self.limits.cache_bytes) if self.limits.cache_bytes else None,
        )

    async def stop(self) -> None:
        """Finish the present requests and stop."""
        await self.batcher.close()
        self.models.close()
        self.offload.close()

    async def with_limits(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of a request's work, within the limits on concurrent requests and time.

        Raises:
            OverloadedError: There are too many requests.
            DeadlineError: The work took too long.
        """
        if self._n_requests >= self.limits.max_requests:
            work.close()
            raise OverloadedError(f"{self._n_requests} requests are waiting; please try again in 1 s.", retry_after=1.0)
        self._n_requests += 1
        try:
            async with asyncio.timeout(self.limits.deadline):
                return await work
        except TimeoutError as error:
            raise DeadlineError(
                f"The request was not answered in {self.limits.deadline:g} s. Send fewer inputs at a time.",
                retry_after=5.0,
            ) from error
        finally:
            self._n_requests -= 1

    async def embeddings(self, http: Request, *, engine: str | None = None) -> Response:
        """Respond to ``POST /v1/embeddings``. ``engine`` is the model that the path names, if it does."""
        return await self.with_limits(self._embeddings(http, engine))

    async def _embeddings(self, http: Request, engine: str | None) -> Response:
        request = await self.parse_body(http, partial(parse_embeddings_request, engine=engine))
        embedder = await self.model(http, request.model)
        vectors, n_tokens = await cancel_on_disconnect(http, self._embed(http, embedder, request))
        self.metrics.count_tokens(request.model, n_tokens)
        write = partial(_write_response, request, vectors, n_tokens)
        content = write() if vectors.size <= _INLINE_NUMBERS else await asyncio.to_thread(write)
        return Response(content, media_type="application/json", headers={"openai-model": request.model})

    async def _embed(self, http: Request, embedder: Embedder, request: EmbeddingsRequest) -> tuple[FloatArray, int]:
        """Return vectors ``(n, dims) float32`` of the inputs, within the limits of the client, and the number of tokens."""
        with_role = _with_role(embedder, request)
        prepared, n_tokens = await self._prepare(embedder, request)
        count_tokens(http, n_tokens)
        n_numbers = len(prepared.texts) * (request.dimensions or embedder.dims)
        memory_lease(http).take(n_numbers * _MEMORY_PER_NUMBER[request.encoding_format])
        return await self.batcher.embed(with_role, prepared), n_tokens

    async def _prepare(self, embedder: Embedder, request: EmbeddingsRequest) -> tuple[Prepared, int]:
        """Return the validated inputs and their total number of tokens.

        Raises:
            InputError: An input is invalid, or the model cannot shorten its vectors to this length.
        """
        if request.dimensions is not None:
            if not embedder.can_shorten and request.dimensions != embedder.dims:
                raise RequestError("This model does not support specifying dimensions.")
            embedder.check_dimensions(request.dimensions)
        prepared = await self.offload.prepare(embedder, request.inputs)
        n_tokens = sum(prepared.n_tokens)
        check_total_tokens(n_tokens)
        return prepared, n_tokens

    async def embed_in_background(self, request: EmbeddingsRequest) -> tuple[bytes, int]:
        """Return the response body for a request of a batch, and its tokens. Interactive requests have priority."""
        embedder = self.models.get_loaded(request.model) or await self.models.get(request.model)
        with_role = _with_role(embedder, request)
        prepared, n_tokens = await self._prepare(embedder, request)
        vectors = await self.batcher.embed(with_role, prepared, priority=Priority.BACKGROUND)
        self.metrics.count_tokens(request.model, n_tokens)
        return await asyncio.to_thread(_write_response, request, vectors, n_tokens), n_tokens

    async def query_vector(self, http: Request, model: str, query: str) -> tuple[FloatArray, int]:
        """Return the vector of a search query, ``(1, dims) float32``, and its tokens."""
        embedder = await self.model(http, model)
        prepared = await cancel_on_disconnect(http, self.offload.prepare(embedder, [query]))
        n_tokens = sum(prepared.n_tokens)
        count_tokens(http, n_tokens)
        vectors = await cancel_on_disconnect(http, self.batcher.embed(RoleEmbedder(embedder, Role.QUERY), prepared))
        self.metrics.count_tokens(model, n_tokens)
        return vectors, n_tokens

    async def model(self, http: Request, model: str) -> Embedder:
        """Return a model. It is loaded if necessary."""
        embedder = self.models.get_loaded(model)
        return await cancel_on_disconnect(http, self.models.get(model)) if embedder is None else embedder

    async def tokenize(self, http: Request) -> Response:
        """Respond to ``POST /v1/tokenize`` with the token ids of the inputs. Nothing is embedded."""
        return await self.with_limits(self._tokenize(http))

    async def _tokenize(self, http: Request) -> Response:
        request = await self.parse_body(http, parse_embeddings_request)
        embedder = await self.model(http, request.model)
        prepared, n_tokens = await cancel_on_disconnect(http, self._prepare(embedder, request))

        def write() -> bytes:
            data = [
                {"object": "tokens", "index": index, "tokens": embedder.tokenizer.encode(text), "n_tokens": count}
                for index, (text, count) in enumerate(zip(prepared.texts, prepared.n_tokens, strict=True))
            ]
            return write_json({"object": "list", "data": data, "model": request.model})

        content = await cancel_on_disconnect(http, self.offload.run(write, size=4 * n_tokens))
        return Response(content, media_type="application/json")

    async def parse_body(self, http: Request, parse: Callable[[bytes], Result]) -> Result:
        """Return the parsed JSON body of a request. Large bodies are parsed in another thread.

        Raises:
            RequestError: The body is not JSON, or ``parse`` rejects it.
            BodyTooLargeError: The body has too many bytes.
            OverloadedError: All bodies and responses together would take too much memory.
        """
        body = await self._read_body(http)
        if len(body) <= _INLINE_BODY:
            return parse(body)

        def check_and_parse() -> Result:
            check_number_of_values(body)
            return parse(body)

        return await cancel_on_disconnect(http, self.offload.run(check_and_parse, size=len(body)))

    async def _read_body(self, http: Request) -> bytes:
        _require_json(http)
        limit = self.limits.max_body_bytes
        lease = memory_lease(http)
        body = bytearray()
        size = 0
        async for chunk in http.stream():
            size += len(chunk)
            if size <= limit:
                lease.take(_MEMORY_PER_BODY_BYTE * len(chunk))
                body += chunk
            elif size > 4 * limit:
                break
            # Most clients read the response only after they have sent everything, so that a little more is read and discarded.
        if size > limit:
            raise BodyTooLargeError(
                f"The body of a request may have {limit:,} bytes at most. Send fewer inputs at a time."
            )
        return bytes(body)


def _with_role(embedder: Embedder, request: EmbeddingsRequest) -> TextEmbedder:
    """Return a model that embeds texts with the role of a request.

    Raises:
        RequestError: The model has no such role.
        InputError: The model embeds only the other role.
    """
    if request.role is None:
        return embedder
    role = resolve_role(request.role, field=request.role_field or "input_type", prompts=embedder.prompts)
    embedder.check_role(role)
    return embedder if role is None else RoleEmbedder(embedder, role)


def _write_response(request: EmbeddingsRequest, vectors: FloatArray, n_tokens: int) -> bytes:
    """Return the JSON body of the response with vectors ``(n, dims) float32``."""
    rows = vectors if request.dimensions is None else shorten(vectors, request.dimensions)
    return embeddings_body(rows, model=request.model, n_tokens=n_tokens, encoding_format=request.encoding_format)


def json_response(content: object) -> Response:
    """Return a response with plain data as JSON."""
    return Response(write_json(content), media_type="application/json")


def memory_lease(http: Request) -> MemoryLease:
    """Return the memory that a request holds."""
    lease: MemoryLease = http.state.lease
    return lease


def key_name(http: Request) -> str:
    """Return the name of a request's key, or an empty string if the server has no keys."""
    account: Account | None = getattr(http.state, "account", None)
    return account.key.name if account else ""


def count_tokens(http: Request, n_tokens: int) -> None:
    """Count tokens against the client's rate limit. Raises RateLimitError if it is exceeded."""
    account: Account | None = getattr(http.state, "account", None)
    if account is not None:
        account.take("tokens", n_tokens)


def _require_json(http: Request) -> None:
    header = http.headers.get("content-type", "")
    if header.partition(";")[0].strip().lower() != "application/json":
        shown = header[:80]
        raise RequestError(
            f"Unsupported content type: '{shown}'. This API method only accepts 'application/json' requests, but you "
            f"specified the header 'Content-Type: {shown}'. Please try again with a supported content type.",
            code="unsupported_content_type",
        )


async def cancel_on_disconnect(http: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of work. If the client disconnects first, cancel the work and raise ClientDisconnect."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is a coroutine
    is_running, is_disconnected = True, False

    async def watch() -> None:
        nonlocal is_disconnected
        while (await http.receive())["type"] != "http.disconnect":
            pass
        if is_running:
            is_disconnected = True
            task.cancel()

    # The work runs in the task of the request, because another task would cost CPU time in every request.
    watcher = asyncio.ensure_future(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not is_disconnected:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        is_running = False
        watcher.cancel()
