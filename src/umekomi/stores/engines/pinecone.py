"""Pinecone, through its official client. A collection is an index, whose default namespace holds the rows.

The metadata is a record in the namespace ``umekomi``. The metadata of a row may have 40 kB. The id and the record are
one JSON text in it, which is compressed if it is long, and rejected if it is still too long. Writes become visible some
time after they are acknowledged. :meth:`Store.upsert` and :meth:`Store.delete` wait until they are, up to the timeout.
"""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
from pinecone import Pinecone, RetryConfig
from pinecone.exceptions import PineconeException

from ...data.embedded_file import Space
from ...errors import InputError, StoreError, StoreUnavailableError
from ...vectors.arithmetic import FloatArray, normalize
from ..base import Hit, retry_until
from ..columns import ColumnType, rows_to_records, rows_to_table, to_json_rows
from ..errors import Failure, translate_errors
from ..filters.approximate import Approximation, filter_hits
from ..filters.attributes import (
    NAME,
    RECORD,
    approximate_by_attributes,
    attribute_names,
    hash_to_uuid,
    make_attributes,
    to_attribute,
)
from ..filters.language import And, Compare, In, IsNull, Not, Or, Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address
from .base import FilteredStore, batched

_METADATA_NAMESPACE, _METADATA_ID, _TAG, _VECTOR_FIELD = "umekomi", "note", "umekomi", "_values"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_MAX_METADATA_BYTES, _FIELD_BYTES = 40_000, 60
_WRITE_ROWS, _WRITE_BYTES, _BYTES_PER_NUMBER, _BYTES_PER_FIELD = 1000, 1_800_000, 22, 200
_READ_ROWS, _MAX_HITS_WITH_RECORDS = 100, 100
_CREATION_TIMEOUT_S = 300
_BUSY_STATUSES = (429, 500, 502, 503, 504)
_NUMBER_ULPS = 2
"""Assumed precision of numbers in filters, in units in the last place. The service does not document it."""


