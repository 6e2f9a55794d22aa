"""The folder of files and batches: what a server must still know after it was killed.

::

    STATE/state.sqlite      rows of files and of batches
    STATE/files/ID          a file's bytes
    STATE/work/BATCH        a batch's input, as a second name of the file's bytes: the file may be deleted meanwhile

Bytes are synced before the row that speaks of them is committed, so that a row is never without its bytes. Several processes
may use one folder. Everything here waits for the disk: the server calls it in threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..errors import OverloadedError
from .failures import NotFoundError, StorageError
from .schemas import RequestError, brief

Clock = Callable[[], float]
MAX_OPEN_BATCHES = 1000
"""Batches that may be unfinished at a time, all clients together."""
_DAY = 86_400

_TABLES = """
create table if not exists files (
    place integer primary key autoincrement, id text unique not null, owner text not null, purpose text not null,
    filename text not null, bytes integer not null, created_at integer not null, expires_at integer);
create table if not exists batches (
    place integer primary key autoincrement, id text unique not null, owner text not null, open integer not null,
    record text not null);
create index if not exists open_batches on batches (open) where open;
"""


class Status(StrEnum):
    """The states of a batch. The last four of a row's life are final."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in (Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file. Times are in seconds since 1970; ``owner`` is the name of the key that it came with."""

    id: str
    owner: str
    purpose: str
    filename: str
    bytes: int
    created_at: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, and how far it has come.

    ``times`` holds when each state was reached. ``offset`` is how many bytes of the input are done, ``output_bytes`` and
    ``error_bytes`` how many of the results belong to them: what is past those was written by a process that was killed
    before it could say so. ``outcome`` is the final state on the way to which the batch is.
    """

    id: str
    owner: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    output_file_id: str
    error_file_id: str
    status: Status = Status.VALIDATING
    outcome: Status = Status.COMPLETED
    model: str | None = None
    metadata: dict[str, str] | None = None
    output_seconds: int | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    times: dict[str, int] = field(default_factory=dict)
    total: int = 0
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    offset: int = 0
    output_bytes: int = 0
    error_bytes: int = 0

    def turned(self, status: Status, now: float) -> Batch:
        """The batch in another state."""
        return replace(self, status=status, times={**self.times, f"{status}_at": int(now)})


class Shelf:
    """Files and batches on disk. May be used from several threads and processes.

    Args:
        folder: made if it is not there.
        limit: bytes of all files together.
        clock: seconds since 1970.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path, *, limit: int, clock: Clock = time.time) -> None:
        self.folder = folder
        self.clock = clock
        self._limit = limit
        self._lock = threading.Lock()
        with _disk():
            for name in ("files", "work"):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = sqlite3.connect(
                folder / "state.sqlite", timeout=30, isolation_level=None, check_same_thread=False
            )
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_TABLES)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _disk(), self._lock:
            self._database.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with _disk(), self._lock:
            return self._database.execute(query, values).fetchall()

    # ------------------------------------------------------------ files

    def content(self, file_id: str) -> Path:
        """Where a file's bytes are; the id is one that this class gave."""
        return self.folder / "files" / file_id

    def upload(self) -> Path:
        """A new name for bytes that are coming."""
        return self.folder / "files" / f"{_new_id('upload-')}.part"

    def require_room(self, amount: int) -> None:
        """Raise RequestError if so many more bytes may not be stored."""
        ((used,),) = self._rows("select coalesce(sum(bytes), 0) from files")
        if used + amount > self._limit:
            raise RequestError(
                f"The server stores {self._limit:,} bytes of files at most; delete some that you no longer need.",
                code="storage_limit_exceeded",
            )

    def add(self, upload: Path, *, owner: str, filename: str, purpose: str, seconds: int | None) -> StoredFile:
        """Make a file of bytes that have come; ``seconds`` is how long to keep it, None for ever."""
        size = upload.stat().st_size
        self.require_room(size)
        now = int(self.clock())
        expires = None if seconds is None else now + seconds
        file = StoredFile(_new_id("file-"), owner, purpose, filename, size, now, expires)
        with _disk():
            _sync(upload)
            upload.replace(self.content(file.id))
            _sync(self.content(file.id).parent)
        with self._transaction() as database:
            _insert(database, file)
        return file

    def file(self, file_id: str, owner: str) -> StoredFile:
        """A file of this owner. Raises NotFoundError if there is none."""
        rows = self._rows(
            f"select {_COLUMNS} from files where id = ? and owner = ? and {_LIVING}",  # noqa: S608
            file_id,
            owner,
            self.clock(),
        )
        if not rows:
            raise _no_file(file_id)
        return StoredFile(*rows[0])

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
            places = self._rows(f"select place from {table} where id = ? and owner = ?", after, values[0])  # noqa: S608
            if not places:
                raise RequestError(f"No such id to go on after: '{brief(after)}'.", param="after", code="invalid_value")
            where, values = [*where, f"place {'<' if down else '>'} ?"], [*values, places[0][0]]
        order = "desc" if down else "asc"
        query = f"select {columns} from {table} where {' and '.join(where)} order by place {order} limit ?"  # noqa: S608
        return self._rows(query, *values, limit + 1)

    def delete(self, file_id: str, owner: str) -> None:
        """Delete a file of this owner. Raises NotFoundError if there is none."""
        with self._transaction() as database:
            if not database.execute("delete from files where id = ? and owner = ?", (file_id, owner)).rowcount:
                raise _no_file(file_id)
        with _disk():
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
        )
        with _disk():
            try:
                os.link(self.content(file.id), self.input(batch))
            except FileNotFoundError as error:
                raise _no_file(input_file_id) from error
            _sync(self.input(batch).parent)
        with self._transaction() as database:
            ((count,),) = database.execute("select count(*) from batches where open").fetchall()
            if count >= MAX_OPEN_BATCHES:
                raise OverloadedError(f"{count} batches are unfinished; try again when some are.", retry_after=60.0)
            database.execute(
                "insert into batches (id, owner, open, record) values (?, ?, 1, ?)", (batch.id, owner, _write(batch))
            )
        return batch

    def input(self, batch: Batch) -> Path:
        """Where a batch's input is."""
        return self.folder / "work" / batch.id

    def batch(self, batch_id: str, owner: str) -> Batch:
        """A batch of this owner. Raises NotFoundError if there is none."""
        rows = self._rows("select record from batches where id = ? and owner = ?", batch_id, owner)
        if not rows:
            raise NotFoundError(f"No batch found with id '{brief(batch_id)}'.", param="id")
        return _read(rows[0][0])

    def batches(self, owner: str, *, limit: int, after: str | None) -> tuple[list[Batch], bool]:
        """A page of an owner's batches, the newest first, and whether there are more."""
        rows = self._page("batches", "record", ["owner = ?"], [owner], after, limit, True)
        return [_read(row[0]) for row in rows[:limit]], len(rows) > limit

    def open_batches(self) -> list[Batch]:
        """Every batch that is not finished, the oldest first."""
        return [_read(row[0]) for row in self._rows("select record from batches where open order by place")]

    def change(self, batch_id: str, change: Callable[[Batch], Batch]) -> Batch:
        """Change a batch as it is now, so that no change of another process is lost."""
        with self._transaction() as database:
            ((text,),) = database.execute("select record from batches where id = ?", (batch_id,)).fetchall()
            batch = change(_read(text))
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
        with self._transaction() as database:
            for file_id, what, size in results:
                if size:
                    name = f"{batch.id}_{what}.jsonl"
                    _insert(database, StoredFile(file_id, batch.owner, "batch_output", name, size, now, expires))
            _update(database, done)
        with _disk():
            for file_id, _, size in results:
                if not size:
                    self.content(file_id).unlink(missing_ok=True)
            self.input(batch).unlink(missing_ok=True)
        return done

    def sweep(self) -> None:
        """Remove what has expired, and what a process that was killed left behind."""
        with self._transaction() as database:
            now = self.clock()
            database.execute("delete from files where expires_at <= ?", (now,))
            kept = {row[0] for row in database.execute("select id from files")}
        open_batches = self.open_batches()
        kept |= {name for batch in open_batches for name in (batch.output_file_id, batch.error_file_id)}
        kept |= {batch.id for batch in open_batches}
        with _disk():
            for path in (*self.folder.glob("files/*"), *self.folder.glob("work/*")):
                # Young ones may belong to a row that is about to be written.
                if path.name not in kept and path.stat().st_mtime < time.time() - _DAY:
                    path.unlink(missing_ok=True)


