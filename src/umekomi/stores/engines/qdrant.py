"""Qdrant, a server or a cluster of them, over HTTP by its official client.

The note is the collection's metadata (Qdrant 1.16 or later). A batch goes in pieces that the server's limit of 32 MB takes; each
is written whole or not at all, and waited for.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from ...data.embedded_file import Space
from ...errors import CollectionNotFoundError, InputError, StoreError, StoreUnavailableError
from ...vectors.arithmetic import FloatArray, normalize
from ..base import ID, Hit, Store, collection_not_found, retry_until
from ..columns import ColumnType, get_column_types, rows_to_records, rows_to_table, to_json_rows
from ..errors import translate_errors
from ..filters.approximate import filter_hits, search_candidates
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address, Options, Quantization
from .qdrant_points import INDEXES, conditions, loosened, path, payload_of, point_id, row_of

DEFAULT_PORT = 6333
_MARK = "umekomi"
_M, _EF, _EF_SEARCH = 16, 200, 128
_MAX_DIMS = 65_536
_BYTES_AT_ONCE = 1 << 24
_BYTES_OF_A_NUMBER = 22
_QUERIES_AT_ONCE = 32
_INDEXING_S = 3600.0
_BUSY = (429, 500, 502, 503, 504)
_OVERSAMPLING = {Quantization.INT8: 2.0, Quantization.BINARY: 6.0}


class QdrantStore(Store):
    """A collection of a Qdrant server.

    Args:
        address: its URL.
        client: a connection.
        space: the space of a new collection; None opens one that is there.
    """

    engine = "Qdrant"

    def __init__(self, address: Address, client: QdrantClient, space: Space | None) -> None:
        self.url, self.timeout_s = address.url, address.timeout_s
        self._address, self._client, self._name = address, client, address.name
        self._options = address.options
        self._note: CollectionMetadata | None = None
        self._is_indexed = False
        retry_until(self._look, address.open_timeout_s)
        if self._note is None and space is None:
            raise collection_not_found(self.url)
        if self._note is None and space is not None:
            self.space = space
            if space.dims > _MAX_DIMS:
                raise InputError(f"The vectors have {space.dims:,} dimensions; Qdrant takes at most {_MAX_DIMS:,}.")
        if space is not None:
            self.require_space(space)

    def _look(self) -> None:
        with self._speaking():
            note = _note(self._client, self._name, self.url)
        if note is not None:
            self._options = self._address.options.merge_over(note.options, self.url)
            self._note, self.space = note, note.space

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
        if self._note is None:
            self._make(CollectionMetadata(self.space, get_column_types(records.schema), self._options))
        if any(name not in self._columns for name in records.column_names):
            raise InputError(f"{self.url} has been made with other columns by another process; open it again.")
        self._index()
        unit, rows = normalize(vectors), to_json_rows(records, self._columns)
        step = max(1, _BYTES_AT_ONCE // (_BYTES_OF_A_NUMBER * self.space.dims))
        for start in range(0, len(ids), step):
            some = slice(start, start + step)
            points = [
                models.PointStruct(id=str(point_id(name)), vector=vector, payload=payload_of(name, row))
                for name, vector, row in zip(ids[some], unit[some].tolist(), rows[some], strict=True)
            ]
            with self._speaking():
                self._client.upsert(self._name, points, wait=True)

    def _make(self, note: CollectionMetadata) -> None:
        """Make the collection; whoever comes second takes the first one's."""
        options, half = note.options, note.options.quantization is Quantization.FLOAT16
        vectors = models.VectorParams(
            size=note.space.dims,
            distance=models.Distance.COSINE,
            datatype=models.Datatype.FLOAT16 if half else None,
        )
        with self._speaking():
            try:
                self._client.create_collection(
                    self._name,
                    vectors,
                    hnsw_config=models.HnswConfigDiff(
                        m=0 if options.exact else options.m or _M, ef_construct=options.ef or _EF
                    ),
                    quantization_config=_quantization(options),
                    shard_number=options.shards,
                    replication_factor=options.replicas,
                    metadata={_MARK: note.to_json()},
                )
            except UnexpectedResponse as error:
                if error.status_code != 409:
                    raise
            except ValueError as error:  # what the client's local mode says
                if "already exists" not in str(error):
                    raise
            try:
                there = _note(self._client, self._name, self.url)
            except CollectionNotFoundError as error:
                raise StoreError(
                    f"{self.url} was made, but the server did not keep the note of its model; use Qdrant 1.16 or later."
                ) from error
        if there is None:
            raise StoreError(f"{self.url} was deleted by somebody else; try again.")
        self._options = self._address.options.merge_over(there.options, self.url)
        wanted, self._note, self.space = note.space, there, there.space
        self.require_space(wanted)

    def _index(self) -> None:
        """An index on each column: it makes filters fast, and HNSW good under them."""
        if self._is_indexed:
            return
        with self._speaking():
            there = self._client.get_collection(self._name).payload_schema or {}
            for column, kind in {ID: ColumnType.TEXT, **self._columns}.items():
                if path(column) not in there and path(column).strip('"') not in there:
                    schema = models.PayloadSchemaType(INDEXES[kind])
                    self._client.create_payload_index(self._name, path(column), schema, wait=True)
        self._is_indexed = True

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if self._note is None:
            return [[] for _ in vectors]
        queries = normalize(vectors).tolist()
        loose = None if where is None else loosened(where, self._columns)
        kept = None if loose is None else _filter(loose.looser)
        found: list[list[Hit]] = []
        if loose is None or where is None or loose.is_exact:
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                found.extend(self._nearest(queries[start : start + _QUERIES_AT_ONCE], k, kept, exact=exact))
            return found
        for query in queries:

            def nearest(n: int, query: list[float] = query) -> list[Hit]:
                return self._nearest([query], n, kept, exact=exact)[0]

            found.append(search_candidates(nearest, k, where, self._columns))
        return found

    def _nearest(
        self, queries: list[list[float]], k: int, kept: models.Filter | None, *, exact: bool
    ) -> list[list[Hit]]:
        requests = [
            models.QueryRequest(
                query=query, limit=k, filter=kept, with_payload=True, params=self._params(k, exact=exact)
            )
            for query in queries
        ]
        with self._speaking():
            answers = self._client.query_batch_points(self._name, requests)
        return [self._hits([(point.payload or {}, point.score) for point in answer.points]) for answer in answers]

    def _params(self, k: int, *, exact: bool) -> models.SearchParams:
        rescore = None
        if self._options.quantization in _OVERSAMPLING:
            rescore = models.QuantizationSearchParams(
                rescore=True, oversampling=_OVERSAMPLING[self._options.quantization]
            )
        ef = max(self._options.ef_search or _EF_SEARCH, 2 * k)
        return models.SearchParams(hnsw_ef=ef, exact=exact or bool(self._options.exact), quantization=rescore)

    def _hits(self, points: list[tuple[Mapping[str, Any], float]]) -> list[Hit]:
        records = rows_to_records([row_of(payload, self._columns) for payload, _ in points], self._columns)
        return [Hit(payload[ID], score, record) for (payload, score), record in zip(points, records, strict=True)]

    def _count(self, where: Where | None) -> int:
        if self._note is None:
            return 0
        if where is None:
            return self._counted(None)
        loose = loosened(where, self._columns)
        outer = self._counted(_filter(loose.looser))
        if loose.is_exact or outer == self._counted(_filter(loose.stricter)):
            return outer
        pieces = self._scroll(1024, _filter(loose.looser))
        hits = [self._hits([(point.payload or {}, 1.0) for point in points]) for points in pieces]
        return sum(len(filter_hits(some, where, self._columns)) for some in hits)

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        if self._note is None:
            return 0
        return self._counted(None if where is None else _filter(loosened(where, self._columns).looser))

    def _counted(self, kept: models.Filter | None) -> int:
        with self._speaking():
            return self._client.count(self._name, kept, exact=True).count

    def _get(self, ids: list[str]) -> list[Hit]:
        if self._note is None:
            return []
        found: list[Hit] = []
        for start in range(0, len(ids), 1024):
            wanted = [str(point_id(name)) for name in ids[start : start + 1024]]
            with self._speaking():
                points = self._client.retrieve(self._name, wanted, with_payload=True)
            found.extend(self._hits([(point.payload or {}, 1.0) for point in points]))
        return found

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        for start in range(0, len(ids) if self._note else 0, 1024):
            wanted = [str(point_id(name)) for name in ids[start : start + 1024]]
            with self._speaking():
                points = self._client.retrieve(self._name, wanted, with_payload=[ID], with_vectors=True)
            found |= {(point.payload or {})[ID]: normalize(np.array([point.vector], np.float32))[0] for point in points}
        return found

    def _delete(self, ids: list[str]) -> None:
        if self._note is not None:
            for start in range(0, len(ids), 1024):
                gone = models.PointIdsList(points=[str(point_id(name)) for name in ids[start : start + 1024]])
                with self._speaking():
                    self._client.delete(self._name, gone, wait=True)

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        if self._note is None:
            return
        for points in self._scroll(size, None, with_vectors=True):
            payloads = [point.payload or {} for point in points]
            matrix = normalize(np.array([point.vector for point in points], dtype=np.float32))
            rows = [row_of(payload, self._columns) for payload in payloads]
            yield [payload[ID] for payload in payloads], matrix, rows_to_table(rows, self._columns)

    def _scroll(
        self, size: int, kept: models.Filter | None, *, with_vectors: bool = False
    ) -> Iterator[list[models.Record]]:
        offset: Any = None
        while True:

            def page(start: Any = offset) -> tuple[list[models.Record], Any]:
                with self._speaking():
                    return self._client.scroll(
                        self._name, kept, limit=size, offset=start, with_payload=True, with_vectors=with_vectors
                    )

            points, offset = retry_until(page, self.timeout_s)
            if points:
                yield points
            if offset is None:
                return

    def optimize(self) -> None:
        """Wait until the server has built its index: it does so by itself, after a load."""
        until = time.monotonic() + _INDEXING_S
        while self._note is not None and time.monotonic() < until:
            with self._speaking():
                if self._client.get_collection(self._name).status is not models.CollectionStatus.YELLOW:
                    return
            time.sleep(0.5)

    def _details(self) -> dict[str, object]:
        if self._note is None:
            return {"index": "none yet"}
        with self._speaking():
            about = self._client.get_collection(self._name)
            version = self._client.info().version
        kind = (
            "none: every vector is compared"
            if self._options.exact
            else f"HNSW over {about.indexed_vectors_count or 0:,} rows"
        )
        params = about.config.params
        return {
            "version": version,
            "index": kind,
            **self._options.to_dict(),
            "shards": params.shard_number or 1,
            "replicas": params.replication_factor or 1,
        }

    def drop(self) -> None:
        if self._note is not None:
            # Somebody may have put another collection in its place.
            self._look()
            with self._speaking():
                self._client.delete_collection(self._name)
            self._note, self._is_indexed = None, False

    def close(self) -> None:
        if self._process == os.getpid():
            self._client.close()


