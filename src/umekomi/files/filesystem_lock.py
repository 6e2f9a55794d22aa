"""Locks that allow one writer per folder, on local disks and in object stores."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.fs as pafs

from ..errors import OutputLockedError, UmekomiError
from .filesystem import read_json
from .outputs import explain_write_errors
from .ownership import OutputLock

RENEW_INTERVAL_S = 20.0
"""Seconds after which the holder of a lock in an object store renews it."""
STALE_S = 120.0
"""Seconds after which a lock in an object store that was not renewed is ignored."""

LockCheck = Callable[[], None]
"""Raises UmekomiError if the lock was lost to another process."""


@contextmanager
def locked_folder(system: pafs.FileSystem, folder: str, *, purpose: str) -> Iterator[LockCheck]:
    """Hold the lock of an existing folder. The context is a function that checks whether the lock is still held.

    On a local disk, the operating system holds the lock. Object stores have no locks, so every process writes an object of its
    own to ``_lock/`` and then lists that folder. Of two processes, the one that lists later sees the other one and gives up.
    The holder renews its object every 20 seconds. An object is stale, and is deleted, if it was not renewed for two minutes by
    the clock of the store, or if its process was on this machine and has ended.

    Raises:
        OutputLockedError: Another process holds the lock.
    """
    if isinstance(system, pafs.LocalFileSystem):
        # Inside the folder, because the parent folder may be read-only, for example around a mounted volume.
        lock = OutputLock(Path(folder), purpose=purpose, file=Path(folder, ".umekomi.lock"))
        with explain_write_errors(folder):
            lock.acquire()
        try:
            yield lambda: None
        finally:
            lock.release()
        return
    remote = _RemoteLock(system, folder, purpose)
    remote.acquire()
    try:
        yield remote.check
    finally:
        remote.release()


class _RemoteLock:
    def __init__(self, system: pafs.FileSystem, folder: str, purpose: str) -> None:
        self._system = system
        self._folder = folder
        self._path = f"{folder}/_lock/{secrets.token_hex(8)}.json"
        self._content = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime()),
            "purpose": purpose,
        }
        self._released = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def acquire(self) -> None:
        self._system.create_dir(f"{self._folder}/_lock", recursive=True)
        self._write()
        try:
            self._require_alone()
        except BaseException:
            self._delete(self._path)
            raise
        self._thread.start()

    def check(self) -> None:
        if self._lost:
            raise UmekomiError(
                f"Another process has taken over {self._folder}, because its lock was not renewed for {STALE_S:.0f} seconds."
            )

    def release(self) -> None:
        self._released.set()
        self._thread.join()
        self._delete(self._path)

    def _require_alone(self) -> None:
        now = self._modified(self._path)
        for row in self._system.get_file_info(pafs.FileSelector(f"{self._folder}/_lock", allow_not_found=True)):
            if row.path == self._path or not row.path.endswith(".json"):
                continue
            holder = read_json(self._system, row.path)
            if holder is None:  # released meanwhile
                continue
            if now - self._modified(row.path) > STALE_S or _has_ended(holder):
                self._delete(row.path)
                continue
            raise OutputLockedError(
                f"{self._folder} is being written by process {holder.get('pid')} on {holder.get('host')} "
                f"({holder.get('purpose')}, since {holder.get('since')}). Wait for it, or stop it first; a lock that is not "
                f"renewed is ignored after {STALE_S:.0f} seconds."
            )

    def _renew(self) -> None:
        while not self._released.wait(RENEW_INTERVAL_S):
            with suppress(OSError):  # the store may be temporarily unreachable
                if self._system.get_file_info(self._path).type is not pafs.FileType.File:
                    self._lost = True
                    return
                self._write()

    def _write(self) -> None:
        # Not with atomic_stream, which deletes the object after an error: the lock would be lost.
        with self._system.open_output_stream(self._path) as stream:
            stream.write(json.dumps({**self._content, "renewed": time.time()}).encode())

    def _modified(self, path: str) -> float:
        """Return when an object was written, in seconds: by the clock of the store, or of the writer if the store has none."""
        modified = self._system.get_file_info(path).mtime_ns
        if modified:
            return float(modified) / 1e9
        return float((read_json(self._system, path) or {}).get("renewed", 0.0))

    def _delete(self, path: str) -> None:
        with suppress(OSError):
            self._system.delete_file(path)


def _has_ended(holder: dict[str, object]) -> bool:
    """Return whether the process of a lock ran on this machine and has ended."""
    pid = holder.get("pid")
    if sys.platform == "win32" or holder.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
