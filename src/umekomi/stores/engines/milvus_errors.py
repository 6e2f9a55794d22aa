"""The errors of Milvus and its client as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from pymilvus.exceptions import MilvusException

from ..errors import translate_errors
from ..url import Address

_NO_CONNECTION = 2


class _SilentError(Exception):
    pass


class _RefusedError(Exception):
    pass


def is_silence(error: Exception) -> bool:
    """Whether the server does not answer, but may later."""
    if isinstance(error, grpc.RpcError):
        code = error.code() if hasattr(error, "code") else None
        return code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    said = str(error).lower()
    words = (
        "fail connecting",
        "unavailable",
        "deadline",
        "timeout",
        "not ready",
        "not healthy",
        "node not found",
        "no available",
        "closed channel",
    )
    return getattr(error, "code", 0) == _NO_CONNECTION or any(word in said for word in words)


@contextmanager
def speaking(address: Address) -> Iterator[None]:
    """Raise the errors of Umekomi."""
    with translate_errors(
        address,
        refused=(_RefusedError,),
        silent=(_SilentError,),
        failed=(MilvusException, grpc.RpcError, ValueError, OSError),
    ):
        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            said = getattr(error, "message", "") or str(error)
            if "auth check failure" in said or "unauthenticated" in said.lower():
                raise _RefusedError(said) from error
            if is_silence(error):
                raise _SilentError(said) from error
            raise
