"""Ownership of outputs: locks that allow one writer, and markers of folders that Umekomi created.

Every command that writes takes an :class:`OutputLock`, so that two runs cannot mix their rows in one output. Every folder that
a command may later delete is claimed first with :func:`claim_folder`; :func:`remove_folder` deletes from a claimed folder only.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import InputError, OutputLockedError

MARKER = ".umekomi.json"
"""Name of the file that marks a folder as created by Umekomi."""

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        # A byte far behind the end, so that other processes can still read who holds the lock.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class OutputLock:
    """Allows one process at a time to write an output.

    The operating system holds the lock on the file ``.NAME.lock`` next to the output, so a killed process releases it and no
    stale lock remains. The file contains the process ID, the host and the time at which the lock was taken, which is what a
    second process reports.

    >>> import tempfile
    >>> output = Path(tempfile.mkdtemp(), "out.parquet")
    >>> with OutputLock(output, purpose="umekomi embed"):
    ...     pass

    Args:
        output: File or folder that is about to be written. Symbolic links are resolved, so two names of one file share a lock.
            If ``file`` is given, any name of the output, such as a URL.
        purpose: Description of the holder in the error message of another process.
        file: Lock file, if it cannot be next to the output. Every writer must use the same.

    Raises:
        OutputLockedError: Another process (or another lock of this one) holds the lock.
        OSError: The lock file cannot be created.
    """

    def __init__(self, output: Path | str, *, purpose: str, file: Path | None = None) -> None:
        self._output = output
        self._purpose = purpose
        target = Path(os.path.realpath(output))
        self.path = file or target.with_name(f".{target.name}.lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise OutputLockedError at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                locked = _try_lock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if not locked:
                holder = _read_holder(descriptor)
                os.close(descriptor)
                raise OutputLockedError(f"{self._output} is being written by {holder}. Wait for it, or stop it first.")
            # The previous holder deletes the file before it releases the lock: what is locked here may be deleted already.
            if _same_file(descriptor, self.path):
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        content = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime()),
            "purpose": self._purpose,
        }
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, json.dumps(content).encode())

    def release(self) -> None:
        """Release the lock and delete its file. Does nothing if the lock is not held."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> OutputLock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read_holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        content = json.loads(os.read(descriptor, 4096))
        host = "" if content["host"] == socket.gethostname() else f" on {content['host']}"
        return f"process {content['pid']}{host} ({content['purpose']}, since {content['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process that has just started"


def claim_folder(folder: Path, *, content: str) -> None:
    """Create a folder and mark it as Umekomi's; a folder that is marked already stays as it is.

    Args:
        folder: The folder; missing parents are created. An existing empty folder is claimed.
        content: Purpose of the folder, such as ``"embedding shards"``. One folder has one content.

    Raises:
        InputError: The folder has files that Umekomi did not create, is marked for another content, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder_content(folder)
    if owner == content:
        return
    if owner is not None:
        raise InputError(f"{folder} already contains {owner}. Choose another folder.")
    # Another process may be claiming the folder: its temporary marker does not count, and the marker is read again.
    others = [path for path in folder.iterdir() if not path.name.startswith(f"{MARKER}.")]
    if others and folder_content(folder) != content:
        raise InputError(f"{folder} is not empty and was not created by Umekomi. Choose a new or an empty folder.")
    marker = folder / f"{MARKER}.{os.getpid()}.tmp"
    marker.write_text(json.dumps({"created_by": "umekomi", "content": content}), "utf-8")
    marker.replace(folder / MARKER)


def folder_content(folder: Path) -> str | None:
    """Return what a folder was claimed for, or None if Umekomi did not create it."""
    try:
        value = json.loads((folder / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict) or value.get("created_by") != "umekomi":
        return None
    return str(value.get("content"))


def remove_folder(folder: Path, *, content: str, names: Iterable[str] | None = None) -> list[str]:
    """Delete what Umekomi created in a claimed folder, and the folder itself if nothing else is left in it.

    Args:
        folder: A folder that :func:`claim_folder` marked.
        content: Content that the folder was claimed for.
        names: Names or glob patterns (relative to the folder) that Umekomi created there. None means everything: use it only
            if nobody else can have put a file into the folder.

    Returns:
        Names of the remaining files, which Umekomi did not create.

    Raises:
        InputError: The folder is not marked, or marked for another content. Nothing is deleted.
    """
    if folder_content(folder) != content:
        raise InputError(f"{folder} was not created by Umekomi as {content}, so it is not deleted. Delete it yourself.")
    if names is None:
        shutil.rmtree(folder)
        return []
    for pattern in names:
        for path in list(folder.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    left = sorted(path.name for path in folder.iterdir() if path.name != MARKER)
    if not left:
        (folder / MARKER).unlink(missing_ok=True)
        folder.rmdir()
    return left
