"""What is around every request: an id, the time it took, a line in the log, and an answer to what nobody foresaw."""

from __future__ import annotations

import logging
import random
import time
import traceback
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..metrics import Metrics
from ..scheduler.memory import MemoryBudget
from ..schemas import error_body

logger = logging.getLogger(__name__)
_random = random.Random()  # noqa: S311 - ids need to differ and no more; asking the system for each takes longer than the rest


def error_response(
    status: int,
    message: str,
    *,
    kind: str,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The error object as a response."""
    content = error_body(message, kind=kind, param=param, code=code)
    return Response(content, status, headers, media_type="application/json")


class RequestContextMiddleware:
    """The outermost part of the application. Nothing that a client sent is logged."""

    def __init__(self, app: ASGIApp, metrics: Metrics, budget: MemoryBudget) -> None:
        self._app = app
        self._metrics = metrics
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = f"req_{_random.getrandbits(128):032x}"
        status = 0
        lease = self._budget.lease()
        scope.setdefault("state", {})["lease"] = lease
        method = scope["method"]
        if method == "HEAD":
            # Whatever can be had can be asked about; the server leaves the body out by itself.
            scope = {**scope, "method": "GET"}

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                milliseconds = round((time.perf_counter() - began) * 1000)
                own = [
                    (b"x-request-id", request_id.encode()),
                    (b"openai-processing-ms", b"%d" % milliseconds),
                    (b"openai-version", b"2020-10-01"),
                ]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = 499
        except Exception as error:
            # Where it happened and its class, never its message: that might hold a text of the client's.
            location = "".join(traceback.format_tb(error.__traceback__))
            logger.error("%s failed with %s", request_id, type(error).__name__, extra={"location": location})
            if status:
                raise
            message = "The server had an error while processing your request. Its log has more under this request's id"
            answer = error_response(500, f"{message}: {request_id}.", kind="server_error")
            await answer(scope, receive, send_with_id)
        finally:
            lease.release()
            # The route's pattern and not the path, which is the client's own text.
            route = getattr(scope.get("route"), "path", "-")
            took = time.perf_counter() - began
            # A method is a client's own text too, unless a route knows it.
            known_method = method if route != "-" else "-"
            self._metrics.answered(known_method, route, status, took)
            line = {
                "request_id": request_id,
                "method": known_method,
                "route": route,
                "status": status,
                "ms": round(took * 1000, 1),
                "key": getattr(scope["state"].get("account"), "name", None),
            }
            logger.info(
                "%s %s %s %d %.1f ms", request_id, known_method, route, status, took * 1000, extra={"fields": line}
            )
