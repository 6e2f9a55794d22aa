"""Umekomi (埋め込み): text embeddings on your own machine.

>>> from umekomi import Embedder
>>> Embedder("umekomi-fake").embed(["hello"]).shape
(1, 64)

The names in ``__all__`` are the public API, documented in docs/library.md. Each is imported when it is first used, so that
``import umekomi`` takes almost no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import DEFAULT_MODEL, Catalog, ModelCard, Role, load_catalog
    from .data.embedded_file import Space
    from .data.table import EmbeddedTable, embed_table, read_table
    from .embedder import Embedder
    from .errors import (
        AssetCorruptError,
        AssetDiskError,
        AssetError,
        AssetMissingError,
        CollectionNotFoundError,
        FilterError,
        InputError,
        MissingExtraError,
        ModelNotFoundError,
        OutputLockedError,
        OverloadedError,
        PluginError,
        RecordError,
        RemoteError,
        RemoteUnavailableError,
        ShuttingDownError,
        SpaceMismatchError,
        StoreError,
        StoreUnavailableError,
        TokenLimitError,
        UmekomiError,
    )
    from .settings import Settings
    from .stores import Hit, Store, create_store, open_store
    from .tasks.search import search
    from .tokens import Tokenizer, load_tokenizer

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_MODEL",
    "AssetCorruptError",
    "AssetDiskError",
    "AssetError",
    "AssetMissingError",
    "Catalog",
    "CollectionNotFoundError",
    "EmbeddedTable",
    "Embedder",
    "FilterError",
    "Hit",
    "InputError",
    "MissingExtraError",
    "ModelCard",
    "ModelNotFoundError",
    "OutputLockedError",
    "OverloadedError",
    "PluginError",
    "RecordError",
    "RemoteError",
    "RemoteUnavailableError",
    "Role",
    "Settings",
    "ShuttingDownError",
    "Space",
    "SpaceMismatchError",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "TokenLimitError",
    "Tokenizer",
    "UmekomiError",
    "__version__",
    "create_store",
    "embed_table",
    "load_catalog",
    "load_tokenizer",
    "open_store",
    "read_table",
    "search",
]

_MODULES = {
    "DEFAULT_MODEL": "catalog",
    "Catalog": "catalog",
    "EmbeddedTable": "data.table",
    "Embedder": "embedder",
    "Hit": "stores",
    "ModelCard": "catalog",
    "Role": "catalog",
    "Settings": "settings",
    "Space": "data.embedded_file",
    "Store": "stores",
    "Tokenizer": "tokens",
    "create_store": "stores",
    "embed_table": "data.table",
    "load_catalog": "catalog",
    "load_tokenizer": "tokens",
    "open_store": "stores",
    "read_table": "data.table",
    "search": "tasks.search",
}
"""The modules of the public names. All others are errors."""


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
