"""Milvus. The row id is the primary key, each record column is a typed field, and the description holds the metadata.

Not every version of Milvus stores nulls. A null is stored as an empty value, and the field ``nulls`` lists the numbers
of the columns that are null.

By default, reads are consistent ("Strong"): they see all rows whose write was acknowledged to any client. After a write
this costs up to one tick of the server, 0.2 s. ``?consistency=bounded``, ``session`` or ``eventually`` is faster, and
may miss the newest rows of other writers.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
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
from ...vectors.sparse import SparseVectors
from ..base import Hit
from ..columns import ColumnType, rows_to_records, rows_to_table, to_json_rows
from ..errors import Failure
from ..filters.language import Where
from ..metadata import CollectionMetadata, is_metadata, parse_metadata
from ..url import Address, Quantization
from . import milvus_sparse
from .base import CollectionStore, batched, list_urls
from .milvus_filters import to_expression, to_literal

_DEFAULT_M, _DEFAULT_EF, _DEFAULT_EF_SEARCH, _DEFAULT_LISTS, _DEFAULT_PROBES = 16, 200, 200, 1024, 96
_FILTERED_EF_SEARCH = 2000
_MAX_COLUMNS, _MAX_HITS, _MAX_TEXT_BYTES = 60, 16_384, 65_535
_BATCH_ROWS, _BATCH_BYTES, _BATCH_IDS = 4096, 1 << 24, 256
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELD_TYPES: dict[ColumnType, tuple[Any, Any]] = {
    ColumnType.TEXT: (DataType.VARCHAR, ""),
    ColumnType.INTEGER: (DataType.INT64, 0),
    ColumnType.FLOAT: (DataType.DOUBLE, 0.0),
    ColumnType.BOOLEAN: (DataType.BOOL, False),
    ColumnType.TIME: (DataType.INT64, 0),
}
"""The field type of each column type, and the value that stands for null."""

_CONSISTENCY_LEVELS = {"strong": "Strong", "session": "Session", "bounded": "Bounded", "eventually": "Eventually"}
_SEGMENT_DROPPED = 6  # SegmentState.Dropped
_MIN_INDEXED_ROWS = 1024
"""The server builds no index for smaller segments. It compares every row of them."""

_MAX_SCANNED_ROWS = 20_000
"""Rows that a filtered search reads and compares in this process while they are not indexed."""

_SEALING_TIMEOUT_S, _POLL_S = 600.0, 0.1
_MIN_LOAD_TIMEOUT_S, _MIN_FLUSH_TIMEOUT_S = 60.0, 600.0
_NO_CONNECTION, _NOT_FOUND = 2, 100
_UNAVAILABLE_WORDS = (
    "fail connecting", "unavailable", "deadline", "timeout", "not ready", "not healthy", "node not found", "no available",
    "closed channel",
)  # fmt: skip

# The client logs every failed call with its arguments. Its exceptions contain the same information.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class MilvusStore(CollectionStore):
    """A collection of Milvus."""

    engine = "Milvus"
    max_exact_rows = 1_000
    has_idf = False
    max_dims = 32_768

    def __init__(self, address: Address, space: Space | None) -> None:
        self._name = address.name
        if not _NAME.fullmatch(self._name):
            raise InputError(
                f"{address.url}: collection names of Milvus consist of letters, digits and _, and do not begin with a digit."
            )
        self._consistency = _parse_consistency(address)
        self._client: Any = None
        self._is_loaded = False
        self._has_written = False
        super().__init__(address, space)

    def _check_new(self, space: Space) -> None:
        super()._check_new(space)
        if space.sparse is not None:
            with self._session() as client:
                if not milvus_sparse.supports_sparse(client.get_server_version()):
                    self.space = replace(space, sparse=None)
        options = self._options
        if options.quantization is Quantization.INT8 and (options.m or options.ef or options.exact):
            raise InputError(
                f"{self.url}: quantization=int8 uses the index IVF_SQ8, which does not support m, ef and exact."
            )

    @staticmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        message = getattr(error, "message", "") or str(error)
        if isinstance(error, (MilvusException, grpc.RpcError)):
            if "auth check failure" in message or "unauthenticated" in message.lower():
                return Failure.UNAUTHORIZED, message
            return Failure.UNAVAILABLE if _is_unavailable(error) else Failure.OTHER, message
        return (Failure.OTHER, message) if isinstance(error, (ValueError, OSError)) else None

    @contextmanager
    def _session(self) -> Iterator[Any]:
        with self._translate_errors():
            if self._client is None:
                self._client = _connect(self._address, self._address.database)
            try:
                yield self._client
            except (MilvusException, grpc.RpcError) as error:
                if _is_unavailable(error):
                    # After a restart of the server, the collection may have to be loaded again.
                    self.close()
                raise

    def _read_metadata(self) -> CollectionMetadata | None:
        with self._session() as client:
            text = _read_description(client, self._name, self.timeout_s)
        return None if text is None else parse_metadata(text, self.url)

    def _set_metadata(self, metadata: CollectionMetadata) -> None:
        super()._set_metadata(metadata)
        self._fields = _name_fields(metadata.columns)

    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        if len(metadata.columns) > _MAX_COLUMNS:
            raise InputError(
                f"The records have {len(metadata.columns)} columns; the limit for Milvus is {_MAX_COLUMNS}."
            )
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=metadata.to_json())
        schema.add_field("id", DataType.VARCHAR, max_length=_MAX_TEXT_BYTES, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=metadata.space.dims)
        if metadata.space.sparse is not None:
            milvus_sparse.add_field(schema)
        schema.add_field("nulls", DataType.JSON)
        for column, field in _name_fields(metadata.columns).items():
            column_type = metadata.columns[column]
            limit = {"max_length": _MAX_TEXT_BYTES} if column_type is ColumnType.TEXT else {}
            schema.add_field(field, _FIELD_TYPES[column_type][0], **limit)
        with self._session() as client:
            try:
                client.create_collection(
                    self._name, schema=schema, num_shards=metadata.options.shards or 1, timeout=self.timeout_s
                )
            except MilvusException:
                if _read_description(client, self._name, self.timeout_s) is None:
                    raise
        return self._read_metadata()

    def _encode(self, ids: list[str], records: pa.Table, columns: Mapping[str, ColumnType]) -> list[dict[str, Any]]:
        fields = _name_fields(columns)
        encoded = []
        for name, row in zip(ids, to_json_rows(records, columns), strict=True):
            nulls = [index for index, column in enumerate(columns) if row[column] is None]
            data: dict[str, Any] = {"id": name, "nulls": {"n": nulls}}
            for column, value in row.items():
                if isinstance(value, str) and len(value.encode()) > _MAX_TEXT_BYTES:
                    raise InputError(
                        f"A text of the column {column!r} is longer than {_MAX_TEXT_BYTES:,} bytes, the limit of Milvus."
                    )
                data[fields[column]] = _FIELD_TYPES[columns[column]][1] if value is None else value
            encoded.append(data)
        return encoded

    def _add_sparse(self, rows: list[dict[str, Any]], sparse: SparseVectors) -> list[dict[str, Any]]:
        values = milvus_sparse.to_rows(sparse)
        return [{**row, milvus_sparse.FIELD: value} for row, value in zip(rows, values, strict=True)]

    def _write(self, ids: list[str], vectors: FloatArray, rows: list[dict[str, Any]]) -> None:
        self._load()
        self._has_written = True
        data = [{**row, "vector": vector} for row, vector in zip(rows, vectors, strict=True)]
        for batch in _split_by_bytes(data, 4 * self.space.dims + 64):
            with self._session() as client:
                client.upsert(self._name, batch, timeout=self.timeout_s)

    def _load(self) -> None:
        """Index and load the collection. The process that created it may have been killed before it did so."""
        if self._is_loaded:
            return
        with self._session() as client:
            if not client.list_indexes(self._name):
                index = client.prepare_index_params()
                index.add_index("vector", index_name="vector", metric_type="COSINE", **self._index_params())
                if self.space.sparse is not None:
                    milvus_sparse.add_index(index)
                client.create_index(self._name, index, timeout=self.timeout_s, sync=False)
            client.load_collection(
                self._name,
                replica_number=self._options.replicas or 1,
                timeout=max(_MIN_LOAD_TIMEOUT_S, self.timeout_s),
            )
        self._is_loaded = True

    def _index_params(self) -> dict[str, Any]:
        if self._options.exact:
            return {"index_type": "FLAT", "params": {}}
        if self._options.quantization is Quantization.INT8:
            return {"index_type": "IVF_SQ8", "params": {"nlist": _DEFAULT_LISTS}}
        params = {"M": self._options.m or _DEFAULT_M, "efConstruction": self._options.ef or _DEFAULT_EF}
        return {"index_type": "HNSW", "params": params}

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        if n_rows <= self.max_exact_rows or k > _MAX_HITS:
            return True
        # New rows are in growing segments, whose interim index loses rows under a filter.
        return n_rows <= _MAX_SCANNED_ROWS and self._has_growing_rows()

    def _has_growing_rows(self) -> bool:
        """Return whether rows are not yet in a sealed segment, which has the collection's own index.

        The server does not list growing segments. Besides the rows that this store wrote, growing rows are those that
        are counted but not in any sealed segment.
        """
        if self._has_written:
            return True
        return bool(sum(segment.num_rows for segment in self._sealed_segments()) < self._count(None))

    def _sealed_segments(self) -> list[Any]:
        """Return the sealed segments that searches use."""
        with self._session() as client:
            segments = client._get_connection().get_query_segment_info(self._name, timeout=self.timeout_s)
        # A flat index is never loaded: its segments are always scanned.
        return [
            segment
            for segment in segments
            if segment.index_name or self._options.exact or segment.num_rows < _MIN_INDEXED_ROWS
        ]

    def _is_sealed(self) -> bool:
        """Return whether searches use a sealed segment, with its index, for every segment that was written."""
        with self._session() as client:
            segments = client._get_connection().get_persistent_segment_infos(self._name, timeout=self.timeout_s)
        written: set[int] = {
            segment.segmentID for segment in segments if segment.state != _SEGMENT_DROPPED and segment.num_rows
        }
        return written <= {segment.segmentID for segment in self._sealed_segments()}

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if exact:
            return self._search_by_scanning(vectors, k, where)
        self._load()
        if self._options.exact:
            params: dict[str, Any] = {}
        elif self._options.quantization is Quantization.INT8:
            params = {"nprobe": min(self._options.ef_search or _DEFAULT_PROBES, _DEFAULT_LISTS)}
        else:
            ef = _DEFAULT_EF_SEARCH if where is None else _FILTERED_EF_SEARCH
            params = {"ef": max(self._options.ef_search or ef, 2 * k)}
        search_params = {"metric_type": "COSINE", "params": params}
        return self._search_field("vector", list(normalize(vectors)), k, where, search_params)

    def _search_sparse(self, sparse: SparseVectors, k: int, where: Where | None) -> list[list[Hit]]:
        self._load()
        k = min(k, _MAX_HITS)
        queries = milvus_sparse.to_queries(sparse)
        hits = self._search_field(milvus_sparse.FIELD, queries, k, where, {"metric_type": "IP", "params": {}})
        return [[hit for hit in group if hit.score > 0] for group in hits]

    def _search_field(
        self, field: str, queries: list[Any], k: int, where: Where | None, search_params: dict[str, Any]
    ) -> list[list[Hit]]:
        with self._session() as client:
            responses = client.search(
                self._name,
                data=queries,
                anns_field=field,
                limit=k,
                filter=self._to_expression(where),
                timeout=self.timeout_s,
                search_params=search_params,
                consistency_level=self._consistency,
                output_fields=["nulls", *self._fields.values()],
            )
            rows = [[(row["id"], row["distance"], row["entity"]) for row in response] for response in responses]
        return [self._to_hits(group) for group in rows]

    def _to_hits(self, rows: Sequence[tuple[str, float, Any]]) -> list[Hit]:
        """Return hits for ids, scores and entities."""
        records = rows_to_records([self._decode(entity) for _, _, entity in rows], self._columns)
        return [Hit(name, float(score), record) for (name, score, _), record in zip(rows, records, strict=True)]

    def _decode(self, entity: Any) -> dict[str, Any]:
        """Return the row of an entity, with its nulls."""
        nulls = entity["nulls"]
        nulls = set((json.loads(nulls) if isinstance(nulls, str | bytes) else nulls)["n"])
        return {
            column: None if index in nulls else entity[field]
            for index, (column, field) in enumerate(self._fields.items())
        }

    def _to_expression(self, where: Where | None) -> str:
        return "" if where is None else to_expression(where, self._fields)

    def _query(self, expression: str, fields: list[str], limit: int | None = None) -> list[Any]:
        self._load()
        limits = {} if limit is None else {"limit": limit}
        with self._session() as client:
            return list(
                client.query(
                    self._name,
                    filter=expression,
                    output_fields=fields,
                    timeout=self.timeout_s,
                    consistency_level=self._consistency,
                    **limits,
                )
            )

    def _count(self, where: Where | None) -> int:
        return int(self._query(self._to_expression(where), ["count(*)"])[0]["count(*)"])

    def _fetch(self, ids: list[str], fields: list[str]) -> Iterator[Any]:
        for batch in batched(ids, _BATCH_IDS):
            yield from self._query(_in_ids(batch), ["id", *fields])

    def _get(self, ids: list[str]) -> list[Hit]:
        rows = self._fetch(ids, ["nulls", *self._fields.values()])
        return self._to_hits([(row["id"], 1.0, row) for row in rows])

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        return {row["id"]: np.array(row["vector"], dtype=np.float32) for row in self._fetch(ids, ["vector"])}

    def _delete(self, ids: list[str]) -> None:
        self._load()
        for batch in batched(ids, _BATCH_IDS):
            with self._session() as client:
                # The client does not quote the ids of its own parameter for ids.
                client.delete(self._name, filter=_in_ids(batch), timeout=self.timeout_s)

    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        for rows in self._read_pages("", ["id", "vector", "nulls", *self._fields.values()], size):
            vectors = np.array([row["vector"] for row in rows], dtype=np.float32)
            yield [row["id"] for row in rows], vectors, rows_to_table(list(map(self._decode, rows)), self._columns)

    def _iterate_matches(self, where: Where | None) -> Iterator[tuple[list[str], FloatArray]]:
        for rows in self._read_pages(self._to_expression(where), ["id", "vector"], _BATCH_ROWS):
            yield [row["id"] for row in rows], np.array([row["vector"] for row in rows], dtype=np.float32)

    def _read_pages(self, expression: str, fields: list[str], size: int) -> Iterator[list[Any]]:
        """Yield pages of matching rows in the order of their ids."""
        size = max(1, min(size, _MAX_HITS, _BATCH_BYTES // (4 * self.space.dims)))
        last_id = ""
        # With a limit, the server returns the rows with the smallest ids, but not in order.
        while True:
            page = f"id > {to_literal(last_id)}" + (f" and ({expression})" if expression else "")
            rows = self._retry(partial(self._query, page, fields, limit=size))
            if not rows:
                return
            rows = sorted(rows, key=lambda row: row["id"].encode())
            last_id = rows[-1]["id"]
            yield rows

    def _optimize(self) -> None:
        """Seal the growing segments, and wait until searches use their indexes."""
        self._load()
        with self._session() as client:
            client.flush(self._name, timeout=max(_MIN_FLUSH_TIMEOUT_S, self.timeout_s))
        deadline = time.monotonic() + _SEALING_TIMEOUT_S
        while not self._is_sealed() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self._has_written = False

    def _drop_collection(self) -> None:
        with self._session() as client:
            client.drop_collection(self._name, timeout=self.timeout_s)
        self._is_loaded = False

    def _close(self) -> None:
        self._is_loaded = False
        if self._client is not None:
            with suppress(MilvusException, grpc.RpcError, ValueError):
                self._client.close()
            self._client = None

    def _details(self) -> dict[str, object]:
        with self._session() as client:
            version = client.get_server_version()
        return {"version": version, "index": self._index_params()["index_type"], **self._options.to_dict()}


def _name_fields(columns: Mapping[str, ColumnType]) -> dict[str, str]:
    """Return the name of each column's field."""
    return {column: f"c{index}" for index, column in enumerate(columns)}


