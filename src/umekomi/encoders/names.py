"""Which ids are not names of the catalogue: a folder's path, or an ``owner/name`` of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from ..catalog import Catalog
from ..errors import InputError
from ..settings import Settings, current


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


def require_consent(model: str, *, source: str, option: str = "", settings: Settings | None = None) -> str:
    """The model that a file, a store or an index names, if texts may be sent to it.

    What a file says must never select a computer that queries are sent to. So a ``remote:`` model needs the user's consent: the
    model's name on the command line, or ``UMEKOMI_ALLOW_REMOTE=1``.

    Args:
        model: The model's id, as the file names it.
        source: The file, for the message.
        option: The option of the command that names a model, if it has one.
        settings: By default what the environment says.

    Raises:
        InputError: The model is hosted elsewhere, and the user has not consented.
    """
    if model.strip().lower().startswith("remote:") and not (settings or current()).allow_remote:
        advice = f"give {option} {model} or set" if option else "set"
        raise InputError(
            f"{source} was embedded with {model}, which would send your texts to another computer. If you trust it, {advice} "
            "UMEKOMI_ALLOW_REMOTE=1."
        )
    return model
