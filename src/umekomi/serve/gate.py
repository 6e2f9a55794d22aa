"""Who may come in: the key of a request, its account, and the headers that say what is left of it."""

from __future__ import annotations

import math

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .envelope import error_response
from .keys import KeyFile
from .limits import Account, RateLimitError

OPEN_PATHS = frozenset({"/health", "/ready", "/openapi.json"})
"""Asked by those who watch the server, without a key."""


class Gate:
    """Lets a request of a known key in, within its limits. Without a file of keys everybody comes in, and without limits."""

    def __init__(self, app: ASGIApp, keys: KeyFile | None) -> None:
        self._app = app
        self._keys = keys
        self._accounts: dict[str, Account] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
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
            account = self._accounts[key.name] = Account(key)
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


def _is_from_another_site(headers: Headers) -> bool:
    """Browsers say where a page came from; nobody else does. Without this any page could have files stored here."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def _secret(headers: Headers) -> str:
    """The key that a client sent; ``api-key`` is where some of OpenAI's clients put it for Azure."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("api-key", "")
