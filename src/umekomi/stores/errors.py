"""Translation of the errors of engines into errors of Umekomi, with one-line messages that contain no secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

from ..errors import StoreError, StoreUnavailableError, UmekomiError
from .url import Address

MAX_MESSAGE_CHARS = 300


class Failure(Enum):
    """What went wrong in an engine."""

    #: The engine does not respond or is busy. The same request may succeed later.
    UNAVAILABLE = auto()
    #: The engine rejects the user, password or key.
    UNAUTHORIZED = auto()
    #: Any other error of the engine.
    OTHER = auto()


@contextmanager
def translate_errors(address: Address, classify: Callable[[Exception], tuple[Failure, str] | None]) -> Iterator[None]:
    """Return a context that replaces an engine's errors with errors of Umekomi.

    Args:
        address: Address of the collection.
        classify: Returns the type and the message of an error of the engine, or None for errors that have another
            origin. Those are raised unchanged. Timeouts and connection errors of Python are translated without it.

    Raises:
        StoreUnavailableError: The engine does not respond. Raised when the context is left.
        StoreError: The engine failed for another reason. Raised when the context is left.
    """
    try:
        yield
    except UmekomiError:
        raise
    except (TimeoutError, ConnectionError) as error:
        raise unavailable_error(address, str(error)) from error
    except Exception as error:
        failure = classify(error)
        if failure is None:
            raise
        failure_type, message = failure
        if failure_type is Failure.UNAVAILABLE:
            raise unavailable_error(address, message or type(error).__name__) from error
        message = summarize(message or type(error).__name__, address)
        if failure_type is Failure.UNAUTHORIZED:
            raise StoreError(
                f"{address.url} rejects the credentials ({message}). Set them in the URL, or in the environment variable "
                f"{address.environment}."
            ) from error
        raise StoreError(f"{address.url} cannot be used: {message}.") from error


def unavailable_error(address: Address, message: str) -> StoreUnavailableError:
    """Return the error for an engine that does not respond."""
    opening = "" if address.open_timeout_s == address.timeout_s else f", and {address.open_timeout_s:g} while opening"
    return StoreUnavailableError(
        f"{address.url} does not respond ({summarize(message, address)}). Check that the server is running, or wait longer with "
        f"?timeout=SECONDS (currently {address.timeout_s:g}{opening})."
    )


def summarize(message: str, address: Address) -> str:
    """Return the first line of a message without the secret and without a final period."""
    first_line = next(iter(message.strip().splitlines()), "")
    return address.redact(first_line).rstrip(". ")[:MAX_MESSAGE_CHARS]
