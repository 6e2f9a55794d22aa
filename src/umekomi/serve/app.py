"""The API: thin routes. Nothing that a client sent as input is ever logged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from .. import __version__
from ..errors import ShuttingDownError, UmekomiError
from .batch_api.routes import add_batch_routes
from .errors import http_error, umekomi_error
from .limits.buckets import BucketStore
from .limits.keys import KeyFile
from .metrics import CONTENT_TYPE
from .middleware.auth import AuthMiddleware
from .middleware.decoding import DecodingMiddleware
from .middleware.request_context import RequestContextMiddleware
from .models import Models
from .openapi import describe, operation
from .routes.search import Stores, add_search_routes
from .schemas import engine_object, model_object
from .service import Limits, Service, json_response


def create_app(
    models: Models | None = None,
    *,
    limits: Limits | None = None,
    keys: KeyFile | None = None,
    state: Path | None = None,
    stores: Mapping[str, str] | None = None,
    routes: Sequence[BaseRoute] = (),
    hosts: frozenset[str] | None = None,
    levels: BucketStore | None = None,
) -> FastAPI:
    """The ASGI application.

    Args:
        models: the models to serve; by default those of the catalogue, each loaded when it is first asked for.
        limits: how much the server takes.
        keys: who may ask, and how much; by default everybody, without limits.
        state: the folder of files and batches; without one there are no such addresses.
        stores: URLs of vector stores by the names under which they can be searched.
        routes: more of them, as those of the explorer. They stand behind the keys too.
        hosts: the names, in small letters and without a port, under which it answers; by default any.
        levels: where what the keys have left is kept; by default in this process.
    """
    service = Service(models or Models(), limits or Limits())
    searched = Stores(stores or {})
    exits = AsyncExitStack()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        async with exits:
            exits.callback(searched.close)
            exits.push_async_callback(service.stop)
            if batches is not None:
                await batches.start()
                exits.push_async_callback(batches.stop)
            yield

    # No /docs page: it would make the reader's browser fetch scripts from another machine. /openapi.json is all it shows.
    app = FastAPI(
        title="Umekomi", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.service = service
    app.add_middleware(DecodingMiddleware)
    app.add_middleware(AuthMiddleware, keys=keys, hosts=hosts, levels=levels)
    app.add_middleware(
        RequestContextMiddleware, metrics=service.metrics, budget=service.budget
    )  # added last: the outermost
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(UmekomiError, umekomi_error)
    _add_embedding_routes(app, service)
    _add_model_routes(app, service)
    add_search_routes(app, service, searched)
    batches = add_batch_routes(app, service, state) if state is not None else None
    _add_watching_routes(app, service)
    app.router.routes.extend(routes)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(
                get_openapi(title=app.title, version=app.version, routes=app.routes), with_keys=keys is not None
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to add to the description
    return app


def _add_embedding_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/embeddings", summary="Embed texts", **operation(body="EmbeddingsRequest", answer="Embeddings"))
    async def embeddings(request: Request) -> Response:
        return await service.embeddings(request)

    @app.post(
        "/v1/engines/{model}/embeddings",
        summary="Embed texts, at the address of 2022",
        **operation(body="EngineEmbeddingsRequest", answer="Embeddings"),
    )
    async def engine_embeddings(request: Request, model: str) -> Response:
        return await service.embeddings(request, engine=model)

    @app.post("/v1/tokenize", summary="Count tokens", **operation(body="EmbeddingsRequest", answer="Tokens"))
    async def tokenize(request: Request) -> Response:
        return await service.tokenize(request)


def _add_model_routes(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="The models", **operation(answer="ModelList"))
    async def models() -> Response:
        catalog = service.models.catalog
        cards = [model_object(card, catalog.encoders) for card in service.models.visible]
        return json_response({"object": "list", "data": cards})

    @app.get("/v1/models/{model:path}", summary="One model", **operation(answer="Model"))
    async def model(model: str) -> Response:
        return json_response(model_object(service.models.card(model), service.models.catalog.encoders))

    @app.get("/v1/engines", summary="The models, at the address of 2022", **operation(answer="EngineList"))
    async def engines() -> Response:
        return json_response({"object": "list", "data": [engine_object(card) for card in service.models.visible]})

    @app.get("/v1/engines/{model}", summary="One model, at the address of 2022", **operation(answer="Engine"))
    async def engine(model: str) -> Response:
        return json_response(engine_object(service.models.card(model)))


def _add_watching_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="Whether the server is up, and how busy", **operation(answer="Health"))
    async def health() -> Response:
        waiting = service.batcher.waiting_tokens
        loaded = service.models.loaded
        return json_response({"status": "ok", "version": __version__, "loaded": loaded, "waiting_tokens": waiting})

    @app.get("/ready", summary="Whether the server takes work", **operation(answer="Ready"))
    async def ready() -> Response:
        if service.batcher.is_closing:
            raise ShuttingDownError("The server is stopping.", retry_after=5.0)
        return json_response({"status": "ready"})

    @app.get(
        "/metrics", summary="Counters for Prometheus, of this process", **operation(answer="text", media=CONTENT_TYPE)
    )
    async def metrics() -> Response:
        batcher = service.batcher
        gauges = {
            "waiting_tokens": batcher.waiting_tokens,
            "model_calls": batcher.calls,
            "request_memory_bytes": service.budget.taken,
            "cache_hits": batcher.cache.hits if batcher.cache else 0,
        }
        return Response(service.metrics.render(gauges), media_type=CONTENT_TYPE)
