"""The ASGI application and its routes for embeddings, models and monitoring."""

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
from .errors import handle_http_error, handle_umekomi_error
from .limits.buckets import BucketStore
from .limits.keys import KeyFile
from .metrics import CONTENT_TYPE
from .middleware.auth import AuthMiddleware
from .middleware.decoding import DecodingMiddleware
from .middleware.direct import DirectRoute
from .middleware.request_context import RequestContextMiddleware
from .models import Models
from .rerankers import Rerankers
from .routes.rerank import add_rerank_routes
from .routes.search import NamedStores, add_search_routes
from .schemas.openapi import add_schemas, operation
from .schemas.responses import engine_object, model_object, reranker_object
from .service import Limits, Service, json_response


def create_app(
    models: Models | None = None,
    *,
    rerankers: Rerankers | None = None,
    limits: Limits | None = None,
    keys: KeyFile | None = None,
    state: Path | None = None,
    stores: Mapping[str, str] | None = None,
    routes: Sequence[BaseRoute] = (),
    hosts: frozenset[str] | None = None,
    buckets: BucketStore | None = None,
) -> FastAPI:
    """Return the ASGI application.

    Args:
        models: The served models; by default those of the catalog, each loaded on first use.
        rerankers: The served rerankers; by default none.
        limits: Limits of the server.
        keys: The API keys and their rate limits. By default, everybody may send requests, without limits.
        state: Folder of files and batches. Without one, the routes of files and batches do not exist.
        stores: URLs of searchable vector stores, by name.
        routes: Additional routes, such as those of the explorer. They require a key too.
        hosts: Accepted values of ``Host``, in lower case and without a port; by default any.
        buckets: Storage for the rate limits; by default this process.
    """
    service = Service(models or Models(), limits or Limits())
    named_stores = NamedStores(stores or {})
    rerankers = rerankers or Rerankers({})
    exits = AsyncExitStack()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        async with exits:
            exits.callback(named_stores.close)
            exits.push_async_callback(service.stop)
            if batches is not None:
                await batches.start()
                exits.push_async_callback(batches.stop)
            yield

    # Without /docs, because that page makes the browser load scripts from another host.
    app = FastAPI(
        title="Umekomi", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.service = service
    app.add_middleware(DirectRoute, path="/v1/embeddings", respond=service.embeddings)
    app.add_middleware(DecodingMiddleware)
    app.add_middleware(AuthMiddleware, keys=keys, hosts=hosts, buckets=buckets)
    app.add_middleware(RequestContextMiddleware, metrics=service.metrics, budget=service.budget)  # the outermost
    app.add_exception_handler(HTTPException, handle_http_error)
    app.add_exception_handler(UmekomiError, handle_umekomi_error)
    _add_embedding_routes(app, service)
    _add_model_routes(app, service, rerankers)
    add_rerank_routes(app, service, rerankers)
    add_search_routes(app, service, named_stores)
    batches = add_batch_routes(app, service, state) if state is not None else None
    _add_monitoring_routes(app, service, rerankers)
    app.router.routes.extend(routes)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            description = get_openapi(title=app.title, version=app.version, routes=app.routes)
            app.openapi_schema = add_schemas(description, has_keys=keys is not None)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation recommends
    return app


def _add_embedding_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/embeddings", summary="Embed texts", **operation(body="EmbeddingsRequest", response="Embeddings"))
    async def embeddings(request: Request) -> Response:
        return await service.embeddings(request)

    @app.post(
        "/v1/engines/{model}/embeddings",
        summary="Embed texts, at the address of 2022",
        **operation(body="EngineEmbeddingsRequest", response="Embeddings"),
    )
    async def engine_embeddings(request: Request, model: str) -> Response:
        return await service.embeddings(request, engine=model)

    @app.post("/v1/tokenize", summary="Count tokens", **operation(body="EmbeddingsRequest", response="Tokens"))
    async def tokenize(request: Request) -> Response:
        return await service.tokenize(request)


def _add_model_routes(app: FastAPI, service: Service, rerankers: Rerankers) -> None:
    models = service.models

    @app.get("/v1/models", summary="List models", **operation(response="ModelList"))
    async def list_models() -> Response:
        data = [model_object(card, models.catalog.encoders) for card in models.listed]
        data += [reranker_object(rerankers.get(name)) for name in rerankers.names]
        return json_response({"object": "list", "data": data})

    @app.get("/v1/models/{model:path}", summary="Get a model", **operation(response="Model"))
    async def get_model(model: str) -> Response:
        if (reranker := rerankers.find(model)) is not None:
            return json_response(reranker_object(reranker))
        return json_response(model_object(models.card(model), models.catalog.encoders))

    @app.get("/v1/engines", summary="List models, at the address of 2022", **operation(response="EngineList"))
    async def list_engines() -> Response:
        return json_response({"object": "list", "data": [engine_object(card) for card in models.listed]})

    @app.get("/v1/engines/{model}", summary="Get a model, at the address of 2022", **operation(response="Engine"))
    async def get_engine(model: str) -> Response:
        return json_response(engine_object(models.card(model)))


def _add_monitoring_routes(app: FastAPI, service: Service, rerankers: Rerankers) -> None:
    @app.get("/health", summary="Whether the server runs, and its load", **operation(response="Health"))
    async def health() -> Response:
        waiting = service.batcher.waiting_tokens
        loaded = [*service.models.loaded, *rerankers.names]
        return json_response({"status": "ok", "version": __version__, "loaded": loaded, "waiting_tokens": waiting})

    @app.get("/ready", summary="Whether the server accepts requests", **operation(response="Ready"))
    async def ready() -> Response:
        if service.batcher.is_closing:
            raise ShuttingDownError("The server is stopping.", retry_after=5.0)
        return json_response({"status": "ready"})

    @app.get(
        "/metrics",
        summary="Counters of this process, for Prometheus",
        **operation(response="text", media_type=CONTENT_TYPE),
    )
    async def metrics() -> Response:
        batcher = service.batcher
        gauges = {
            "waiting_tokens": batcher.waiting_tokens,
            "model_calls": batcher.calls,
            "request_memory_bytes": service.budget.used,
            "cache_hits": batcher.cache.hits if batcher.cache else 0,
        }
        return Response(service.metrics.render(gauges), media_type=CONTENT_TYPE)
