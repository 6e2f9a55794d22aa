"""The outermost middleware: an id, metrics and a log line for each request, and the response to unexpected errors."""

from __future__ import annotations

import logging
import random
import time
import traceback

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import SERVER_ERROR, error_response
from ..metrics import Metrics
from ..scheduler.memory import MemoryBudget

logger = logging.getLogger(__name__)
_random = random.Random()  # noqa: S311 - ids need not be secret, and os.urandom takes longer than the rest of this module


class RequestContextMiddleware:
    """Adds an id, a memory lease, metrics and a log line to each request. Nothing that a client sent is logged."""

    def __init__(self, app: ASGIApp, metrics: Metrics, budget: MemoryBudget) -> None:
        self._app = app
        self._metrics = metrics
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = f"req_{_random.getrandbits(128):032x}"
        status = 0
        lease = self._budget.lease()
        scope.setdefault("state", {})["lease"] = lease
        method = scope["method"]
        if method == "HEAD":
            # Every GET route supports HEAD; the server omits the body.
            scope = {**scope, "method": "GET"}

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                milliseconds = round((time.perf_counter() - start) * 1000)
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
            # Only its class and location, because its message might contain a client's text.
            location = "".join(traceback.format_tb(error.__traceback__))
            logger.error("%s failed with %s", request_id, type(error).__name__, extra={"location": location})
            if status:
                raise
            message = f"The server had an error while processing your request. Its log has details for {request_id}."
            await error_response(500, message, error_type=SERVER_ERROR)(scope, receive, send_with_id)
        finally:
            lease.release()
            # The route's pattern instead of the path, and the method only of known routes: both are a client's text.
            route = getattr(scope.get("route"), "path", "-")
            method = method if route != "-" else "-"
            seconds = time.perf_counter() - start
            self._metrics.count_request(method, route, status, seconds)
            account = scope["state"].get("account")
            fields = {
                "request_id": request_id,
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "key": account.key.name if account else None,
            }
            logger.info(
                "%s %s %s %d %.1f ms", request_id, method, route, status, seconds * 1000, extra={"fields": fields}
            )
