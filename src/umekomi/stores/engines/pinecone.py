"""Pinecone, by its official client. A collection is an index of its own; rows are in its default namespace.

The note is a record of the namespace ``umekomi``. A row's metadata may have 40 kB: its id and record are one JSON text in it,
pressed where it is long, and refused with the limit in the sentence where that does not help. Writes become visible some time
after they are acknowledged: :meth:`upsert` and :meth:`delete` wait for it, up to the timeout, by the log positions that the
service tells.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any
from weakref import finalize

import numpy as np
import pyarrow as pa
from pinecone import Pinecone, RetryConfig
from pinecone.exceptions import PineconeException

from ...data.embedded_file import Space
from ...errors import InputError, StoreError, StoreUnavailableError
from ...vectors.arithmetic import FloatArray, normalize
from ..base import Hit, Store, collection_not_found, retry_until
from ..columns import ColumnType, get_column_types, rows_to_records, rows_to_table, to_json_rows
from ..errors import summarize_error, unavailable_error
from ..filters.approximate import filter_hits, search_candidates
from ..filters.attributes import (
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

_NOTES, _NOTE_ID, _TAG, _VALUES = "umekomi", "note", "umekomi", "_values"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_MAX_DIMS, _MOST_HITS, _MOST_METADATA = 20_000, 10_000, 40_000
_ROWS_OF_A_WRITE, _BYTES_OF_A_WRITE, _BYTES_OF_A_NUMBER = 1000, 1_800_000, 22
_ROWS_OF_A_READ, _HITS_WITH_RECORDS = 100, 100
_MAKING_S = 300
_BUSY = (429, 500, 502, 503, 504)
_STEPS = 2
"""How exactly the service keeps numbers is not said; the record has them to the last place."""


class PineconeStore(Store):
    """An index of Pinecone.

    Args:
        address: its URL.
        client: the service.
        space: the space of a new collection; None opens one that is there.
    """

    engine = "Pinecone"

    def __init__(self, address: Address, client: Pinecone, space: Space | None) -> None:
        self.url, self.timeout_s = address.url, address.timeout_s
        self._address, self._client, self._name = address, client, _index_name(address)
        self._note: CollectionMetadata | None = None
        self._index: Any = None
        self._connections: list[Any] = [client]
        finalize(self, _close, self._connections, os.getpid())
        retry_until(self._look, address.open_timeout_s)
        if self._note is None and space is None:
            raise collection_not_found(self.url)
        if self._note is None and space is not None:
            self.space = space
            if space.dims > _MAX_DIMS:
                raise InputError(f"The vectors have {space.dims:,} dimensions; Pinecone takes at most {_MAX_DIMS:,}.")
        if space is not None:
            self.require_space(space)

    def _look(self) -> None:
        with self._speaking():
            if not self._client.has_index(self._name):
                return
            self._connect_index()
            # The note is written after the index is made: another process may be doing so. A tag says that the index is ours.
            is_ours = self._is_ours()
            note = _note(self._index, self.url, wait_s=self._address.timeout_s if is_ours else 0.0, is_ours=is_ours)
        if note is not None:
            self._note, self.space = note, note.space

    def _is_ours(self) -> bool:
        return (self._client.describe_index(self._name).tags or {}).get(_TAG) == "1"

    def _connect_index(self) -> None:
        self._index = self._client.Index(self._name)
        self._connections.append(self._index)

    @property
    def _columns(self) -> Mapping[str, ColumnType]:
        return {} if self._note is None else self._note.columns

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        self._check_process()
        with _speaking(self._address):
            yield

    def schema(self) -> pa.Schema:
        return CollectionMetadata(self.space).schema() if self._note is None else self._note.schema()

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        columns = get_column_types(records.schema) if self._note is None else self._columns
        rows = [
            _pressed(make_attributes(name, row, columns), name)
            for name, row in zip(ids, to_json_rows(records, columns), strict=True)
        ]
        if self._note is None:
            self._make(CollectionMetadata(self.space, columns))
        if any(name not in self._columns for name in records.column_names):
            raise InputError(f"{self.url} has been made with other columns by another process; open it again.")
        piece: list[dict[str, Any]] = []
        size, committed = 0, 0
        for name, vector, row in zip(ids, normalize(vectors).tolist(), rows, strict=True):
            more = _BYTES_OF_A_NUMBER * len(vector) + len(row[RECORD].encode()) + 200 * len(row)
            if piece and (size + more > _BYTES_OF_A_WRITE or len(piece) == _ROWS_OF_A_WRITE):
                committed = self._write(piece)
                piece, size = [], 0
            piece.append({"id": hash_to_uuid(name).hex, "values": vector, "metadata": row})
            size += more
        self._await(max(committed, self._write(piece)))

    def _write(self, piece: list[dict[str, Any]]) -> int:
        with self._speaking():
            return _committed(self._index.upsert(vectors=piece, show_progress=False))

    def _await(self, position: int, namespace: str = "") -> None:
        """Wait until searches see what was written up to a position of the log."""
        until, pause = time.monotonic() + self.timeout_s, 0.02
        while position and time.monotonic() < until:
            with self._speaking():
                seen = self._index.query(top_k=1, vector=_any_vector(self.space.dims), namespace=namespace)
            reached = seen.response_info.lsn_reconciled if seen.response_info else None
            if reached is not None and reached >= position:
                return
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _make(self, note: CollectionMetadata) -> None:
        """Make the index; whoever comes second waits for the first one's note."""
        place = self._address.parameters
        with self._speaking():
            is_mine = not self._client.has_index(self._name)
            if is_mine:
                try:
                    self._client.indexes.create(
                        name=self._name,
                        schema={
                            "fields": {
                                _VALUES: {"type": "dense_vector", "dimension": note.space.dims, "metric": "cosine"}
                            }
                        },
                        deployment={
                            "deployment_type": "managed",
                            "cloud": place.get("cloud", "aws"),
                            "region": place.get("region", "us-east-1"),
                        },
                        tags={_TAG: "1"},
                        timeout=_MAKING_S,
                    )
                except PineconeException as error:
                    if getattr(error, "status_code", None) != 409:
                        raise
                    is_mine = False
            self._connect_index()
            there = None if is_mine else _note(self._index, self.url, wait_s=self.timeout_s, is_ours=self._is_ours())
            if there is None:
                record = {"id": _NOTE_ID, "values": _any_vector(note.space.dims), "metadata": {"note": note.to_json()}}
                position = _committed(self._index.upsert(vectors=[record], namespace=_NOTES, show_progress=False))
        if there is None:
            self._await(position, _NOTES)
            with self._speaking():
                there = _note(self._index, self.url, wait_s=self.timeout_s, is_ours=False)
        if there is None:
            raise StoreUnavailableError(f"{self.url} does not show its note yet; try again later.")
        self._note, self.space = there, there.space
        self.require_space(note.space)

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        # Counting under a filter would read the matching rows, which the service bills.
        return limit if where is not None else self._count(None)

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        # The service applies a filter while it searches. What it does not give is read.
        return k > _MOST_HITS

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if self._note is None:
            return [[] for _ in vectors]
        if exact:
            return self._search_by_reading(vectors, k, where)
        loose = None if where is None else approximate_by_attributes(where, self._columns, ulps=_STEPS)
        wanted = None if loose is None else filter_of(loose.looser, attribute_names(self._columns))
        found = []
        for vector in normalize(vectors).tolist():

            def nearest(n: int, vector: list[float] = vector) -> list[Hit]:
                return self._nearest(vector, n, wanted)

            if loose is None or where is None or loose.is_exact:
                found.append(nearest(k))
            else:
                found.append(search_candidates(nearest, k, where, self._columns, max_candidates=_MOST_HITS))
        return found

    def _nearest(self, vector: list[float], k: int, wanted: dict[str, Any] | None) -> list[Hit]:
        # Of an answer the service gives 4 MB at most: many records are fetched by their ids.
        together = k <= _HITS_WITH_RECORDS
        with self._speaking():
            matches = self._index.query(top_k=k, vector=vector, filter=wanted, include_metadata=together).matches
        if together:
            return self._hits([(match.metadata, match.score) for match in matches])
        scores = {match.id: match.score for match in matches}
        rows = self._fetched(list(scores))
        return sorted(self._hits([(row.metadata, scores[row.id]) for row in rows]), key=lambda hit: -hit.score)

    def _fetched(self, keys: list[str]) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(keys), _ROWS_OF_A_READ):
            with self._speaking():
                rows.extend(self._index.fetch(ids=keys[start : start + _ROWS_OF_A_READ]).vectors.values())
        return rows

    def _hits(self, rows: list[tuple[Mapping[str, Any], float]]) -> list[Hit]:
        whole = [_unpressed(metadata) for metadata, _ in rows]
        records = rows_to_records([row for _, row in whole], self._columns)
        return [Hit(name, score, record) for (name, _), (_, score), record in zip(whole, rows, records, strict=True)]

    def _count(self, where: Where | None) -> int:
        if self._note is None:
            return 0
        if where is None:
            with self._speaking():
                namespaces = self._index.describe_index_stats().namespaces
            return sum(about.vector_count for name, about in namespaces.items() if name in ("", "__default__"))
        # The service counts no filtered rows: they are read, by the looser filter.
        loose = approximate_by_attributes(where, self._columns, ulps=_STEPS)
        wanted, token, count = filter_of(loose.looser, attribute_names(self._columns)), None, 0
        while True:
            with self._speaking():
                page = self._index.fetch_by_metadata(filter=wanted, limit=_ROWS_OF_A_READ, pagination_token=token)
            rows = list(page.vectors.values())
            count += len(rows) if loose.is_exact else len(
                filter_hits(self._hits([(row.metadata, 1.0) for row in rows]), where, self._columns)
            )  # fmt: skip
            token = page.pagination.next if page.pagination else None
            if not token:
                return count

    def _get(self, ids: list[str]) -> list[Hit]:
        if self._note is None:
            return []
        rows = self._fetched([hash_to_uuid(name).hex for name in ids])
        return self._hits([(row.metadata, 1.0) for row in rows])

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        if self._note is None:
            return {}
        rows = self._fetched([hash_to_uuid(name).hex for name in ids])
        return {_unpressed(row.metadata)[0]: normalize(np.array([row.values], np.float32))[0] for row in rows}

    def _delete(self, ids: list[str]) -> None:
        if self._note is None:
            return
        for start in range(0, len(ids), _ROWS_OF_A_WRITE):
            gone = [hash_to_uuid(name).hex for name in ids[start : start + _ROWS_OF_A_WRITE]]
            with self._speaking():
                self._index.delete(ids=gone)
        # A delete answers with no position: it has gone through when none of the last rows is found.
        until = time.monotonic() + self.timeout_s
        while self._fetched(gone[-_ROWS_OF_A_READ:]) and time.monotonic() < until:
            time.sleep(0.1)

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        token: str | None = None
        size = min(size, _ROWS_OF_A_READ)
        while self._note is not None:

            def page(start: str | None = token) -> tuple[list[Any], str | None]:
                with self._speaking():
                    listed = self._index.list_paginated(limit=size, pagination_token=start)
                    after = listed.pagination.next if listed.pagination else None
                    return self._fetched([item.id for item in listed.vectors]), after

            rows, token = retry_until(page, self.timeout_s)
            if rows:
                whole = [_unpressed(row.metadata) for row in rows]
                matrix = normalize(np.array([row.values for row in rows], dtype=np.float32))
                yield [name for name, _ in whole], matrix, rows_to_table([row for _, row in whole], self._columns)
            if not token:
                return

    def _details(self) -> dict[str, object]:
        with self._speaking():
            deployment = self._client.describe_index(self._name).deployment
        return {
            "version": f"client {version('pinecone')}",
            "index": "the service's own",
            "deployment": type(deployment).__name__.removesuffix("Deployment").lower(),
        }

    def drop(self) -> None:
        if self._note is not None:
            with self._speaking():
                # Somebody may have put another index in its place.
                if not self._is_ours():
                    raise StoreError(f"{self.url} is no longer Umekomi's, so it is not deleted.")
                self._client.indexes.delete(self._name)
            self._note = self._index = None

    def close(self) -> None:
        _close(self._connections, self._process)


