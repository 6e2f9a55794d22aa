"""Weaviate, by its official client (HTTP for collections, gRPC for rows).

The note is the collection's description. A collection ``reviews`` is Weaviate's class ``Umekomi_reviews``: class names begin
with a capital, hold letters, digits and ``_`` only, and may not differ in case alone, so that other characters become their
code. A batch goes in pieces of some megabytes; an object is replaced by its id.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from weakref import finalize

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
from ...errors import CollectionNotFoundError, InputError, StoreError
from ...vectors.arithmetic import FloatArray, normalize
from ..base import Hit, Store, collection_not_found, retry_until
from ..columns import ColumnType, get_column_types, rows_to_records, rows_to_table, to_json_rows
from ..errors import translate_errors, unavailable_error
from ..filters.approximate import filter_hits, search_candidates
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
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address, Options, Quantization

DEFAULT_PORT, DEFAULT_GRPC_PORT = 8080, 50051
_PREFIX = "Umekomi_"
_M, _EF, _EF_SEARCH = 32, 128, 128
_MAX_DIMS = 65_535
_MOST_HITS = 10_000
"""QUERY_MAXIMUM_RESULTS of a server that nobody has changed."""

_BYTES_AT_ONCE, _ROWS_AT_ONCE = 1 << 22, 1000
_TYPES = {
    ColumnType.TEXT: DataType.TEXT,
    ColumnType.INTEGER: DataType.INT,
    ColumnType.FLOAT: DataType.NUMBER,
    ColumnType.BOOLEAN: DataType.BOOL,
    ColumnType.TIME: DataType.INT,
}


class WeaviateStore(Store):
    """A collection of a Weaviate server.

    Args:
        address: its URL.
        client: a connection.
        space: the space of a new collection; None opens one that is there.
    """

    engine = "Weaviate"
    survives_fork = False

    def __init__(self, address: Address, client: weaviate.WeaviateClient, space: Space | None) -> None:
        self.url, self.timeout_s = address.url, address.timeout_s
        self._address, self._client, self._class = address, client, class_of(address.name, address.url)
        self._options = address.options
        self._note: CollectionMetadata | None = None
        # It warns where a connection is left open.
        finalize(self, _close, client, os.getpid())
        retry_until(self._look, address.open_timeout_s)
        if self._note is None and space is None:
            raise collection_not_found(self.url)
        if self._note is None and space is not None:
            self.space = space
            if space.dims > _MAX_DIMS:
                raise InputError(f"The vectors have {space.dims:,} dimensions; Weaviate takes at most {_MAX_DIMS:,}.")
        if space is not None:
            self.require_space(space)

    def _look(self) -> None:
        with self._speaking():
            if not self._client.is_connected():
                self._client.connect()
            note = _note(self._client, self._class, self.url)
        if note is not None:
            self._take(note)

    def _take(self, note: CollectionMetadata) -> None:
        self._options = self._address.options.merge_over(note.options, self.url)
        self._note, self.space = note, note.space

    @property
    def _columns(self) -> Mapping[str, ColumnType]:
        return {} if self._note is None else self._note.columns

    @property
    def _rows(self) -> Any:
        return self._client.collections.use(self._class)

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
        unit, rows = normalize(vectors), to_json_rows(records, self._columns)
        step = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // (4 * self.space.dims)))
        for start in range(0, len(ids), step):
            some = slice(start, start + step)
            objects = [
                DataObject(properties=make_attributes(name, row, self._columns), uuid=hash_to_uuid(name), vector=vector)
                for name, vector, row in zip(ids[some], unit[some].tolist(), rows[some], strict=True)
            ]
            with self._speaking():
                done = self._rows.data.insert_many(objects)
            if done.has_errors:
                said = next(iter(done.errors.values())).message
                raise StoreError(
                    f"{self.url} did not take {len(done.errors):,} rows: {self._address.redact(said)[:300]}."
                )

    def _make(self, note: CollectionMetadata) -> None:
        """Make the collection; whoever comes second takes the first one's."""
        options, names = note.options, attribute_names(note.columns)
        exactly: dict[str, Any] = {"tokenization": Tokenization.FIELD, "index_searchable": False}
        properties = [
            Property(name=KEY, data_type=DataType.TEXT, index_filterable=True, **exactly),
            Property(name=NAME, data_type=DataType.TEXT, index_filterable=False, **exactly),
            Property(name=RECORD, data_type=DataType.TEXT, index_filterable=False, **exactly),
        ]
        for column, kind in note.columns.items():
            more: dict[str, Any] = exactly if kind is ColumnType.TEXT else {}
            properties.append(Property(name=names[column], data_type=_TYPES[kind], index_filterable=True, **more))
        with self._speaking():
            try:
                self._client.collections.create(
                    self._class,
                    description=note.to_json(),
                    properties=properties,
                    vector_config=Configure.Vectors.self_provided(vector_index_config=_index(options)),
                    inverted_index_config=Configure.inverted_index(index_null_state=True),
                    sharding_config=Configure.sharding(desired_count=options.shards) if options.shards else None,
                    replication_config=Configure.replication(factor=options.replicas) if options.replicas else None,
                )
            except UnexpectedStatusCodeError as error:
                if error.status_code != 422 or "already exists" not in str(error):
                    raise
            there = _note(self._client, self._class, self.url)
        if there is None:
            raise StoreError(f"{self.url} was deleted by somebody else; try again.")
        self._take(there)
        self.require_space(note.space)

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        # Under a filter that up to 40,000 rows match (flatSearchCutoff), the server compares them all by itself.
        return k > _MOST_HITS

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if self._note is None:
            return [[] for _ in vectors]
        if exact:
            return self._search_by_reading(vectors, k, where)
        loose = None if where is None else approximate_by_attributes(where, self._columns, ulps=0)
        wanted = None if loose is None else _filter(loose.looser, attribute_names(self._columns))
        found = []
        for vector in normalize(vectors).tolist():

            def nearest(n: int, vector: list[float] = vector) -> list[Hit]:
                with self._speaking():
                    answer = self._rows.query.near_vector(
                        vector,
                        limit=n,
                        filters=wanted,
                        return_metadata=MetadataQuery(distance=True),
                        return_properties=[NAME, RECORD],
                    )
                return self._hits([(row.properties, 1.0 - row.metadata.distance) for row in answer.objects])

            if loose is None or where is None or loose.is_exact:
                found.append(nearest(k))
            else:
                found.append(search_candidates(nearest, k, where, self._columns, max_candidates=_MOST_HITS))
        return found

    def _hits(self, rows: list[tuple[Mapping[str, Any], float]]) -> list[Hit]:
        records = rows_to_records([json.loads(properties[RECORD]) for properties, _ in rows], self._columns)
        return [Hit(properties[NAME], score, record) for (properties, score), record in zip(rows, records, strict=True)]

    def _count(self, where: Where | None) -> int:
        if self._note is None:
            return 0
        if where is None:
            return self._counted(None)
        loose = approximate_by_attributes(where, self._columns, ulps=0)
        outer = self._counted(loose.looser)
        if loose.is_exact or outer == self._counted(loose.stricter):
            return outer
        hits = (self._hits([(row.properties, 1.0) for row in rows]) for rows in self._pieces(1024))
        return sum(len(filter_hits(some, where, self._columns)) for some in hits)

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        if self._note is None:
            return 0
        return self._counted(None if where is None else approximate_by_attributes(where, self._columns, ulps=0).looser)

    def _counted(self, where: Where | None) -> int:
        wanted = None if where is None else _filter(where, attribute_names(self._columns))
        with self._speaking():
            return int(self._rows.aggregate.over_all(filters=wanted, total_count=True).total_count or 0)

    def _get(self, ids: list[str]) -> list[Hit]:
        found: list[Hit] = []
        for start in range(0, len(ids) if self._note else 0, _ROWS_AT_ONCE):
            wanted = [hash_to_uuid(name) for name in ids[start : start + _ROWS_AT_ONCE]]
            with self._speaking():
                rows = self._rows.query.fetch_objects_by_ids(
                    wanted, limit=len(wanted), return_properties=[NAME, RECORD]
                ).objects
            found.extend(self._hits([(row.properties, 1.0) for row in rows]))
        return found

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        for start in range(0, len(ids) if self._note else 0, _ROWS_AT_ONCE):
            wanted = [hash_to_uuid(name) for name in ids[start : start + _ROWS_AT_ONCE]]
            with self._speaking():
                rows = self._rows.query.fetch_objects_by_ids(
                    wanted, limit=len(wanted), return_properties=[NAME], include_vector=True
                ).objects
            found |= {row.properties[NAME]: normalize(np.array([row.vector["default"]], np.float32))[0] for row in rows}
        return found

    def _delete(self, ids: list[str]) -> None:
        for start in range(0, len(ids) if self._note else 0, _ROWS_AT_ONCE):
            gone = [hash_to_uuid(name) for name in ids[start : start + _ROWS_AT_ONCE]]
            with self._speaking():
                self._rows.data.delete_many(where=Filter.by_id().contains_any(gone))

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        if self._note is None:
            return
        for rows in self._pieces(size, with_vector=True):
            matrix = normalize(np.array([row.vector["default"] for row in rows], dtype=np.float32))
            plain = [json.loads(row.properties[RECORD]) for row in rows]
            yield [row.properties[NAME] for row in rows], matrix, rows_to_table(plain, self._columns)

    def _pieces(self, size: int, *, with_vector: bool = False) -> Iterator[list[Any]]:
        after: Any = None
        size = min(size, _MOST_HITS)
        while True:

            def page(start: Any = after) -> list[Any]:
                with self._speaking():
                    return cast(
                        list[Any],
                        self._rows.query.fetch_objects(
                            limit=size, after=start, include_vector=with_vector, return_properties=[NAME, RECORD]
                        ).objects,
                    )

            rows = retry_until(page, self.timeout_s)
            if not rows:
                return
            yield rows
            after = rows[-1].uuid

    def _details(self) -> dict[str, object]:
        with self._speaking():
            about = self._client.get_meta()
        kind = "flat: every vector is compared" if self._options.exact else "HNSW"
        return {"version": about["version"], "class": self._class, "index": kind, **self._options.to_dict()}

    def drop(self) -> None:
        if self._note is not None:
            # Somebody may have put another collection in its place.
            self._look()
            with self._speaking():
                self._client.collections.delete(self._class)
            self._note = None

    def close(self) -> None:
        _close(self._client, self._process)