def _quantization(options: Options) -> Any:
    match options.quantization:
        case Quantization.INT8:
            return models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
        case Quantization.BINARY:
            return models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
        case _:
            return None


def _filter(where: Where) -> models.Filter:
    return models.Filter.model_validate(conditions(where))


def _note(client: QdrantClient, name: str, url: str) -> CollectionMetadata | None:
    if not client.collection_exists(name):
        return None
    metadata = client.get_collection(name).config.metadata or {}
    return parse_metadata(metadata.get(_MARK), url)


@contextmanager
def _speaking(address: Address) -> Iterator[None]:
    try:
        with translate_errors(address, silent=(ResponseHandlingException,), failed=(ValidationError, ValueError)):
            yield
    except UnexpectedResponse as error:
        said = address.redact(_said(error))
        if error.status_code in (401, 403):
            raise StoreError(
                f"{address.url} refuses the key: {said}. Give it in the environment as QDRANT_API_KEY."
            ) from error
        if error.status_code in _BUSY:
            raise StoreUnavailableError(f"{address.url} cannot answer now ({said}); try again later.") from error
        raise StoreError(f"{address.url} cannot be used: {said}.") from error
    except ApiException as error:
        raise StoreError(f"{address.url} cannot be used: {address.redact(str(error))}.") from error


