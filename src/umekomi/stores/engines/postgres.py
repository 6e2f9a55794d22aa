"""PostgreSQL with pgvector. A collection is a table with the columns ``_key``, ``_id``, ``_vector`` and one per record
column.

``_key`` is the SHA-256 of the id, because an index of PostgreSQL does not accept text of more than about 2,700 bytes.
The comment of the table holds the metadata. ``optimize`` builds the index (``umekomi store load`` calls it). Without an
index, every vector is compared.

pgvector stores up to 16,000 dimensions, and indexes up to 2,000 as float32 and 4,000 as float16. Above 2,000, the index
is a float16 index whose candidates are compared again with their float32 vectors. Above 4,000, every vector is
compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from ..base import ID, VECTOR, Hit
from ..columns import ARROW_TYPES, ColumnType, empty_table
from ..errors import Failure, summarize
from ..filters.evaluate import to_sql
from ..filters.language import Where
from ..metadata import CollectionMetadata, is_metadata, parse_metadata
from ..url import Address, Quantization
from .base import CollectionStore, list_urls
from .postgres_copy import encode_copy

_KEY = "_key"
_DEFAULT_M, _DEFAULT_EF, _DEFAULT_EF_SEARCH, _MAX_EF_SEARCH = 16, 200, 200, 1000
_FILTERED_EF_SEARCH, _FILTERED_CANDIDATES = 600, 100
_MAX_INDEXED_DIMS, _MAX_FLOAT16_INDEXED_DIMS = 2_000, 4_000
_BATCH_BYTES = 1 << 25
_SQL_TYPES = {
    ColumnType.TEXT: 'text COLLATE "C"',
    ColumnType.INTEGER: "bigint",
    ColumnType.FLOAT: "double precision",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIME: "timestamptz",
}
_MAINTENANCE_MEMORY = "1GB"
_RESERVED_COLUMNS = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", _KEY)
_MAX_NAME_BYTES = 63
_INCOMING = '"umekomi incoming"'
"""A temporary table, with a name that no collection can have."""

_SETTINGS = "-c timezone=UTC -c standard_conforming_strings=on -c client_min_messages=warning"
_CREATION_LOCK = 0x756D656B
"""Advisory lock for the creation of collections."""

_UNAVAILABLE_WORDS = ("starting up", "shutting down", "recovery", "too many", "the database system is")


class PostgresStore(CollectionStore):
    """A table of PostgreSQL."""

    engine = "PostgreSQL"
    max_exact_rows = 200_000
    max_dims = 16_000
    mutable_options = ("ef_search", "exact")

    def __init__(self, address: Address, space: Space | None) -> None:
        name = address.name
        if len(name) > _MAX_NAME_BYTES:
            raise InputError(
                f"{address.url} names a collection of {len(name)} characters; the limit of PostgreSQL is {_MAX_NAME_BYTES}."
            )
        self._table = _quote(name)
        # Tables and indexes share one namespace. The hash keeps the names of two collections' indexes apart.
        self._index_name = f"{name[:40]}_{sha256(name.encode()).hexdigest()[:16]}_hnsw"
        self._connection: psycopg.Connection[Any] | None = None
        self._lock = RLock()
        super().__init__(address, space)

    @staticmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        """Classify errors by their code and text.

        psycopg has one class for an unreachable server, a wrong password, a full disk and other failures.
        """
        message = str(error)
        if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return (Failure.OTHER, message) if isinstance(error, (psycopg.Error, OSError)) else None
        code, fatal = error.sqlstate or "", message.rpartition("FATAL:")[2].strip()
        if code.startswith("28") or "authentication failed" in message or "no password supplied" in message:
            return Failure.UNAUTHORIZED, fatal
        is_temporary = any(word in message for word in _UNAVAILABLE_WORDS)
        is_disconnected = not code and "FATAL:" not in message
        if is_temporary or is_disconnected or code.startswith(("08", "57P", "53300")):
            return Failure.UNAVAILABLE, message.partition("\n")[0].rpartition("failed: ")[2]
        return Failure.OTHER, fatal

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        """Return a context with the connection in a transaction. A broken connection is replaced."""
        with self._translate_errors(), self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = _connect(self._address, self._address.database)
                self._close_when_collected(self._connection)
            with self._connection.transaction():
                yield self._connection

    def _read_metadata(self) -> CollectionMetadata | None:
        with self._session() as connection:
            row = connection.execute(
                "SELECT obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s)", [self._table, self._table]
            ).fetchone()
        return None if row is None or row[1] is None else parse_metadata(row[0], self.url)

    def _set_metadata(self, metadata: CollectionMetadata) -> None:
        super()._set_metadata(metadata)
        self._fields = _name_fields(metadata.columns)

    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        fields = _name_fields(metadata.columns)
        definitions = [
            f"{_KEY} bytea PRIMARY KEY",
            f'{ID} text COLLATE "C" NOT NULL',
            f"{VECTOR} vector({metadata.space.dims}) NOT NULL",
            *(f"{_quote(fields[column])} {_SQL_TYPES[metadata.columns[column]]}" for column in fields),
        ]
        with self._session() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_CREATION_LOCK])
            try:
                with connection.transaction():
                    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except (errors.FeatureNotSupported, errors.UndefinedFile, errors.InsufficientPrivilege) as error:
                raise StoreError(
                    f"{self.url} does not have pgvector ({summarize(str(error), self._address)}). Install the extension "
                    "`vector` on the server."
                ) from error
            if self._read_metadata() is None:
                connection.execute(f"CREATE TABLE {self._table} ({', '.join(definitions)})")
                # Compression does not make vectors smaller, and only costs time.
                connection.execute(f"ALTER TABLE {self._table} ALTER COLUMN {VECTOR} SET STORAGE EXTERNAL")
                connection.execute(f"COMMENT ON TABLE {self._table} IS {_quote_text(metadata.to_json())}")
            return self._read_metadata()

    def _encode(self, ids: list[str], records: pa.Table, columns: Mapping[str, ColumnType]) -> pa.Table:
        for field in records.schema:
            texts = records[field.name].to_pylist() if field.type == pa.string() else []
            if any("\0" in text for text in texts if text):
                raise InputError(
                    f"The column {field.name!r} contains a NUL character, which PostgreSQL does not support in text."
                )
        return pa.table({
            name: records[name] if name in records.column_names else pa.nulls(len(ids), ARROW_TYPES[column_type])
            for name, column_type in columns.items()
        })  # fmt: skip

    def _write(self, ids: list[str], vectors: FloatArray, rows: pa.Table) -> None:
        fields = [_KEY, ID, VECTOR, *self._fields.values()]
        names = ", ".join(map(_quote, fields))
        updates = ", ".join(f"{_quote(name)} = excluded.{_quote(name)}" for name in fields[1:])
        with self._session() as connection:
            connection.execute(f"CREATE TEMP TABLE {_INCOMING} (LIKE {self._table}) ON COMMIT DROP")
            with connection.cursor().copy(f"COPY {_INCOMING} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                for piece in encode_copy(list(map(_hash_id, ids)), ids, vectors, rows):
                    copy.write(piece)
            # All writers use the same order, so that they cannot deadlock.
            connection.execute(
                f"INSERT INTO {self._table} ({names}) SELECT {names} FROM {_INCOMING} ORDER BY {_KEY} "  # noqa: S608 - quoted
                f"ON CONFLICT ({_KEY}) DO UPDATE SET {updates}"
            )

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        fields = "".join(f", {_quote(field)}" for field in self._fields.values())
        condition = "" if where is None else f"WHERE {self._sql(where)}"
        index = None if exact else self._describe_index()
        distance = f"{VECTOR} <=> %(vector)s::text::vector"
        query = f"SELECT {ID}, 1 - ({distance}){fields} FROM {self._table} {condition} ORDER BY {distance} LIMIT %(k)s"  # noqa: S608
        if index is not None:
            # The index returns candidates. It may compare compressed vectors, and its order is only approximate.
            candidates = f"SELECT * FROM {self._table} {condition} ORDER BY {index[2] or distance} LIMIT %(n)s"  # noqa: S608
            query = query.replace(f"FROM {self._table} {condition}", "FROM candidates")
            query = f"WITH candidates AS MATERIALIZED ({candidates}) {query}"
        hits = []
        with self._session() as connection:
            self._configure_search(connection, k, where, exact=index is None)
            for vector in normalize(vectors):
                values = {"vector": _format_vector(vector), "k": k, "n": self._count_candidates(k, where)}
                rows = connection.execute(query.encode(), values).fetchall()
                hits.append([Hit(row[0], row[1], dict(zip(self._fields, row[2:], strict=True))) for row in rows])
        return hits

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        # The index considers at most 1,000 candidates, which is too few for more hits than that.
        return k > _MAX_EF_SEARCH or super()._prefers_exact(k, n_rows)

    def _count_candidates(self, k: int, where: Where | None) -> int:
        """Return how many candidates of the index are compared again with their full vectors.

        The order of the candidates is coarse with binary quantization, and inexact under a filter.
        """
        per_hit = 30 if self._options.quantization is Quantization.BINARY else 4
        return max(per_hit * k, 0 if where is None else _FILTERED_CANDIDATES)

    def _configure_search(
        self, connection: psycopg.Connection[Any], k: int, where: Where | None, *, exact: bool
    ) -> None:
        if exact:
            connection.execute("SET LOCAL enable_indexscan = off; SET LOCAL jit = off")
            return
        default = _DEFAULT_EF_SEARCH if where is None else _FILTERED_EF_SEARCH
        ef = min(_MAX_EF_SEARCH, max(self._options.ef_search or default, 2 * k))
        # The index scans until enough rows match. In strict order, it would drop nearer rows that it finds later.
        connection.execute(
            f"SET LOCAL hnsw.ef_search = {ef}; SET LOCAL hnsw.iterative_scan = relaxed_order; "
            "SET LOCAL hnsw.max_scan_tuples = 200000; SET LOCAL jit = off"
        )

    def _describe_index(self) -> tuple[str, str, str] | None:
        """Return the index expression, the operator class, and the sort expression of candidates, or None for no index.

        An empty sort expression is the distance of the full vectors.
        """
        dims, quantization = self.space.dims, self._options.quantization
        if self._options.exact:
            return None
        if quantization is Quantization.BINARY:
            bits = f"(binary_quantize({VECTOR})::bit({dims}))"
            return bits, "bit_hamming_ops", f"{bits} <~> binary_quantize(%(vector)s::text::vector({dims}))"
        if quantization is Quantization.FLOAT16 or _MAX_INDEXED_DIMS < dims <= _MAX_FLOAT16_INDEXED_DIMS:
            float16 = f"({VECTOR}::halfvec({dims}))"
            return float16, "halfvec_cosine_ops", f"{float16} <=> %(vector)s::text::halfvec({dims})"
        return (VECTOR, "vector_cosine_ops", "") if dims <= _MAX_INDEXED_DIMS else None

    def _optimize(self) -> None:
        """Build the HNSW index unless it exists."""
        index = self._describe_index()
        if index is not None:
            m, ef = self._options.m or _DEFAULT_M, self._options.ef or _DEFAULT_EF
            command = (
                f"CREATE INDEX IF NOT EXISTS {_quote(self._index_name)} ON {self._table} USING hnsw ({index[0]} {index[1]}) "
                f"WITH (m = {m}, ef_construction = {max(ef, 2 * m)})"
            )
            try:
                self._build_index(command)
            except StoreError as error:
                # Parallel workers need shared memory, of which some containers have little.
                if "shared memory" not in str(error):
                    raise
                self._build_index(f"SET LOCAL max_parallel_maintenance_workers = 0; {command}")
        with self._session() as connection:
            connection.execute(f"ANALYZE {self._table}")

    def _build_index(self, command: str) -> None:
        with self._session() as connection:
            connection.execute(f"SET LOCAL maintenance_work_mem = '{_MAINTENANCE_MEMORY}'; {command}".encode())

    def _sql(self, where: Where) -> str:
        # A percent sign would begin a parameter.
        return to_sql(where, lambda column: _quote(ID if column == ID else self._fields[column])).replace("%", "%%")

    def _count(self, where: Where | None) -> int:
        return self._count_up_to(where, None)

    def _count_up_to(self, where: Where | None, limit: int | None) -> int:
        condition = "" if where is None else f"WHERE {self._sql(where)}"
        query = f"SELECT count(*) FROM (SELECT FROM {self._table} {condition} LIMIT %(limit)s) AS matching"  # noqa: S608
        with self._session() as connection:
            row = connection.execute(query.encode(), {"limit": limit}).fetchone()
        return cast(int, row[0]) if row else 0

    def _get(self, ids: list[str]) -> list[Hit]:
        fields = "".join(f", {_quote(field)}" for field in self._fields.values())
        query = f"SELECT {ID}{fields} FROM {self._table} WHERE {_KEY} = ANY(%s)"  # noqa: S608
        with self._session() as connection:
            rows = connection.execute(query.encode(), [list(map(_hash_id, ids))]).fetchall()
        return [Hit(row[0], 1.0, dict(zip(self._fields, row[1:], strict=True))) for row in rows]

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        query = f"SELECT {ID}, {VECTOR} FROM {self._table} WHERE {_KEY} = ANY(%s)"  # noqa: S608
        with self._session() as connection:
            cursor = connection.cursor(binary=True).execute(query.encode(), [list(map(_hash_id, ids))])
            return {name: _parse_vector(data) for name, data in cursor.fetchall()}

    def _delete(self, ids: list[str]) -> None:
        query = f"DELETE FROM {self._table} WHERE {_KEY} = ANY(%s)"  # noqa: S608
        with self._session() as connection:
            connection.execute(query.encode(), [list(map(_hash_id, ids))])

    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        size = max(1, min(size, _BATCH_BYTES // (4 * self.space.dims)))
        schema = self.schema()
        last_key = b""
        while rows := self._retry(partial(self._read_page, last_key, size)):
            last_key = rows[-1][0]
            vectors = np.stack([_parse_vector(row[2]) for row in rows])
            columns = [
                pa.array([row[index] for row in rows], field.type) for index, field in enumerate(schema, start=3)
            ]
            table = pa.table(columns, schema=schema) if columns else empty_table(len(rows))
            yield [row[1] for row in rows], vectors, table

    def _read_page(self, last_key: bytes, size: int) -> list[Any]:
        fields = ", ".join(map(_quote, [_KEY, ID, VECTOR, *self._fields.values()]))
        query = f"SELECT {fields} FROM {self._table} WHERE {_KEY} > %s ORDER BY {_KEY} LIMIT %s"  # noqa: S608
        with self._session() as connection:
            return connection.cursor(binary=True).execute(query.encode(), [last_key, size]).fetchall()

    def _drop_collection(self) -> None:
        with self._session() as connection:
            connection.execute(f"DROP TABLE IF EXISTS {self._table}")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _details(self) -> dict[str, object]:
        with self._session() as connection:
            row = connection.execute(
                "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'vector'), "
                "pg_total_relation_size(to_regclass(%s)), "
                "(SELECT count(*) FROM pg_indexes WHERE indexname = %s AND indexdef LIKE '%%hnsw%%')",
                [self._table, self._index_name],
            ).fetchone()
        server, extension, size, n_indexes = row or ("", "", 0, 0)
        return {
            "version": f"{server}, pgvector {extension}",
            "bytes": size,
            "index": "HNSW" if n_indexes else "none: every vector is compared",
            **self._options.to_dict(),
        }


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quote_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name_fields(columns: Mapping[str, ColumnType]) -> dict[str, str]:
    """Return the name of each column's field. Names in PostgreSQL are short and not empty, and some are reserved."""
    fields = {}
    for index, column in enumerate(columns):
        is_valid = column and "%" not in column and len(column.encode()) <= _MAX_NAME_BYTES
        is_reserved = column.startswith("_c") or column in _RESERVED_COLUMNS
        fields[column] = column if is_valid and not is_reserved else f"_c{index}"
    return fields


