"""Storage of a code index: a LanceDB table of vectors, and a SQLite manifest of files and rows that survives a kill.

Each row of the table is a piece of a chunk. Its id is a hash of the path, the embedded text, and the number of occurrences of
that text in the file so far. A row that has not changed therefore keeps its id, and a text that occurs anywhere in the index is
not embedded again. The manifest records the ids of rows as pending before they are written or deleted. Files with rows that are
still pending at the next start are read again.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from ..data.embedded_file import Space
from ..errors import CollectionNotFoundError, StoreError
from ..stores import Store, create_store, open_store

FORMAT = "2"
"""Version of the index. An index with another version is rebuilt."""

_SCHEMA = """
create table if not exists about (key text primary key, value text not null);
create table if not exists roots (path text primary key);
create table if not exists files (path text primary key, state text not null, digest text not null, lang text not null);
create table if not exists rows (
    id text primary key, path text not null, text text not null, record text not null,
    first integer not null, last integer not null, piece integer not null);
create index if not exists rows_of_path on rows (path);
create index if not exists rows_of_text on rows (text);
create table if not exists pending (id text primary key, path text not null);
"""


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A row of the table: one piece of a chunk."""

    id: str
    path: str
    #: Hash of the embedded text.
    text: str
    #: Hash of the record.
    record: str
    #: First and last line of the chunk, from 1.
    first: int
    last: int
    #: Number of the piece in the chunk, from 0.
    piece: int


