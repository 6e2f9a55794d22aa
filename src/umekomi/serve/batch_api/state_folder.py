"""The private folder of the server's files and batches, and its SQLite database.

Only the owner can enter the folder (mode 0700) or read its files (0600), regardless of the umask. The database uses a write-ahead
log: readers never wait for writers, of this or another process, and writers wait for a limited time.
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

#: Seconds that a write waits for another process or thread.
WRITE_TIMEOUT = 5.0
_READ_TIMEOUT = 1.0
_POLL_SECONDS = 0.05
_FORMAT = 1


def make_private_folder(folder: Path, *, subfolders: Sequence[str], database: str) -> None:
    """Create a folder with subfolders, or restrict existing folders and their files to their owner.

    Raises:
        StateError: The folder belongs to another user, or it contains other files and others can enter it.
        StorageError: The folder cannot be created, or its permissions cannot be changed.
    """
    with storage_errors():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {path.name for path in folder.iterdir()}
        if stat.S_IMODE(folder.stat().st_mode) != 0o700 and database not in names and names - {*subfolders}:
            # It may be a home folder or /tmp, and its other users would be locked out.
            raise StateError(f"{folder} holds other files; name a folder only for the server with --state.")
        _restrict(folder, 0o700)
        for path in (folder / name for name in subfolders):
            path.mkdir(exist_ok=True, mode=0o700)
            _restrict(path, 0o700)
        own = [path for path in folder.iterdir() if path.name.startswith((database, "runner.lock"))]
        for path in (*own, *(path for name in subfolders for path in (folder / name).iterdir())):
            if path.is_file() and not path.is_symlink():
                # Another process may delete the file at the same time.
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
    """Create a file that only its owner can read, regardless of the umask. Raises FileExistsError if it exists."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    file = os.fdopen(handle, "r+b")
    path.chmod(0o600)
    return file


def sync(path: Path) -> None:
    """Wait until the content of a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Raise errors of the disk and the database as StorageError."""
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
    """A SQLite database with a connection for writing and one for reading. May be used from several threads.

    Args:
        path: Path of the database. It is created if it does not exist.
        tables: ``create`` statements of tables and indexes, by name.
        columns: Required columns of each table.

    Raises:
        StateError: The file is damaged, not a database, or of another version of Umekomi.
        StorageError: The file cannot be read or written.
    """

    def __init__(self, path: Path, *, tables: Mapping[str, str], columns: Mapping[str, Sequence[str]]) -> None:
        self._path = path
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        with storage_errors():
            with contextlib.suppress(FileExistsError):
                create_private(path).close()
            if not path.is_file():
                raise StateError(f"{path} is not a file; name another folder with --state.")
            try:
                self._writer = self._connect(path.resolve().as_uri(), WRITE_TIMEOUT)
                self._prepare(tables, columns)
                self._reader = self._connect(f"file:{quote(str(path.resolve()))}?mode=ro", _READ_TIMEOUT)
                self._check_integrity()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise
                raise self._damage_error(str(error)) from error

    @staticmethod
    def _connect(uri: str, timeout: float) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        return connection

    def _prepare(self, tables: Mapping[str, str], columns: Mapping[str, Sequence[str]]) -> None:
        """Create the tables if they do not exist. Needs no lock if they do."""
        self._enable_write_ahead_log()
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
                if self._has_columns(columns):
                    database.execute(f"pragma user_version = {_FORMAT}")
        if not self._has_columns(columns):
            raise StateError(
                f"{self._path} was written by another version of Umekomi, or by another program: its tables differ. "
                "Move it away, or name another folder with --state."
            )

    def _enable_write_ahead_log(self) -> None:
        # SQLite itself does not wait here if another process opens the database at the same time.
        end = time.monotonic() + WRITE_TIMEOUT
        while True:
            try:
                self._writer.execute("pragma journal_mode = wal")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            time.sleep(_POLL_SECONDS)

    def _has_columns(self, columns: Mapping[str, Sequence[str]]) -> bool:
        return all(
            set(names) <= {row[1] for row in self._writer.execute(f"pragma table_info({table})")}
            for table, names in columns.items()
        )

    def _check_integrity(self) -> None:
        ((answer,),) = self._reader.execute("pragma quick_check(1)").fetchall()
        if answer != "ok":
            raise self._damage_error(answer)

    def _damage_error(self, cause: str) -> StateError:
        cause = " ".join(cause.split())
        return StateError(
            f"{self._path} is damaged ({cause}); restore it from a backup, or move it away to start again."
        )

    def close(self) -> None:
        """Close both connections."""
        with self._read_lock, self._write_lock:
            self._reader.close()
            self._writer.close()

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, without waiting for writers. Raises StorageError."""
        with storage_errors(), self._read_lock:
            return self._reader.execute(query, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as a transaction, which is rolled back if the block raises.

        Raises:
            StorageBusyError: Another thread or process held the lock for longer than :data:`WRITE_TIMEOUT`.
            StorageError: The database cannot be written.
        """
        with storage_errors():
            end = time.monotonic() + WRITE_TIMEOUT
            if not self._write_lock.acquire(timeout=WRITE_TIMEOUT):
                raise StorageBusyError("The server's storage of files and batches is busy. Please try again in 5 s.")
            try:
                remaining = max(0.0, end - time.monotonic())
                self._writer.execute(f"pragma busy_timeout = {int(remaining * 1000)}")
                self._writer.execute("begin immediate")
                try:
                    yield self._writer
                    self._writer.execute("commit")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("rollback")
                    raise
            finally:
                self._write_lock.release()
