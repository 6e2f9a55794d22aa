"""What an index knows of each file: beside the vectors, in one small SQLite file that a kill cannot break.

A row of the store is a piece of a chunk. Its id is made of the path, the text that was embedded, and its place among equal
texts of the file; so what has not changed keeps its id, and a text that is known anywhere in the index is never embedded again.
Before rows are written or deleted their ids are noted as pending; what is pending at the next start is made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError

FORMAT = "2"

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
class Row:
    """A row of the store: ``text`` and ``record`` are hashes of what was embedded and of what is stored beside it."""

    id: str
    path: str
    text: str
    record: str
    first: int
    last: int
    piece: int


class Manifest:
    """The manifest of one index. Only one process at a time may write it; the caller holds the lock.

    Raises:
        StoreError: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._speaking():
            self._database = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
            self._database.executescript(_SCHEMA)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be used: {error}. Delete its folder and index again.") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._speaking():
            self._database.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[str, ...]]:
        with self._speaking():
            return self._database.execute(query, values).fetchall()

    def close(self) -> None:
        self._database.close()

    def about(self) -> dict[str, str]:
        """What the index was made with."""
        return dict(self._select("select key, value from about"))  # type: ignore[arg-type]

    def reset(self, about: dict[str, str]) -> None:
        """Forget every file, and note what the index is made with from now on."""
        with self._transaction() as database:
            for table in ("about", "files", "rows", "pending"):
                database.execute(f"delete from {table}")  # noqa: S608 - names of our own
            database.executemany("insert into about values (?, ?)", about.items())

    def roots(self) -> list[str]:
        """The paths that were asked for, which a later run without paths takes up again."""
        return [path for (path,) in self._select("select path from roots order by path")]

    def add_roots(self, paths: Iterable[str]) -> None:
        with self._transaction() as database:
            database.executemany("insert or ignore into roots values (?)", [(path,) for path in paths])

    def forget_roots(self, paths: Iterable[str]) -> None:
        with self._transaction() as database:
            database.executemany("delete from roots where path = ?", [(path,) for path in paths])

    def files(self) -> dict[str, tuple[str, str]]:
        """Path to state and digest of each file."""
        return {path: (state, digest) for path, state, digest in self._select("select path, state, digest from files")}

    def languages(self) -> dict[str, int]:
        """How many files there are of each language."""
        found = self._select("select lang, count(*) from files where lang != '' group by lang order by 2 desc, 1")
        return {lang: int(count) for lang, count in found}

    def rows_of(self, path: str) -> list[Row]:
        found = self._select("select * from rows where path = ?", (path,))
        return [Row(*row) for row in found]  # type: ignore[arg-type]

    def count(self) -> tuple[int, int]:
        """How many chunks and rows there are."""
        ((chunks, rows),) = self._select("select count(*) filter (where piece = 0), count(*) from rows")
        return int(chunks), int(rows)

    def holders(self, texts: Iterable[str]) -> dict[str, str]:
        """Of each text that is known, the id of a row that holds its vector."""
        found: dict[str, str] = {}
        for text in texts:
            for (name,) in self._select("select id from rows where text = ? limit 1", (text,)):
                found[text] = name
        return found

    def ids(self) -> set[str]:
        """The ids of all rows."""
        return {name for (name,) in self._select("select id from rows")}

    def forget_rows(self, ids: Iterable[str]) -> None:
        """Forget rows that the store has lost; their files are then read again."""
        self.begin(
            [(name, path) for name in ids for (path,) in self._select("select path from rows where id = ?", (name,))]
        )
        self.recover()

    def pending(self) -> list[str]:
        """Ids of rows whose writing was cut: the store may have them or not."""
        return [name for (name,) in self._select("select id from pending")]

    def begin(self, rows: Iterable[tuple[str, str]]) -> None:
        """Note the ids and paths of rows that are about to be written or deleted."""
        with self._transaction() as database:
            database.executemany("insert or replace into pending values (?, ?)", rows)

    def done(
        self,
        files: Iterable[tuple[str, str, str, str]],
        rows: Iterable[Row],
        gone: Iterable[str],
        paths: Iterable[str] = (),
    ) -> None:
        """Note that the store holds these rows of these files (path, state, digest, language), and not what is gone."""
        with self._transaction() as database:
            database.executemany("delete from rows where id = ?", [(name,) for name in gone])
            database.executemany("delete from files where path = ?", [(path,) for path in paths])
            database.executemany("insert or replace into files values (?, ?, ?, ?)", files)
            values = [(row.id, row.path, row.text, row.record, row.first, row.last, row.piece) for row in rows]
            database.executemany("insert or replace into rows values (?, ?, ?, ?, ?, ?, ?)", values)
            database.execute("delete from pending")

    def touch(self, states: Iterable[tuple[str, str]]) -> None:
        """Note new states of files whose bytes are the same."""
        with self._transaction() as database:
            database.executemany("update files set state = ? where path = ?", [(state, path) for path, state in states])

    def recover(self) -> None:
        """Forget what was pending, when the store has forgotten it; its files are then read again."""
        with self._transaction() as database:
            database.execute("delete from rows where id in (select id from pending)")
            database.execute("update files set state = '', digest = '' where path in (select path from pending)")
            database.execute("delete from pending")
