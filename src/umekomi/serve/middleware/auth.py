"""Who may come in: the key of a request, its account, and the headers that say what is left of it."""

from __future__ import annotations

import math

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..limits.buckets import Account, BucketStore, RateLimitError
from ..limits.keys import KeyFile
from .request_context import error_response

OPEN_PATHS = frozenset({"/health", "/ready", "/openapi.json"})
"""Asked by those who watch the server, without a key."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class AuthMiddleware:
    """Lets a request of a known key in, within its limits. Without a file of keys everybody comes in, and without limits.

    Args:
        app: what is behind it.
        keys: who may come in.
        hosts: the names, without a port, under which the server may be asked; by default any. A page of another site that makes
            a name of its own point at this machine (DNS rebinding) is of one site with the server, for the browser.
        levels: where what the keys have left is kept; by default in this process.
    """

    def __init__(
        self, app: ASGIApp, keys: KeyFile | None, hosts: frozenset[str] | None = None, levels: BucketStore | None = None
    ) -> None:
        self._app = app
        self._keys = keys
        self._hosts = hosts
        self._levels = levels
        self._accounts: dict[str, Account] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._hosts is not None and not is_known_host(Headers(scope=scope), self._hosts):
            await wrong_host()(scope, receive, send)
            return
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        if self._keys is None:
            if _is_from_another_site(Headers(scope=scope)):
                message = "A page of another site may not use this server: it asks for no key."
                await error_response(403, message, kind="invalid_request_error")(scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        secret = _secret(Headers(scope=scope))
        key = self._keys.find(secret) if secret else None
        if key is None:
            message = (
                "Incorrect API key provided. Ask whoever runs this server for one."
                if secret
                else "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
            code = "invalid_api_key" if secret else None
            refused = error_response(
                401, message, kind="invalid_request_error", code=code, headers={"www-authenticate": "Bearer"}
            )
            await refused(scope, receive, send)
            return
        account = self._accounts.get(key.name)
        if account is None or account.key != key:
            account = self._accounts[key.name] = Account(key, self._levels)
        scope.setdefault("state", {})["account"] = account

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *account.headers()]}
            await send(message)

        try:
            account.take("requests", 1)
        except RateLimitError as error:
            headers = {"retry-after": str(math.ceil(error.retry_after))}
            refused = error_response(429, str(error), kind=error.kind, code="rate_limit_exceeded", headers=headers)
            await refused(scope, receive, send_with_limits)
            return
        await self._app(scope, receive, send_with_limits)


def is_known_host(headers: Headers, hosts: frozenset[str]) -> bool:
    """Whether a request names one of these hosts (in small letters), at whatever port."""
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.lower() in hosts


def wrong_host() -> Response:
    """The answer to a request that names another host."""
    message = (
        "This server does not answer under that name: open it as http://127.0.0.1, or name the host with --allow-host "
        "when you start it."
    )
    return error_response(403, message, kind="invalid_request_error", code="wrong_host")


def _is_from_another_site(headers: Headers) -> bool:
    """Browsers say where a page came from; nobody else does. Without this any page could have files stored here."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def _secret(headers: Headers) -> str:
    """The key that a client sent; ``api-key`` is where some of OpenAI's clients put it for Azure."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("api-key", "")
