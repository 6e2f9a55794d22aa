"""The API: thin routes, and the one map from errors to statuses.

Every answer that is not a success, whoever refuses it (a route, the framework, a model), is the error object with its four
keys. Nothing that a client sent as input is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .. import __version__
from ..embedder import Embedder, Input, Prepared
from ..errors import (
    AssetError,
    InputError,
    MissingExtraError,
    ModelNotFoundError,
    OverloadedError,
    RemoteError,
    ShuttingDownError,
    StoreError,
    TokenLimitError,
    UmekomiError,
)
from ..vectors import shorten
from .batcher import BATCH_TOKENS, WAITING_TOKENS, Batcher
from .envelope import Envelope, error_response
from .gate import Gate
from .keys import KeyFile
from .limits import Account, RateLimitError
from .metrics import CONTENT_TYPE, Metrics
from .models import Models
from .openapi import ERROR_SCHEMA, RESPONSE_SCHEMA, request_schema
from .schemas import (
    RequestError,
    check_total_tokens,
    embeddings_body,
    engine_object,
    model_object,
    parse_embeddings_request,
)

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

_INLINE_CHARACTERS = 4096
_INLINE_NUMBERS = 16_384
# Below these sizes a hop to another thread costs more than the work; above them the event loop would be held up.


class BodyTooLargeError(InputError):
    """A request's body has more bytes than the server takes."""


class DeadlineError(OverloadedError):
    """A request was not answered in the time that the server gives one."""


class ErrorStatus(NamedTuple):
    """How an error is answered: the HTTP status, and the error object's ``type`` and ``code``."""

    status: int
    kind: str
    code: str | None = None


