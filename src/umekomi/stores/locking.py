"""The lock of a collection. `store load`, `store copy` and `store drop` hold it, so that only one of them writes at a time.

The lock of a collection in a local folder lies next to that folder and excludes every process that can access it. The lock of a
collection on a server or in an object store lies in the user's cache folder; its name is a hash of the address without user and
secret. It does not exclude other machines: their rows replace each other by id, as with every upsert.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from ..files.outputs import explain_write_errors
from ..files.ownership import OutputLock
from ..settings import current
from .url import Address

_SUFFIXES = {"lance": ".lance"}
_LOCAL_HOSTS = ("localhost", "::1")


@contextmanager
def lock_collection(address: Address, *, purpose: str) -> Iterator[None]:
    """Return a context in which only this process loads rows into a collection, copies rows into it or drops it.

    Args:
        address: Address of the collection.
        purpose: What this process does, for the error message of other processes.

    Raises:
        OutputLockedError: Another process holds the lock. Raised when the context is entered.
        InputError: The folder of the collection is not writable.
    """
    if address.scheme == "memory":
        yield
        return
    lock = _make_lock(address, purpose)
    with explain_write_errors(lock.path.parent):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make_lock(address: Address, purpose: str) -> OutputLock:
    name = address.name if address.scheme != "pinecone" else address.location
    if address.embedded and "://" not in address.location:
        folder = Path(address.location.rstrip("/").rpartition("/")[0] or "/").expanduser().absolute()
        return OutputLock(folder / f"{name}{_SUFFIXES.get(address.scheme, '')}", purpose=purpose)
    file = current().cache / "locks" / f"{sha256(_normalize(address).encode()).hexdigest()[:32]}.lock"
    return OutputLock(address.url, purpose=purpose, file=file)


def _normalize(address: Address) -> str:
    """Return the same text for all spellings of the address of a collection."""
    scheme = "redis" if address.scheme == "rediss" else address.scheme
    if scheme == "pinecone" or address.embedded:
        return f"{scheme}://{address.location}?{address.parameters.get('host', '')}"
    host = "127.0.0.1" if address.host in _LOCAL_HOSTS else address.host.lower()
    return f"{scheme}://{host}:{address.port}/{address.path}"
