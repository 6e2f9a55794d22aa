"""A shortcut past FastAPI's router, for the route of most requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import UmekomiError
from ..errors import handle_umekomi_error


class DirectRoute:
    """Responds to ``POST`` requests of one path, and passes all others on.

    FastAPI's router, dependency solver and exception handlers cost more CPU time per request than parsing and validating a short
    text (docs/lab/server.md). The router has the same route, for the description of the API and for other methods.

    Args:
        app: The wrapped application.
        path: Path of the route, without parameters.
        respond: Returns the response to a request.
    """

    def __init__(self, app: ASGIApp, path: str, respond: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = app
        self._respond = respond
        # The outer middleware reads the path of the route from here, for metrics and the log.
        self._route = Route(path, respond, methods=["POST"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._route.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except UmekomiError as error:
            response = await handle_umekomi_error(request, error)
        await response(scope, receive, send)
