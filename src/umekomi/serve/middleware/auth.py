"""Authentication and rate limits of requests."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import RateLimitError, error_response, response_to
from ..limits.buckets import Account, BucketStore
from ..limits.keys import KeyFile

#: Paths for monitoring, which need no key.
OPEN_PATHS = frozenset({"/health", "/ready", "/openapi.json"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class AuthMiddleware:
    """Accepts requests with a valid key, within the limits of that key.

    Args:
        app: The wrapped application.
        keys: The valid keys. By default, everybody may send requests, without limits.
        hosts: Accepted values of ``Host``, in lower case and without a port; by default any. A page of another site can make a
            name of its own resolve to this machine (DNS rebinding). The browser then treats the server as part of that site.
        buckets: Storage for the rate limits; by default this process.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: KeyFile | None,
        hosts: frozenset[str] | None = None,
        buckets: BucketStore | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._hosts = hosts
        self._buckets = buckets
        self._accounts: dict[str, Account] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        account: Account | None = None
        app: ASGIApp = self._app
        if self._hosts is not None and not is_known_host(headers, self._hosts):
            app = wrong_host_response()
        elif scope["path"] in OPEN_PATHS:
            pass
        elif self._keys is None:
            if _is_cross_site(headers):
                app = error_response(403, "A page of another site may not use this server, because it requires no key.")
        elif (account := self._account(self._keys, headers)) is None:
            app = _invalid_key_response(headers)
        else:
            scope.setdefault("state", {})["account"] = account
            try:
                account.take("requests", 1)
            except RateLimitError as error:
                app = response_to(error)

        async def send_with_limits(message: Message) -> None:
            if account is not None and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *account.headers()]}
            await send(message)

        await app(scope, receive, send if account is None else send_with_limits)

    def _account(self, keys: KeyFile, headers: Headers) -> Account | None:
        secret = _secret(headers)
        key = keys.find(secret) if secret else None
        if key is None:
            return None
        account = self._accounts.get(key.name)
        if account is None or account.key != key:
            account = self._accounts[key.name] = Account(key, self._buckets)
        return account


def is_known_host(headers: Headers, hosts: frozenset[str]) -> bool:
    """Return whether a request's ``Host`` is one of these names (in lower case), at any port."""
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.lower() in hosts


def wrong_host_response() -> Response:
    """Return the response to a request with an unknown ``Host``."""
    message = (
        "This server does not answer under that name: open it as http://127.0.0.1, or name the host with --allow-host "
        "when you start it."
    )
    return error_response(403, message, code="wrong_host")


def _invalid_key_response(headers: Headers) -> Response:
    if _secret(headers):
        message, code = "Incorrect API key provided. Ask the operator of this server for a key.", "invalid_api_key"
    else:
        message, code = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
            "(i.e. Authorization: Bearer YOUR_KEY).",
            None,
        )
    return error_response(401, message, code=code, headers={"www-authenticate": "Bearer"})


def _is_cross_site(headers: Headers) -> bool:
    """Return whether a page of another site sent the request. Only browsers send ``Origin``."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def _secret(headers: Headers) -> str:
    """Return the key that a client sent. OpenAI's clients for Azure send it as ``api-key``."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("api-key", "")
