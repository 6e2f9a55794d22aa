"""Milvus: the id is the primary key, each column of a record a field of its own type, and the collection's description the note.

Not every Milvus keeps nulls: a column that is null holds an empty value, and the field ``nulls`` has its number.

Reads are consistent ("Strong": what any writer was told is safe is seen), which costs up to the server's tick, 0.2 s, after a
write. ``?consistency=bounded``, ``session`` or ``eventually`` is faster and may miss the newest rows of other writers.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from ...data.embedded_file import Space
from ...errors import InputError
from ...vectors.arithmetic import FloatArray, normalize
from ..base import Hit, Store, collection_not_found, retry_until
from ..columns import ColumnType, get_column_types, rows_to_records, rows_to_table, to_json_rows
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address, Quantization
from .milvus_errors import is_silence, speaking
from .milvus_filters import literal, to_expression

DEFAULT_PORT = 19530
_M, _EF, _EF_SEARCH, _LISTS, _PROBES = 16, 200, 200, 1024, 96
_MAX_DIMS, _MOST_COLUMNS, _MOST_HITS, _MOST_TEXT_BYTES = 32_768, 60, 16_384, 65_535
_ROWS_AT_ONCE, _BYTES_AT_ONCE, _IDS_AT_ONCE = 4096, 1 << 24, 256
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPES: dict[ColumnType, tuple[Any, Any]] = {
    ColumnType.TEXT: (DataType.VARCHAR, ""),
    ColumnType.INTEGER: (DataType.INT64, 0),
    ColumnType.FLOAT: (DataType.DOUBLE, 0.0),
    ColumnType.BOOLEAN: (DataType.BOOL, False),
    ColumnType.TIME: (DataType.INT64, 0),
}
_CONSISTENCIES = {"strong": "Strong", "session": "Session", "bounded": "Bounded", "eventually": "Eventually"}
_DROPPED = 6  # SegmentState.Dropped
_ROWS_OF_AN_INDEX = 1024
"""The server builds no index on smaller segments: it compares every row of them."""

_MOST_READ = 20_000
"""Rows that a filtered search reads and compares here while they are not indexed yet."""

_SEALING_S, _POLL_S = 600.0, 0.1
_EF_FILTERED = 2000
_NOT_FOUND = 100

# It prints each failed call with its arguments; the errors that it raises say the same.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class MilvusStore(Store):
    """A collection of Milvus.

    Args:
        address: its URL.
        space: the space of a new collection; None opens one that is there.
    """

    engine = "Milvus"
    max_exact_rows = 1_000

    def __init__(self, address: Address, space: Space | None) -> None:
        self.url, self.timeout_s = address.url, address.timeout_s
        self._address, self._name = address, address.name
        if not _NAME.fullmatch(self._name):
            raise InputError(
                f"{self.url}: Milvus takes letters, digits and _ only in a collection's name; not first a digit."
            )
        self._consistency = _consistency(address)
        self._options = address.options
        self._client: Any = None
        self._note: CollectionMetadata | None = None
        self._is_loaded = False
        self._has_written = False
        retry_until(self._look, address.open_timeout_s)
        if self._note is None and space is None:
            self.close()
            raise collection_not_found(self.url)
        if self._note is None and space is not None:
            self.space = space
            self._check(space)
        if space is not None:
            self.require_space(space)

    def _check(self, space: Space) -> None:
        if space.dims > _MAX_DIMS:
            raise InputError(f"The vectors have {space.dims:,} dimensions; Milvus takes at most {_MAX_DIMS:,}.")
        if self._options.quantization is Quantization.INT8 and (
            self._options.m or self._options.ef or self._options.exact
        ):
            raise InputError(
                f"{self.url}: with quantization=int8 the index is IVF_SQ8, which takes neither m, ef nor exact."
            )

    @contextmanager
    def _session(self) -> Iterator[Any]:
        self._check_process()
        with speaking(self._address):
            if self._client is None:
                self._client = _connect(self._address)
            try:
                yield self._client
            except (MilvusException, grpc.RpcError) as error:
                if is_silence(error):
                    # After a restart the collection may have to be loaded again.
                    self.close()
                raise

    def _look(self) -> None:
        with self._session() as client:
            text = _description(client, self._name, self.timeout_s)
        if text is not None:
            self._take(parse_metadata(text, self.url))

    def _take(self, note: CollectionMetadata) -> None:
        self._note, self.space = note, note.space
        self._options = self._address.options.merge_over(note.options, self.url)
        self._fields = {name: f"c{place}" for place, name in enumerate(note.columns)}

    def schema(self) -> pa.Schema:
        return pa.schema([]) if self._note is None else self._note.schema()

    def _columns(self) -> dict[str, ColumnType]:
        return {} if self._note is None else dict(self._note.columns)

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        if self._note is None:
            self._make(CollectionMetadata(self.space, get_column_types(records.schema), self._options))
        columns = self._columns()
        if any(name not in columns for name in records.column_names):
            raise InputError(f"{self.url} has been made with other columns by another process; open it again.")
        rows = [self._row(row, columns) for row in to_json_rows(records, columns)]
        for name, vector, row in zip(ids, normalize(vectors), rows, strict=True):
            row |= {"id": name, "vector": vector}
        self._ready()
        self._has_written = True
        size = 4 * self.space.dims + 64
        for some in _pieces(rows, size):
            with self._session() as client:
                client.upsert(self._name, some, timeout=self.timeout_s)

    def _row(self, row: dict[str, Any], columns: dict[str, ColumnType]) -> dict[str, Any]:
        kept: dict[str, Any] = {"nulls": {"n": [place for place, name in enumerate(columns) if row[name] is None]}}
        for name, kind in columns.items():
            value = row[name]
            if kind is ColumnType.TEXT and value is not None and len(value.encode()) > _MOST_TEXT_BYTES:
                raise InputError(
                    f"A text of the column {name!r} has more than {_MOST_TEXT_BYTES:,} bytes, Milvus's limit."
                )
            kept[self._fields[name]] = _TYPES[kind][1] if value is None else value
        return kept

    def _make(self, note: CollectionMetadata) -> None:
        """Make the collection; whoever comes second takes the first one's."""
        if len(note.columns) > _MOST_COLUMNS:
            raise InputError(
                f"The records have {len(note.columns)} columns; Milvus takes at most {_MOST_COLUMNS} of ours."
            )
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=note.to_json())
        schema.add_field("id", DataType.VARCHAR, max_length=_MOST_TEXT_BYTES, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=note.space.dims)
        schema.add_field("nulls", DataType.JSON)
        for place, kind in enumerate(note.columns.values()):
            more = {"max_length": _MOST_TEXT_BYTES} if kind is ColumnType.TEXT else {}
            schema.add_field(f"c{place}", _TYPES[kind][0], **more)
        with self._session() as client:
            try:
                client.create_collection(
                    self._name, schema=schema, num_shards=note.options.shards or 1, timeout=self.timeout_s
                )
            except MilvusException:
                if _description(client, self._name, self.timeout_s) is None:
                    raise
            there = parse_metadata(_description(client, self._name, self.timeout_s), self.url)
        self._take(there)
        self.require_space(note.space)

    def _ready(self) -> None:
        """Index and load the collection, as far as that is not done: whoever made it may have been killed before."""
        if self._is_loaded or self._note is None:
            return
        with self._session() as client:
            if not client.list_indexes(self._name):
                index = client.prepare_index_params()
                index.add_index("vector", index_name="vector", metric_type="COSINE", **self._index())
                client.create_index(self._name, index, timeout=self.timeout_s, sync=False)
            client.load_collection(
                self._name, replica_number=self._options.replicas or 1, timeout=max(60.0, self.timeout_s)
            )
        self._is_loaded = True

    def _index(self) -> dict[str, Any]:
        if self._options.exact:
            return {"index_type": "FLAT", "params": {}}
        if self._options.quantization is Quantization.INT8:
            return {"index_type": "IVF_SQ8", "params": {"nlist": _LISTS}}
        return {
            "index_type": "HNSW",
            "params": {"M": self._options.m or _M, "efConstruction": self._options.ef or _EF},
        }

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        if n_rows <= self.max_exact_rows or k > _MOST_HITS:
            return True
        # Rows that were just written lie in growing segments, whose interim index loses rows under a filter.
        return n_rows <= _MOST_READ and self._is_growing()

    def _is_growing(self) -> bool:
        """Whether rows are not yet in a sealed segment, which has the collection's own index.

        The server does not list growing segments. This store's own writes are known; other rows are those that no segment has.
        """
        if self._has_written:
            return True
        return bool(sum(segment.num_rows for segment in self._segments()) < self._count(None))

    def _segments(self) -> list[Any]:
        """The sealed segments that searches use."""
        with self._session() as client:
            handler = client._get_connection()
            segments = handler.get_query_segment_info(self._name, timeout=self.timeout_s)
        return [one for one in segments if one.index_name or one.num_rows < _ROWS_OF_AN_INDEX]

    def _is_settled(self) -> bool:
        """Whether searches use a sealed segment, with its index, for every segment that was written."""
        with self._session() as client:
            handler = client._get_connection()
            written = handler.get_persistent_segment_infos(self._name, timeout=self.timeout_s)
        used: set[int] = {segment.segmentID for segment in self._segments()}
        written_ids = {one.segmentID for one in written if one.state != _DROPPED and one.num_rows}
        return bool(written_ids <= used)

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if self._note is None:
            return [[] for _ in vectors]
        if exact:
            return self._search_by_reading(vectors, k, where)
        self._ready()
        if self._options.exact:
            params: dict[str, Any] = {}
        elif self._options.quantization is Quantization.INT8:
            params = {"nprobe": min(self._options.ef_search or _PROBES, _LISTS)}
        else:
            ef = _EF_SEARCH if where is None else _EF_FILTERED
            params = {"ef": max(self._options.ef_search or ef, 2 * k)}
        with self._session() as client:
            found = client.search(
                self._name, data=list(normalize(vectors)), limit=k, filter=self._expression(where), timeout=self.timeout_s,
                search_params={"metric_type": "COSINE", "params": params}, consistency_level=self._consistency,
                output_fields=["nulls", *self._fields.values()],
            )  # fmt: skip
            lists = [[(row["id"], row["distance"], row["entity"]) for row in hits] for hits in found]
        return [self._hits(rows) for rows in lists]

    def _hits(self, rows: list[tuple[str, float, Any]]) -> list[Hit]:
        records = rows_to_records([self._plain(entity) for _, _, entity in rows], self._columns())
        return [Hit(name, float(score), record) for (name, score, _), record in zip(rows, records, strict=True)]

    def _plain(self, entity: Any) -> dict[str, Any]:
        """A row of the collection as a record: its nulls put back."""
        nulls = entity["nulls"]
        nulls = set((json.loads(nulls) if isinstance(nulls, str | bytes) else nulls)["n"])
        return {
            name: None if place in nulls else entity[field] for place, (name, field) in enumerate(self._fields.items())
        }

    def _expression(self, where: Where | None) -> str:
        return "" if where is None else to_expression(where, self._columns())

    def _query(self, expression: str, fields: list[str], **more: Any) -> list[Any]:
        self._ready()
        with self._session() as client:
            return list(
                client.query(
                    self._name, filter=expression, output_fields=fields, timeout=self.timeout_s,
                    consistency_level=self._consistency, **more,
                )
            )  # fmt: skip

    def _count(self, where: Where | None) -> int:
        if self._note is None:
            return 0
        return int(self._query(self._expression(where), ["count(*)"])[0]["count(*)"])

    def _get(self, ids: list[str]) -> list[Hit]:
        found: list[Hit] = []
        if self._note is not None:
            for start in range(0, len(ids), _IDS_AT_ONCE):
                names = ", ".join(map(literal, ids[start : start + _IDS_AT_ONCE]))
                rows = self._query(f"id in [{names}]", ["id", "nulls", *self._fields.values()])
                found.extend(self._hits([(row["id"], 1.0, row) for row in rows]))
        return found

    def _delete(self, ids: list[str]) -> None:
        if self._note is None:
            return
        self._ready()
        for start in range(0, len(ids), _IDS_AT_ONCE):
            # The client's own list of ids does not quote them.
            names = ", ".join(map(literal, ids[start : start + _IDS_AT_ONCE]))
            with self._session() as client:
                client.delete(self._name, filter=f"id in [{names}]", timeout=self.timeout_s)

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        if self._note is None:
            return
        for rows in self._pages("", ["id", "vector", "nulls", *self._fields.values()], size):
            matrix = np.array([row["vector"] for row in rows], dtype=np.float32)
            yield (
                [row["id"] for row in rows],
                matrix,
                rows_to_table([self._plain(row) for row in rows], self._columns()),
            )

    def _pages(self, expression: str, fields: list[str], size: int) -> Iterator[list[Any]]:
        """Matching rows in the order of their ids."""
        step = max(1, min(size, _MOST_HITS, _BYTES_AT_ONCE // (4 * self.space.dims)))
        after = ""
        # A page is of the smallest ids: the server joins what its segments give in their order.
        while True:
            page = f"id > {literal(after)}" + (f" and ({expression})" if expression else "")
            rows = retry_until(partial(self._query, page, fields, limit=step), self.timeout_s)
            if not rows:
                return
            rows = sorted(rows, key=lambda row: row["id"].encode())
            after = rows[-1]["id"]
            yield rows

    def _matching_vectors(self, where: Where | None) -> Iterator[tuple[list[str], FloatArray]]:
        for rows in self._pages(self._expression(where), ["id", "vector"], _ROWS_AT_ONCE):
            yield [row["id"] for row in rows], np.array([row["vector"] for row in rows], dtype=np.float32)

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        for start in range(0, len(ids) if self._note else 0, _IDS_AT_ONCE):
            names = ", ".join(map(literal, ids[start : start + _IDS_AT_ONCE]))
            rows = self._query(f"id in [{names}]", ["id", "vector"])
            found |= {row["id"]: np.array(row["vector"], dtype=np.float32) for row in rows}
        return found

    def optimize(self) -> None:
        """Seal what is in memory, and wait until it is indexed and searched there."""
        if self._note is not None:
            self._ready()
            with self._session() as client:
                client.flush(self._name, timeout=max(600.0, self.timeout_s))
            until = time.monotonic() + _SEALING_S
            while not self._is_settled() and time.monotonic() < until:
                time.sleep(_POLL_S)
            self._has_written = False

    def drop(self) -> None:
        if self._note is not None:
            # Somebody may have put another collection in its place.
            self._look()
            with self._session() as client:
                client.drop_collection(self._name, timeout=self.timeout_s)
            self._note, self._is_loaded = None, False

    def close(self) -> None:
        self._is_loaded = False
        if self._client is not None and self._process == os.getpid():
            with suppress(MilvusException, grpc.RpcError, ValueError):
                self._client.close()
            self._client = None

    def _details(self) -> dict[str, object]:
        with self._session() as client:
            version = client.get_server_version()
        return {"version": version, "index": self._index()["index_type"], **self._options.to_dict()}


def _pieces(rows: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Rows in batches that the server takes: a message may have 64 MB."""
    some: list[dict[str, Any]] = []
    n_bytes = 0
    for row in rows:
        n = size + sum(len(value.encode()) for value in row.values() if isinstance(value, str))
        if some and (n_bytes + n > _BYTES_AT_ONCE or len(some) == _ROWS_AT_ONCE):
            yield some
            some, n_bytes = [], 0
        some.append(row)
        n_bytes += n
    yield some


def _description(client: Any, name: str, timeout_s: float) -> str | None:
    """A collection's description; None where there is no such collection."""
    try:
        return str(client.describe_collection(name, timeout=timeout_s)["description"])
    except MilvusException as error:
        if error.code == _NOT_FOUND or "can't find collection" in str(error) or "not exist" in str(error):
            return None
        raise


def _consistency(address: Address) -> str:
    wanted = address.parameters.get("consistency", "strong")
    if wanted not in _CONSISTENCIES:
        raise InputError(f"{address.url} has consistency={wanted}; it may be {', '.join(_CONSISTENCIES)}.")
    return _CONSISTENCIES[wanted]


def _connect(address: Address, database: str | None = None) -> Any:
    scheme = "https" if address.tls else "http"
    host = f"[{address.host}]" if ":" in address.host else address.host
    account = {"user": address.user, "password": address.secret} if address.user else {"token": address.secret}
    files = {"server_pem_path": address.parameters["ca"]} if "ca" in address.parameters else {}
    database = address.path.rpartition("/")[0] if database is None else database
    return MilvusClient(
        uri=f"{scheme}://{host}:{address.port(DEFAULT_PORT)}",
        db_name=database,
        timeout=address.timeout_s,
        **account,
        **files,
    )


def open_collection(address: Address, space: Space | None) -> MilvusStore:
    """``milvus://user:password@host:19530/name``, or ``…/database/name``."""
    if address.path.count("/") > 1:
        raise InputError(f"{address.url} names no collection; write it like milvus://host:19530/name.")
    return MilvusStore(address, space)


def list_collections(address: Address) -> list[str]:
    """The URLs of a database's collections."""

    def names() -> list[str]:
        with speaking(address):
            client = _connect(address, address.path)
            try:
                there = client.list_collections(timeout=address.timeout_s)
                return sorted(
                    name
                    for name in there
                    if (_description(client, name, address.timeout_s) or "").startswith('{"umekomi"')
                )
            finally:
                client.close()

    return [address.sibling(name).url for name in retry_until(names, address.open_timeout_s)]
