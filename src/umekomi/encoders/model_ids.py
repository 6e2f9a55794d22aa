"""Which ids are not names of the catalogue: a folder's path, or an ``owner/name`` of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from ..catalog import Catalog, load_catalog
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
    """Return the model that a file, a store or an index names, if it may be used without asking the user.

    What a file says must never select a computer that queries are sent to, or a model that is downloaded. So a ``remote:`` model,
    and an ``owner/name`` of the Hugging Face hub that is not on this machine, need the user's consent: the model's name on the
    command line, or ``UMEKOMI_ALLOW_REMOTE=1``.

    Args:
        model: The model's id, as the file names it.
        source: The file, for the message.
        option: The option of the command that names a model, if it has one.
        settings: By default those of the environment.

    Raises:
        InputError: The model is hosted elsewhere or must be downloaded, and the user has not consented.
    """
    settings = settings or current()
    if settings.allow_remote:
        return model
    # The id may end with ",without=…" (see mitigation.py).
    base = model.strip().partition(",")[0]
    if base.lower().startswith("remote:"):
        effect = "would send your texts to another computer"
    elif is_folder_or_hub(base, load_catalog()) and not looks_like_folder(base) and not _is_downloaded(base, settings):
        effect = "is not on this machine and would be downloaded from the Hugging Face hub"
    else:
        return model
    advice = f"give {option} {model} or set" if option else "set"
    raise InputError(
        f"{source} was embedded with {model}, which {effect}. If you trust it, {advice} UMEKOMI_ALLOW_REMOTE=1."
    )


def _is_downloaded(model: str, settings: Settings) -> bool:
    """Return whether the weights of a model of the hub are in its cache, or nothing may be downloaded in any case."""
    if settings.offline:
        return True
    # Imported here: it costs a quarter of a second, and few need it.
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, local_files_only=True))
    except Exception:  # an invalid name, or any of its errors of a cache that lacks the model
        return False
    return any(folder.rglob("*.safetensors"))
