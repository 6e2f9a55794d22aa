"""The private folder of the server's files and batches, and the SQLite database in it.

Only the owner can enter the folder (mode 0700) or read its files (0600), whatever the umask is. The database uses a write-ahead
log: readers never wait for a writer, neither of this process nor of another one, and a writer waits for a limited time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from ..errors import StateError, StorageBusyError, StorageError

WRITE_PATIENCE = 5.0
"""Seconds that a write waits for a lock that somebody else holds."""
_READ_PATIENCE = 1.0
_POLL = 0.05
_FORMAT = 1


def make_private_folder(folder: Path, *, subfolders: Sequence[str], database: str) -> None:
    """Create a folder with subfolders, or restrict existing ones and the files of Umekomi in them to their owner.

    Raises:
        StateError: The folder belongs to another user, or others can enter it and it holds other things.
        StorageError: It cannot be created, or its permissions cannot be changed.
    """
    with storage_errors():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {path.name for path in folder.iterdir()}
        if stat.S_IMODE(folder.stat().st_mode) != 0o700 and database not in names and names - {*subfolders}:
            # It may be a home or /tmp: its other users would be locked out.
            raise StateError(f"{folder} holds other files; name a folder for the server alone with --state.")
        _restrict(folder, 0o700)
        for path in (folder / name for name in subfolders):
            path.mkdir(exist_ok=True, mode=0o700)
            _restrict(path, 0o700)
        own = [path for path in folder.iterdir() if path.name.startswith((database, "runner.lock"))]
        for path in (*own, *(path for name in subfolders for path in (folder / name).iterdir())):
            if path.is_file() and not path.is_symlink():
                # Another process may delete it at this moment.
                with contextlib.suppress(FileNotFoundError):
                    _restrict(path, 0o600)


def _restrict(path: Path, mode: int) -> None:
    status = path.stat()
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise StateError(
            f"{path} belongs to another user (uid {status.st_uid}); name a folder of your own with --state."
        )
    if stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)


def create_private(path: Path) -> BinaryIO:
    """Create a file that only its owner can read, whatever the umask is. Raises FileExistsError if there is one already."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    file = os.fdopen(handle, "r+b")
    path.chmod(0o600)
    return file


def sync(path: Path) -> None:
    """Wait until a file's or a folder's content is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Raise what the disk and the database raise as StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        # The lower byte is the primary error code.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StorageBusyError(
                "Another process is using the server's storage of files and batches. Please try again in 5 s."
            ) from error
        raise StorageError(f"The server cannot store files and batches at this moment: {error}.") from error
    except OSError as error:
        raise StorageError(f"The server cannot store files and batches at this moment: {error.strerror}.") from error


class Database:
    """A SQLite database with one connection that writes and one that only reads. May be used from several threads.

    Args:
        path: Created if it does not exist.
        tables: The ``create table`` statement of each table by its name, and of each index.
        columns: The columns that each table must have.

    Raises:
        StateError: The file is damaged, not a database, or of another version of Umekomi.
        StorageError: It cannot be read or written.
    """

    def __init__(self, path: Path, *, tables: Mapping[str, str], columns: Mapping[str, Sequence[str]]) -> None:
        self._path = path
        self._writing, self._reading = threading.Lock(), threading.Lock()
        with storage_errors():
            with contextlib.suppress(FileExistsError):
                create_private(path).close()
            if not path.is_file():
                raise StateError(f"{path} is not a file; name another folder with --state.")
            try:
                self._writer = self._connect(path.resolve().as_uri(), WRITE_PATIENCE)
                self._prepare(tables, columns)
                self._reader = self._connect(f"file:{quote(str(path.resolve()))}?mode=ro", _READ_PATIENCE)
                self._check()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise
                raise self._damaged(str(error)) from error

    @staticmethod
    def _connect(uri: str, patience: float) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        return connection

    def _prepare(self, tables: Mapping[str, str], columns: Mapping[str, Sequence[str]]) -> None:
        """Create the tables if they are missing. Needs no lock if they are there."""
        self._use_log()
        self._writer.execute("pragma synchronous = full")
        ((version,),) = self._writer.execute("pragma user_version").fetchall()
        if version > _FORMAT:
            raise StateError(
                f"{self._path} was written by a newer version of Umekomi; name another folder with --state."
            )
        if version < _FORMAT:
            with self.transaction() as database:
                for statement in tables.values():
                    database.execute(statement)
                if self._has(columns):
                    database.execute(f"pragma user_version = {_FORMAT}")
        if not self._has(columns):
            raise StateError(
                f"{self._path} was written by another version of Umekomi, or by another program: its tables differ. "
                "Move it away, or name another folder with --state."
            )

    def _use_log(self) -> None:
        # SQLite does not wait here by itself if another process opens the database at the same moment.
        end = time.monotonic() + WRITE_PATIENCE
        while True:
            try:
                self._writer.execute("pragma journal_mode = wal")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            time.sleep(_POLL)

    def _has(self, columns: Mapping[str, Sequence[str]]) -> bool:
        return all(
            set(names) <= {row[1] for row in self._writer.execute(f"pragma table_info({table})")}
            for table, names in columns.items()
        )

    def _check(self) -> None:
        ((answer,),) = self._reader.execute("pragma quick_check(1)").fetchall()
        if answer != "ok":
            raise self._damaged(answer)

    def _damaged(self, why: str) -> StateError:
        why = " ".join(why.split())
        return StateError(f"{self._path} is damaged ({why}); restore it from a backup, or move it away to begin anew.")

    def close(self) -> None:
        """Close both connections."""
        with self._reading, self._writing:
            self._reader.close()
            self._writer.close()

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Never waits for a writer.

        Raises:
            StorageError: The database cannot be read.
        """
        with storage_errors(), self._reading:
            return self._reader.execute(query, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write. What the block did is committed at its end, or undone if it raises.

        Raises:
            StorageBusyError: Somebody else held the lock for longer than :data:`WRITE_PATIENCE`.
            StorageError: The database cannot be written.
        """
        with storage_errors():
            end = time.monotonic() + WRITE_PATIENCE
            if not self._writing.acquire(timeout=WRITE_PATIENCE):
                raise StorageBusyError("The server's storage of files and batches is busy. Please try again in 5 s.")
            try:
                left = max(0.0, end - time.monotonic())
                self._writer.execute(f"pragma busy_timeout = {int(left * 1000)}")
                self._writer.execute("begin immediate")
                try:
                    yield self._writer
                    self._writer.execute("commit")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("rollback")
                    raise
            finally:
                self._writing.release()
