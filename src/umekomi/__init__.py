"""Umekomi (埋め込み): text embeddings on your own machine.

>>> from umekomi import Embedder
>>> Embedder("umekomi-fake").embed(["hello"]).shape
(1, 64)

The names below are loaded when first used, so that ``import umekomi`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import DEFAULT_MODEL, Catalog, ModelCard, Role, load_catalog
    from .embedder import Embedder, Prepared
    from .errors import UmekomiError
    from .settings import Settings

__version__ = "0.1.0"

_HOMES = {
    "Catalog": "catalog",
    "DEFAULT_MODEL": "catalog",
    "Embedder": "embedder",
    "ModelCard": "catalog",
    "Prepared": "embedder",
    "Role": "catalog",
    "Settings": "settings",
    "UmekomiError": "errors",
    "load_catalog": "catalog",
}

__all__ = [
    "DEFAULT_MODEL",
    "Catalog",
    "Embedder",
    "ModelCard",
    "Prepared",
    "Role",
    "Settings",
    "UmekomiError",
    "__version__",
    "load_catalog",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
