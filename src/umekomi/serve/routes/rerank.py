"""Reranking: ``/v1/rerank``, ``/v2/rerank`` and ``/rerank``."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request, Response

from ...encoders.cross_encoder.pairs import PreparedPairs
from ...reranker import Reranker, combine_passages
from ..rerankers import PairScorer, Rerankers
from ..schemas.openapi import operation
from ..schemas.requests import check_total_tokens
from ..schemas.rerank import RerankRequest, parse_rerank_request, rerank_body
from ..service import Service, cancel_on_disconnect, count_tokens, memory_lease

#: Paths, and the version of Cohere's API that the response names.
_PATHS = {"/v1/rerank": "1", "/v2/rerank": "2", "/rerank": "1"}
#: Bytes of memory for each document of a response besides its text, which the lease of the body covers.
_MEMORY_PER_DOCUMENT = 500


def add_rerank_routes(app: FastAPI, service: Service, rerankers: Rerankers) -> None:
    """Add the routes of reranking to an application."""
    for path, version in _PATHS.items():
        _add_route(app, service, rerankers, path, version)


def _add_route(app: FastAPI, service: Service, rerankers: Rerankers, path: str, version: str) -> None:
    @app.post(
        path,
        summary="Rank documents by their relevance to a query",
        operation_id=f"rerank{path.replace('/', '_')}",
        **operation(body="RerankRequest", response="Ranking"),
    )
    async def rerank(http: Request) -> Response:
        return await service.with_limits(_rerank(http, service, rerankers, version))


async def _rerank(http: Request, service: Service, rerankers: Rerankers, version: str) -> Response:
    request = await service.parse_body(http, parse_rerank_request)
    reranker = rerankers.get(request.model)
    prepared = await cancel_on_disconnect(http, _prepare(service, reranker, request))
    n_tokens = sum(prepared.n_tokens)
    check_total_tokens(n_tokens)
    count_tokens(http, n_tokens)
    memory_lease(http).take(len(request.documents) * _MEMORY_PER_DOCUMENT)
    scores = await cancel_on_disconnect(http, service.batcher.embed(PairScorer(reranker), prepared))
    service.metrics.count_tokens(reranker.model, n_tokens)
    best = combine_passages(scores[:, 0], prepared.n_passages)
    content = rerank_body(request, best, model=reranker.model, n_tokens=n_tokens, version=version)
    return Response(content, media_type="application/json")


async def _prepare(service: Service, reranker: Reranker, request: RerankRequest) -> PreparedPairs:
    def prepare(check: Callable[[int], None]) -> PreparedPairs:
        return reranker.prepare(
            request.query,
            request.texts,
            max_passages=request.max_passages,
            max_document_tokens=request.max_document_tokens,
            truncates=request.truncates,
            check=check,
        )

    size = len(request.query) * len(request.texts) + sum(map(len, request.texts))
    return await service.offload.count_tokens(prepare, size=size)
