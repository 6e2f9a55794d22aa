"""Vector stores that the server searches, each under a name: ``/v1/stores`` and ``/v1/search``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, Request, Response

from ...catalog import Role
from ...data.embedded_file import Space
from ...errors import UmekomiError
from ...stores import Hit, Store, open_store
from ...vectors.arithmetic import FloatArray, as_matrix
from ..errors import NotFoundError
from ..openapi import operation
from ..schemas import RequestError, brief, parse_object, wrong_type
from ..service import Service, cancel_on_disconnect, count_tokens, json_response

MAX_HITS = 1000
"""Hits of one search."""
MAX_WHERE = 32_768
"""Characters of a filter. The time that an engine takes grows with them."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A request of ``POST /v1/search`` whose shape is good. Either ``query`` or ``vector`` is there."""

    store: str
    query: str | None
    vector: FloatArray | None
    n: int
    where: str | None


def parse_search(body: bytes) -> SearchRequest:
    """Check the body of a request.

    Raises:
        RequestError: a field is missing, unknown, of a wrong type or out of its limits.
    """
    fields = parse_object(body, ("store", "query", "vector", "n", "where"), embedded=("query",))
    for name in ("store", "query", "where"):
        if fields.get(name) is not None and not isinstance(fields[name], str):
            raise wrong_type(name, "a string", fields[name])
    if fields.get("store") is None:
        raise RequestError("Missing required parameter: 'store'.", param="store", code="missing_required_parameter")
    if len(fields.get("where") or "") > MAX_WHERE:
        raise RequestError(
            f"Invalid 'where': a filter may have {MAX_WHERE:,} characters at most.",
            param="where",
            code="string_above_max_length",
        )
    query, vector = fields.get("query"), fields.get("vector")
    if (query is None) == (vector is None):
        raise RequestError("Give either 'query' or 'vector'.", param="query", code="missing_required_parameter")
    if query == "":
        raise RequestError("Invalid 'query': it cannot be an empty string.", param="query", code="empty_string")
    n = fields.get("n") if fields.get("n") is not None else 10
    if type(n) is not int:
        raise wrong_type("n", "an integer", n)
    if not 1 <= n <= MAX_HITS:
        raise RequestError(
            f"Invalid 'n': expected 1 to {MAX_HITS}, but got {brief(str(n))}.", param="n", code="invalid_value"
        )
    matrix = None if vector is None else _vector(vector)
    return SearchRequest(fields["store"], query, matrix, n, fields.get("where"))


def _vector(value: object) -> FloatArray:
    if not isinstance(value, list) or not value or not all(type(number) in (int, float) for number in value):
        raise wrong_type("vector", "an array of numbers", value)
    try:
        with np.errstate(over="ignore"):
            return as_matrix(np.array(value, dtype=np.float64).astype(np.float32))
    except (OverflowError, ValueError) as error:
        raise RequestError("Invalid 'vector': a number is too large.", param="vector", code="invalid_value") from error


class Stores:
    """Named stores. Each is opened when it is first asked for, and used in one thread of its own: no engine need be
    fit for several.

    Args:
        urls: of the stores, by name.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)
        self._open: dict[str, Store] = {}
        self._threads = {
            name: ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"umekomi-store-{name}") for name in urls
        }

    @property
    def names(self) -> list[str]:
        """The stores' names."""
        return list(self._urls)

    async def run(self, name: str, work: Callable[[Store], Result]) -> Result:
        """What ``work`` gives when it is called with a store, in the store's thread.

        Raises:
            NotFoundError: no store has this name.
            StoreError: the engine does not answer; the next request tries again.
        """
        if name not in self._urls:
            raise NotFoundError(
                f"No store is named `{brief(name)}`; there are: {', '.join(self._urls) or 'none'}.", param="store"
            )
        return await asyncio.get_running_loop().run_in_executor(self._threads[name], self._run, name, work)

    def _run(self, name: str, work: Callable[[Store], Result]) -> Result:
        if name not in self._open:
            self._open[name] = open_store(self._urls[name])
        return work(self._open[name])

    def close(self) -> None:
        """Give back what the engines hold."""
        for name, thread in self._threads.items():
            if name in self._open:
                thread.submit(self._open[name].close)
            thread.shutdown()


def add_search_routes(app: FastAPI, service: Service, stores: Stores) -> None:
    """Add the routes of stores."""

    @app.get("/v1/stores", summary="The stores that can be searched", **operation(answer="StoreList"))
    async def list_stores() -> Response:
        return json_response({"object": "list", "data": [await _describe(stores, name) for name in stores.names]})

    @app.post("/v1/search", summary="The nearest records", **operation(body="SearchRequest", answer="Hits"))
    async def search(request: Request) -> Response:
        return await service.with_limits(_search(request))

    async def _search(request: Request) -> Response:
        asked = await service.parsed_body(request, parse_search)
        space: Space = await stores.run(asked.store, lambda store: store.space)
        n_tokens = 0
        vectors = asked.vector
        if vectors is None:
            assert asked.query is not None  # noqa: S101 - one of the two is there
            model = service.models.of_space(space.model, space.fingerprint)
            model = service.models.catalog.counterpart(model, Role.QUERY)
            embedder = await service.model(request, model)
            embedder.require_space(space.fingerprint, where=f"The store {asked.store}")
            embedder.require_counterpart(space.role, where=f"The store {asked.store}")
            vectors, n_tokens = await service.query_vector(request, model, asked.query)
        else:
            count_tokens(request, 0)
            if vectors.shape[1] != space.dims:
                raise RequestError(
                    f"Invalid 'vector': it has {vectors.shape[1]:,} numbers, and the store `{asked.store}` holds vectors of "
                    f"{space.dims:,}.",
                    param="vector",
                    code="invalid_value",
                )
        hits = await cancel_on_disconnect(
            request, stores.run(asked.store, lambda store: store.search(vectors, k=asked.n, where=asked.where)[0])
        )
        usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
        return json_response(
            {
                "object": "list",
                "data": [_hit(place, hit) for place, hit in enumerate(hits)],
                "store": asked.store,
                "model": space.model,
                "usage": usage,
            }
        )


async def _describe(stores: Stores, name: str) -> dict[str, Any]:
    def facts(store: Store) -> dict[str, Any]:
        columns = [field.name for field in store.schema()]
        space = store.space
        return {"model": space.model, "dimensions": space.dims, "rows": store.count(), "columns": columns}

    try:
        about = await stores.run(name, facts)
    except UmekomiError:
        # One that cannot be opened now does not hide the others; a search says what is wrong with it.
        about = {"model": None, "dimensions": None, "rows": None, "columns": []}
    return {"id": name, "object": "store", **about}


def _hit(place: int, hit: Hit) -> dict[str, Any]:
    return {"object": "hit", "index": place, "id": hit.id, "score": hit.score, "record": hit.record}
