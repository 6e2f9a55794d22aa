"""Optional dependencies: the extra of ``pip install 'umekomi[…]'`` that installs each of them."""

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
    "convert": ("onnx", "onnxscript", "transformers"),
}
"""Top-level modules by extra."""

_EXTRA_OF = {module: extra for extra, modules in EXTRAS.items() for module in modules}


def extra_of(module: str) -> str | None:
    """Return the extra that installs a module, or None.

    >>> extra_of("sklearn.cluster"), extra_of("tree_sitter_go"), extra_of("json")
    ('tasks', 'code', None)
    """
    package = module.split(".")[0]
    return "code" if package.startswith("tree_sitter") else _EXTRA_OF.get(package)


def missing_extra(error: ModuleNotFoundError, purpose: str = "This") -> MissingExtraError | None:
    """Return the error to show instead of a failed import, or None if no extra installs the module."""
    extra = extra_of(error.name or "")
    if extra is None:
        return None
    package = str(error.name).split(".")[0]
    return MissingExtraError(f"{purpose} needs the package {package}: pip install 'umekomi[{extra}]'.")


@contextmanager
def needed_for(purpose: str = "This") -> Iterator[None]:
    """Translate failed imports in the block to MissingExtraError.

    Args:
        purpose: Subject of the error message, such as ``"Serving"``.

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
    """Import a module that is, or that imports, an optional dependency.

    Raises:
        MissingExtraError: A package is not installed; the message names the extra that installs it.
    """
    with needed_for(purpose):
        return importlib.import_module(module)
