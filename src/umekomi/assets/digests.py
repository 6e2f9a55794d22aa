"""SHA-256 digests of files, computed once until a file changes.

The digests are stored in the cache folder with each file's size, modification and change times and inode, so a file of weights is
read and compared once and later loads cost nothing.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ..files.json_cache import JsonCache

FILE = "digests.json"

_State = tuple[int, int, int, int]
_cached: dict[tuple[str, _State], str] = {}


class Digests:
    """Digests of files, cached in this process and in a file in the cache folder.

    Args:
        cache: Cache folder. If it cannot be written, each process computes the digests again.
    """

    def __init__(self, cache: Path) -> None:
        self._file = JsonCache(cache / FILE, is_valid=_is_row, is_current=os.path.exists)

    def sha256(self, path: Path) -> str:
        """Return the hexadecimal SHA-256 of a file, or an empty string if it cannot be read."""
        state = _state(path)
        if state is None:
            return ""
        name = os.path.abspath(path)
        if (name, state) not in _cached:
            stored = self._file.read().get(name)
            if stored is not None and stored[0] == list(state):
                _cached[name, state] = stored[1]
            else:
                self._record(name, state, compute_sha256(path))
        return _cached[name, state]

    def record(self, path: Path, digest: str) -> None:
        """Cache the digest of a file that has just been read or written."""
        state = _state(path)
        if state is not None:
            self._record(os.path.abspath(path), state, digest)

    def _record(self, name: str, state: _State, digest: str) -> None:
        _cached[name, state] = digest
        if digest:
            self._file.add(name, [list(state), digest])


def compute_sha256(path: Path) -> str:
    """Read a file and return its hexadecimal SHA-256, or an empty string if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _state(path: Path) -> _State | None:
    """Return values that change when a file changes. The change time reveals writes whose modification time was set back."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _is_row(value: Any) -> bool:
    match value:
        case [list(), str()]:
            return True
    return False