def _close(connections: list[Any], process: int) -> None:
    # A forked process shares the parent's connections: closing them there would end the parent's.
    for connection in connections if process == os.getpid() else []:
        connection.close()


def filter_of(where: Where, names: Mapping[str, str]) -> dict[str, Any]:
    """A loosened filter as Pinecone's.

    >>> filter_of(Compare("a", "!=", 1), {"a": "c0"})
    {'$and': [{'c0': {'$exists': True}}, {'c0': {'$ne': 1}}]}
    """
    match where:
        case And(parts):
            return {"$and": [filter_of(part, names) for part in parts]}
        case Or(parts):
            return {"$or": [filter_of(part, names) for part in parts]}
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


def _pressed(data: dict[str, Any], name: str) -> dict[str, Any]:
    """A row's metadata within the service's limit: name and record as one text."""
    del data["name"]
    text = f"[{json.dumps(name, ensure_ascii=False)},{data[RECORD]}]"
    rest = 60 * len(data)
    if len(text.encode()) + rest > _MOST_METADATA:
        text = "z" + base64.b85encode(zlib.compress(text.encode(), 9)).decode()
    if len(text.encode()) + rest > _MOST_METADATA:
        raise InputError(
            f"The row {name[:60]!r} has a record of {len(data[RECORD].encode()):,} bytes; Pinecone takes 40,000 with the id. "
            "Leave long columns out, or take another store."
        )
    return {**data, RECORD: text}