class Manifest:
    """The manifest of an index. Only one process at a time may write it; the caller holds the lock.

    Args:
        path: Path of the SQLite file, which is created if it does not exist.

    Raises:
        StoreError: The file cannot be read or written. Raised by every method.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._translate_errors():
            self._database = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
            self._database.executescript(_SCHEMA)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be used: {error}. Delete its folder and index again.") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translate_errors():
            self._database.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[str, ...]]:
        with self._translate_errors():
            return self._database.execute(query, values).fetchall()

    def _execute_many(self, statement: str, values: Iterable[Sequence[object]]) -> None:
        with self._transaction() as database:
            database.executemany(statement, values)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def metadata(self) -> dict[str, str]:
        """Return the version of the index, and the model, fingerprint and dimensions of its vectors. Empty if it is new."""
        return dict(self._select("select key, value from about"))  # type: ignore[arg-type]

    def reset(self, metadata: dict[str, str]) -> None:
        """Remove every file and row, and store new metadata."""
        with self._transaction() as database:
            for table in ("about", "files", "rows", "pending"):
                database.execute(f"delete from {table}")  # noqa: S608 - constant names
            database.executemany("insert into about values (?, ?)", metadata.items())

    def roots(self) -> list[str]:
        """Return the indexed paths, which a run without paths updates."""
        return [path for (path,) in self._select("select path from roots order by path")]

    def add_roots(self, paths: Iterable[str]) -> None:
        """Add indexed paths."""
        self._execute_many("insert or ignore into roots values (?)", [(path,) for path in paths])

    def remove_roots(self, paths: Iterable[str]) -> None:
        """Remove indexed paths."""
        self._execute_many("delete from roots where path = ?", [(path,) for path in paths])

    def files(self) -> dict[str, tuple[str, str]]:
        """Return the state and the digest of each file by path."""
        return {path: (state, digest) for path, state, digest in self._select("select path, state, digest from files")}

    def count_languages(self) -> dict[str, int]:
        """Return the number of files of each language, most frequent first."""
        counts = self._select("select lang, count(*) from files where lang != '' group by lang order by 2 desc, 1")
        return {lang: int(count) for lang, count in counts}

    def rows_of(self, path: str) -> list[IndexRow]:
        """Return the rows of a file."""
        return [IndexRow(*row) for row in self._select("select * from rows where path = ?", (path,))]  # type: ignore[arg-type]

    def count(self) -> tuple[int, int]:
        """Return the number of chunks and the number of rows."""
        ((chunks, rows),) = self._select("select count(*) filter (where piece = 0), count(*) from rows")
        return int(chunks), int(rows)

    def find_vectors(self, texts: Iterable[str]) -> dict[str, str]:
        """Return the id of a row that contains the vector, for the hash of each text that is in the index."""
        query = "select id from rows where text = ? limit 1"
        return {text: row_id for text in texts for (row_id,) in self._select(query, (text,))}

    def ids(self) -> set[str]:
        """Return the ids of all rows."""
        return {row_id for (row_id,) in self._select("select id from rows")}

    def remove_rows(self, ids: Iterable[str]) -> None:
        """Remove rows that are missing in the table. Their files are read again."""
        query = "select path from rows where id = ?"
        self.begin([(row_id, path) for row_id in ids for (path,) in self._select(query, (row_id,))])
        self.recover()

    def pending(self) -> list[str]:
        """Return the ids of rows whose writing or deletion was interrupted."""
        return [row_id for (row_id,) in self._select("select id from pending")]

    def begin(self, rows: Iterable[tuple[str, str]]) -> None:
        """Record rows (id, path) as pending before they are written or deleted."""
        self._execute_many("insert or replace into pending values (?, ?)", rows)

    def commit(
        self,
        files: Iterable[tuple[str, str, str, str]] = (),
        rows: Iterable[IndexRow] = (),
        removed_ids: Iterable[str] = (),
        removed_paths: Iterable[str] = (),
    ) -> None:
        """Record what has been written and deleted; nothing is pending afterwards.

        Args:
            files: Path, state, digest and language of each file.
            rows: Rows that the table now contains.
            removed_ids: Ids of rows that were deleted.
            removed_paths: Paths of files that were removed from the index.
        """
        with self._transaction() as database:
            database.executemany("delete from rows where id = ?", [(row_id,) for row_id in removed_ids])
            database.executemany("delete from files where path = ?", [(path,) for path in removed_paths])
            database.executemany("insert or replace into files values (?, ?, ?, ?)", files)
            database.executemany(
                "insert or replace into rows values (?, ?, ?, ?, ?, ?, ?)", [astuple(row) for row in rows]
            )
            database.execute("delete from pending")

    def set_states(self, states: Iterable[tuple[str, str]]) -> None:
        """Record new states (path, state) of files whose content has not changed."""
        self._execute_many("update files set state = ? where path = ?", [(state, path) for path, state in states])

    def recover(self) -> None:
        """Remove pending rows after the caller has deleted them from the table. Their files are read again."""
        with self._transaction() as database:
            database.execute("delete from rows where id in (select id from pending)")
            database.execute("update files set state = '', digest = '' where path in (select path from pending)")
            database.execute("delete from pending")


def collection_url(folder: Path) -> str:
    """Return the URL of the table of an index."""
    return f"lance://{str(folder).replace('?', '%3F')}/code"


def open_collection(folder: Path, manifest: Manifest, space: Space, *, report: Callable[[str], None]) -> Store:
    """Open the table of an index and make it agree with the manifest.

    Rows that are only in the table are deleted. Rows that are only in the manifest are removed from it, so that their files are
    read again. A table that is missing, damaged or of another space is rebuilt.

    Args:
        folder: Folder of the index.
        manifest: Manifest of the index. The caller holds the lock.
        space: Embedding space of the vectors.
        report: Called with one line if vectors are missing.

    Raises:
        StoreError: The table is damaged and cannot be deleted.
    """
    try:
        store = open_store(collection_url(folder))
        if store.space != space:
            return rebuild(folder, manifest, space)
        if unfinished := manifest.pending():
            store.delete(unfinished)
            manifest.recover()
        expected = manifest.count()[1]
        # Counting alone does not read the data files, but counting with a condition does.
        if store.count() == expected and (not expected or store.count("piece >= 0") == expected):
            return store
        stored = [row_id for ids, _, _ in store.iterate(size=4096) for row_id in ids]
    except CollectionNotFoundError:
        if manifest.count()[1]:
            report("The vectors of the index are missing; every file is read again.")
        return rebuild(folder, manifest, space)
    except StoreError as error:
        report(f"The vectors of the index cannot be read; every file is read again. ({error})")
        return rebuild(folder, manifest, space)
    expected_ids = manifest.ids()
    if len(set(stored)) < len(stored):
        report("The vectors of the index are damaged; every file is read again.")
        return rebuild(folder, manifest, space)
    if missing := expected_ids - set(stored):
        report(f"{len(missing):,} vectors of the index are missing; their files are read again.")
    store.delete(sorted(set(stored) - expected_ids))
    manifest.remove_rows(sorted(missing))
    return store


def rebuild(folder: Path, manifest: Manifest, space: Space) -> Store:
    """Delete the table, reset the manifest, and return an empty table.

    If the process is killed between two steps, :func:`open_collection` notices that table and manifest disagree.
    """
    _drop_table(folder)
    manifest.reset({"format": FORMAT, "model": space.model, "fingerprint": space.fingerprint, "dims": str(space.dims)})
    return create_store(collection_url(folder), space)


def _drop_table(folder: Path) -> None:
    try:
        open_store(collection_url(folder)).drop()
    except CollectionNotFoundError:
        pass
    except StoreError:
        # A damaged table cannot be opened. Its content is Umekomi's, because the folder was claimed for this index.
        try:
            shutil.rmtree(folder / "code.lance")
        except OSError as error:
            raise StoreError(
                f"{folder} is damaged and cannot be deleted: {error.strerror}. Delete it yourself."
            ) from error
