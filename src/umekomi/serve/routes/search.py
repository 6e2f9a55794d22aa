"""Named vector stores and their search: ``/v1/stores`` and ``/v1/search``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response

from ...catalog import Role
from ...data.embedded_file import Space
from ...errors import UmekomiError
from ...stores import Store, open_store
from ..errors import NotFoundError, RequestError
from ..schemas.fields import abbreviate
from ..schemas.openapi import operation
from ..schemas.requests import parse_search_request
from ..service import Service, cancel_on_disconnect, count_tokens, json_response

Result = TypeVar("Result")


class NamedStores:
    """Vector stores by name. Each is opened on first use and has its own thread, because engines need not be thread-safe.

    Args:
        urls: URLs of the stores, by name.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)
        self._open: dict[str, Store] = {}
        self._threads = {
            name: ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"umekomi-store-{name}") for name in urls
        }

    @property
    def names(self) -> list[str]:
        """The names of the stores."""
        return list(self._urls)

    async def run(self, name: str, work: Callable[[Store], Result]) -> Result:
        """Return the result of ``work``, called with a store in the store's thread.

        Raises:
            NotFoundError: No store has this name.
            StoreError: The engine does not respond. The next request tries again.
        """
        if name not in self._urls:
            names = ", ".join(self._urls) or "none"
            raise NotFoundError(f"No store is named `{abbreviate(name)}`; the stores are: {names}.", param="store")
        return await asyncio.get_running_loop().run_in_executor(self._threads[name], self._run, name, work)

    def _run(self, name: str, work: Callable[[Store], Result]) -> Result:
        if name not in self._open:
            self._open[name] = open_store(self._urls[name])
        return work(self._open[name])

    def close(self) -> None:
        """Close all stores."""
        for name, thread in self._threads.items():
            if name in self._open:
                thread.submit(self._open[name].close)
            thread.shutdown()


def add_search_routes(app: FastAPI, service: Service, stores: NamedStores) -> None:
    """Add the routes of stores to an application."""

    @app.get("/v1/stores", summary="List the searchable stores", **operation(response="StoreList"))
    async def list_stores() -> Response:
        return json_response({"object": "list", "data": [await _store_object(stores, name) for name in stores.names]})

    @app.post("/v1/search", summary="Search a store", **operation(body="SearchRequest", response="Hits"))
    async def search(request: Request) -> Response:
        return await service.with_limits(_search(request))

    async def _search(http: Request) -> Response:
        request = await service.parse_body(http, parse_search_request)
        space: Space = await stores.run(request.store, lambda store: store.space)
        n_tokens = 0
        if request.query is not None:
            model = service.models.resolve(space.model, space.fingerprint)
            model = service.models.catalog.counterpart(model, Role.QUERY)
            embedder = await service.model(http, model)
            embedder.require_space(space.fingerprint, where=f"The store {request.store}")
            embedder.require_counterpart(space.role, where=f"The store {request.store}")
            vector, n_tokens = await service.query_vector(http, model, request.query)
        else:
            assert request.vector is not None  # noqa: S101 - a search has either a query or a vector
            vector = request.vector
            count_tokens(http, 0)
            if vector.shape[1] != space.dims:
                raise RequestError(
                    f"Invalid 'vector': it has {vector.shape[1]:,} numbers, and the store `{request.store}` holds vectors of "
                    f"{space.dims:,}.",
                    param="vector",
                    code="invalid_value",
                )
        work = stores.run(request.store, lambda store: store.search(vector, k=request.n, where=request.where)[0])
        hits = await cancel_on_disconnect(http, work)
        return json_response(
            {
                "object": "list",
                "data": [
                    {"object": "hit", "index": index, "id": hit.id, "score": hit.score, "record": hit.record}
                    for index, hit in enumerate(hits)
                ],
                "store": request.store,
                "model": space.model,
                "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
            }
        )


async def _store_object(stores: NamedStores, name: str) -> dict[str, Any]:
    def describe(store: Store) -> dict[str, Any]:
        columns = [field.name for field in store.schema()]
        space = store.space
        return {"model": space.model, "dimensions": space.dims, "rows": store.count(), "columns": columns}

    try:
        description = await stores.run(name, describe)
    except UmekomiError:
        # A store that cannot be opened does not hide the others. Searching it returns the error.
        description = {"model": None, "dimensions": None, "rows": None, "columns": []}
    return {"id": name, "object": "store", **description}
