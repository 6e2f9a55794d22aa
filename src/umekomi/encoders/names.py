"""Which ids are not names of the catalogue: a folder's path, or an ``owner/name`` of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from ..catalog import Catalog


def looks_like_folder(model: str) -> bool:
    """Whether a model's id is the path of a folder, and not a name."""
    return model.startswith(("./", "../", "/", "~")) or Path(model).is_dir()


def is_folder_or_hub(model: str, catalog: Catalog) -> bool:
    """Whether a model's id is a folder's path or an ``owner/name`` of the Hugging Face hub.

    >>> from umekomi.catalog import load_catalog
    >>> is_folder_or_hub("./my-model", load_catalog()), is_folder_or_hub("text-embedding-ada-002", load_catalog())
    (True, False)
    """
    return model not in catalog.models and not model.startswith("remote:") and ("/" in model or model.startswith("~"))
