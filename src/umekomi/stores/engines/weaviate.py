"""Weaviate, through its official client (HTTP for collections, gRPC for rows).

The collection's description holds the metadata. The collection ``reviews`` is Weaviate's class ``Umekomi_reviews``.
Class names begin with a capital letter, consist of letters, digits and ``_``, and may not differ only in case; other
characters are replaced by their codes. A batch is written in pieces of a few megabytes. Writing an object with an
existing id replaces it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import weaviate
from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances
from weaviate.classes.data import DataObject
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.classes.query import Filter, MetadataQuery
from weaviate.exceptions import (
    AuthenticationFailedException,
    InsufficientPermissionsError,
    UnexpectedStatusCodeError,
    WeaviateBaseError,
    WeaviateClosedClientError,
    WeaviateConnectionError,
    WeaviateGRPCUnavailableError,
    WeaviateQueryError,
    WeaviateStartUpError,
    WeaviateTimeoutError,
)

from ...data.embedded_file import Space
from ...errors import InputError, StoreError
from ...vectors.arithmetic import FloatArray, normalize
from ..base import Hit
from ..columns import ColumnType, rows_to_records, rows_to_table, to_json_rows
from ..errors import Failure, summarize
from ..filters.approximate import Approximation
from ..filters.attributes import (
    KEY,
    NAME,
    RECORD,
    approximate_by_attributes,
    attribute_names,
    hash_to_uuid,
    make_attributes,
    to_attribute,
)
from ..filters.language import And, Compare, In, IsNull, Not, Or, Where
from ..metadata import CollectionMetadata, is_metadata, parse_metadata
from ..url import Address, Quantization, StoreOptions
from .base import FilteredStore, batched, list_urls

DEFAULT_GRPC_PORT = 50051
_PREFIX, _MAX_CLASS_NAME_CHARS = "Umekomi_", 250
_DEFAULT_M, _DEFAULT_EF, _DEFAULT_EF_SEARCH = 32, 128, 128
_BATCH_BYTES, _BATCH_ROWS = 1 << 22, 1000
_MIN_INSERT_TIMEOUT_S = 60
_PROPERTY_TYPES = {
    ColumnType.TEXT: DataType.TEXT,
    ColumnType.INTEGER: DataType.INT,
    ColumnType.FLOAT: DataType.NUMBER,
    ColumnType.BOOLEAN: DataType.BOOL,
    ColumnType.TIME: DataType.INT,
}
_UNAVAILABLE_ERRORS = (
    WeaviateConnectionError,
    WeaviateGRPCUnavailableError,
    WeaviateStartUpError,
    WeaviateTimeoutError,
    httpx.TransportError,
)


class WeaviateStore(FilteredStore):
    """A collection of a Weaviate server."""

    engine = "Weaviate"
    survives_fork = False
    max_dims = 65_535
    can_compare_all = False
    max_hits = 10_000
    """The default of the server's setting QUERY_MAXIMUM_RESULTS."""

    def __init__(self, address: Address, space: Space | None) -> None:
        self._class = to_class_name(address.name, address.url)
        self._client = _connect(address)
        self._close_when_collected(self._client)
        super().__init__(address, space)

    @property
    def _collection(self) -> Any:
        return self._client.collections.use(self._class)

    @staticmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        message = " ".join(str(error).split())
        if isinstance(error, (AuthenticationFailedException, InsufficientPermissionsError)):
            return Failure.UNAUTHORIZED, message
        if isinstance(error, _UNAVAILABLE_ERRORS):
            return Failure.UNAVAILABLE, message
        if not isinstance(error, (WeaviateBaseError, WeaviateQueryError, WeaviateClosedClientError)):
            return None
        if "UNAUTHENTICATED" in message or "401" in message or "anonymous access not enabled" in message:
            return Failure.UNAUTHORIZED, message
        is_unavailable = "UNAVAILABLE" in message or "DEADLINE_EXCEEDED" in message
        return Failure.UNAVAILABLE if is_unavailable else Failure.OTHER, message

    def _read_metadata(self) -> CollectionMetadata | None:
        if not self._client.is_connected():
            self._client.connect()
        if not self._client.collections.exists(self._class):
            return None
        return parse_metadata(self._collection.config.get().description, self.url)

    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        options, names = metadata.options, attribute_names(metadata.columns)
        exact_text: dict[str, Any] = {"tokenization": Tokenization.FIELD, "index_searchable": False}
        properties = [
            Property(name=KEY, data_type=DataType.TEXT, index_filterable=True, **exact_text),
            Property(name=NAME, data_type=DataType.TEXT, index_filterable=False, **exact_text),
            Property(name=RECORD, data_type=DataType.TEXT, index_filterable=False, **exact_text),
        ]
        for column, column_type in metadata.columns.items():
            data_type = _PROPERTY_TYPES[column_type]
            settings = exact_text if column_type is ColumnType.TEXT else {}
            properties.append(Property(name=names[column], data_type=data_type, index_filterable=True, **settings))
        try:
            self._client.collections.create(
                self._class,
                description=metadata.to_json(),
                properties=properties,
                vector_config=Configure.Vectors.self_provided(vector_index_config=_to_index_config(options)),
                inverted_index_config=Configure.inverted_index(index_null_state=True),
                sharding_config=Configure.sharding(desired_count=options.shards) if options.shards else None,
                replication_config=Configure.replication(factor=options.replicas) if options.replicas else None,
            )
        except UnexpectedStatusCodeError as error:
            if error.status_code != 422 or "already exists" not in str(error):
                raise
        return self._read_metadata()

    def _encode(self, ids: list[str], records: pa.Table, columns: Mapping[str, ColumnType]) -> list[dict[str, Any]]:
        rows = to_json_rows(records, columns)
        return [make_attributes(name, row, columns) for name, row in zip(ids, rows, strict=True)]

    def _write(self, ids: list[str], vectors: FloatArray, rows: list[dict[str, Any]]) -> None:
        objects = [
            DataObject(properties=row, uuid=hash_to_uuid(name), vector=vector)
            for name, vector, row in zip(ids, vectors.tolist(), rows, strict=True)
        ]
        for batch in batched(objects, max(1, min(_BATCH_ROWS, _BATCH_BYTES // (4 * self.space.dims)))):
            with self._translate_errors():
                result = self._collection.data.insert_many(batch)
            if result.has_errors:
                message = summarize(next(iter(result.errors.values())).message, self._address)
                raise StoreError(f"{self.url} rejected {len(result.errors):,} rows ({message}).")

    def _approximate(self, where: Where) -> Approximation:
        return approximate_by_attributes(where, self._columns, ulps=0)

    def _to_filter(self, where: Where | None) -> Any:
        return None if where is None else to_filter(where, attribute_names(self._columns))

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        # Under a filter with at most 40,000 matching rows (flatSearchCutoff), the server compares all of them.
        return k > self.max_hits

    def _nearest(self, queries: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        hits = []
        for query in queries.tolist():
            with self._translate_errors():
                objects = self._collection.query.near_vector(
                    query,
                    limit=k,
                    filters=self._to_filter(where),
                    return_metadata=MetadataQuery(distance=True),
                    return_properties=[NAME, RECORD],
                ).objects
            hits.append(self._to_hits([(row.properties, 1.0 - row.metadata.distance) for row in objects]))
        return hits

    def _to_hits(self, rows: list[tuple[Mapping[str, Any], float]]) -> list[Hit]:
        """Return hits for properties and scores."""
        records = rows_to_records([json.loads(properties[RECORD]) for properties, _ in rows], self._columns)
        return [Hit(properties[NAME], score, record) for (properties, score), record in zip(rows, records, strict=True)]

    def _count_matches(self, where: Where | None) -> int:
        with self._translate_errors():
            result = self._collection.aggregate.over_all(filters=self._to_filter(where), total_count=True)
        return int(result.total_count or 0)

    def _scan(self, where: Where) -> Iterator[list[Hit]]:
        # The server does not filter scans.
        for rows in self._read_pages(1024):
            yield self._to_hits([(row.properties, 1.0) for row in rows])

    def _fetch(self, ids: list[str], properties: list[str], *, with_vectors: bool) -> Iterator[Any]:
        for batch in batched(ids, _BATCH_ROWS):
            with self._translate_errors():
                yield from self._collection.query.fetch_objects_by_ids(
                    [hash_to_uuid(name) for name in batch],
                    limit=len(batch),
                    return_properties=properties,
                    include_vector=with_vectors,
                ).objects

    def _get(self, ids: list[str]) -> list[Hit]:
        rows = self._fetch(ids, [NAME, RECORD], with_vectors=False)
        return self._to_hits([(row.properties, 1.0) for row in rows])

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        return {
            row.properties[NAME]: normalize(np.array([row.vector["default"]], np.float32))[0]
            for row in self._fetch(ids, [NAME], with_vectors=True)
        }

    def _delete(self, ids: list[str]) -> None:
        for batch in batched(ids, _BATCH_ROWS):
            with self._translate_errors():
                self._collection.data.delete_many(
                    where=Filter.by_id().contains_any([hash_to_uuid(name) for name in batch])
                )

    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        for rows in self._read_pages(size, with_vectors=True):
            vectors = normalize(np.array([row.vector["default"] for row in rows], dtype=np.float32))
            records = rows_to_table([json.loads(row.properties[RECORD]) for row in rows], self._columns)
            yield [row.properties[NAME] for row in rows], vectors, records

    def _read_pages(self, size: int, *, with_vectors: bool = False) -> Iterator[list[Any]]:
        last_uuid: Any = None
        while True:

            def read_page(after: Any = last_uuid) -> list[Any]:
                with self._translate_errors():
                    return list(
                        self._collection.query.fetch_objects(
                            limit=min(size, self.max_hits),
                            after=after,
                            include_vector=with_vectors,
                            return_properties=[NAME, RECORD],
                        ).objects
                    )

            rows = self._retry(read_page)
            if not rows:
                return
            yield rows
            last_uuid = rows[-1].uuid

    def _details(self) -> dict[str, object]:
        with self._translate_errors():
            about = self._client.get_meta()
        index = "flat: every vector is compared" if self._options.exact else "HNSW"
        return {"version": about["version"], "class": self._class, "index": index, **self._options.to_dict()}

    def _drop_collection(self) -> None:
        with self._translate_errors():
            self._client.collections.delete(self._class)

    def _close(self) -> None:
        self._client.close()


def to_class_name(name: str, url: str) -> str:
    """Return the class name of a collection.

    Raises:
        InputError: The class name would be too long.
    """
    class_name = _PREFIX + re.sub(r"[^a-z0-9]", lambda match: f"_{ord(match.group()):02X}", name)
    if len(class_name) > _MAX_CLASS_NAME_CHARS:
        raise InputError(f"{url} names a collection of {len(name)} characters, which is too long for Weaviate.")
    return class_name


def from_class_name(class_name: str) -> str:
    """Return the collection name of a class that :func:`to_class_name` named."""
    return re.sub(r"_([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), class_name.removeprefix(_PREFIX))


def _to_index_config(options: StoreOptions) -> Any:
    quantizers: dict[Quantization, Callable[[], Any]] = {
        Quantization.INT8: Configure.VectorIndex.Quantizer.sq,
        Quantization.BINARY: Configure.VectorIndex.Quantizer.bq,
    }
    create_quantizer = quantizers.get(options.quantization or Quantization.NONE, lambda: None)
    if options.exact:
        return Configure.VectorIndex.flat(distance_metric=VectorDistances.COSINE, quantizer=create_quantizer())
    return Configure.VectorIndex.hnsw(
        distance_metric=VectorDistances.COSINE,
        max_connections=options.m or _DEFAULT_M,
        ef_construction=options.ef or _DEFAULT_EF,
        ef=options.ef_search or _DEFAULT_EF_SEARCH,
        quantizer=create_quantizer(),
    )


def to_filter(where: Where, names: Mapping[str, str]) -> Any:
    """Return a filter of :func:`approximate_by_attributes` as Weaviate's filter.

    Args:
        where: The filter.
        names: Property of each column.
    """
    match where:
        case And(parts):
            return Filter.all_of([to_filter(part, names) for part in parts])
        case Or(parts):
            return Filter.any_of([to_filter(part, names) for part in parts])
        case IsNull(column):
            return Filter.by_property(names[column]).is_none(True)
        case Not(IsNull(column)):
            return Filter.by_property(names[column]).is_none(False)
        case In(column, values):
            alternatives = [Filter.by_property(names[column]).equal(to_attribute(value)) for value in values]
            return Filter.any_of(alternatives) if len(alternatives) > 1 else alternatives[0]
        case Not(In(column, values)):
            return to_filter(And(tuple(Compare(column, "!=", value) for value in values)), names)
        case Compare(column, operator, value):
            by_property = Filter.by_property(names[column])
            methods: dict[str, Callable[[Any], Any]] = {
                "=": by_property.equal,
                "!=": by_property.not_equal,
                "<": by_property.less_than,
                "<=": by_property.less_or_equal,
                ">": by_property.greater_than,
                ">=": by_property.greater_or_equal,
            }
            condition = methods[operator](to_attribute(value))
            return Filter.all_of([by_property.is_none(False), condition]) if operator == "!=" else condition
    raise AssertionError(where)


def _connect(address: Address) -> weaviate.WeaviateClient:
    seconds = max(1, round(address.timeout_s))
    grpc_port = address.parameters.get("grpc_port", str(DEFAULT_GRPC_PORT))
    if not grpc_port.isdigit() or not 0 < int(grpc_port) < 65_536:
        raise InputError(f"{address.url} has grpc_port={grpc_port}. Use a port such as 50051.")
    return weaviate.WeaviateClient(
        connection_params=weaviate.connect.ConnectionParams.from_params(
            http_host=address.host,
            http_port=address.port,
            http_secure=address.tls,
            grpc_host=address.parameters.get("grpc_host", address.host),
            grpc_port=int(grpc_port),
            grpc_secure=address.tls,
        ),
        auth_client_secret=Auth.api_key(address.secret) if address.secret else None,
        additional_config=AdditionalConfig(
            timeout=Timeout(init=seconds, query=seconds, insert=max(seconds, _MIN_INSERT_TIMEOUT_S))
        ),
        # The version check sends a request to a package index on the internet.
        skip_init_checks=True,
    )


def open_collection(address: Address, space: Space | None) -> WeaviateStore:
    """Open ``weaviate://host:8080/name``."""
    return WeaviateStore(address, space)


def list_collections(address: Address) -> list[str]:
    """Return the URLs of the server's collections that Umekomi created."""
    with closing(_connect(address)) as client:

        def list_names() -> list[str]:
            client.connect()
            collections = client.collections.list_all(simple=True)
            return [
                from_class_name(name)
                for name, config in collections.items()
                if name.startswith(_PREFIX) and is_metadata(config.description)
            ]

        return list_urls(address, WeaviateStore._classify_error, list_names)
