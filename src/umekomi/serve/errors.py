"""The one map from errors to statuses, and the answers made of it.

Every answer that is not a success, whoever refuses it (a route, the framework, a model), is the error object with its four
keys.
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
from .limits.buckets import RateLimitError
from .middleware.request_context import error_response
from .schemas import RequestError, error_body

logger = logging.getLogger(__name__)


class BodyTooLargeError(InputError):
    """A request's body has more bytes than the server takes."""


class DeadlineError(OverloadedError):
    """A request was not answered in the time that the server gives one."""


class NotFoundError(InputError):
    """A file, a batch or a store that a request names is not there."""


class StorageError(UmekomiError):
    """The folder of files and batches cannot be written or read: a full disk, say."""

    retry_after = 5.0


class StorageBusyError(StorageError):
    """Another process holds a lock on the folder's database; try again in ``retry_after`` seconds."""


class StateError(StorageError):
    """The folder of files and batches cannot be used at all: it is damaged, of another version, or another user's."""


class BatchLimitError(OverloadedError):
    """A key has as many unfinished batches as it may."""


class ErrorStatus(NamedTuple):
    """How an error is answered: the HTTP status, and the error object's ``type`` and ``code``."""

    status: int
    kind: str
    code: str | None = None


# The nearest class of an error's ancestry that is here decides.
STATUSES: Mapping[type[BaseException], ErrorStatus] = {
    BodyTooLargeError: ErrorStatus(413, "invalid_request_error", "request_too_large"),
    ModelNotFoundError: ErrorStatus(404, "invalid_request_error", "model_not_found"),
    InputError: ErrorStatus(400, "invalid_request_error"),
    ShuttingDownError: ErrorStatus(503, "server_error", "shutting_down"),
    DeadlineError: ErrorStatus(503, "server_error", "deadline_exceeded"),
    OverloadedError: ErrorStatus(429, "requests", "rate_limit_exceeded"),
    BatchLimitError: ErrorStatus(429, "requests", "batch_limit_exceeded"),
    AssetError: ErrorStatus(503, "server_error", "model_not_ready"),
    MissingExtraError: ErrorStatus(503, "server_error", "model_not_ready"),
    CollectionNotFoundError: ErrorStatus(404, "invalid_request_error", "store_not_found"),
    SpaceMismatchError: ErrorStatus(400, "invalid_request_error", "space_mismatch"),
    NotFoundError: ErrorStatus(404, "invalid_request_error"),
    StorageError: ErrorStatus(503, "server_error", "storage_unavailable"),
    StoreError: ErrorStatus(503, "server_error"),
    RemoteError: ErrorStatus(503, "server_error"),
    Exception: ErrorStatus(500, "server_error"),
}


def error_answer(error: Exception) -> tuple[int, bytes, dict[str, str]]:
    """How an error is answered: the status, the error object as bytes of JSON, and headers."""
    status, kind, code = next(STATUSES[base] for base in type(error).__mro__ if base in STATUSES)
    message, param, headers = str(error), getattr(error, "param", None), {}
    if isinstance(error, TokenLimitError):
        # Word for word what the hosted API says, with its empty `param`: clients look for it.
        message, param = (
            (
                f"This model's maximum context length is {error.limit} tokens, however you requested {error.length} tokens "
                f"({error.length} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
            ),
            None,
        )
    if isinstance(error, RequestError):
        kind, code = error.kind, error.code
    if isinstance(error, RateLimitError):
        kind = error.kind
    if isinstance(error, OverloadedError | StorageError):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    return status, error_body(message, kind=kind, param=param, code=code), headers


async def umekomi_error(request: Request, error: Exception) -> Response:
    """What our own code refuses."""
    status, content, headers = error_answer(error)
    if status >= 500:
        # The class alone: the message of an error deep in a model might hold a text.
        logger.error("answered %d because of %s", status, type(error).__name__)
    return Response(content, status, headers, media_type="application/json")


async def http_error(request: Request, error: Exception) -> Response:
    """What the framework itself refuses."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for this class alone
    path = request.url.path[:200]
    known = {
        404: (f"Invalid URL ({request.method} {path})", "unknown_url"),
        405: (
            f"Not allowed to {request.method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
            "method_not_supported",
        ),
    }
    message, code = known.get(error.status_code, (str(error.detail), None))
    kind = "invalid_request_error" if error.status_code < 500 else "server_error"
    return error_response(error.status_code, message, kind=kind, code=code, headers=error.headers)
