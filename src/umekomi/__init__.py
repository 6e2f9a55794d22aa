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
    from .evaluation.duplicates import group_copies
    from .evaluation.splits import split_groups
    from .plots.colors import color_by
    from .plots.map_page import write_page
    from .plots.predictions import report_classification, report_regression
    from .reranker import RankedDocument, Reranker
    from .settings import Settings
    from .sparse_embedder import SparseEmbedder
    from .stores import Hit, Store, create_store, open_store
    from .tasks.anomalies import find_anomalies
    from .tasks.classify import train_classifier, train_regressor
    from .tasks.cluster import cluster, describe
    from .tasks.diversity import diversity
    from .tasks.explain import explain
    from .tasks.profiles import evaluate_profiles, make_profiles, suggest
    from .tasks.project import project
    from .tasks.recommend import recommend
    from .tasks.search import search
    from .tasks.sklearn_transformer import EmbeddingTransformer
    from .tasks.zero_shot import embed_labels, zero_shot
    from .tokens import Tokenizer, load_tokenizer
    from .vectors.sparse import SparseVectors

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
    "EmbeddingTransformer",
    "FilterError",
    "Hit",
    "InputError",
    "MissingExtraError",
    "ModelCard",
    "ModelNotFoundError",
    "OutputLockedError",
    "OverloadedError",
    "PluginError",
    "RankedDocument",
    "RecordError",
    "RemoteError",
    "RemoteUnavailableError",
    "Reranker",
    "Role",
    "Settings",
    "ShuttingDownError",
    "Space",
    "SpaceMismatchError",
    "SparseEmbedder",
    "SparseVectors",
    "Store",
    "StoreError",
    "StoreUnavailableError",
    "TokenLimitError",
    "Tokenizer",
    "UmekomiError",
    "__version__",
    "cluster",
    "color_by",
    "create_store",
    "describe",
    "diversity",
    "embed_labels",
    "embed_table",
    "evaluate_profiles",
    "explain",
    "find_anomalies",
    "group_copies",
    "load_catalog",
    "load_tokenizer",
    "make_profiles",
    "open_store",
    "project",
    "read_table",
    "recommend",
    "report_classification",
    "report_regression",
    "search",
    "split_groups",
    "suggest",
    "train_classifier",
    "train_regressor",
    "write_page",
    "zero_shot",
]

_MODULES = {
    "catalog": ("DEFAULT_MODEL", "Catalog", "ModelCard", "Role", "load_catalog"),
    "data.embedded_file": ("Space",),
    "data.table": ("EmbeddedTable", "embed_table", "read_table"),
    "embedder": ("Embedder",),
    "evaluation.duplicates": ("group_copies",),
    "evaluation.splits": ("split_groups",),
    "plots.colors": ("color_by",),
    "plots.map_page": ("write_page",),
    "plots.predictions": ("report_classification", "report_regression"),
    "reranker": ("RankedDocument", "Reranker"),
    "settings": ("Settings",),
    "sparse_embedder": ("SparseEmbedder",),
    "stores": ("Hit", "Store", "create_store", "open_store"),
    "tasks.anomalies": ("find_anomalies",),
    "tasks.classify": ("train_classifier", "train_regressor"),
    "tasks.cluster": ("cluster", "describe"),
    "tasks.diversity": ("diversity",),
    "tasks.explain": ("explain",),
    "tasks.profiles": ("evaluate_profiles", "make_profiles", "suggest"),
    "tasks.project": ("project",),
    "tasks.recommend": ("recommend",),
    "tasks.search": ("search",),
    "tasks.sklearn_transformer": ("EmbeddingTransformer",),
    "tasks.zero_shot": ("embed_labels", "zero_shot"),
    "tokens": ("Tokenizer", "load_tokenizer"),
    "vectors.sparse": ("SparseVectors",),
}
"""The public names of each module. All other public names are errors."""


def __getattr__(name: str) -> object:
    if name in __all__:
        module = next((module for module, names in _MODULES.items() if name in names), "errors")
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