def _close(client: weaviate.WeaviateClient, process: int) -> None:
    # A forked process shares the parent's connections: closing them there would end the parent's.
    if process == os.getpid():
        client.close()


def class_of(name: str, url: str) -> str:
    """A collection's name as the name of a class."""
    made = _PREFIX + re.sub(r"[^a-z0-9]", lambda match: f"_{ord(match.group()):02X}", name)
    if len(made) > 250:
        raise InputError(f"{url} names a collection of {len(name)} characters; Weaviate takes shorter ones.")
    return made


def name_of(class_name: str) -> str:
    """The reverse of :func:`class_of`."""
    return re.sub(r"_([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), class_name.removeprefix(_PREFIX))


def _index(options: Options) -> Any:
    quantizers: dict[Quantization, Callable[[], Any]] = {
        Quantization.INT8: Configure.VectorIndex.Quantizer.sq,
        Quantization.BINARY: Configure.VectorIndex.Quantizer.bq,
    }
    quantizer = quantizers.get(options.quantization or Quantization.NONE)
    made = None if quantizer is None else quantizer()
    if options.exact:
        return Configure.VectorIndex.flat(distance_metric=VectorDistances.COSINE, quantizer=made)
    return Configure.VectorIndex.hnsw(
        distance_metric=VectorDistances.COSINE,
        max_connections=options.m or _M,
        ef_construction=options.ef or _EF,
        ef=options.ef_search or _EF_SEARCH,
        quantizer=made,
    )


def _filter(where: Where, names: Mapping[str, str]) -> Any:
    match where:
        case And(parts):
            return Filter.all_of([_filter(part, names) for part in parts])
        case Or(parts):
            return Filter.any_of([_filter(part, names) for part in parts])
        case IsNull(column):
            return Filter.by_property(names[column]).is_none(True)
        case Not(IsNull(column)):
            return Filter.by_property(names[column]).is_none(False)
        case In(column, values):
            equal = [Filter.by_property(names[column]).equal(to_attribute(value)) for value in values]
            return Filter.any_of(equal) if len(equal) > 1 else equal[0]
        case Not(In(column, values)):
            unlike: list[Where] = [Compare(column, "!=", value) for value in values]
            return _filter(And(tuple(unlike)), names)
        case Compare(column, "!=", value):
            there = Filter.by_property(names[column])
            return Filter.all_of([there.is_none(False), there.not_equal(to_attribute(value))])
        case Compare(column, operator, value):
            there = Filter.by_property(names[column])
            compare: dict[str, Callable[[Any], Any]] = {
                "=": there.equal,
                "<": there.less_than,
                "<=": there.less_or_equal,
                ">": there.greater_than,
                ">=": there.greater_or_equal,
            }
            return compare[operator](to_attribute(value))
    raise AssertionError(where)


def _note(client: weaviate.WeaviateClient, class_name: str, url: str) -> CollectionMetadata | None:
    if not client.collections.exists(class_name):
        return None
    return parse_metadata(client.collections.use(class_name).config.get().description, url)


@contextmanager
def _speaking(address: Address) -> Iterator[None]:
    try:
        with translate_errors(
            address,
            refused=(AuthenticationFailedException, InsufficientPermissionsError),
            silent=(
                WeaviateConnectionError,
                WeaviateGRPCUnavailableError,
                WeaviateStartUpError,
                WeaviateTimeoutError,
                httpx.TransportError,
            ),
            failed=(WeaviateClosedClientError,),
        ):
            yield
    except (WeaviateQueryError, WeaviateBaseError) as error:
        said = address.redact(" ".join(str(error).split()))[:300]
        if "UNAUTHENTICATED" in said or "401" in said or "anonymous access not enabled" in said:
            raise StoreError(
                f"{address.url} refuses the key. Give it in the environment as WEAVIATE_API_KEY."
            ) from error
        if "UNAVAILABLE" in said or "DEADLINE_EXCEEDED" in said:
            raise unavailable_error(address, ConnectionError(said)) from error
        raise StoreError(f"{address.url} cannot be used: {said}.") from error


def _connect(address: Address) -> weaviate.WeaviateClient:
    seconds = max(1, round(address.timeout_s))
    text = address.parameters.get("grpc_port", str(DEFAULT_GRPC_PORT))
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise InputError(f"{address.url} has grpc_port={text}; it must be a port, as 50051.")
    host = address.parameters.get("grpc_host", address.host)
    return weaviate.WeaviateClient(
        connection_params=weaviate.connect.ConnectionParams.from_params(
            http_host=address.host, http_port=address.port(DEFAULT_PORT), http_secure=address.tls,
            grpc_host=host, grpc_port=int(text), grpc_secure=address.tls,
        ),
        auth_client_secret=Auth.api_key(address.secret) if address.secret else None,
        additional_config=AdditionalConfig(timeout=Timeout(init=seconds, query=seconds, insert=max(seconds, 60))),
        # The check of versions asks a package index on the internet.
        skip_init_checks=True,
    )  # fmt: skip


def open_collection(address: Address, space: Space | None) -> WeaviateStore:
    """``weaviate://host:8080/name``."""
    _ = address.name
    return WeaviateStore(address, _connect(address), space)


def list_collections(address: Address) -> list[str]:
    """The URLs of those of a server's collections that Umekomi made."""
    client = _connect(address)

    def names() -> list[str]:
        with _speaking(address):
            client.connect()
            return sorted(name for name in client.collections.list_all(simple=True) if name.startswith(_PREFIX))

    found = []
    for name in retry_until(names, address.open_timeout_s):
        try:
            with _speaking(address):
                is_there = _note(client, name, address.url) is not None
        except CollectionNotFoundError:
            continue
        found += [address.sibling(name_of(name)).url] if is_there else []
    client.close()
    return found