class PineconeStore(FilteredStore):
    """An index of Pinecone."""

    engine = "Pinecone"
    max_dims = 20_000
    max_hits = 10_000
    can_compare_all = False

    def __init__(self, address: Address, space: Space | None) -> None:
        self._name = _check_index_name(address)
        self._client = _connect(address)
        self._index: Any = None
        self._close_when_collected(self._client)
        super().__init__(address, space)

    @staticmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        if not isinstance(error, PineconeException):
            return None
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            return Failure.UNAUTHORIZED, str(error)
        return Failure.UNAVAILABLE if status is None or status in _BUSY_STATUSES else Failure.OTHER, str(error)

    def _read_metadata(self) -> CollectionMetadata | None:
        if not self._client.has_index(self._name):
            return None
        self._connect_index()
        # The metadata is written after the index is created. Another process may be about to write it. A tag marks
        # the indexes of Umekomi.
        is_own = self._is_own()
        return self._await_metadata(wait_s=self.timeout_s if is_own else 0.0, is_own=is_own)

    def _is_own(self) -> bool:
        return _is_tagged(self._client.describe_index(self._name))

    def _connect_index(self) -> None:
        self._index = self._client.Index(self._name)
        self._close_when_collected(self._index)

    def _await_metadata(self, *, wait_s: float, is_own: bool) -> CollectionMetadata | None:
        """Read the metadata of the index, and wait until it is visible.

        Returns:
            The metadata, or None for an index of Umekomi without metadata, which a kill may leave.

        Raises:
            CollectionNotFoundError: The index was created by another program.
        """
        deadline = time.monotonic() + wait_s
        while True:
            rows = self._index.fetch(ids=[_METADATA_ID], namespace=_METADATA_NAMESPACE).vectors
            if rows:
                return parse_metadata(rows[_METADATA_ID].metadata["note"], self.url)
            if time.monotonic() > deadline:
                return None if is_own else parse_metadata(None, self.url)
            time.sleep(0.1)

    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        is_new = self._create_index(metadata.space.dims)
        self._connect_index()
        if not is_new:
            stored = self._await_metadata(wait_s=self.timeout_s, is_own=self._is_own())
            if stored is not None:
                return stored
        record = {
            "id": _METADATA_ID,
            "values": _any_vector(metadata.space.dims),
            "metadata": {"note": metadata.to_json()},
        }
        response = self._index.upsert(vectors=[record], namespace=_METADATA_NAMESPACE, show_progress=False)
        self._await_write(_read_position(response), metadata.space.dims, _METADATA_NAMESPACE)
        stored = self._await_metadata(wait_s=self.timeout_s, is_own=True)
        if stored is None:
            raise StoreUnavailableError(f"The metadata of {self.url} is not visible yet. Try again later.")
        return stored

    def _create_index(self, dims: int) -> bool:
        """Create the index, and return whether it is new. Another process may have created it."""
        if self._client.has_index(self._name):
            return False
        parameters = self._address.parameters
        try:
            self._client.indexes.create(
                name=self._name,
                schema={"fields": {_VECTOR_FIELD: {"type": "dense_vector", "dimension": dims, "metric": "cosine"}}},
                deployment={
                    "deployment_type": "managed",
                    "cloud": parameters.get("cloud", "aws"),
                    "region": parameters.get("region", "us-east-1"),
                },
                tags={_TAG: "1"},
                timeout=_CREATION_TIMEOUT_S,
            )
        except PineconeException as error:
            if getattr(error, "status_code", None) != 409:
                raise
            return False
        return True

    def _encode(self, ids: list[str], records: pa.Table, columns: Mapping[str, ColumnType]) -> list[dict[str, Any]]:
        rows = to_json_rows(records, columns)
        return [_compress(make_attributes(name, row, columns), name) for name, row in zip(ids, rows, strict=True)]

    def _write(self, ids: list[str], vectors: FloatArray, rows: list[dict[str, Any]]) -> None:
        batch: list[dict[str, Any]] = []
        n_bytes = position = 0
        for name, vector, row in zip(ids, vectors.tolist(), rows, strict=True):
            size = _BYTES_PER_NUMBER * len(vector) + len(row[RECORD].encode()) + _BYTES_PER_FIELD * len(row)
            if batch and (n_bytes + size > _WRITE_BYTES or len(batch) == _WRITE_ROWS):
                position = self._write_batch(batch)
                batch, n_bytes = [], 0
            batch.append({"id": hash_to_uuid(name).hex, "values": vector, "metadata": row})
            n_bytes += size
        self._await_write(max(position, self._write_batch(batch)), self.space.dims)

    def _write_batch(self, batch: list[dict[str, Any]]) -> int:
        with self._translate_errors():
            return _read_position(self._index.upsert(vectors=batch, show_progress=False))

    def _await_write(self, position: int, dims: int, namespace: str = "") -> None:
        """Wait until searches see the writes up to a position of the service's log."""
        deadline, pause = time.monotonic() + self.timeout_s, 0.02
        while position and time.monotonic() < deadline:
            with self._translate_errors():
                response = self._index.query(top_k=1, vector=_any_vector(dims), namespace=namespace)
            visible = response.response_info.lsn_reconciled if response.response_info else None
            if visible is not None and visible >= position:
                return
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _approximate(self, where: Where) -> Approximation:
        return approximate_by_attributes(where, self._columns, ulps=_NUMBER_ULPS)

    def _to_filter(self, where: Where | None) -> dict[str, Any] | None:
        return None if where is None else to_filter(where, attribute_names(self._columns))

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        # Counting under a filter would read all matching rows, which costs money.
        return limit if where is not None else self._count(None)

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        # The service filters while it searches. Only hits beyond its limit need a scan.
        return k > self.max_hits

    def _nearest(self, queries: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        # A response is limited to 4 MB. The records of many hits are therefore fetched by their ids.
        with_records = k <= _MAX_HITS_WITH_RECORDS
        hits = []
        for query in queries.tolist():
            with self._translate_errors():
                matches = self._index.query(
                    top_k=k, vector=query, filter=self._to_filter(where), include_metadata=with_records
                ).matches
            scores = {match.id: match.score for match in matches}
            rows = matches if with_records else self._fetch(list(scores))
            unsorted = self._to_hits([(row.metadata, scores[row.id]) for row in rows])
            hits.append(sorted(unsorted, key=lambda hit: -hit.score))
        return hits

    def _fetch(self, keys: list[str]) -> list[Any]:
        rows: list[Any] = []
        for batch in batched(keys, _READ_ROWS):
            with self._translate_errors():
                rows += self._index.fetch(ids=list(batch)).vectors.values()
        return rows

    def _to_hits(self, rows: list[tuple[Mapping[str, Any], float]]) -> list[Hit]:
        """Return hits for metadata and scores."""
        decoded = [_decompress(metadata) for metadata, _ in rows]
        records = rows_to_records([row for _, row in decoded], self._columns)
        return [Hit(name, score, record) for (name, _), (_, score), record in zip(decoded, rows, records, strict=True)]

    def _count_matches(self, where: Where | None) -> int:
        with self._translate_errors():
            namespaces = self._index.describe_index_stats().namespaces
        return sum(about.vector_count for name, about in namespaces.items() if name in ("", "__default__"))

    def _count(self, where: Where | None) -> int:
        if where is None:
            return self._count_matches(None)
        # The service does not count filtered rows.
        approximation = self._approximate(where)
        pages = self._scan(approximation.looser)
        return sum(len(hits if approximation.is_exact else filter_hits(hits, where, self._columns)) for hits in pages)

    def _scan(self, where: Where) -> Iterator[list[Hit]]:
        token = None
        while True:
            with self._translate_errors():
                page = self._index.fetch_by_metadata(
                    filter=self._to_filter(where), limit=_READ_ROWS, pagination_token=token
                )
            yield self._to_hits([(row.metadata, 1.0) for row in page.vectors.values()])
            token = page.pagination.next if page.pagination else None
            if not token:
                return

    def _get(self, ids: list[str]) -> list[Hit]:
        return self._to_hits([(row.metadata, 1.0) for row in self._fetch([hash_to_uuid(name).hex for name in ids])])

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        rows = self._fetch([hash_to_uuid(name).hex for name in ids])
        return {_decompress(row.metadata)[0]: normalize(np.array([row.values], np.float32))[0] for row in rows}

    def _delete(self, ids: list[str]) -> None:
        keys = [hash_to_uuid(name).hex for name in ids]
        for batch in batched(keys, _WRITE_ROWS):
            with self._translate_errors():
                self._index.delete(ids=list(batch))
        # The response has no log position. The deletion is visible when the last rows cannot be fetched.
        deadline = time.monotonic() + self.timeout_s
        while self._fetch(keys[-_READ_ROWS:]) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        token: str | None = None
        while True:

            def read_page(start: str | None = token) -> tuple[list[Any], str | None]:
                with self._translate_errors():
                    page = self._index.list_paginated(limit=min(size, _READ_ROWS), pagination_token=start)
                    next_token = page.pagination.next if page.pagination else None
                    return self._fetch([item.id for item in page.vectors]), next_token

            rows, token = self._retry(read_page)
            if rows:
                decoded = [_decompress(row.metadata) for row in rows]
                vectors = normalize(np.array([row.values for row in rows], dtype=np.float32))
                yield [name for name, _ in decoded], vectors, rows_to_table([row for _, row in decoded], self._columns)
            if not token:
                return

    def _details(self) -> dict[str, object]:
        with self._translate_errors():
            deployment = self._client.describe_index(self._name).deployment
        return {
            "version": f"client {version('pinecone')}",
            "index": "managed by the service",
            "deployment": type(deployment).__name__.removesuffix("Deployment").lower(),
        }

    def _drop_collection(self) -> None:
        with self._translate_errors():
            # Another program may have replaced the index.
            if not self._is_own():
                raise StoreError(f"{self.url} no longer belongs to Umekomi, so it is not deleted.")
            self._client.indexes.delete(self._name)
        self._index = None

    def _close(self) -> None:
        for connection in (self._index, self._client):
            if connection is not None:
                connection.close()


def to_filter(where: Where, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a filter of :func:`approximate_by_attributes` as Pinecone's filter.

    Args:
        where: The filter.
        names: Attribute of each column.

    >>> to_filter(Compare("a", "!=", 1), {"a": "c0"})
    {'$and': [{'c0': {'$exists': True}}, {'c0': {'$ne': 1}}]}
    """
    match where:
        case And(parts):
            return {"$and": [to_filter(part, names) for part in parts]}
        case Or(parts):
            return {"$or": [to_filter(part, names) for part in parts]}
        case IsNull(column):
            return {names[column]: {"$exists": False}}
        case Not(IsNull(column)):
            return {names[column]: {"$exists": True}}
        case In(column, values):
            return {names[column]: {"$in": [to_attribute(value) for value in values]}}
        case Not(In(column, values)):
            unlike = {names[column]: {"$nin": [to_attribute(value) for value in values]}}
            return {"$and": [{names[column]: {"$exists": True}}, unlike]}
        case Compare(column, "!=", value):
            return {"$and": [{names[column]: {"$exists": True}}, {names[column]: {"$ne": to_attribute(value)}}]}
        case Compare(column, operator, value):
            word = {"=": "$eq", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}[operator]
            return {names[column]: {word: to_attribute(value)}}
    raise AssertionError(where)


def _compress(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the metadata of a row, with its id and record as one text.

    Raises:
        InputError: The metadata is too long for the service.
    """
    del data[NAME]
    text = f"[{json.dumps(name, ensure_ascii=False)},{data[RECORD]}]"
    limit = _MAX_METADATA_BYTES - _FIELD_BYTES * len(data)
    if len(text.encode()) > limit:
        text = "z" + base64.b85encode(zlib.compress(text.encode(), 9)).decode()
    if len(text.encode()) > limit:
        raise InputError(
            f"The record of row {name[:60]!r} has {len(data[RECORD].encode()):,} bytes; the limit of Pinecone is 40,000 with "
            "the id. Leave long columns out, or use another store."
        )
    return {**data, RECORD: text}


def _decompress(metadata: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the id and the JSON row of metadata that :func:`_compress` returned."""
    text = metadata[RECORD]
    if text[0] == "z":
        text = zlib.decompress(base64.b85decode(text[1:])).decode()
    name, row = json.loads(text)
    return name, row


def _any_vector(dims: int) -> list[float]:
    return [1.0, *[0.0] * (dims - 1)]


def _read_position(response: Any) -> int:
    """Return the log position of a write, or 0 if the service does not return it."""
    return (response.response_info.lsn_committed if response.response_info else None) or 0


def _is_tagged(index: Any) -> bool:
    return (index.tags or {}).get(_TAG) == "1"


def _check_index_name(address: Address) -> str:
    name = address.location.strip("/")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{address.url} names an index {name!r}. Use at most 45 lowercase letters, digits and hyphens, as in "
            "pinecone://reviews."
        )
    return name


def _connect(address: Address) -> Pinecone:
    if not address.secret:
        raise InputError(f"{address.url} needs a key. Set it in the environment variable {address.environment}.")
    # The client does not retry, because `retry_until` does it for all engines.
    return Pinecone(
        api_key=address.secret,
        host=address.parameters.get("host"),
        timeout=address.timeout_s,
        retry_config=RetryConfig(max_retries=0),
    )


def open_collection(address: Address, space: Space | None) -> PineconeStore:
    """Open ``pinecone://index``."""
    return PineconeStore(address, space)


def list_collections(address: Address) -> list[str]:
    """Return the URLs of the account's indexes that Umekomi created."""
    with closing(_connect(address)) as client:

        def list_names() -> list[str]:
            with translate_errors(address, PineconeStore._classify_error):
                return sorted(index.name for index in client.list_indexes() if _is_tagged(index))

        return [replace(address, location=name).url for name in retry_until(list_names, address.open_timeout_s)]
