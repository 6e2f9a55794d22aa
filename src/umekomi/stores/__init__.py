"""Vector stores. Every engine has the same interface, one module in ``engines``, and a URL scheme.

=============================  ===========================================================================
``lance:///folder/name``       LanceDB, the embedded default (``lance://folder/name`` is a relative folder)
``folder/name.lance``          the same, as a path
``milvus://host:19530/name``   Milvus
``qdrant-edge:///dir/name``    Qdrant Edge: Qdrant's engine in this process; one process at a time
``postgresql://host/db/name``  PostgreSQL with pgvector
``pinecone://name``            Pinecone; a collection is an index
``qdrant://host:6333/name``    Qdrant
``redis://host:6379/name``     Redis with RediSearch, or the vector sets of Redis 8
``weaviate://host:8080/name``  Weaviate
``memory://name``              exact, in the memory of this process; ``?quantization=binary`` is faster and nearly exact
``reviews.parquet``            an embedded Parquet file, searched exactly in memory; read-only
=============================  ===========================================================================

Plugins add engines through the entry point ``umekomi.stores`` (see docs/plugins.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from .. import registry
from ..data.embedded_file import Space
from ..errors import InputError
from ..extras import import_optional
from ..settings import current
from .base import Hit, Store
from .copying import CopyResult, batch_size, copy_store, customize_space, write_batches
from .engines.memory import MemoryStore
from .locking import PartialMarker, lock_collection, unfinished_copy
from .parquet_files import list_text_columns, list_unsupported_columns, load_file, open_parquet, read_batches
from .url import Address, EngineSpec, parse_address

logger = logging.getLogger(__name__)
_HNSW = ("m", "ef", "ef_search", "exact")

_REDIS = EngineSpec(
    "umekomi.stores.engines.redis",
    "redis",
    (*_HNSW, "quantization"),
    quantizations=("float16", "int8", "binary"),
    parameters=("tls", "ca"),
    environment="REDIS_PASSWORD",
    default_port=6379,
)

SCHEMES: dict[str, EngineSpec] = {
    "lance": EngineSpec(
        "umekomi.stores.engines.lance", "lance", (*_HNSW, "quantization"), quantizations=("int8",), embedded=True
    ),
    "memory": EngineSpec(
        "umekomi.stores.engines.memory",
        options=("quantization",),
        quantizations=("binary",),
        embedded=True,
        has_sparse=True,
    ),
    "milvus": EngineSpec(
        "umekomi.stores.engines.milvus",
        "milvus",
        (*_HNSW, "quantization", "shards", "replicas"),
        quantizations=("int8",),
        parameters=("tls", "ca", "consistency"),
        environment="MILVUS_TOKEN",
        default_port=19530,
        has_sparse=True,
        has_databases=True,
    ),
    "pinecone": EngineSpec(
        "umekomi.stores.engines.pinecone",
        "pinecone",
        parameters=("host", "cloud", "region"),
        environment="PINECONE_API_KEY",
    ),
    "postgresql": EngineSpec(
        "umekomi.stores.engines.postgres",
        "postgres",
        (*_HNSW, "quantization"),
        quantizations=("float16", "binary"),
        parameters=("sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation"),
        environment="PGPASSWORD",
        default_port=5432,
        has_databases=True,
    ),
    "qdrant": EngineSpec(
        "umekomi.stores.engines.qdrant",
        "qdrant",
        (*_HNSW, "quantization", "shards", "replicas"),
        quantizations=("float16", "int8", "binary"),
        parameters=("tls", "ca"),
        environment="QDRANT_API_KEY",
        default_port=6333,
        has_sparse=True,
    ),
    "qdrant-edge": EngineSpec(
        "umekomi.stores.engines.qdrant_edge",
        "qdrant",
        (*_HNSW, "quantization"),
        quantizations=("float16", "int8", "binary"),
        embedded=True,
        has_sparse=True,
    ),
    "weaviate": EngineSpec(
        "umekomi.stores.engines.weaviate",
        "weaviate",
        (*_HNSW, "quantization", "shards", "replicas"),
        quantizations=("int8", "binary"),
        parameters=("tls", "grpc_host", "grpc_port"),
        environment="WEAVIATE_API_KEY",
        default_port=8080,
    ),
    "redis": _REDIS,
    "rediss": _REDIS,
}


def open_store(url: str, *, check: Callable[[Store], object] | None = None) -> Store:
    """Open an existing collection, or an embedded Parquet file.

    A warning is logged if a copy into the collection has not finished, so that rows may be missing.

    Args:
        url: URL of the collection, or path of the file.
        check: Called with a store that has the space and the columns, before the rows of a file are read. It may raise an
            exception.

    Raises:
        InputError: The URL is invalid or has an unknown scheme.
        CollectionNotFoundError: There is no such collection.
        MissingExtraError: The client library of the engine is not installed.
    """
    if "://" not in url and not _is_lance_path(url):
        return open_parquet(url, check=check)
    module, address = _load_engine(url)
    store: Store = module.open_collection(address, None)
    if check is not None:
        check(store)
    if command := unfinished_copy(address):
        logger.warning(
            "%s is incomplete, because `%s` has not finished: run it again, with --resume to keep the written rows.",
            store.url,
            command,
        )
    return store


def create_store(url: str, space: Space) -> Store:
    """Open a collection for writing. A collection that does not exist yet is created by the first upsert.

    Args:
        url: URL of the collection.
        space: Embedding space of the vectors. An engine that cannot store sparse vectors creates a collection without them.

    Raises:
        InputError: The URL is invalid or has an unknown scheme.
        SpaceMismatchError: The collection exists and holds vectors of another space.
        MissingExtraError: The client library of the engine is not installed.
    """
    module, address = _load_engine(url)
    spec = _find_spec(address.scheme)
    if spec is not None and not spec.has_sparse:
        space = replace(space, sparse=None)
    store: Store = module.open_collection(address, space)
    return store


def lock_store(url: str, *, purpose: str) -> AbstractContextManager[PartialMarker]:
    """Return a context in which only this process loads rows into a collection, copies rows into it or drops it.

    Args:
        url: URL of the collection.
        purpose: What this process does, for the messages of other processes.

    Raises:
        OutputLockedError: Another process holds the lock. Raised when the context is entered.
    """
    return lock_collection(_load_engine(url)[1], purpose=purpose)


def list_stores(url: str) -> list[str]:
    """Return the URLs of all collections of a server or a folder."""
    module, address = _load_engine(url)
    urls: list[str] = module.list_collections(address)
    return urls


def redact_url(url: str) -> str:
    """Return a URL without its secret, for messages."""
    scheme, separator, _ = url.partition("://")
    spec = _find_spec(scheme) if separator else None
    return parse_address(url, spec, {}).url if spec else url


def _is_lance_path(url: str) -> bool:
    """Return whether a path without a scheme names a LanceDB table, such as ``folder/name.lance``."""
    return url.partition("?")[0].rstrip("/").endswith(".lance")


def _find_spec(scheme: str) -> EngineSpec | None:
    """Return the entry of a scheme in ``SCHEMES`` or of a plugin, or None."""
    plugin = registry.find_plugin(registry.STORES, scheme, builtin=SCHEMES)
    if plugin is None:
        return SCHEMES.get(scheme)
    spec: EngineSpec = plugin.load(expected="an EngineSpec", is_valid=lambda value: isinstance(value, EngineSpec))
    return spec


def _load_engine(url: str) -> tuple[ModuleType, Address]:
    """Return the module of a URL's engine, and the parsed URL."""
    if "://" not in url and _is_lance_path(url):
        path, question_mark, query = url.partition("?")
        url = f"lance://{Path(path.rstrip('/').removesuffix('.lance')).absolute()}{question_mark}{query}"
    scheme, separator, _ = url.partition("://")
    spec = _find_spec(scheme) if separator else None
    if spec is None:
        schemes = ", ".join(f"{name}://" for name in (*SCHEMES, *registry.plugins_of(registry.STORES, builtin=SCHEMES)))
        shown = f"{scheme}://…" if "@" in url else url.partition("?")[0]
        raise InputError(f"{shown} is not the URL of a store. The known schemes are {schemes}.")
    address = parse_address(url, spec, dict(current().secrets))
    return import_optional(spec.module, f"{scheme}://"), address


__all__ = [
    "SCHEMES",
    "CopyResult",
    "EngineSpec",
    "Hit",
    "MemoryStore",
    "PartialMarker",
    "Store",
    "batch_size",
    "copy_store",
    "create_store",
    "customize_space",
    "list_stores",
    "list_text_columns",
    "list_unsupported_columns",
    "load_file",
    "lock_store",
    "open_parquet",
    "open_store",
    "read_batches",
    "redact_url",
    "write_batches",
]
