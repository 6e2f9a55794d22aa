"""One writer per collection: the lock that `store load`, `store copy` and `store drop` hold.

A collection in a local folder is locked next to its folder, for every process that sees that folder. A collection of a server, or
in an object store, is locked in the cache folder of this machine's user, under the server's address without user and secret. Two
machines that load into one server at the same time do not see each other: rows are then replaced by id, as with every upsert.
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

_SUFFIX = {"lance": ".lance"}
_SAME_HOST = ("localhost", "::1")
_DEFAULT_PORTS = {"milvus": 19530, "postgresql": 5432, "qdrant": 6333, "redis": 6379, "weaviate": 8080}


@contextmanager
def lock_collection(address: Address, *, purpose: str) -> Iterator[None]:
    """A context in which this process is the only one that loads, copies into or drops a collection.

    Args:
        address: The collection.
        purpose: What the process does, for the message of another one.

    Raises:
        OutputLockedError: Another process holds the lock. Raised when the context is entered.
        InputError: The folder of the collection cannot be written.
    """
    if address.scheme == "memory":
        yield
        return
    lock = _lock(address, purpose)
    with explain_write_errors(lock.path.parent):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _lock(address: Address, purpose: str) -> OutputLock:
    name = address.name if address.scheme != "pinecone" else address.location
    if address.embedded and "://" not in address.location:
        folder = Path(address.location.rstrip("/").rpartition("/")[0] or "/").expanduser().absolute()
        return OutputLock(folder / f"{name}{_SUFFIX.get(address.scheme, '')}", purpose=purpose)
    file = current().cache / "locks" / f"{sha256(_key(address).encode()).hexdigest()[:32]}.lock"
    return OutputLock(address.url, purpose=purpose, file=file)


def _key(address: Address) -> str:
    """One text for all addresses of a collection that are the same."""
    scheme = "redis" if address.scheme == "rediss" else address.scheme
    if scheme == "pinecone" or address.embedded:
        return f"{scheme}://{address.location}?{address.parameters.get('host', '')}"
    host = "127.0.0.1" if address.host in _SAME_HOST else address.host.lower()
    return f"{scheme}://{host}:{address.port(_DEFAULT_PORTS[scheme])}/{address.path}"
