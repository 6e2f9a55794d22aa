"""The folder of files and batches: what a server must still know after it was killed.

::

    STATE/state.sqlite      rows of files and of batches
    STATE/files/ID          a file's bytes
    STATE/work/BATCH        a batch's input, as a second name of the file's bytes: the file may be deleted meanwhile

Bytes are synced before the row that speaks of them is committed, so that a row is never without its bytes. Several processes
may use one folder. Everything here waits for the disk: the server calls it in threads.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import BatchLimitError, NotFoundError, StorageError
from ..schemas import RequestError, brief
from .records import Batch, StoredFile, read_batch, write_batch
from .state_folder import Database, create_private, make_private_folder, storage_errors, sync

Clock = Callable[[], float]
KEY_BYTES = 10 * 2**30
"""Default of the bytes that the files and batch results of one key may have."""
KEY_BATCHES = 100
"""Default of the unfinished batches that one key may have."""
_DAY = 86_400
_DATABASE = "state.sqlite"

_TABLES = {
    "files": """create table if not exists files (
        place integer primary key autoincrement, id text unique not null, owner text not null, purpose text not null,
        filename text not null, bytes integer not null, created_at integer not null, expires_at integer)""",
    "batches": """create table if not exists batches (
        place integer primary key autoincrement, id text unique not null, owner text not null, open integer not null,
        record text not null)""",
    "open_batches": "create index if not exists open_batches on batches (open) where open",
}
_COLUMNS = "id, owner, purpose, filename, bytes, created_at, expires_at"
_TABLE_COLUMNS = {"files": ["place", *_COLUMNS.split(", ")], "batches": ["place", "id", "owner", "open", "record"]}
_LIVING = "(expires_at is null or expires_at > ?)"


class BatchStorage:
    """Files and batches on disk. May be used from several threads and processes.

    Args:
        folder: made if it is not there.
        limit: bytes of all files together.
        key_limit: Bytes of the files and batch results of one key. Without keys, all clients count as one.
        key_batches: Unfinished batches of one key.
        clock: seconds since 1970.

    Raises:
        StateError: The folder belongs to another user, or its database is damaged or of another version.
        StorageError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit: int,
        key_limit: int = KEY_BYTES,
        key_batches: int = KEY_BATCHES,
        clock: Clock = time.time,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self._limit = limit
        self._key_limit = key_limit
        self._key_batches = key_batches
        make_private_folder(folder, subfolders=("files", "work"), database=_DATABASE)
        self._database = Database(folder / _DATABASE, tables=_TABLES, columns=_TABLE_COLUMNS)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # ------------------------------------------------------------ files

    def content(self, file_id: str) -> Path:
        """Where a file's bytes are; the id is one that this class gave."""
        return self.folder / "files" / file_id

    def upload(self) -> Path:
        """A new name for bytes that are coming."""
        return self.folder / "files" / f"{_new_id('upload-')}.part"

    def _used_bytes(self, owner: str) -> int:
        """Return the bytes that a key's files take, with those of its unfinished batches: their inputs and results so far."""
        ((used,),) = self._database.read("select coalesce(sum(bytes), 0) from files where owner = ?", owner)
        for batch in self._open_batches(owner):
            used += batch.output_bytes + batch.error_bytes
            if not self._database.read("select 1 from files where id = ?", batch.input_file_id):
                used += batch.input_bytes  # it stays on disk until the batch is finished
        return int(used)

    def available_bytes(self, owner: str) -> int:
        """Return how many more bytes a key may store.

        Raises:
            RequestError: None at all.
        """
        available = min(self._key_limit - self._used_bytes(owner), self._left_for_all())
        if available <= 0:
            raise self.over_limit()
        return available

    def require_results(self, owner: str) -> None:
        """Check that more results of a key's batches may be stored.

        Raises:
            RequestError: The key has used what it may.
            StorageError: All keys together have.
        """
        if self._used_bytes(owner) >= self._key_limit:
            raise self.over_limit()
        if self._left_for_all() <= 0:
            raise StorageError("The server stores no more files at this moment.")

    def _left_for_all(self) -> int:
        ((used,),) = self._database.read("select coalesce(sum(bytes), 0) from files")
        return self._limit - int(used)

    def over_limit(self) -> RequestError:
        """Return the error for a key that would store too much."""
        return RequestError(
            f"The files and batch results of one API key may have {self._key_limit:,} bytes, and those of all keys "
            f"{self._limit:,}. Delete files that you no longer need.",
            code="storage_limit_exceeded",
        )

    def add(self, upload: Path, *, owner: str, filename: str, purpose: str, seconds: int | None) -> StoredFile:
        """Make a file of bytes that have come; ``seconds`` is how long to keep it, None for ever."""
        with storage_errors():
            size = upload.stat().st_size
            sync(upload)
        now = int(self.clock())
        expires = None if seconds is None else now + seconds
        file = StoredFile(_new_id("file-"), owner, purpose, filename, size, now, expires)
        with self._database.transaction() as database:
            # Within the transaction: nobody else stores anything in between.
            if size > self.available_bytes(owner):
                raise self.over_limit()
            upload.replace(self.content(file.id))
            sync(self.content(file.id).parent)
            _insert(database, file)
        return file

    def file(self, file_id: str, owner: str) -> StoredFile:
        """A file of this owner. Raises NotFoundError if there is none."""
        rows = self._database.read(
            f"select {_COLUMNS} from files where id = ? and owner = ? and {_LIVING}",  # noqa: S608
            file_id,
            owner,
            self.clock(),
        )
        if not rows:
            raise _no_file(file_id)
        return StoredFile(*rows[0])

    def readable(self, file_id: str, owner: str) -> tuple[StoredFile, os.stat_result]:
        """Return a file of this owner and what the disk says of its bytes. Raises NotFoundError if there is none."""
        file = self.file(file_id, owner)
        try:
            with storage_errors():
                return file, self.content(file.id).stat()
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise _no_file(file_id) from error
            raise

    def files(
        self, owner: str, *, limit: int, after: str | None, purpose: str | None, newest_first: bool
    ) -> tuple[list[StoredFile], bool]:
        """A page of an owner's files, and whether there are more."""
        where, values = [f"owner = ? and {_LIVING}"], [owner, self.clock()]
        if purpose is not None:
            where, values = [*where, "purpose = ?"], [*values, purpose]
        rows = self._page("files", _COLUMNS, where, values, after, limit, newest_first)
        return [StoredFile(*row) for row in rows[:limit]], len(rows) > limit

    def _page(
        self, table: str, columns: str, where: list[str], values: list[Any], after: str | None, limit: int, down: bool
    ) -> list[tuple[Any, ...]]:
        """One row more than the limit, if there is one."""
        if after is not None:
            places = self._database.read(f"select place from {table} where id = ? and owner = ?", after, values[0])  # noqa: S608
            if not places:
                raise RequestError(f"No such id to go on after: '{brief(after)}'.", param="after", code="invalid_value")
            where, values = [*where, f"place {'<' if down else '>'} ?"], [*values, places[0][0]]
        order = "desc" if down else "asc"
        query = f"select {columns} from {table} where {' and '.join(where)} order by place {order} limit ?"  # noqa: S608
        return self._database.read(query, *values, limit + 1)

    def delete(self, file_id: str, owner: str) -> None:
        """Delete a file of this owner. Raises NotFoundError if there is none."""
        with self._database.transaction() as database:
            if not database.execute("delete from files where id = ? and owner = ?", (file_id, owner)).rowcount:
                raise _no_file(file_id)
        with storage_errors():
            self.content(file_id).unlink(missing_ok=True)

    # ------------------------------------------------------------ batches

    def add_batch(
        self,
        owner: str,
        *,
        input_file_id: str,
        endpoint: str,
        window: str,
        metadata: dict[str, str] | None,
        output_seconds: int | None,
    ) -> Batch:
        """Begin a batch over a file of this owner. Raises NotFoundError if there is no such file."""
        file = self.file(input_file_id, owner)
        now = int(self.clock())
        batch = Batch(
            _new_id("batch_"),
            owner,
            endpoint,
            file.id,
            window,
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
            if count >= self._key_batches:
                raise BatchLimitError(
                    f"You have {count} unfinished batches, and an API key may have {self._key_batches}. Create the next one "
                    "when one of them is finished.",
                    retry_after=60.0,
                )
            try:
                os.link(self.content(file.id), self.input(batch))
            except FileNotFoundError as error:
                raise _no_file(input_file_id) from error
            sync(self.input(batch).parent)
            database.execute(
                "insert into batches (id, owner, open, record) values (?, ?, 1, ?)",
                (batch.id, owner, write_batch(batch)),
            )
        return batch

    def input(self, batch: Batch) -> Path:
        """Where a batch's input is."""
        return self.folder / "work" / batch.id

    def batch(self, batch_id: str, owner: str) -> Batch:
        """A batch of this owner. Raises NotFoundError if there is none."""
        rows = self._database.read("select id, owner, record from batches where id = ? and owner = ?", batch_id, owner)
        if not rows:
            raise NotFoundError(f"No batch found with id '{brief(batch_id)}'.", param="id")
        return read_batch(*rows[0])

    def batches(self, owner: str, *, limit: int, after: str | None) -> tuple[list[Batch], bool]:
        """A page of an owner's batches, the newest first, and whether there are more."""
        rows = self._page("batches", "id, owner, record", ["owner = ?"], [owner], after, limit, True)
        return [read_batch(*row) for row in rows[:limit]], len(rows) > limit

    def open_owners(self) -> dict[str, str]:
        """Return the owner of each batch that is not finished by the batch's id, the oldest first."""
        return dict(self._database.read("select id, owner from batches where open order by place"))

    def _open_batches(self, owner: str) -> list[Batch]:
        rows = self._database.read("select id, owner, record from batches where open and owner = ?", owner)
        # One whose record cannot be read is final.
        return [batch for batch in (read_batch(*row) for row in rows) if not batch.status.is_final]

    def change(self, batch_id: str, change: Callable[[Batch], Batch]) -> Batch:
        """Change a batch as it is now, so that no change of another process is lost."""
        with self._database.transaction() as database:
            query = "select id, owner, record from batches where id = ?"
            ((*row,),) = database.execute(query, (batch_id,)).fetchall()
            batch = change(read_batch(*row))
            _update(database, batch)
        return batch

    def finish(self, batch: Batch) -> Batch:
        """Show a batch's results as files, and let it have its outcome, both at once."""
        now = int(self.clock())
        expires = None if batch.output_seconds is None else now + batch.output_seconds
        results = (
            (batch.output_file_id, "output", batch.output_bytes),
            (batch.error_file_id, "error", batch.error_bytes),
        )
        done = batch.turned(batch.outcome, now)
        with self._database.transaction() as database:
            for file_id, what, size in results:
                if size:
                    name = f"{batch.id}_{what}.jsonl"
                    _insert(database, StoredFile(file_id, batch.owner, "batch_output", name, size, now, expires))
            _update(database, done)
        with storage_errors():
            for file_id, _, size in results:
                if not size:
                    self.content(file_id).unlink(missing_ok=True)
            self.input(batch).unlink(missing_ok=True)
        return done

    def sweep(self) -> None:
        """Remove what has expired, and what a process that was killed left behind."""
        # Young ones may belong to a request that is being answered.
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
            # Within the transaction: a name that is here and in no row belongs to nobody.
            for path in old:
                if path.name not in needed:
                    path.unlink(missing_ok=True)


def append(path: Path, size: int, lines: Sequence[bytes]) -> int:
    """Write lines after the first ``size`` bytes of a file and sync them; what was past those is dropped. The new size."""
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
    return NotFoundError(f"No such File object: {brief(file_id)}", param="id")