# The nearest class of an error's ancestry that is here decides.
STATUSES: Mapping[type[BaseException], ErrorStatus] = {
    BodyTooLargeError: ErrorStatus(413, "invalid_request_error", "request_too_large"),
    ModelNotFoundError: ErrorStatus(404, "invalid_request_error", "model_not_found"),
    InputError: ErrorStatus(400, "invalid_request_error"),
    ShuttingDownError: ErrorStatus(503, "server_error", "shutting_down"),
    DeadlineError: ErrorStatus(503, "server_error", "deadline_exceeded"),
    OverloadedError: ErrorStatus(429, "requests", "rate_limit_exceeded"),
    AssetError: ErrorStatus(503, "server_error", "model_not_ready"),
    MissingExtraError: ErrorStatus(503, "server_error", "model_not_ready"),
    StoreError: ErrorStatus(503, "server_error"),
    RemoteError: ErrorStatus(503, "server_error"),
    Exception: ErrorStatus(500, "server_error"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the server takes: bytes of a body, requests at a time, tokens that wait, tokens in a call of a model,
    and seconds for one request, reading its body included."""

    body_bytes: int = 16 * 2**20
    requests: int = 1024
    waiting_tokens: int = WAITING_TOKENS
    batch_tokens: int = BATCH_TOKENS
    deadline: float = 600.0


def create_app(models: Models | None = None, *, limits: Limits | None = None, keys: KeyFile | None = None) -> FastAPI:
    """The ASGI application.

    Args:
        models: the models to serve; by default those of the catalogue, each loaded when it is first asked for.
        limits: how much the server takes.
        keys: who may ask, and how much; by default everybody, without limits.
    """
    service = _Service(models or Models(), limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher = Batcher(
            batch_tokens=service.limits.batch_tokens, waiting_tokens=service.limits.waiting_tokens
        )
        yield
        await service.batcher.close()
        service.models.close()

    # No /docs page: it would make the reader's browser fetch scripts from another machine. /openapi.json is all it shows.
    app = FastAPI(
        title="Umekomi", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.service = service
    app.add_middleware(Gate, keys=keys)
    app.add_middleware(Envelope, metrics=service.metrics)  # added last: the outermost
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(UmekomiError, _umekomi_error)
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: _Service) -> None:
    failures: dict[int | str, dict[str, Any]] = {
        "default": {"description": "An error", "content": {"application/json": {"schema": ERROR_SCHEMA}}}
    }
    answers: Any = {200: {"content": {"application/json": {"schema": RESPONSE_SCHEMA}}}, **failures}

    def body(*, model_in_path: bool) -> dict[str, Any]:
        schema = request_schema(model_in_path=model_in_path)
        return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    @app.post("/v1/embeddings", openapi_extra=body(model_in_path=False), responses=answers, summary="Embed texts")
    async def embeddings(request: Request) -> Response:
        return await service.embeddings(request)

    @app.post(
        "/v1/engines/{model}/embeddings",
        openapi_extra=body(model_in_path=True),
        responses=answers,
        summary="Embed texts, at the address of 2022",
    )
    async def engine_embeddings(request: Request, model: str) -> Response:
        return await service.embeddings(request, engine=model)

    @app.get("/v1/models", summary="The models")
    async def models() -> Response:
        catalog = service.models.catalog
        cards = [model_object(card, catalog.encoders) for card in service.models.visible]
        return _json({"object": "list", "data": cards})

    @app.get("/v1/models/{model:path}", responses=failures, summary="One model")
    async def model(model: str) -> Response:
        return _json(model_object(service.models.card(model), service.models.catalog.encoders))

    @app.get("/v1/engines", summary="The models, at the address of 2022")
    async def engines() -> Response:
        return _json({"object": "list", "data": [engine_object(card) for card in service.models.visible]})

    @app.get("/v1/engines/{model}", responses=failures, summary="One model, at the address of 2022")
    async def engine(model: str) -> Response:
        return _json(engine_object(service.models.card(model)))

    @app.post("/v1/tokenize", openapi_extra=body(model_in_path=False), responses=failures, summary="Count tokens")
    async def tokenize(request: Request) -> Response:
        return await service.tokenize(request)

    @app.get("/ready", responses=failures, summary="Whether the server takes work")
    async def ready() -> Response:
        if service.batcher.is_closing:
            raise ShuttingDownError("The server is stopping.", retry_after=5.0)
        return _json({"status": "ready"})

    @app.get("/metrics", responses=failures, summary="Counters for Prometheus, of this process")
    async def metrics() -> Response:
        gauges = {"waiting_tokens": service.batcher.waiting_tokens, "model_calls": service.batcher.calls}
        return Response(service.metrics.render(gauges), media_type=CONTENT_TYPE)

    @app.get("/health", summary="Whether the server is up, and how busy")
    async def health() -> Response:
        waiting = service.batcher.waiting_tokens
        loaded = service.models.loaded
        return _json({"status": "ok", "version": __version__, "loaded": loaded, "waiting_tokens": waiting})


class _Service:
    """What the routes share."""

    batcher: Batcher

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models = models
        self.limits = limits
        self.metrics = Metrics()
        self._requests = 0

    async def embeddings(self, request: Request, *, engine: str | None = None) -> Response:
        if self._requests >= self.limits.requests:
            raise OverloadedError(f"{self._requests} requests are waiting; please try again in 1 s.", retry_after=1.0)
        self._requests += 1
        try:
            async with asyncio.timeout(self.limits.deadline):
                return await self._embeddings(request, engine)
        except TimeoutError as error:
            raise DeadlineError(
                f"The request was not answered in {self.limits.deadline:g} s. Send fewer inputs at a time.",
                retry_after=5.0,
            ) from error
        finally:
            self._requests -= 1

    async def _embeddings(self, request: Request, engine: str | None) -> Response:
        _require_json(request)
        asked = parse_embeddings_request(await self._read(request), engine=engine)
        embedder = self.models.ready(asked.model)
        if embedder is None:
            embedder = await _unless_gone(request, self.models.get(asked.model))
        account: Account | None = getattr(request.state, "account", None)
        if asked.dimensions is not None:
            _check_dimensions(embedder, asked.dimensions)
        prepared = await _prepare(embedder, asked.inputs)
        n_tokens = sum(prepared.n_tokens)
        check_total_tokens(n_tokens)
        if account is not None:
            account.take("tokens", n_tokens)
        vectors = await _unless_gone(request, self.batcher.embed(embedder, prepared))
        self.metrics.embedded(asked.model, n_tokens)

        def write() -> bytes:
            rows = vectors if asked.dimensions is None else shorten(vectors, asked.dimensions)
            return embeddings_body(rows, model=asked.model, n_tokens=n_tokens, encoding_format=asked.encoding_format)

        content = write() if vectors.size <= _INLINE_NUMBERS else await asyncio.to_thread(write)
        return Response(content, media_type="application/json", headers={"openai-model": asked.model})

    async def tokenize(self, request: Request) -> Response:
        """The token ids of inputs; nothing is embedded."""
        _require_json(request)
        asked = parse_embeddings_request(await self._read(request))
        embedder = await _unless_gone(request, self.models.get(asked.model))
        prepared = await _prepare(embedder, asked.inputs)

        def rows() -> list[dict[str, object]]:
            return [
                {"object": "tokens", "index": place, "tokens": embedder.tokenizer.encode(text), "n_tokens": count}
                for place, (text, count) in enumerate(zip(prepared.texts, prepared.n_tokens, strict=True))
            ]

        data = await asyncio.to_thread(rows)
        return _json({"object": "list", "data": data, "model": asked.model})

    async def _read(self, request: Request) -> bytes:
        limit = self.limits.body_bytes
        body = bytearray()
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limit:
                body += chunk
            elif size > 4 * limit:
                break
            # Read a little past the limit without keeping it: most clients look for an answer only once they have sent all.
        if size > limit:
            raise BodyTooLargeError(
                f"The body of a request may have {limit:,} bytes at most. Send fewer inputs at a time."
            )
        return bytes(body)


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


async def _prepare(embedder: Embedder, inputs: Sequence[Input]) -> Prepared:
    if sum(map(len, inputs)) <= _INLINE_CHARACTERS:
        return embedder.prepare(inputs)
    return await asyncio.to_thread(embedder.prepare, inputs)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
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


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


async def _umekomi_error(request: Request, error: Exception) -> Response:
    status, kind, code = next(STATUSES[base] for base in type(error).__mro__ if base in STATUSES)
    message, param, headers = str(error), getattr(error, "param", None), {}
    if isinstance(error, TokenLimitError):
        # Word for word what the hosted API says, with its empty `param`: clients look for it.
        message, param = (
            (
                f"This model's maximum context length is {error.limit} tokens, however you requested {error.n_tokens} tokens "
                f"({error.n_tokens} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
            ),
            None,
        )
    if isinstance(error, RequestError):
        kind, code = error.kind, error.code
    if isinstance(error, RateLimitError):
        kind = error.kind
    if isinstance(error, OverloadedError):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if status >= 500:
        # The class alone: the message of an error deep in a model might hold a text.
        logger.error("answered %d because of %s", status, type(error).__name__)
    return error_response(status, message, kind=kind, param=param, code=code, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework itself refuses."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for this class alone
    path = request.url.path[:200]
    known = {
        404: (f"Invalid URL ({request.method} {path})", "unknown_url"),
        405: (
            f"Not allowed to {request.method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
            "method_not_supported",
        ),
    }
    message, code = known.get(error.status_code, (str(error.detail), None))
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    return error_response(error.status_code, message, kind=kind, code=code, headers=error.headers)