def _unpressed(metadata: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id and the plain record."""
    text = metadata[RECORD]
    if text[0] == "z":
        text = zlib.decompress(base64.b85decode(text[1:])).decode()
    name, row = json.loads(text)
    return name, row


def _any_vector(dims: int) -> list[float]:
    return [1.0, *[0.0] * (dims - 1)]


def _committed(answer: Any) -> int:
    return (answer.response_info.lsn_committed if answer.response_info else None) or 0


def _note(index: Any, url: str, *, wait_s: float, is_ours: bool) -> CollectionMetadata | None:
    """The note of an index, waiting for it; None if an index of ours has none, as a kill may leave it.

    Raises:
        CollectionNotFoundError: The index is not ours.
    """
    until = time.monotonic() + wait_s
    while True:
        found = index.fetch(ids=[_NOTE_ID], namespace=_NOTES).vectors
        if found:
            return parse_metadata(found[_NOTE_ID].metadata["note"], url)
        if time.monotonic() > until:
            return None if is_ours else parse_metadata(None, url)
        time.sleep(0.1)


def _index_name(address: Address) -> str:
    name = address.location.strip("/")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{address.url} names an index {name!r}; Pinecone takes at most 45 small letters, digits and hyphens, "
            "as pinecone://reviews."
        )
    return name


@contextmanager
def _speaking(address: Address) -> Iterator[None]:
    try:
        yield
    except PineconeException as error:
        status, said = getattr(error, "status_code", None), summarize_error(error, address)
        if status in (401, 403):
            raise StoreError(
                f"{address.url}: Pinecone refuses the key. Give it in the environment as PINECONE_API_KEY."
            ) from error
        if status in _BUSY:
            raise StoreUnavailableError(f"{address.url} cannot answer now ({said}); try again later.") from error
        if status is None:
            raise unavailable_error(address, error) from error
        raise StoreError(f"{address.url} cannot be used: {said}.") from error


def _connect(address: Address) -> Pinecone:
    if not address.secret:
        raise InputError(f"{address.url} needs a key; give it in the environment as PINECONE_API_KEY.")
    # What to ask again, and for how long, is settled for all engines in `retry_until`.
    return Pinecone(
        api_key=address.secret,
        host=address.parameters.get("host"),
        timeout=address.timeout_s,
        retry_config=RetryConfig(max_retries=0),
    )


def open_collection(address: Address, space: Space | None) -> PineconeStore:
    """``pinecone://index``."""
    _index_name(address)
    return PineconeStore(address, _connect(address), space)


def list_collections(address: Address) -> list[str]:
    """The URLs of those of an account's indexes that Umekomi made."""
    client = _connect(address)

    def names() -> list[str]:
        with _speaking(address):
            return sorted(index.name for index in client.list_indexes() if (index.tags or {}).get(_TAG) == "1")

    found = retry_until(names, address.open_timeout_s)
    client.close()
    return [replace(address, location=name).url for name in found]
