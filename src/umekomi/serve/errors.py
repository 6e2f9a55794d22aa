"""Errors of the server, and the one mapping from errors to HTTP responses.

Every unsuccessful response has OpenAI's error object as its body, with the keys ``message``, ``type``, ``param`` and ``code``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import NamedTuple

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from ..errors import (
    AssetError,
    CollectionNotFoundError,
    InputError,
    MissingExtraError,
    ModelNotFoundError,
    OverloadedError,
    RemoteError,
    ShuttingDownError,
    SpaceMismatchError,
    StoreError,
    TokenLimitError,
    UmekomiError,
)
from .schemas.json_text import write_json

logger = logging.getLogger(__name__)
INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"


class RequestError(InputError):
    """A request breaks the rules of the API. ``code`` and ``error_type`` are the error object's ``code`` and ``type``."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, error_type: str = INVALID_REQUEST
    ) -> None:
        super().__init__(message, param=param)
        self.code = code
        self.error_type = error_type


class BodyTooLargeError(InputError):
    """The body of a request has more bytes than the server accepts."""


class NotFoundError(InputError):
    """A file, a batch or a store that a request names does not exist."""


class DeadlineError(OverloadedError):
    """A request was not answered within its deadline."""


class RateLimitError(OverloadedError):
    """A client has used all of its requests or tokens for this minute. ``resource`` is ``requests`` or ``tokens``."""

    def __init__(self, message: str, *, retry_after: float, resource: str) -> None:
        super().__init__(message, retry_after=retry_after)
        self.resource = resource


class BatchLimitError(OverloadedError):
    """A key has the maximum number of unfinished batches."""


class StorageError(UmekomiError):
    """The folder of files and batches cannot be written or read, for example because the disk is full."""

    retry_after = 5.0


class StorageBusyError(StorageError):
    """Another process holds a lock on the folder's database. Clients can try again after ``retry_after`` seconds."""


class StateError(StorageError):
    """The folder of files and batches is unusable: damaged, of another version, or owned by another user."""


class ErrorStatus(NamedTuple):
    """The HTTP status of an error, and the ``type`` and ``code`` of its error object."""

    status: int
    error_type: str
    code: str | None = None


#: The first class of an error's method resolution order that is listed here determines its status.
_STATUSES: Mapping[type[BaseException], ErrorStatus] = {
    BodyTooLargeError: ErrorStatus(413, INVALID_REQUEST, "request_too_large"),
    ModelNotFoundError: ErrorStatus(404, INVALID_REQUEST, "model_not_found"),
    InputError: ErrorStatus(400, INVALID_REQUEST),
    ShuttingDownError: ErrorStatus(503, SERVER_ERROR, "shutting_down"),
    DeadlineError: ErrorStatus(503, SERVER_ERROR, "deadline_exceeded"),
    OverloadedError: ErrorStatus(429, "requests", "rate_limit_exceeded"),
    BatchLimitError: ErrorStatus(429, "requests", "batch_limit_exceeded"),
    AssetError: ErrorStatus(503, SERVER_ERROR, "model_not_ready"),
    MissingExtraError: ErrorStatus(503, SERVER_ERROR, "model_not_ready"),
    CollectionNotFoundError: ErrorStatus(404, INVALID_REQUEST, "store_not_found"),
    SpaceMismatchError: ErrorStatus(400, INVALID_REQUEST, "space_mismatch"),
    NotFoundError: ErrorStatus(404, INVALID_REQUEST),
    StorageError: ErrorStatus(503, SERVER_ERROR, "storage_unavailable"),
    StoreError: ErrorStatus(503, SERVER_ERROR),
    RemoteError: ErrorStatus(503, SERVER_ERROR),
    Exception: ErrorStatus(500, SERVER_ERROR),
}


def status_of(error: Exception) -> ErrorStatus:
    """Return the HTTP status of an error, and the type and code of its error object."""
    status = next(_STATUSES[base] for base in type(error).__mro__ if base in _STATUSES)
    if isinstance(error, RequestError):
        return ErrorStatus(status.status, error.error_type, error.code)
    if isinstance(error, RateLimitError):
        return status._replace(error_type=error.resource)
    return status


def error_body(message: str, *, error_type: str, param: str | None = None, code: str | None = None) -> bytes:
    """Return the error object as JSON. All four keys are always present."""
    return write_json({"error": {"message": message, "type": error_type, "param": param, "code": code}})


def error_response(
    status: int,
    message: str,
    *,
    error_type: str = INVALID_REQUEST,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response with the error object as its body."""
    content = error_body(message, error_type=error_type, param=param, code=code)
    return Response(content, status, headers, media_type="application/json")


def response_to(error: Exception) -> Response:
    """Return the response for an error of the library or the server."""
    status, error_type, code = status_of(error)
    message, param, headers = str(error), getattr(error, "param", None), {}
    if isinstance(error, TokenLimitError):
        # The exact words of the hosted API, without `param`, because clients search for them.
        message, param = (
            (
                f"This model's maximum context length is {error.limit} tokens, however you requested {error.length} tokens "
                f"({error.length} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
            ),
            None,
        )
    if isinstance(error, OverloadedError | StorageError):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    return error_response(status, message, error_type=error_type, param=param, code=code, headers=headers)


async def handle_umekomi_error(request: Request, error: Exception) -> Response:
    """Respond to an error that a route raised."""
    response = response_to(error)
    if response.status_code >= 500:
        # Only the class, because the message of an error deep in a model might contain a text.
        logger.error("answered %d because of %s", response.status_code, type(error).__name__)
    return response


async def handle_http_error(request: Request, error: Exception) -> Response:
    """Respond to an error of the framework, such as an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered only for this class
    path = request.url.path[:200]
    message, code = {
        404: (f"Invalid URL ({request.method} {path})", "unknown_url"),
        405: (
            f"Not allowed to {request.method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
            "method_not_supported",
        ),
    }.get(error.status_code, (str(error.detail), None))
    error_type = INVALID_REQUEST if error.status_code < 500 else SERVER_ERROR
    return error_response(error.status_code, message, error_type=error_type, code=code, headers=error.headers)
