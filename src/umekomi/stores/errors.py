"""An engine's own errors as ours: one sentence, no secret, and the same class for the same fault whatever the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import StoreError, StoreUnavailableError, UmekomiError
from .url import Address

Kinds = tuple[type[Exception], ...]


@contextmanager
def translate_errors(address: Address, *, silent: Kinds, refused: Kinds = (), failed: Kinds) -> Iterator[None]:
    """Turn an engine's errors into ours.

    Args:
        address: the collection's.
        silent: errors that say that the engine does not answer (it may, later).
        refused: errors that say that the secret is wrong; looked at first.
        failed: all its other errors.

    Raises:
        StoreUnavailableError: for ``silent``, and time-outs.
        StoreError: for the rest.
    """
    try:
        yield
    except UmekomiError:
        raise
    except refused as error:
        raise StoreError(
            f"{address.url} refuses the user or the password: {summarize_error(error, address)}. Give them in the URL, or the "
            "password in the environment."
        ) from error
    except (TimeoutError, ConnectionError) as error:
        raise unavailable_error(address, error) from error
    except silent as error:
        raise unavailable_error(address, error) from error
    except failed as error:
        raise StoreError(f"{address.url} cannot be used: {summarize_error(error, address)}.") from error


def unavailable_error(address: Address, error: BaseException) -> StoreUnavailableError:
    """What is said of an engine that does not answer."""
    opening = "" if address.open_timeout_s == address.timeout_s else f", and {address.open_timeout_s:g} while opening"
    return StoreUnavailableError(
        f"{address.url} does not answer ({summarize_error(error, address)}); check that the server runs there, or "
        f"wait longer with ?timeout=SECONDS (it is {address.timeout_s:g}{opening})."
    )


def summarize_error(error: BaseException, address: Address) -> str:
    """The first line of an error's message, without the secret."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return address.redact(lines[0]).rstrip(". ")[:300]