def _said(error: UnexpectedResponse) -> str:
    try:
        status = error.structured()["status"]
        said = status["error"] if isinstance(status, dict) else status
    except (ValueError, KeyError, TypeError):
        said = error.reason_phrase
    return f"{str(said).splitlines()[0].rstrip('. ')[:300]} ({error.status_code})"


def _connect(address: Address) -> QdrantClient:
    tls: dict[str, Any] = {"verify": address.parameters["ca"]} if "ca" in address.parameters else {}
    with warnings.catch_warnings():
        # It warns of a key without TLS, which a server on one's own machine needs not.
        warnings.simplefilter("ignore")
        return QdrantClient(
            host=address.host,
            port=address.port(DEFAULT_PORT),
            https=address.tls,
            api_key=address.secret or None,
            timeout=max(1, round(address.timeout_s)),
            check_compatibility=False,
            **tls,
        )


def open_collection(address: Address, space: Space | None) -> QdrantStore:
    """``qdrant://host:6333/name``."""
    _ = address.name
    return QdrantStore(address, _connect(address), space)


def list_collections(address: Address) -> list[str]:
    """The URLs of those of a server's collections that Umekomi made."""
    client = _connect(address)

    def names() -> list[str]:
        with _speaking(address):
            return sorted(collection.name for collection in client.get_collections().collections)

    found = []
    for name in retry_until(names, address.open_timeout_s):
        try:
            with _speaking(address):
                is_there = _note(client, name, address.url) is not None
        except CollectionNotFoundError:
            continue
        found += [address.sibling(name).url] if is_there else []
    client.close()
    return found
