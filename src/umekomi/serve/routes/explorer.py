"""Routes of the explorer: its page, and the API that the page uses. ``umekomi explore`` adds them to the server.

Numeric arrays are sent as raw little-endian bytes, or as base64 within JSON. The page's policy forbids other scripts
and requests to other hosts, and texts are always shown as text.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...errors import InputError, MissingExtraError
from ...explore.dataset import Dataset
from ...explore.values import CsvStyle
from ...explore.views import Explorer
from ..errors import RequestError, error_response
from ..middleware.auth import LOOPBACK_NAMES, is_known_host
from ..schemas.requests import parse_json

PATH = "/explore"
MAX_BODY = 16 * 2**20
MAX_LABELS = 1000
_MAX_NESTED = 10_000
MAX_TOOLTIP = 400
"""Number of characters of a text in a tooltip. The record has the full text."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-cache",
}
DATASET_HEADER = "x-umekomi-dataset"
"""Requests name the data set that the page shows. If another one is served now, the indices refer to other rows."""


def explorer_routes(explorer: Explorer, *, hosts: frozenset[str] = LOOPBACK_NAMES) -> list[BaseRoute]:
    """Return the routes at ``/explore``, to be added to the server's router.

    Args:
        explorer: The data set and its views.
        hosts: Host names that the page may be requested under. Otherwise a page of another site could read the texts by
            resolving its own name to this machine (DNS rebinding).

    Raises:
        MissingExtraError: The page's files are missing from this installation.
    """
    folder = files("umekomi.explore") / "web"
    if not (folder / "index.html").is_file():
        raise MissingExtraError(
            "This copy of Umekomi lacks the explorer's page (umekomi/explore/web). Install Umekomi again, or run `make web` in "
            "its repository, which needs Node.js 20.19 or later."
        )
    views = _Views(explorer)
    access = [Middleware(_AccessMiddleware, hosts=hosts)]
    same_dataset = [Middleware(_DatasetMiddleware, dataset=explorer.dataset)]
    api_routes = [
        Route("/meta", views.info),
        Route("/positions", views.positions),
        Route("/column", views.column),
        Route("/text", views.text),
        Route("/row", views.row),
        Route("/search", views.search, methods=["POST"]),
        Route("/clusters", views.clusters),
        Route("/outliers", views.outliers),
        Route("/duplicates", views.duplicates),
        Route("/labels", views.labels, methods=["POST"]),
        Route("/selection", views.selection, methods=["POST"]),
        Route("/selection.csv", views.selection_csv, methods=["POST"]),
    ]
    page = Mount("/", StaticFiles(directory=str(folder), html=True))
    api = Mount("/api", routes=api_routes, middleware=same_dataset)
    return [Route(PATH, _redirect_to_folder, middleware=access), Mount(PATH, routes=[api, page], middleware=access)]


async def _redirect_to_folder(request: Request) -> Response:
    return RedirectResponse(f"{PATH}/")


