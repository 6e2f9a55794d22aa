"""Files and batches on disk, which survive a kill of the server.

::

    STATE/state.sqlite      rows of files and batches
    STATE/files/ID          content of a file
    STATE/work/BATCH        input of a batch: a hard link, because the file may be deleted before the batch is finished

Content is synced before its row is committed, so that no row exists without its content. Several processes may use one folder.
All functions wait for the disk; the server calls them in threads.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import BatchLimitError, NotFoundError, RequestError, StorageError
from ..schemas.fields import abbreviate
from .records import Batch, StoredFile, read_batch, write_batch
from .state_folder import Database, create_private, make_private_folder, storage_errors, sync

Clock = Callable[[], float]
#: Default limit for the files and batch results of one key, in bytes.
MAX_KEY_BYTES = 10 * 2**30
#: Default limit for the unfinished batches of one key.
MAX_KEY_BATCHES = 100
_DAY = 86_400
_DATABASE = "state.sqlite"

_TABLES = {
    "files": """create table if not exists files (
        position integer primary key autoincrement, id text unique not null, owner text not null, purpose text not null,
        filename text not null, bytes integer not null, created_at integer not null, expires_at integer)""",
    "batches": """create table if not exists batches (
        position integer primary key autoincrement, id text unique not null, owner text not null, open integer not null,
        record text not null)""",
    "open_batches": "create index if not exists open_batches on batches (open) where open",
}
_COLUMNS = "id, owner, purpose, filename, bytes, created_at, expires_at"
_TABLE_COLUMNS = {
    "files": ["position", *_COLUMNS.split(", ")],
    "batches": ["position", "id", "owner", "open", "record"],
}
_NOT_EXPIRED = "(expires_at is null or expires_at > ?)"


class BatchStorage:
    """Files and batches on disk. May be used from several threads and processes.

    Args:
        folder: Folder of the files. It is created if it does not exist.
        max_bytes: Maximum number of bytes of all files together.
        max_key_bytes: Maximum number of bytes of the files and batch results of one key. Without keys, all clients count as one.
        max_key_batches: Maximum number of unfinished batches of one key.
        clock: Returns seconds since 1970.

    Raises:
        StateError: The folder belongs to another user, or its database is damaged or of another version.
        StorageError: The folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_key_bytes: int = MAX_KEY_BYTES,
        max_key_batches: int = MAX_KEY_BATCHES,
        clock: Clock = time.time,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self._max_bytes = max_bytes
        self._max_key_bytes = max_key_bytes
        self._max_key_batches = max_key_batches
        make_private_folder(folder, subfolders=("files", "work"), database=_DATABASE)
        self._database = Database(folder / _DATABASE, tables=_TABLES, columns=_TABLE_COLUMNS)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # ------------------------------------------------------------ files

    def content_path(self, file_id: str) -> Path:
        """Return the path of a file's content. The id must be one of this class."""
        return self.folder / "files" / file_id

    def upload_path(self) -> Path:
        """Return an unused path for an upload."""
        return self.folder / "files" / f"{_new_id('upload-')}.part"

    def _used_bytes(self, owner: str) -> int:
        """Return the size of a key's files and of the inputs and results of its unfinished batches."""
        ((used,),) = self._database.read("select coalesce(sum(bytes), 0) from files where owner = ?", owner)
        for batch in self._open_batches(owner):
            used += batch.output_bytes + batch.error_bytes
            if not self._database.read("select 1 from files where id = ?", batch.input_file_id):
                used += batch.input_bytes  # it stays on disk until the batch is finished
        return int(used)

    def available_bytes(self, owner: str) -> int:
        """Return the number of bytes that a key may still store. Raises RequestError if there are none."""
        available = min(self._max_key_bytes - self._used_bytes(owner), self._available_to_all())
        if available <= 0:
            raise self.limit_error()
        return available

    def require_capacity(self, owner: str) -> None:
        """Check that a key's batches may store more results.

        Raises:
            RequestError: The key has reached its limit.
            StorageError: All keys together have reached the limit.
        """
        if self._used_bytes(owner) >= self._max_key_bytes:
            raise self.limit_error()
        if self._available_to_all() <= 0:
            raise StorageError("The server stores no more files at this moment.")

    def _available_to_all(self) -> int:
        ((used,),) = self._database.read("select coalesce(sum(bytes), 0) from files")
        return self._max_bytes - int(used)

    def limit_error(self) -> RequestError:
        """Return the error for a key that exceeds its limit."""
        return RequestError(
            f"The files and batch results of one API key may have {self._max_key_bytes:,} bytes, and those of all keys "
            f"{self._max_bytes:,}. Delete files that you no longer need.",
            code="storage_limit_exceeded",
        )

    def add(self, upload: Path, *, owner: str, filename: str, purpose: str, seconds: int | None) -> StoredFile:
        """Turn an upload into a file. It expires after ``seconds``, or never if that is None."""
        with storage_errors():
            size = upload.stat().st_size
            sync(upload)
        now = int(self.clock())
        expires = None if seconds is None else now + seconds
        file = StoredFile(_new_id("file-"), owner, purpose, filename, size, now, expires)
        with self._database.transaction() as database:
            # The check is in the transaction, so that no other process can store a file after it.
            if size > self.available_bytes(owner):
                raise self.limit_error()
            upload.replace(self.content_path(file.id))
            sync(self.content_path(file.id).parent)
            _insert(database, file)
        return file

    def file(self, file_id: str, owner: str) -> StoredFile:
        """Return a file of this owner. Raises NotFoundError if it does not exist."""
        rows = self._database.read(
            f"select {_COLUMNS} from files where id = ? and owner = ? and {_NOT_EXPIRED}",  # noqa: S608
            file_id,
            owner,
            self.clock(),
        )
        if not rows:
            raise _no_file(file_id)
        return StoredFile(*rows[0])

    def file_with_stat(self, file_id: str, owner: str) -> tuple[StoredFile, os.stat_result]:
        """Return a file of this owner and the status of its content. Raises NotFoundError if it does not exist."""
        file = self.file(file_id, owner)
        try:
            with storage_errors():
                return file, self.content_path(file.id).stat()
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise _no_file(file_id) from error
            raise

    def files(
        self, owner: str, *, limit: int, after: str | None, purpose: str | None, newest_first: bool
    ) -> tuple[list[StoredFile], bool]:
        """Return a page of an owner's files, and whether there are more."""
        conditions, values = [f"owner = ? and {_NOT_EXPIRED}"], [owner, self.clock()]
        if purpose is not None:
            conditions, values = [*conditions, "purpose = ?"], [*values, purpose]
        rows = self._page("files", _COLUMNS, conditions, values, after=after, limit=limit, newest_first=newest_first)
        return [StoredFile(*row) for row in rows[:limit]], len(rows) > limit

    def _page(
        self,
        table: str,
        columns: str,
        conditions: list[str],
        values: list[Any],
        *,
        after: str | None,
        limit: int,
        newest_first: bool,
    ) -> list[tuple[Any, ...]]:
        """Return up to ``limit + 1`` rows after the row with the id ``after``. The first value is the owner."""
        if after is not None:
            query = f"select position from {table} where id = ? and owner = ?"  # noqa: S608
            positions = self._database.read(query, after, values[0])
            if not positions:
                raise RequestError(f"No such id: '{abbreviate(after)}'.", param="after", code="invalid_value")
            conditions = [*conditions, f"position {'<' if newest_first else '>'} ?"]
            values = [*values, positions[0][0]]
        order = "desc" if newest_first else "asc"
        query = f"select {columns} from {table} where {' and '.join(conditions)} order by position {order} limit ?"  # noqa: S608
        return self._database.read(query, *values, limit + 1)

    def delete(self, file_id: str, owner: str) -> None:
        """Delete a file of this owner. Raises NotFoundError if it does not exist."""
        with self._database.transaction() as database:
            if not database.execute("delete from files where id = ? and owner = ?", (file_id, owner)).rowcount:
                raise _no_file(file_id)
        with storage_errors():
            self.content_path(file_id).unlink(missing_ok=True)

    # ------------------------------------------------------------ batches

    def add_batch(
        self,
        owner: str,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str,
        metadata: dict[str, str] | None,
        output_seconds: int | None,
    ) -> Batch:
        """Create a batch for a file of this owner.

        Raises:
            NotFoundError: The file does not exist.
            BatchLimitError: The key has the maximum number of unfinished batches.
        """
        file = self.file(input_file_id, owner)
        now = int(self.clock())
        batch = Batch(
            _new_id("batch_"),
            owner,
            endpoint,
            file.id,
            completion_window,
            now,
            now + _DAY,
            _new_id("file-"),
            _new_id("file-"),
            metadata=metadata,
            output_seconds=output_seconds,
            input_bytes=file.bytes,
        )
        with self._database.transaction() as database:
            query = "select count(*) from batches where open and owner = ?"
            ((count,),) = database.execute(query, (owner,)).fetchall()
            if count >= self._max_key_batches:
                raise BatchLimitError(
                    f"You have {count} unfinished batches, and an API key may have {self._max_key_batches}. Create the next one "
                    "when one of them is finished.",
                    retry_after=60.0,
                )
            try:
                os.link(self.content_path(file.id), self.input_path(batch))
            except FileNotFoundError as error:
                raise _no_file(input_file_id) from error
            sync(self.input_path(batch).parent)
            database.execute(
                "insert into batches (id, owner, open, record) values (?, ?, 1, ?)",
                (batch.id, owner, write_batch(batch)),
            )
        return batch

    def input_path(self, batch: Batch) -> Path:
        """Return the path of a batch's input."""
        return self.folder / "work" / batch.id

    def batch(self, batch_id: str, owner: str) -> Batch:
        """Return a batch of this owner. Raises NotFoundError if it does not exist."""
        rows = self._database.read("select id, owner, record from batches where id = ? and owner = ?", batch_id, owner)
        if not rows:
            raise NotFoundError(f"No batch found with id '{abbreviate(batch_id)}'.", param="id")
        return read_batch(*rows[0])

    def batches(self, owner: str, *, limit: int, after: str | None) -> tuple[list[Batch], bool]:
        """Return a page of an owner's batches, the newest first, and whether there are more."""
        rows = self._page(
            "batches", "id, owner, record", ["owner = ?"], [owner], after=after, limit=limit, newest_first=True
        )
        return [read_batch(*row) for row in rows[:limit]], len(rows) > limit

    def open_owners(self) -> dict[str, str]:
        """Return the owners of unfinished batches by the batches' ids, the oldest first."""
        return dict(self._database.read("select id, owner from batches where open order by position"))

    def _open_batches(self, owner: str) -> list[Batch]:
        rows = self._database.read("select id, owner, record from batches where open and owner = ?", owner)
        # An unreadable record becomes a failed batch, which is final.
        return [batch for batch in (read_batch(*row) for row in rows) if not batch.status.is_final]

    def change(self, batch_id: str, change: Callable[[Batch], Batch]) -> Batch:
        """Apply a change to the current state of a batch, so that no change of another process is lost."""
        with self._database.transaction() as database:
            query = "select id, owner, record from batches where id = ?"
            ((*row,),) = database.execute(query, (batch_id,)).fetchall()
            batch = change(read_batch(*row))
            _update(database, batch)
        return batch

    def finish(self, batch: Batch) -> Batch:
        """Create the files of a batch's results and set its final state, in one transaction."""
        now = int(self.clock())
        expires = None if batch.output_seconds is None else now + batch.output_seconds
        results = (
            (batch.output_file_id, "output", batch.output_bytes),
            (batch.error_file_id, "error", batch.error_bytes),
        )
        finished = batch.with_status(batch.outcome, now)
        with self._database.transaction() as database:
            for file_id, result_type, size in results:
                if size:
                    name = f"{batch.id}_{result_type}.jsonl"
                    _insert(database, StoredFile(file_id, batch.owner, "batch_output", name, size, now, expires))
            _update(database, finished)
        with storage_errors():
            for file_id, _, size in results:
                if not size:
                    self.content_path(file_id).unlink(missing_ok=True)
            self.input_path(batch).unlink(missing_ok=True)
        return finished

    def sweep(self) -> None:
        """Delete expired files, and files that a killed process left behind."""
        # Recent files may belong to a request that is being answered.
        with storage_errors():
            paths = (*self.folder.glob("files/*"), *self.folder.glob("work/*"))
            old = [path for path in paths if path.is_file() and path.stat().st_mtime < time.time() - _DAY]
        with self._database.transaction() as database:
            database.execute("delete from files where expires_at <= ?", (self.clock(),))
            needed = {row[0] for row in database.execute("select id from files")}
            for row in database.execute("select id, owner, record from batches where open").fetchall():
                batch = read_batch(*row)
                if batch.status.is_final:
                    database.execute("update batches set open = 0 where id = ?", (batch.id,))
                needed |= {batch.id, batch.output_file_id, batch.error_file_id}
            # The files are deleted in the transaction, so that no other process can add a row for one of them.
            for path in old:
                if path.name not in needed:
                    path.unlink(missing_ok=True)


def append(path: Path, size: int, lines: Sequence[bytes]) -> int:
    """Replace everything after the first ``size`` bytes of a file with lines, and sync it. Returns the new size."""
    if not lines:
        return size
    with storage_errors():
        is_new = not path.exists()
        with create_private(path) if is_new else path.open("r+b") as file:
            file.truncate(size)
            file.seek(size)
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if is_new:
            sync(path.parent)
    return size


def _insert(database: sqlite3.Connection, file: StoredFile) -> None:
    values = (file.id, file.owner, file.purpose, file.filename, file.bytes, file.created_at, file.expires_at)
    database.execute(f"insert into files ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608


def _update(database: sqlite3.Connection, batch: Batch) -> None:
    values = (not batch.status.is_final, write_batch(batch), batch.id)
    database.execute("update batches set open = ?, record = ? where id = ?", values)


def _new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


def _no_file(file_id: str) -> NotFoundError:
    return NotFoundError(f"No such File object: {abbreviate(file_id)}", param="id")