_COLUMNS = "id, owner, purpose, filename, bytes, created_at, expires_at"
_LIVING = "(expires_at is null or expires_at > ?)"


def append(path: Path, size: int, lines: list[bytes]) -> int:
    """Write lines after the first ``size`` bytes of a file and sync them; what was past those is dropped. The new size."""
    if not lines:
        return size
    with _disk():
        is_new = not path.exists()
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.truncate(size)
            file.seek(size)
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if is_new:
            _sync(path.parent)
    return size


def _insert(database: sqlite3.Connection, file: StoredFile) -> None:
    values = (file.id, file.owner, file.purpose, file.filename, file.bytes, file.created_at, file.expires_at)
    database.execute(f"insert into files ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608


def _update(database: sqlite3.Connection, batch: Batch) -> None:
    values = (not batch.status.is_final, _write(batch), batch.id)
    database.execute("update batches set open = ?, record = ? where id = ?", values)


def _write(batch: Batch) -> str:
    return json.dumps(asdict(batch))


def _read(text: str) -> Batch:
    fields = json.loads(text)
    return Batch(**{**fields, "status": Status(fields["status"]), "outcome": Status(fields["outcome"])})


def _new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


def _no_file(file_id: str) -> NotFoundError:
    return NotFoundError(f"No such File object: {brief(file_id)}", param="id")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StorageError(f"The server cannot store files and batches at this moment: {why}.") from error