class _AccessMiddleware:
    """Rejects requests under other host names and from other sites, and adds the page's policy to every response.

    Browsers send the origin of a request in ``Origin`` and ``Sec-Fetch-Site``. Other sites may link to the page, but
    may not embed it or use the API, not even if the browser would hide the response from them.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS.items()]}
            await send(message)

        if not is_known_host(Headers(scope=scope), self._hosts):
            text = "The explorer is not served under this name. Use the address that `umekomi explore` printed."
            await error_response(403, text, code="wrong_host")(scope, receive, send)
            return
        if _is_from_another_site(Headers(scope=scope)):
            text = "Pages of other sites may not use the explorer."
            await error_response(403, text, code="wrong_origin")(scope, receive, send)
            return
        await self._app(scope, receive, send_with_policy)


def _is_from_another_site(headers: Headers) -> bool:
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host", ""):
        return True
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not is_link


class _DatasetMiddleware:
    """Rejects requests of pages that show another data set than the current one (409, ``dataset_changed``)."""

    def __init__(self, app: ASGIApp, *, dataset: Dataset) -> None:
        self._app = app
        self._dataset = dataset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        requested = Headers(scope=scope).get(DATASET_HEADER)
        if requested is not None and requested != await asyncio.to_thread(lambda: self._dataset.id):
            text = "This address now serves another data set. Reload the page."
            await error_response(409, text, code="dataset_changed")(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _Views:
    """One method per route. Views are computed in threads."""

    def __init__(self, explorer: Explorer) -> None:
        self._explorer = explorer

    async def info(self, request: Request) -> Response:
        return _json_response(asdict(await asyncio.to_thread(self._explorer.info)))

    async def positions(self, request: Request) -> Response:
        return _raw_response(await asyncio.to_thread(self._explorer.positions), "<f4")

    async def column(self, request: Request) -> Response:
        name = request.query_params.get("name", "")
        values = await asyncio.to_thread(self._explorer.column, name)
        return _raw_response(values, "<f8" if values.dtype == np.float64 else "<u2")

    async def text(self, request: Request) -> Response:
        return _json_response({"text": self._explorer.text(_read_index(request))[:MAX_TOOLTIP]})

    async def row(self, request: Request) -> Response:
        return _json_response(asdict(await asyncio.to_thread(self._explorer.row, _read_index(request))))

    async def search(self, request: Request) -> Response:
        body = await _read_body(request)
        query, index = body.get("query"), body.get("index")
        if not (isinstance(query, str) and query.strip()) and type(index) is not int:
            raise RequestError("Give `query`, a text, or `index`, the index of a row.")
        if isinstance(query, str):
            result = await asyncio.to_thread(self._explorer.search, query)
        else:
            result = await asyncio.to_thread(self._explorer.find_similar, int(str(index)))
        hits = [asdict(hit) for hit in result.hits]
        return _json_response(
            {"hits": hits, "scores": _encode_base64(result.scores, "u1"), "low": result.low, "high": result.high}
        )

    async def clusters(self, request: Request) -> Response:
        result = await asyncio.to_thread(self._explorer.clusters)
        return _json_response(
            {"levels": [asdict(level) for level in result.levels], "codes": _encode_base64(result.codes, "<u2")}
        )

    async def outliers(self, request: Request) -> Response:
        return _json_response({"outliers": [asdict(row) for row in await asyncio.to_thread(self._explorer.outliers)]})

    async def duplicates(self, request: Request) -> Response:
        groups = await asyncio.to_thread(self._explorer.duplicates)
        return _json_response({"groups": [[asdict(row) for row in group] for group in groups]})

    async def labels(self, request: Request) -> Response:
        labels = (await _read_body(request)).get("labels")
        if not isinstance(labels, list) or not all(isinstance(label, str) and label.strip() for label in labels):
            raise RequestError("Give `labels`, a list of non-empty texts.", param="labels")
        if len(labels) > MAX_LABELS:
            raise RequestError(f"Give at most {MAX_LABELS:,} labels.", param="labels")
        result = await asyncio.to_thread(self._explorer.labels, labels)
        counts = [asdict(label) for label in result.counts]
        return _json_response({"codes": _encode_base64(result.codes, "<u2"), "counts": counts})

    async def selection(self, request: Request) -> Response:
        indices = _read_indices(await _read_body(request))
        return _json_response(asdict(await asyncio.to_thread(self._explorer.selection, indices)))

    async def selection_csv(self, request: Request) -> Response:
        body = await _read_body(request)
        indices = _read_indices(body)
        if body.get("style", CsvStyle.SPREADSHEET) not in list(CsvStyle):
            raise RequestError(f"`style` is one of {', '.join(CsvStyle)}.", param="style")
        style = CsvStyle(body.get("style", CsvStyle.SPREADSHEET))
        text = await asyncio.to_thread(self._explorer.csv, indices, style=style)
        headers = {"content-disposition": 'attachment; filename="selection.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def _read_index(request: Request) -> int:
    text = request.query_params.get("index", "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise RequestError("Give `index`, the index of a row.", param="index")
    return int(text)


def _read_indices(body: dict[str, Any]) -> list[int]:
    indices = body.get("indices")
    if not isinstance(indices, list) or not indices or set(map(type, indices)) != {int}:
        raise RequestError("Give `indices`, a list of row indices.", param="indices")
    return indices


async def _read_body(request: Request) -> dict[str, Any]:
    # A form of another site's page cannot send JSON without a preflight request, which is never granted.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError("Send JSON, with the content type application/json.", code="unsupported_content_type")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise InputError(f"A request body may have at most {MAX_BODY:,} bytes.")
    if content.count(b"[") + content.count(b"{") > _MAX_NESTED:
        # Parsing would create millions of objects, and block all other threads meanwhile.
        raise RequestError("The request body contains too many arrays and objects.")
    value = parse_json(bytes(content))
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.")
    return value


def _json_response(content: object) -> Response:
    return Response(orjson.dumps(content, default=str), media_type="application/json")


def _raw_response(values: npt.NDArray[Any], dtype: str) -> Response:
    content = np.ascontiguousarray(values, dtype=dtype).tobytes()
    return Response(content, media_type="application/octet-stream")


def _encode_base64(values: npt.NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")
