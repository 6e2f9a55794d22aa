"""Qdrant, as a server or a cluster, through its official HTTP client.

The collection's metadata field (Qdrant 1.16 or later) holds :class:`CollectionMetadata`. A batch is written in pieces
below the server's limit of 32 MB. Each piece is written completely or not at all.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from pydantic import ValidationError
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from ...data.embedded_file import Space
from ...encoders.sparse.bm25 import is_bm25
from ...errors import CollectionNotFoundError, StoreError
from ...vectors.arithmetic import FloatArray
from ..base import ID, Hit
from ..columns import ColumnType
from ..errors import Failure
from ..filters.attributes import hash_to_uuid
from ..filters.language import Where
from ..metadata import CollectionMetadata, is_metadata, parse_metadata
from ..url import Address, Quantization, StoreOptions
from .base import batched, list_urls
from .qdrant_points import (
    DEFAULT_EF,
    DEFAULT_M,
    INDEX_TYPES,
    OVERSAMPLING,
    SPARSE,
    SPARSE_NAME,
    PointStore,
    to_conditions,
    to_path,
)

_METADATA_KEY = "umekomi"
_BATCH_BYTES, _BYTES_PER_NUMBER = 1 << 24, 22
_BATCH_QUERIES, _BATCH_IDS = 32, 1024
_INDEXING_TIMEOUT_S = 3600.0
_BUSY_STATUSES = (429, 500, 502, 503, 504)


class QdrantStore(PointStore):
    """A collection of a Qdrant server."""

    engine = "Qdrant"

    def __init__(self, address: Address, space: Space | None) -> None:
        self._name = address.name
        self._client = _connect(address)
        self._is_indexed = False
        super().__init__(address, space)

    @staticmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        if isinstance(error, UnexpectedResponse):
            message = f"{_read_message(error)} ({error.status_code})"
            if error.status_code in (401, 403):
                return Failure.UNAUTHORIZED, message
            return Failure.UNAVAILABLE if error.status_code in _BUSY_STATUSES else Failure.OTHER, message
        if isinstance(error, ResponseHandlingException):
            return Failure.UNAVAILABLE, str(error)
        return (Failure.OTHER, str(error)) if isinstance(error, (ApiException, ValidationError, ValueError)) else None

    def _read_metadata(self) -> CollectionMetadata | None:
        if not self._client.collection_exists(self._name):
            return None
        return parse_metadata(_read_metadata_text(self._client, self._name), self.url)

    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        options = metadata.options
        is_float16 = options.quantization is Quantization.FLOAT16
        try:
            self._client.create_collection(
                self._name,
                models.VectorParams(
                    size=metadata.space.dims,
                    distance=models.Distance.COSINE,
                    datatype=models.Datatype.FLOAT16 if is_float16 else None,
                ),
                hnsw_config=models.HnswConfigDiff(
                    m=0 if options.exact else options.m or DEFAULT_M, ef_construct=options.ef or DEFAULT_EF
                ),
                quantization_config=_to_quantization_config(options),
                shard_number=options.shards,
                replication_factor=options.replicas,
                sparse_vectors_config=_to_sparse_config(metadata.space),
                metadata={_METADATA_KEY: metadata.to_json()},
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:
                raise
        except ValueError as error:  # The client's local mode raises this error for an existing collection.
            if "already exists" not in str(error):
                raise
        try:
            return self._read_metadata()
        except CollectionNotFoundError as error:
            raise StoreError(
                f"The server did not store the metadata of {self.url}. Use Qdrant 1.16 or later."
            ) from error

    def _write(self, ids: list[str], vectors: FloatArray, rows: list[dict[str, Any]]) -> None:
        self._create_payload_indexes()
        points = [
            models.PointStruct(id=str(hash_to_uuid(name)), vector=_to_vector(vector, payload), payload=payload)
            for name, vector, payload in zip(ids, vectors.tolist(), rows, strict=True)
        ]
        for batch in batched(points, max(1, _BATCH_BYTES // (_BYTES_PER_NUMBER * self.space.dims))):
            with self._translate_errors():
                self._client.upsert(self._name, list(batch), wait=True)

    def _create_payload_indexes(self) -> None:
        """Index every column. This speeds up filters, and HNSW needs it for good results under filters."""
        if self._is_indexed:
            return
        with self._translate_errors():
            indexed = self._client.get_collection(self._name).payload_schema or {}
            for column, column_type in {ID: ColumnType.TEXT, **self._columns}.items():
                path = to_path(column)
                if path not in indexed and path.strip('"') not in indexed:
                    schema = models.PayloadSchemaType(INDEX_TYPES[column_type])
                    self._client.create_payload_index(self._name, path, schema, wait=True)
        self._is_indexed = True

    def _nearest(self, queries: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        compression = None
        if self._options.quantization in OVERSAMPLING:
            oversampling = OVERSAMPLING[self._options.quantization]
            compression = models.QuantizationSearchParams(rescore=True, oversampling=oversampling)
        params = models.SearchParams(
            hnsw_ef=self._ef_search(k), exact=exact or bool(self._options.exact), quantization=compression
        )
        requests = [
            models.QueryRequest(query=query, limit=k, filter=_to_filter(where), with_payload=True, params=params)
            for query in queries.tolist()
        ]
        hits = []
        for batch in batched(requests, _BATCH_QUERIES):
            with self._translate_errors():
                responses = self._client.query_batch_points(self._name, list(batch))
            hits += [self._to_hits(response.points) for response in responses]
        return hits

    def _match_sparse(self, query: Mapping[int, float], k: int, where: Where | None) -> list[Hit]:
        with self._translate_errors():
            response = self._client.query_points(
                self._name,
                query=_to_sparse(query),
                using=SPARSE_NAME,
                limit=k,
                query_filter=_to_filter(where),
                with_payload=True,
            )
        return self._to_hits(response.points)

    def _count_matches(self, where: Where | None) -> int:
        with self._translate_errors():
            return self._client.count(self._name, _to_filter(where), exact=True).count

    def _retrieve(self, ids: list[str], *, with_vectors: bool) -> list[models.Record]:
        points = []
        for batch in batched(ids, _BATCH_IDS):
            with self._translate_errors():
                points += self._client.retrieve(
                    self._name,
                    [str(hash_to_uuid(name)) for name in batch],
                    with_payload=[ID] if with_vectors else True,
                    with_vectors=with_vectors,
                )
        return points

    def _delete(self, ids: list[str]) -> None:
        for batch in batched(ids, _BATCH_IDS):
            points = models.PointIdsList(points=[str(hash_to_uuid(name)) for name in batch])
            with self._translate_errors():
                self._client.delete(self._name, points, wait=True)

    def _scroll(self, size: int, where: Where | None, *, with_vectors: bool = False) -> Iterator[list[models.Record]]:
        offset: Any = None
        while True:

            def read_page(start: Any = offset) -> tuple[list[models.Record], Any]:
                with self._translate_errors():
                    return self._client.scroll(
                        self._name,
                        _to_filter(where),
                        limit=size,
                        offset=start,
                        with_payload=True,
                        with_vectors=with_vectors,
                    )

            points, offset = self._retry(read_page)
            if points:
                yield points
            if offset is None:
                return

    def _optimize(self) -> None:
        """Wait until the server has built its index. The server starts building without a request."""
        deadline = time.monotonic() + _INDEXING_TIMEOUT_S
        while time.monotonic() < deadline:
            with self._translate_errors():
                if self._client.get_collection(self._name).status is not models.CollectionStatus.YELLOW:
                    return
            time.sleep(0.5)

    def _details(self) -> dict[str, object]:
        if not self._exists:
            return {"index": "none yet"}
        with self._translate_errors():
            about = self._client.get_collection(self._name)
            version = self._client.info().version
        params = about.config.params
        return {
            "version": version,
            "index": self._describe_index(about.indexed_vectors_count),
            **self._options.to_dict(),
            "shards": params.shard_number or 1,
            "replicas": params.replication_factor or 1,
        }

    def _drop_collection(self) -> None:
        with self._translate_errors():
            self._client.delete_collection(self._name)
        self._is_indexed = False

    def _close(self) -> None:
        self._client.close()


def _to_quantization_config(options: StoreOptions) -> Any:
    match options.quantization:
        case Quantization.INT8:
            return models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
        case Quantization.BINARY:
            return models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
        case _:
            return None


def _to_sparse_config(space: Space) -> dict[str, models.SparseVectorParams] | None:
    if space.sparse is None:
        return None
    return {
        SPARSE_NAME: models.SparseVectorParams(modifier=models.Modifier.IDF if is_bm25(space.sparse.model) else None)
    }


def _to_sparse(row: Mapping[int, float]) -> models.SparseVector:
    return models.SparseVector(indices=list(row), values=list(row.values()))


def _to_vector(vector: list[float], payload: dict[str, Any]) -> Any:
    """Return the vectors of a point, and remove the sparse one from its payload."""
    sparse = payload.pop(SPARSE, None)
    return vector if sparse is None else {"": vector, SPARSE_NAME: _to_sparse(sparse)}


def _to_filter(where: Where | None) -> models.Filter | None:
    return None if where is None else models.Filter.model_validate(to_conditions(where))


def _read_metadata_text(client: QdrantClient, name: str) -> Any:
    return (client.get_collection(name).config.metadata or {}).get(_METADATA_KEY)


def _read_message(error: UnexpectedResponse) -> str:
    """Return the first line of the server's message."""
    try:
        status = error.structured()["status"]
        message = status["error"] if isinstance(status, dict) else status
    except (ValueError, KeyError, TypeError):
        message = error.reason_phrase
    return str(message).splitlines()[0].rstrip(". ")


def _connect(address: Address) -> QdrantClient:
    tls: dict[str, Any] = {"verify": address.parameters["ca"]} if "ca" in address.parameters else {}
    with warnings.catch_warnings():
        # The client warns about keys without TLS, which are safe for a server on the same machine.
        warnings.simplefilter("ignore")
        return QdrantClient(
            host=address.host,
            port=address.port,
            https=address.tls,
            api_key=address.secret or None,
            timeout=max(1, round(address.timeout_s)),
            check_compatibility=False,
            **tls,
        )


def open_collection(address: Address, space: Space | None) -> QdrantStore:
    """Open ``qdrant://host:6333/name``."""
    return QdrantStore(address, space)


def list_collections(address: Address) -> list[str]:
    """Return the URLs of the server's collections that Umekomi created."""
    with closing(_connect(address)) as client:

        def list_names() -> list[str]:
            names = [collection.name for collection in client.get_collections().collections]
            return [name for name in names if is_metadata(_read_metadata_text(client, name))]

        return list_urls(address, QdrantStore._classify_error, list_names)