def _in_ids(ids: Sequence[str]) -> str:
    return f"id in [{', '.join(map(to_literal, ids))}]"


def _split_by_bytes(rows: list[dict[str, Any]], row_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Yield batches below the server's limit of 64 MB. ``row_bytes`` is the size of a row without its text."""
    batch: list[dict[str, Any]] = []
    n_bytes = 0
    for row in rows:
        size = row_bytes + sum(len(value.encode()) for value in row.values() if isinstance(value, str))
        if batch and (n_bytes + size > _BATCH_BYTES or len(batch) == _BATCH_ROWS):
            yield batch
            batch, n_bytes = [], 0
        batch.append(row)
        n_bytes += size
    yield batch


def _read_description(client: Any, name: str, timeout_s: float) -> str | None:
    """Return the description of a collection, or None if the collection does not exist."""
    try:
        return str(client.describe_collection(name, timeout=timeout_s)["description"])
    except MilvusException as error:
        if error.code == _NOT_FOUND or "can't find collection" in str(error) or "not exist" in str(error):
            return None
        raise


def _is_unavailable(error: Exception) -> bool:
    """Return whether an error means that the server does not respond now."""
    if isinstance(error, grpc.RpcError):
        code = error.code() if hasattr(error, "code") else None
        return code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    message = str(error).lower()
    return getattr(error, "code", 0) == _NO_CONNECTION or any(word in message for word in _UNAVAILABLE_WORDS)


def _parse_consistency(address: Address) -> str:
    level = address.parameters.get("consistency", "strong")
    if level not in _CONSISTENCY_LEVELS:
        raise InputError(f"{address.url} has consistency={level}. Use one of {', '.join(_CONSISTENCY_LEVELS)}.")
    return _CONSISTENCY_LEVELS[level]


def _connect(address: Address, database: str) -> Any:
    scheme = "https" if address.tls else "http"
    host = f"[{address.host}]" if ":" in address.host else address.host
    account = {"user": address.user, "password": address.secret} if address.user else {"token": address.secret}
    files = {"server_pem_path": address.parameters["ca"]} if "ca" in address.parameters else {}
    return MilvusClient(
        uri=f"{scheme}://{host}:{address.port}",
        db_name=database,
        timeout=address.timeout_s,
        **account,
        **files,
    )


def open_collection(address: Address, space: Space | None) -> MilvusStore:
    """Open ``milvus://user:password@host:19530/name``, or ``…/database/name``."""
    return MilvusStore(address, space)


def list_collections(address: Address) -> list[str]:
    """Return the URLs of a database's collections that Umekomi created."""

    def list_names() -> list[str]:
        with closing(_connect(address, address.path)) as client:
            names = client.list_collections(timeout=address.timeout_s)
            return [name for name in names if is_metadata(_read_description(client, name, address.timeout_s))]

    return list_urls(address, MilvusStore._classify_error, list_names)
