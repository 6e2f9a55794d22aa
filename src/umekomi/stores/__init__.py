"""Vector stores: one protocol, one file an engine, one URL a collection.

==========================  ===========================================================================
``lance:///folder/name``    LanceDB, the embedded default (``lance://folder/name`` is a relative folder)
``reviews.parquet``         an embedded file, read whole and searched exactly; read-only
==========================  ===========================================================================
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from ..errors import InputError, MissingExtraError
from ..records import Space, read_embedded, read_space
from .base import Hit, Store
from .memory import MemoryStore

# Scheme of the URL: the module with `open_collection` and `list_collections`, and the extra that it needs.
SCHEMES = {"lance": ("umekomi.stores.lance", "lance")}


def open_store(url: str) -> Store:
    """Open a collection that is there, or an embedded Parquet file.

    Raises:
        InputError: the URL is not of a kind that is known.
        CollectionNotFoundError: there is no such collection.
        MissingExtraError: the engine's package is not installed.
    """
    if "://" not in url:
        return load_parquet(url)
    module, address = _engine(url)
    store: Store = module.open_collection(url, address, None)
    return store


def create_store(url: str, space: Space) -> Store:
    """Open a collection for writing, making it if it is not there.

    Raises:
        SpaceMismatchError: it is there and holds vectors of another space.
    """
    module, address = _engine(url)
    store: Store = module.open_collection(url, address, space)
    return store


def list_stores(url: str) -> list[str]:
    """The URLs of a server's or a folder's collections."""
    module, address = _engine(url)
    names: list[str] = module.list_collections(url, address)
    return names


def load_parquet(path: str | Path) -> MemoryStore:
    """An embedded file as an exact store in memory; the ids are the numbers of its rows, from 0."""
    store = MemoryStore(str(path), read_space(path))
    start = 0
    for vectors, records in read_embedded(path, size=1 << 16):
        ids = [str(start + row) for row in range(len(vectors))]
        store.upsert(ids, vectors, pa.Table.from_batches([records]))
        start += len(ids)
    return store


def _engine(url: str) -> tuple[ModuleType, str]:
    scheme, separator, address = url.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(f"{url} is not the URL of a store; those that are known begin with {known}.")
    module, extra = SCHEMES[scheme]
    try:
        return importlib.import_module(module), address
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{scheme}:// needs the package {error.name}: pip install 'umekomi[{extra}]'."
        ) from error


__all__ = ["SCHEMES", "Hit", "MemoryStore", "Store", "create_store", "list_stores", "load_parquet", "open_store"]
