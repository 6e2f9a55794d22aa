"""Vector stores: one protocol, one file an engine, one URL a collection.

=============================  ===========================================================================
``lance:///folder/name``       LanceDB, the embedded default (``lance://folder/name`` is a relative folder)
``folder/name.lance``          the same, by the path of what is on disk
``milvus://host:19530/name``   Milvus
``qdrant-edge:///dir/name``    Qdrant's engine in this process, one process at a time
``postgresql://host/db/name``  PostgreSQL with pgvector
``pinecone://name``            Pinecone; a collection is an index
``qdrant://host:6333/name``    Qdrant
``redis://host:6379/name``     Redis: RediSearch, or the vector sets of Redis 8
``weaviate://host:8080/name``  Weaviate
``memory://name``              exact, in this process and no longer than it; with ``?quantization=binary`` nearly so and faster
``reviews.parquet``            an embedded file, read whole and searched exactly; read-only
=============================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import InputError, RecordError, StoreError
from ..extras import import_optional
from ..records import Space, read_embedded, read_space
from ..settings import current
from ..vectors import FloatArray
from .address import Address, Engine, parse_address
from .base import Hit, Store
from .columns import Kind, kind_of
from .copying import Copied, copy_store, rows_at_once, write_rows
from .memory import MemoryStore
from .shards import dropped_columns, load_lake

_HNSW = ("m", "ef", "ef_search", "exact")

_REDIS = Engine(
    "umekomi.stores.redis",
    "redis",
    (*_HNSW, "quantization"),
    quantizations=("float16", "int8", "binary"),
    parameters=("tls", "ca"),
    environment="REDIS_PASSWORD",
)

SCHEMES = {
    "lance": Engine("umekomi.stores.lance", "lance", (*_HNSW, "quantization"), quantizations=("int8",), embedded=True),
    "memory": Engine("umekomi.stores.memory", options=("quantization",), quantizations=("binary",), embedded=True),
    "milvus": Engine(
        "umekomi.stores.milvus",
        "milvus",
        (*_HNSW, "quantization", "shards", "replicas"),
        quantizations=("int8",),
        parameters=("tls", "ca", "consistency"),
        environment="MILVUS_TOKEN",
    ),
    "pinecone": Engine(
        "umekomi.stores.pinecone",
        "pinecone",
        parameters=("host", "cloud", "region"),
        environment="PINECONE_API_KEY",
    ),
    "postgresql": Engine(
        "umekomi.stores.postgres",
        "postgres",
        (*_HNSW, "quantization"),
        quantizations=("float16", "binary"),
        parameters=("sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation"),
        environment="PGPASSWORD",
    ),
    "qdrant": Engine(
        "umekomi.stores.qdrant",
        "qdrant",
        (*_HNSW, "quantization", "shards", "replicas"),
        quantizations=("float16", "int8", "binary"),
        parameters=("tls", "ca"),
        environment="QDRANT_API_KEY",
    ),
    "qdrant-edge": Engine(
        "umekomi.stores.qdrant_edge",
        "qdrant",
        (*_HNSW, "quantization"),
        quantizations=("float16", "int8", "binary"),
        embedded=True,
    ),
    "weaviate": Engine(
        "umekomi.stores.weaviate",
        "weaviate",
        (*_HNSW, "quantization", "shards", "replicas"),
        quantizations=("int8", "binary"),
        parameters=("tls", "grpc_host", "grpc_port"),
        environment="WEAVIATE_API_KEY",
    ),
    "redis": _REDIS,
    "rediss": _REDIS,
}


def open_store(url: str) -> Store:
    """Open a collection that is there, or an embedded Parquet file.

    Raises:
        InputError: the URL is not of a kind that is known.
        CollectionNotFoundError: there is no such collection.
        MissingExtraError: the engine's package is not installed.
    """
    if "://" not in url and not _is_folder(url):
        return load_parquet(url)
    module, address = _engine(url)
    store: Store = module.open_collection(address, None)
    return store


def create_store(url: str, space: Space) -> Store:
    """Open a collection for writing, making it if it is not there.

    Raises:
        SpaceMismatchError: it is there and holds vectors of another space.
    """
    module, address = _engine(url)
    store: Store = module.open_collection(address, space)
    return store


def list_stores(url: str) -> list[str]:
    """The URLs of a server's or a folder's collections."""
    module, address = _engine(url)
    names: list[str] = module.list_collections(address)
    return names


def load_parquet(path: str | Path) -> Store:
    """An embedded file as an exact store in memory, for reading only; ids as :func:`read_rows` gives them."""
    store = _FileStore(str(path), read_space(path))
    for ids, vectors, records in read_rows(path, size=1 << 16):
        store.load(ids, vectors, records)
    return store


def read_rows(
    path: str | Path, *, id_column: str | None = None, size: int = 4096
) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
    """An embedded file as a store takes it: ids, vectors ``(n, dims) float32`` and records, ``size`` rows at a time.

    The ids are the column that is named; else a column ``id``, ``Id`` or ``ID`` if no two of its values are alike; else the
    numbers of the rows, from 0. Columns that a record cannot hold (lists, bytes; see :func:`left_out`) are left out.

    Raises:
        RecordError: there is no such column, or its values are not unique.
    """
    column = _id_column(path, id_column)
    dropped = left_out(path)
    start = 0
    for vectors, batch in read_embedded(path, size=size):
        ids = range(start, start + len(batch)) if column is None else batch.column(column).to_pylist()
        yield [str(name) for name in ids], vectors, pa.Table.from_batches([batch]).drop_columns(dropped)
        start += len(batch)


def left_out(path: str | Path) -> list[str]:
    """The columns of an embedded file that a record cannot hold."""
    schema = pq.read_schema(path)
    return [field.name for field in schema if field.name != "embedding" and kind_of(field.type) is None]


def _id_column(path: str | Path, wanted: str | None) -> str | None:
    names = pq.read_schema(path).names
    if wanted is not None and wanted not in names:
        raise RecordError(f"There is no column {wanted!r}; the columns are {', '.join(names)}.")
    for name in ("id", "Id", "ID") if wanted is None else (wanted,):
        if name in names and kind_of(pq.read_schema(path).field(name).type) in (Kind.TEXT, Kind.INTEGER):
            values = pq.read_table(path, columns=[name]).column(name)
            if not values.null_count and pc.count_distinct(values).as_py() == len(values):
                return name
    if wanted is not None:
        raise RecordError(
            f"The column {wanted!r} cannot name the rows: its values must be texts or whole numbers, none missing, no two alike."
        )
    return None


class _FileStore(MemoryStore):
    """What is read from a file is not written back, so that writing to it is refused."""

    engine = "Parquet file"

    def load(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        super().upsert(ids, vectors, records)

    def upsert(
        self, ids: Sequence[str], vectors: FloatArray, records: pa.Table | Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        raise self._read_only()

    def delete(self, ids: Sequence[str]) -> None:
        raise self._read_only()

    def drop(self) -> None:
        raise self._read_only()

    def _read_only(self) -> StoreError:
        return StoreError(
            f"{self.url} is a file, for reading only. Load it with `umekomi store load {self.url} lance:///folder/name`."
        )


def shown_url(url: str) -> str:
    """A URL without its secret, for messages."""
    scheme, separator, _ = url.partition("://")
    return parse_address(url, SCHEMES[scheme], {}).url if separator and scheme in SCHEMES else url


def _is_folder(url: str) -> bool:
    """Whether a path without a scheme is that of a LanceDB table: ``folder/name.lance``."""
    return url.partition("?")[0].rstrip("/").endswith(".lance")


def _engine(url: str) -> tuple[ModuleType, Address]:
    """The module of a URL's engine, and the URL taken apart."""
    if "://" not in url and _is_folder(url):
        path, question, query = url.partition("?")
        url = f"lance://{Path(path.rstrip('/').removesuffix('.lance')).absolute()}{question}{query}"
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        shown = f"{scheme}://…" if "@" in url else url.partition("?")[0]
        raise InputError(f"{shown} is not the URL of a store; those that are known begin with {known}.")
    engine = SCHEMES[scheme]
    address = parse_address(url, engine, dict(current().secrets))
    return import_optional(engine.module, f"{scheme}://"), address


__all__ = [
    "SCHEMES",
    "Copied",
    "Hit",
    "MemoryStore",
    "Store",
    "copy_store",
    "create_store",
    "dropped_columns",
    "left_out",
    "list_stores",
    "load_lake",
    "load_parquet",
    "open_store",
    "read_rows",
    "rows_at_once",
    "shown_url",
    "write_rows",
]
