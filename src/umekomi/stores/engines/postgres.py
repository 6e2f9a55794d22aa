"""PostgreSQL with pgvector. A collection is a table: ``_id``, ``_vector``, and a column of its own type for each of a record's.

Rows are found by the SHA-256 of their ids (``_key``), as an index of PostgreSQL takes no text of more than some 2,700 bytes.
The table's comment holds the note. The index is built by ``optimize`` (``store load`` calls it); until then every vector is
compared.

pgvector stores 16,000 dimensions and indexes 2,000 of float32, 4,000 of float16: past 2,000 the index is of float16 and what it
finds is measured again on the vectors themselves; past 4,000 every vector is compared.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from threading import RLock
from typing import Any, cast

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import errors

from ...data.embedded_file import Space
from ...errors import InputError, StoreError
from ...vectors.arithmetic import FloatArray, normalize
from ..base import ID, VECTOR, Hit, Store, collection_not_found, retry_until
from ..columns import ARROW_TYPES, ColumnType, get_column_types
from ..errors import summarize_error, translate_errors
from ..filters.evaluate import to_sql
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address, Quantization
from .postgres_copy import copy_rows

DEFAULT_PORT = 5432
_KEY = "_key"
_M, _EF, _EF_SEARCH, _MOST_EF_SEARCH = 16, 200, 200, 1000
_EF_FILTERED, _FILTERED_CANDIDATES = 600, 100
_MAX_DIMS, _MOST_INDEXED, _MOST_HALF_INDEXED = 16_000, 2_000, 4_000
_BYTES_AT_ONCE = 1 << 25
_TYPES = {
    ColumnType.TEXT: 'text COLLATE "C"',
    ColumnType.INTEGER: "bigint",
    ColumnType.FLOAT: "double precision",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIME: "timestamptz",
}
_MAINTENANCE = "1GB"
_SYSTEM = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", _KEY)
_LONGEST_NAME = 63
_INCOMING = '"umekomi incoming"'
"""A temporary table, under a name that no collection can have."""

_SETTINGS = "-c timezone=UTC -c standard_conforming_strings=on -c client_min_messages=warning"
_LOCK = 0x756D656B  # of making a collection, one at a time


class PostgresStore(Store):
    """A table of PostgreSQL.

    Args:
        address: its URL.
        space: the space of a new collection; None opens one that is there.
    """

    engine = "PostgreSQL"
    max_exact_rows = 200_000

    def __init__(self, address: Address, space: Space | None) -> None:
        self.url, self.timeout_s = address.url, address.timeout_s
        self._address = address
        name = address.name
        if len(name) > _LONGEST_NAME:
            raise InputError(
                f"{self.url} names a collection of {len(name)} characters; PostgreSQL takes {_LONGEST_NAME}."
            )
        self._table = _quoted(name)
        # An index shares its table's name space: the hash keeps the indexes of two collections apart.
        self._index_name = f"{name[:40]}_{sha256(name.encode()).hexdigest()[:16]}_hnsw"
        self._options = address.options
        self._connection: psycopg.Connection[Any] | None = None
        self._lock = RLock()
        self._note: CollectionMetadata | None = None
        retry_until(self._look, address.open_timeout_s)
        if self._note is None and space is None:
            self.close()
            raise collection_not_found(self.url)
        if self._note is None and space is not None:
            self.space = space
            if space.dims > _MAX_DIMS:
                raise InputError(f"The vectors have {space.dims:,} dimensions; pgvector takes at most {_MAX_DIMS:,}.")
        if space is not None:
            self.require_space(space)

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection, made again if it has broken, in a transaction."""
        self._check_process()
        with self._lock, _speaking(self._address):
            if self._connection is None or self._connection.closed:
                self._connection = _connect(self._address, self._address.path.rpartition("/")[0])
                # A store that nobody closed gives its connection back all the same.
                weakref.finalize(self, _close, self._connection, os.getpid())
            with self._connection.transaction():
                yield self._connection

    def _look(self) -> None:
        with self._session() as connection:
            self._read_note(connection)

    def _read_note(self, connection: psycopg.Connection[Any]) -> None:
        row = connection.execute(
            "SELECT obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s)", [self._table, self._table]
        ).fetchone()
        if row is not None and row[1] is not None:
            self._take(parse_metadata(row[0], self.url))

    def _take(self, note: CollectionMetadata) -> None:
        self._note, self.space = note, note.space
        self._options = self._address.options.merge_over(note.options, self.url, mutable=("ef_search", "exact"))
        self._names = {name: _field(name, place) for place, name in enumerate(note.columns)}

    def schema(self) -> pa.Schema:
        return pa.schema([]) if self._note is None else self._note.schema()

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        if self._note is None:
            self._make(CollectionMetadata(self.space, get_column_types(records.schema), self._options))
        columns = self._columns()
        if any(name not in columns for name in records.column_names):
            raise InputError(f"{self.url} has been made with other columns by another process; open it again.")
        table = pa.table({
            name: records[name] if name in records.column_names else pa.nulls(len(ids), ARROW_TYPES[kind])
            for name, kind in columns.items()
        })  # fmt: skip
        _refuse_nul(table)
        keys = [_key(name) for name in ids]
        fields = [_KEY, ID, VECTOR, *self._names.values()]
        names = ", ".join(map(_quoted, fields))
        new = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in fields[1:])
        with self._session() as connection:
            connection.execute(f"CREATE TEMP TABLE {_INCOMING} (LIKE {self._table}) ON COMMIT DROP")
            with connection.cursor().copy(f"COPY {_INCOMING} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                for piece in copy_rows(keys, ids, normalize(vectors), table):
                    copy.write(piece)
            # In one order for all writers, so that no two wait for each other.
            connection.execute(
                f"INSERT INTO {self._table} ({names}) SELECT {names} FROM {_INCOMING} ORDER BY {_KEY} "  # noqa: S608 - quoted
                f"ON CONFLICT ({_KEY}) DO UPDATE SET {new}"
            )

    def _columns(self) -> dict[str, ColumnType]:
        return {} if self._note is None else dict(self._note.columns)

    def _make(self, note: CollectionMetadata) -> None:
        """Make the table; whoever comes second takes the first one's."""
        wanted = note.space
        fields = [
            f"{_quoted(_field(name, place))} {_TYPES[kind]}" for place, (name, kind) in enumerate(note.columns.items())
        ]
        own = [
            f"{_KEY} bytea PRIMARY KEY",
            f'{ID} text COLLATE "C" NOT NULL',
            f"{VECTOR} vector({wanted.dims}) NOT NULL",
        ]
        with self._session() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            try:
                with connection.transaction():
                    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except (errors.FeatureNotSupported, errors.UndefinedFile, errors.InsufficientPrivilege) as error:
                raise StoreError(
                    f"{self.url} has no pgvector: {summarize_error(error, self._address)}. Install the extension `vector` there."
                ) from error
            self._read_note(connection)
            if self._note is None:
                connection.execute(f"CREATE TABLE {self._table} ({', '.join([*own, *fields])})")
                # Vectors of many numbers do not shrink: packing them would only cost time.
                connection.execute(f"ALTER TABLE {self._table} ALTER COLUMN {VECTOR} SET STORAGE EXTERNAL")
                connection.execute(f"COMMENT ON TABLE {self._table} IS {_literal(note.to_json())}")
        self._take(self._note or note)
        self.require_space(wanted)

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if self._note is None:
            return [[] for _ in vectors]
        names = list(self._names)
        fields = "".join(f", {_quoted(field)}" for field in self._names.values())
        condition = "" if where is None else f"WHERE {self._sql(where)}"
        index = None if exact else self._index()
        distance = f"{VECTOR} <=> %(vector)s::text::vector"
        query = f"SELECT {ID}, 1 - ({distance}){fields} FROM {self._table} {condition} ORDER BY {distance} LIMIT %(k)s"  # noqa: S608
        if index is not None:
            # The index gives candidates: it may order them by shorter vectors, and gives them roughly in order only.
            near = f"SELECT * FROM {self._table} {condition} ORDER BY {index[2] or distance} LIMIT %(many)s"  # noqa: S608
            query = query.replace(f"FROM {self._table} {condition}", "FROM near")
            query = f"WITH near AS MATERIALIZED ({near}) {query}"
        found = []
        with self._session() as connection:
            self._tune(connection, k, where, exact=index is None)
            for vector in normalize(vectors):
                values = {"vector": _text(vector), "k": k, "many": self._candidates(k, where)}
                rows = connection.execute(query.encode(), values).fetchall()
                found.append([Hit(row[0], row[1], dict(zip(names, row[2:], strict=True))) for row in rows])
        return found

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        # With at most 1,000 candidates, HNSW finds four fifths of 5,000 hits.
        return k > _MOST_EF_SEARCH or super()._prefers_exact(k, n_rows)

    def _candidates(self, k: int, where: Where | None) -> int:
        """How many rows to measure again: single bits order them coarsely, and under a filter the index orders them roughly."""
        per_hit = 30 if self._options.quantization is Quantization.BINARY else 4
        return max(per_hit * k, 0 if where is None else _FILTERED_CANDIDATES)

    def _tune(self, connection: psycopg.Connection[Any], k: int, where: Where | None, *, exact: bool) -> None:
        if exact:
            connection.execute("SET LOCAL enable_indexscan = off; SET LOCAL jit = off")
            return
        ef = min(
            _MOST_EF_SEARCH, max(self._options.ef_search or (_EF_SEARCH if where is None else _EF_FILTERED), 2 * k)
        )
        # The index goes on until enough rows match. In strict order it would drop nearer rows that it finds later.
        connection.execute(
            f"SET LOCAL hnsw.ef_search = {ef}; SET LOCAL hnsw.iterative_scan = relaxed_order; "
            "SET LOCAL hnsw.max_scan_tuples = 200000; SET LOCAL jit = off"
        )

    def _index(self) -> tuple[str, str, str] | None:
        """Of the index: its expression, its operators, and the order to ask for where it is not that of the vectors."""
        dims, wanted = self.space.dims, self._options.quantization
        if self._options.exact:
            return None
        if wanted is Quantization.BINARY:
            bits = f"(binary_quantize({VECTOR})::bit({dims}))"
            return bits, "bit_hamming_ops", f"{bits} <~> binary_quantize(%(vector)s::text::vector({dims}))"
        if wanted is Quantization.FLOAT16 or _MOST_INDEXED < dims <= _MOST_HALF_INDEXED:
            half = f"({VECTOR}::halfvec({dims}))"
            return half, "halfvec_cosine_ops", f"{half} <=> %(vector)s::text::halfvec({dims})"
        return (VECTOR, "vector_cosine_ops", "") if dims <= _MOST_INDEXED else None

    def optimize(self) -> None:
        """Build the HNSW index if it is not there."""
        index = self._index()
        if self._note is None:
            return
        if index is not None:
            m, ef = self._options.m or _M, self._options.ef or _EF
            name = _quoted(self._index_name)
            command = (
                f"CREATE INDEX IF NOT EXISTS {name} ON {self._table} USING hnsw ({index[0]} {index[1]}) "
                f"WITH (m = {m}, ef_construction = {max(ef, 2 * m)})"
            )
            try:
                self._build(command)
            except StoreError as error:
                # Workers share their memory by a file system that is small in some containers.
                if "shared memory" not in str(error):
                    raise
                self._build(f"SET LOCAL max_parallel_maintenance_workers = 0; {command}")
        with self._session() as connection:
            connection.execute(f"ANALYZE {self._table}")

    def _build(self, command: str) -> None:
        with self._session() as connection:
            connection.execute(f"SET LOCAL maintenance_work_mem = '{_MAINTENANCE}'; {command}".encode())

    def _sql(self, where: Where) -> str:
        # A per cent sign would begin a parameter.
        return to_sql(where, lambda column: _quoted(ID if column == ID else self._names[column])).replace("%", "%%")

    def _count(self, where: Where | None) -> int:
        return self._count_up_to(where, None)

    def _count_up_to(self, where: Where | None, limit: int | None) -> int:
        if self._note is None:
            return 0
        condition = "" if where is None else f"WHERE {self._sql(where)}"
        query = f"SELECT count(*) FROM (SELECT FROM {self._table} {condition} LIMIT %(limit)s) AS matching"  # noqa: S608
        with self._session() as connection:
            row = connection.execute(query.encode(), {"limit": limit}).fetchone()
        return cast(int, row[0]) if row else 0

    def _get(self, ids: list[str]) -> list[Hit]:
        if self._note is None:
            return []
        fields = "".join(f", {_quoted(field)}" for field in self._names.values())
        query = f"SELECT {ID}{fields} FROM {self._table} WHERE {_KEY} = ANY(%s)"  # noqa: S608
        with self._session() as connection:
            rows = connection.execute(query.encode(), [[_key(name) for name in ids]]).fetchall()
        return [Hit(row[0], 1.0, dict(zip(self._names, row[1:], strict=True))) for row in rows]

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        if self._note is None:
            return {}
        query = f"SELECT {ID}, {VECTOR} FROM {self._table} WHERE {_KEY} = ANY(%s)"  # noqa: S608
        with self._session() as connection:
            cursor = connection.cursor(binary=True).execute(query.encode(), [[_key(name) for name in ids]])
            return {name: _vector(raw) for name, raw in cursor.fetchall()}

    def _delete(self, ids: list[str]) -> None:
        if self._note is not None:
            with self._session() as connection:
                query = f"DELETE FROM {self._table} WHERE {_KEY} = ANY(%s)"  # noqa: S608
                connection.execute(query.encode(), [[_key(name) for name in ids]])

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        if self._note is None:
            return
        step = max(1, min(size, _BYTES_AT_ONCE // (4 * self.space.dims)))
        after = b""
        while rows := retry_until(partial(self._page, after, step), self.timeout_s):
            after = rows[-1][0]
            matrix = np.stack([_vector(row[2]) for row in rows])
            schema = self.schema()
            columns = [
                pa.array([row[place] for row in rows], field.type) for place, field in enumerate(schema, start=3)
            ]
            table = (
                pa.table(columns, schema=schema) if columns else pa.table({"": pa.nulls(len(rows))}).drop_columns([""])
            )
            yield [row[1] for row in rows], matrix, table

    def _page(self, after: bytes, size: int) -> list[Any]:
        fields = ", ".join(map(_quoted, [_KEY, ID, VECTOR, *self._names.values()]))
        query = f"SELECT {fields} FROM {self._table} WHERE {_KEY} > %s ORDER BY {_KEY} LIMIT %s"  # noqa: S608
        with self._session() as connection:
            return connection.cursor(binary=True).execute(query.encode(), [after, size]).fetchall()

    def drop(self) -> None:
        if self._note is not None:
            with self._session() as connection:
                # Somebody may have put another table in its place.
                self._read_note(connection)
                connection.execute(f"DROP TABLE IF EXISTS {self._table}")
            self._note = None

    def close(self) -> None:
        if self._connection is not None:
            _close(self._connection, self._process)

    def _details(self) -> dict[str, object]:
        with self._session() as connection:
            row = connection.execute(
                "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'vector'), "
                "pg_total_relation_size(to_regclass(%s)), "
                "(SELECT count(*) FROM pg_indexes WHERE indexname = %s AND indexdef LIKE '%%hnsw%%')",
                [self._table, self._index_name],
            ).fetchone()
        server, extension, size, n_indexes = row or ("", "", 0, 0)
        kind = "HNSW" if n_indexes else "none: every vector is compared"
        return {"version": f"{server}, pgvector {extension}", "bytes": size, "index": kind, **self._options.to_dict()}


def _close(connection: psycopg.Connection[Any], process: int) -> None:
    # A forked process shares the parent's socket: closing there would end the parent's session.
    if process == os.getpid():
        connection.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _field(column: str, place: int) -> str:
    """A record's column as a field of the table: names of PostgreSQL are short, not empty, and some are taken."""
    plain = column and "%" not in column and len(column.encode()) <= _LONGEST_NAME and not column.startswith("_c")
    return column if plain and column not in _SYSTEM else f"_c{place}"


def _key(name: str) -> bytes:
    return sha256(name.encode()).digest()


def _text(vector: FloatArray) -> str:
    return f"[{','.join(map(repr, vector.tolist()))}]"


def _vector(raw: bytes) -> FloatArray:
    """A vector in pgvector's binary form."""
    return np.frombuffer(raw, ">f4", offset=4).astype(np.float32)


def _refuse_nul(table: pa.Table) -> None:
    for field in table.schema:
        if field.type == pa.string() and any("\0" in text for text in table[field.name].to_pylist() if text):
            raise InputError(f"The column {field.name!r} holds a NUL character, which PostgreSQL takes in no text.")


@contextmanager
def _speaking(address: Address) -> Iterator[None]:
    with translate_errors(address, refused=(_RefusedError,), silent=(_SilentError,), failed=(psycopg.Error, OSError)):
        try:
            yield
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise _told_apart(error) from error


class _RefusedError(Exception):
    pass


class _SilentError(Exception):
    pass


_LATER = ("starting up", "shutting down", "recovery", "too many", "the database system is")


def _told_apart(error: psycopg.Error) -> Exception:
    """PostgreSQL's one class of errors for a server that is away, a wrong password, a full disk and more, told apart."""
    said, code = str(error), error.sqlstate or ""
    if code.startswith("28") or "authentication failed" in said or "no password supplied" in said:
        return _RefusedError(said.rpartition("FATAL:")[2].strip())
    fatal = "FATAL:" in said and not any(word in said for word in _LATER)
    if (not code and not fatal) or code.startswith(("08", "57P", "53300")) or any(word in said for word in _LATER):
        return _SilentError(said.partition("\n")[0].rpartition("failed: ")[2])
    return psycopg.DatabaseError(said.rpartition("FATAL:")[2].strip())


def _connect(address: Address, database: str) -> psycopg.Connection[Any]:
    given: dict[str, Any] = dict(address.parameters)
    return psycopg.connect(
        host=address.host, port=address.port(DEFAULT_PORT), user=address.user or None, password=address.secret or None,
        dbname=database or None, connect_timeout=max(2, round(address.timeout_s)), autocommit=True,
        application_name="umekomi", client_encoding="utf8", options=_SETTINGS,
        keepalives_idle=10, keepalives_interval=5, keepalives_count=3, **given,
    )  # fmt: skip


def open_collection(address: Address, space: Space | None) -> PostgresStore:
    """``postgresql://user:password@host:5432/database/table``, or without a database the user's own."""
    if address.path.count("/") > 1:
        raise InputError(f"{address.url} names no collection; write it like postgresql://host/database/name.")
    return PostgresStore(address, space)


def list_collections(address: Address) -> list[str]:
    """The URLs of a database's collections."""

    def names() -> Sequence[str]:
        with _speaking(address), _connect(address, address.path) as connection:
            rows = connection.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid) "
                "AND obj_description(oid, 'pg_class') LIKE '{\"umekomi\":%' ORDER BY relname"
            ).fetchall()
        return [row[0] for row in rows]

    return [address.sibling(name).url for name in retry_until(names, address.open_timeout_s)]
