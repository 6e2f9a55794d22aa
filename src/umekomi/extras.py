"""Optional packages: which extra of ``pip install 'umekomi[…]'`` installs each of them, and one error for all."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import MissingExtraError

EXTRAS = {
    "serve": (
        "fastapi",
        "httptools",
        "orjson",
        "python_multipart",
        "multipart",
        "starlette",
        "pydantic",
        "uvicorn",
        "uvloop",
    ),
    "remote": ("openai",),
    "lance": ("lancedb",),
    "redis": ("redis",),
    "postgres": ("psycopg",),
    "milvus": ("pymilvus",),
    "qdrant": ("qdrant_client", "qdrant_edge"),
    "weaviate": ("weaviate",),
    "pinecone": ("pinecone",),
    "tasks": ("matplotlib", "openTSNE", "plotly", "sklearn", "scipy", "threadpoolctl"),
    "code": ("pathspec", "watchfiles", "tree_sitter"),
    "mcp": ("mcp",),
    "ray": ("ray",),
    "gpu": ("torch",),
}
"""The modules that each extra installs."""

_EXTRA_OF = {module: extra for extra, modules in EXTRAS.items() for module in modules}


def extra_of(module: str) -> str | None:
    """The extra that installs a module; None if no extra does.

    >>> extra_of("sklearn.cluster"), extra_of("tree_sitter_go"), extra_of("json")
    ('tasks', 'code', None)
    """
    package = module.split(".")[0]
    return "code" if package.startswith("tree_sitter") else _EXTRA_OF.get(package)


def missing_extra(error: ModuleNotFoundError, purpose: str = "This") -> MissingExtraError | None:
    """The error to show instead of a failed import; None if no extra installs the module."""
    extra = extra_of(error.name or "")
    if extra is None:
        return None
    package = str(error.name).split(".")[0]
    return MissingExtraError(f"{purpose} needs the package {package}: pip install 'umekomi[{extra}]'.")


@contextmanager
def needed_for(purpose: str = "This") -> Iterator[None]:
    """Imports in the block are optional.

    Args:
        purpose: The subject of the error's sentence, as ``"Serving"``.

    Raises:
        MissingExtraError: A package is not installed; the message names the extra that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = missing_extra(error, purpose)
        if missing is None:
            raise
        raise missing from error


def import_optional(module: str, purpose: str = "This") -> Any:
    """Import a module that is optional, or that imports optional packages.

    Raises:
        MissingExtraError: A package is not installed; the message names the extra that installs it.
    """
    with needed_for(purpose):
        return importlib.import_module(module)
