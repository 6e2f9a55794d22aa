"""The lock of a collection. `store load`, `store copy` and `store drop` hold it, so that only one of them writes at a time.

A copy also writes a marker next to the lock before its first row, and deletes it after its last one. A marker without a running
copy therefore shows that the collection is incomplete.

The lock of a collection in a local folder lies next to that folder and excludes every process that can access it. The lock of a
collection on a server or in an object store lies in the user's cache folder; its name is a hash of the address without user and
secret. It does not exclude other machines: their rows replace each other by id, as with every upsert.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from ..files.outputs import explain_write_errors
from ..files.ownership import OutputLock
from ..settings import current
from .url import Address

_SUFFIXES = {"lance": ".lance"}
_LOCAL_HOSTS = ("localhost", "::1")


class PartialMarker:
    """A file that exists from the first to the last row of a copy, so that a killed copy leaves it.

    Args:
        path: Path of the file, or None for a collection that ends with this process.
        purpose: The command that writes the rows.
    """

    def __init__(self, path: Path | None, purpose: str) -> None:
        self._path = path
        self._purpose = purpose

    def write(self) -> None:
        """Create the file. Call it before the first row is written."""
        if self._path is not None:
            self._path.write_text(json.dumps({"purpose": self._purpose}), "utf-8")

    def delete(self) -> None:
        """Delete the file, if it exists. Call it after the last row was written, or all were deleted."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def unfinished_copy(address: Address) -> str | None:
    """Return the command that has not finished copying rows into a collection, or None. It may still be running."""
    if address.scheme != "memory":
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(_marker_path(_make_lock(address, "")).read_text("utf-8"))["purpose"])
    return None


def _marker_path(lock: OutputLock) -> Path:
    return lock.path.with_suffix(".partial")


@contextmanager
def lock_collection(address: Address, *, purpose: str) -> Iterator[PartialMarker]:
    """Return a context in which only this process loads rows into a collection, copies rows into it or drops it.

    Args:
        address: Address of the collection.
        purpose: What this process does, for the messages of other processes.

    Returns:
        The marker of an incomplete collection. It stays on disk unless it is deleted.

    Raises:
        OutputLockedError: Another process holds the lock. Raised when the context is entered.
        InputError: The folder of the collection is not writable.
    """
    if address.scheme == "memory":
        yield PartialMarker(None, purpose)
        return
    lock = _make_lock(address, purpose)
    with explain_write_errors(lock.path.parent):
        lock.acquire()
    try:
        yield PartialMarker(_marker_path(lock), purpose)
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
