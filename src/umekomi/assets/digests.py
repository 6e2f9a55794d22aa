"""SHA-256 of files, computed once for as long as a file does not change.

The digests are stored in the cache folder with each file's size, modification and change times and inode, so a file of weights is
read and compared once and later loads cost nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import suppress
from pathlib import Path

FILE = "digests.json"

_State = tuple[int, int, int, int]
_known: dict[tuple[str, _State], str] = {}


class Digests:
    """Digests of files, remembered in this process and in a file of the cache folder.

    Args:
        cache: The cache folder. Where it cannot be written, each process computes the digests again.
    """

    def __init__(self, cache: Path) -> None:
        self._path = cache / FILE

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a file in hexadecimal digits; an empty string if it cannot be read."""
        state = _state(path)
        if state is None:
            return ""
        name = os.path.abspath(path)
        if (name, state) not in _known:
            stored = self._read().get(name)
            if stored is not None and stored[0] == list(state):
                _known[name, state] = stored[1]
            else:
                self._record(name, state, compute_sha256(path))
        return _known[name, state]

    def record(self, path: Path, digest: str) -> None:
        """Remember the digest of a file that has just been read or written."""
        state = _state(path)
        if state is not None:
            self._record(os.path.abspath(path), state, digest)

    def _record(self, name: str, state: _State, digest: str) -> None:
        _known[name, state] = digest
        if not digest:
            return
        # Another process may write at the same time: what is lost is computed again.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            rows = {key: row for key, row in self._read().items() if key == name or os.path.exists(key)}
            new = self._path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.new")
            try:
                new.write_text(json.dumps(rows | {name: [list(state), digest]}, indent=1) + "\n", "utf-8")
                new.replace(self._path)
            finally:
                new.unlink(missing_ok=True)

    def _read(self) -> dict[str, tuple[list[int], str]]:
        with suppress(OSError, ValueError, TypeError, AttributeError):
            content = json.loads(self._path.read_text("utf-8"))
            return {str(name): (list(state), str(digest)) for name, (state, digest) in content.items()}
        return {}


def compute_sha256(path: Path) -> str:
    """Read a file and return its SHA-256; an empty string if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _state(path: Path) -> _State | None:
    """What changes when a file changes. The change time also tells of a write whose modification time was set back."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