def _hash_id(name: str) -> bytes:
    return sha256(name.encode()).digest()


def _format_vector(vector: FloatArray) -> str:
    return f"[{','.join(map(repr, vector.tolist()))}]"


def _parse_vector(data: bytes) -> FloatArray:
    """Parse the binary form of a vector of pgvector."""
    return np.frombuffer(data, ">f4", offset=4).astype(np.float32)


def _connect(address: Address, database: str) -> psycopg.Connection[Any]:
    parameters: dict[str, Any] = dict(address.parameters)
    return psycopg.connect(
        host=address.host, port=address.port, user=address.user or None, password=address.secret or None,
        dbname=database or None, connect_timeout=max(2, round(address.timeout_s)), autocommit=True,
        application_name="umekomi", client_encoding="utf8", options=_SETTINGS,
        keepalives_idle=10, keepalives_interval=5, keepalives_count=3, **parameters,
    )  # fmt: skip


def open_collection(address: Address, space: Space | None) -> PostgresStore:
    """Open ``postgresql://user:password@host:5432/database/table``. The default database is the user's own."""
    return PostgresStore(address, space)


def list_collections(address: Address) -> list[str]:
    """Return the URLs of a database's collections that Umekomi created."""

    def list_names() -> list[str]:
        with _connect(address, address.path) as connection:
            rows = connection.execute(
                "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class "
                "WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
            ).fetchall()
        return [name for name, description in rows if is_metadata(description)]

    return list_urls(address, PostgresStore._classify_error, list_names)
