"""The API: thin routes, and one map from errors to statuses."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..catalog import Catalog, load_catalog
from ..embedder import Embedder
from ..errors import (
    AssetError,
    InputError,
    ModelNotFoundError,
    OverloadedError,
    TokenLimitError,
    UmekomiError,
)
from ..vectors import FloatArray
from .batcher import Batcher
from .schemas import MAX_REQUEST_TOKENS, EmbeddingRequest, embedding_response, error_object, model_object, parse_request

MAX_BODY = 64 * 2**20
"""Bytes in a request: 2,048 inputs at the token limit of a request, with room to spare."""

log = logging.getLogger("umekomi.serve")

# The nearest row in the class's ancestry holds: (status, type, code).
STATUSES: Mapping[type[Exception], tuple[int, str, str | None]] = {
    ModelNotFoundError: (404, "invalid_request_error", "model_not_found"),
    TokenLimitError: (400, "invalid_request_error", None),
    InputError: (400, "invalid_request_error", None),
    OverloadedError: (429, "requests", "rate_limit_exceeded"),
    AssetError: (503, "server_error", "model_not_ready"),
    UmekomiError: (500, "server_error", None),
    Exception: (500, "server_error", None),
}


class BodyTooLargeError(InputError):
    """A request's body is larger than the server takes."""


class Models:
    """The models that this server runs, each loaded when it is first asked for."""

    def __init__(self, catalog: Catalog, load: Callable[[str], Embedder]) -> None:
        self.catalog = catalog
        self._load = load
        self._loading = asyncio.Lock()
        self._batchers: dict[str, Batcher] = {}

    async def get(self, model: str) -> Batcher:
        """The batcher of a model. ModelNotFoundError if the catalogue has none of this id."""
        self.catalog.model(model)
        if model not in self._batchers:
            async with self._loading:
                if model not in self._batchers:
                    self._batchers[model] = Batcher(await asyncio.to_thread(self._load, model))
        return self._batchers[model]

    async def close(self) -> None:
        for batcher in self._batchers.values():
            await batcher.close()


def create_app(
    *,
    preload: Sequence[str] = (),
    load: Callable[[str], Embedder] = Embedder,
    catalog: Catalog | None = None,
    max_body: int = MAX_BODY,
) -> FastAPI:
    """The ASGI application.

    Args:
        preload: models to load before the first request is taken.
        load: makes the embedder of an id.
        catalog: by default the one that Umekomi ships.
        max_body: bytes in a request's body.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.models = Models(catalog or load_catalog(), load)
        for model in preload:
            await app.state.models.get(model)
        yield
        await app.state.models.close()

    app = FastAPI(title="Umekomi", version=__version__, lifespan=lifespan, docs_url="/docs", redoc_url=None)
    app.state.max_body = max_body
    app.add_middleware(RequestId)
    app.add_exception_handler(HTTPException, _on_http_error)  # type: ignore[arg-type]
    app.add_exception_handler(UmekomiError, _on_error)
    app.add_exception_handler(Exception, _on_error)
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    body: dict[str, Any] = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": EmbeddingRequest.model_json_schema()}},
        }
    }

    @app.post("/v1/embeddings", openapi_extra=body, summary="Embed texts")
    async def embeddings(request: Request) -> Response:
        return await _embeddings(request, None)

    @app.post("/v1/engines/{model}/embeddings", openapi_extra=body, summary="Embed texts, at the address of 2022")
    async def engine_embeddings(request: Request, model: str) -> Response:
        return await _embeddings(request, model)

    @app.get("/v1/models", summary="The models")
    async def models(request: Request) -> Response:
        cards = request.app.state.models.catalog.models.values()
        return _json({"object": "list", "data": [model_object(card) for card in cards if not card.hidden]})

    @app.get("/v1/models/{model}", summary="One model")
    async def model(request: Request, model: str) -> Response:
        return _json(model_object(request.app.state.models.catalog.model(model)))

    @app.get("/health", summary="Whether the server is up")
    async def health() -> Response:
        return _json({"status": "ok", "version": __version__})


async def _embeddings(request: Request, model: str | None) -> Response:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InputError(f"The content type is {kind}; send application/json.")
    asked = parse_request(await _body(request), model=model)
    batcher = await request.app.state.models.get(asked.model)
    prepared = await batcher.prepare(asked.items())
    tokens = sum(prepared.n_tokens)
    if tokens > MAX_REQUEST_TOKENS:
        raise InputError(
            f"Requested {tokens} tokens, max {MAX_REQUEST_TOKENS} tokens per request. Send fewer inputs at a time.",
            param="input",
        )
    vectors = await _unless_gone(request, batcher.embed(prepared, dimensions=asked.dimensions))
    if vectors is None:
        return Response(status_code=499)
    content = embedding_response(asked.model, vectors, tokens, asked.encoding_format)
    return Response(content, media_type="application/json", headers={"openai-model": asked.model})


async def _unless_gone(request: Request, work: Any) -> FloatArray | None:
    """What the work gives, or None when the client has gone before: the work is then dropped."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            return None
        vectors: FloatArray = task.result()
        return vectors
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    limit = request.app.state.max_body
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            raise BodyTooLargeError(f"The body is larger than {limit} bytes. Send fewer inputs at a time.")
    return bytes(received)


def _json(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _on_error(request: Request, error: Exception) -> Response:
    status, kind, code = next(STATUSES[base] for base in type(error).__mro__ if base in STATUSES)
    if isinstance(error, BodyTooLargeError):
        status = 413
    headers = {"retry-after": str(round(error.retry_after))} if isinstance(error, OverloadedError) else None
    message = str(error)
    if isinstance(error, TokenLimitError):
        # Word for word what the hosted API says: clients look for it.
        message = (
            f"This model's maximum context length is {error.limit} tokens, however you requested {error.n_tokens} tokens "
            f"({error.n_tokens} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
        )
    elif not isinstance(error, UmekomiError):
        log.error("A request failed.", exc_info=error)
        message = "The server had an error while processing your request. Its log says more."
    return _json(error_object(message, kind, param=getattr(error, "param", None), code=code), status, headers)


async def _on_http_error(request: Request, error: HTTPException) -> Response:
    place = f"{request.method} {request.url.path}"
    if error.status_code == 405:
        content = error_object(
            f"Not allowed to {request.method} on {request.url.path}.",
            "invalid_request_error",
            code="method_not_supported",
        )
    elif error.status_code == 404:
        content = error_object(f"Invalid URL ({place})", "invalid_request_error", code="unknown_url")
    else:
        content = error_object(str(error.detail), "invalid_request_error")
    return _json(content, error.status_code, error.headers)


class RequestId:
    """Gives every response an id and the milliseconds that it took, as the hosted API does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                took = round((time.perf_counter() - began) * 1000)
                headers = [
                    (b"x-request-id", f"req_{uuid.uuid4().hex}".encode()),
                    (b"openai-processing-ms", str(took).encode()),
                ]
                message = {**message, "headers": [*message.get("headers", []), *headers]}
            await send(message)

        await self._app(scope, receive, send_with_id)
