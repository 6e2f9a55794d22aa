"""What a model's id refers to: a row of the catalog, a local folder, the Hugging Face hub or a hosted API."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path

from ..catalog import Catalog, ModelCard, load_catalog
from ..errors import InputError
from ..settings import Settings, current
from ..vectors.directions import SEPARATOR, builtin_directions, load_direction, split_model
from ..vectors.matrices import base_model, load_matrix, split_matrix
from .hub import find_cached_folder

REMOTE_PREFIX = "remote:"
FILE_SEPARATOR = ",file="
"""Separates the id of a folder's model from the name of an ONNX or OpenVINO file: ``./my-model,file=onnx/model_fp16.onnx``."""


class ModelType(Enum):
    """What a model's id refers to."""

    #: A row of the catalog, or an unknown name.
    CATALOG = "catalog"
    #: A local folder in the format of sentence-transformers.
    FOLDER = "folder"
    #: A model in the format of sentence-transformers, as ``owner/name`` on the Hugging Face hub.
    HUB = "hub"
    #: A hosted model, as ``remote:MODEL``.
    REMOTE = "remote"


def model_type(model: str, catalog: Catalog | None = None) -> ModelType:
    """Return what a model's id refers to.

    Args:
        model: Id of the model, without ``,without=DIRECTION`` and ``+my.safetensors``.
        catalog: Known models. By default those of :func:`~umekomi.load_catalog`.

    >>> model_type("./my-model"), model_type("text-embedding-ada-002"), model_type("intfloat/e5-base-v2")
    (<ModelType.FOLDER: 'folder'>, <ModelType.CATALOG: 'catalog'>, <ModelType.HUB: 'hub'>)
    """
    catalog = catalog or load_catalog()
    if catalog.resolve(model) in catalog.models:
        return ModelType.CATALOG
    if model.startswith(REMOTE_PREFIX):
        return ModelType.REMOTE
    # The name of a file may contain a slash.
    if "/" not in model.partition(FILE_SEPARATOR)[0] and not model.startswith("~"):
        return ModelType.CATALOG
    return ModelType.FOLDER if is_folder(model) else ModelType.HUB


def is_folder(model: str) -> bool:
    """Return whether a model's id is the path of a folder."""
    return model.startswith(("./", "../", "/", "~")) or Path(split_file(model)[0]).is_dir()


def require_model(model: str, catalog: Catalog | None = None) -> str:
    """Return the id of a model, after checking what can be checked without loading or downloading the model.

    Args:
        model: Id of the model, with ``,without=DIRECTION`` and ``+my.safetensors``.
        catalog: Known models. By default those of :func:`~umekomi.load_catalog`.

    Raises:
        ModelNotFoundError: The catalog has no such model.
        InputError: There is no such folder, or the direction or the matrix cannot be read.
    """
    catalog = catalog or load_catalog()
    whole, matrix = split_matrix(model)
    base, direction = split_model(whole)
    type_ = model_type(base, catalog)
    if type_ is ModelType.CATALOG:
        catalog.model(base)
    elif type_ is ModelType.FOLDER and not Path(split_file(base)[0]).expanduser().is_dir():
        raise InputError(
            f"There is no folder {split_file(base)[0]}. `umekomi models list` shows the catalog.", param="model"
        )
    if direction:
        load_direction(direction)
    if matrix:
        load_matrix(matrix)
    return model


def split_file(model: str) -> tuple[str, str]:
    """Split the id of a folder's model into the folder and the name of a file in it, which may be empty.

    >>> split_file("./my-model,file=onnx/model_fp16.onnx")
    ('./my-model', 'onnx/model_fp16.onnx')
    """
    base, _, file = model.partition(FILE_SEPARATOR)
    if FILE_SEPARATOR in model and not file:
        raise InputError(
            f"{model} does not name a file. Write it like {base}{FILE_SEPARATOR}onnx/model.onnx.", param="model"
        )
    return base, file


def make_absolute(model: str, catalog: Catalog | None = None) -> str:
    """Return the id of a model with the absolute path of its folder, for a pickle that may be read in another folder."""
    return str(Path(model).expanduser().absolute()) if model_type(model, catalog) is ModelType.FOLDER else model


def find_card(model: str, catalog: Catalog) -> ModelCard:
    """Return the card of a model of the catalog. The id may end with a direction and a matrix.

    Raises:
        ModelNotFoundError: No model has this id.
        InputError: The file of the matrix cannot be read.
    """
    base, path = base_model(model), split_matrix(model)[1]
    card = catalog.model(base)
    dims = load_matrix(path).dims_out if path else card.dimensions
    return replace(card, id=f"{card.id}{model.removeprefix(base)}", dimensions=dims)


def require_consent(model: str, *, source: str, option: str = "", settings: Settings | None = None) -> str:
    """Return the model that a file, a store or an index names, if it may be used without asking the user.

    A file must never select a computer that queries are sent to, a model that is downloaded, or another file that is read. So a
    ``remote:`` model, a model of the Hugging Face hub that is not on this machine, and a model with a matrix or with a
    direction from a file need the user's consent: the model's name on the command line, or ``UMEKOMI_ALLOW_REMOTE=1``.

    Args:
        model: Id of the model in the file.
        source: Name of the file, for the message.
        option: Command line option that names a model, if the command has one.
        settings: By default those of the environment.

    Raises:
        InputError: The model is hosted elsewhere, must be downloaded or needs another file, and the user has not consented.
    """
    settings = settings or current()
    if settings.allow_remote:
        return model
    whole, matrix = split_matrix(model.strip())
    # The base may also end with ",file=…".
    base = whole.partition(",")[0]
    # Whatever follows the first separator, because an invalid id must not pass either.
    direction = whole.partition(SEPARATOR)[2]
    if base.lower().startswith(REMOTE_PREFIX):
        effect = "would send your texts to another computer"
    elif model_type(base) is ModelType.HUB and not is_downloaded(base, settings):
        effect = "is not on this machine and would be downloaded from the Hugging Face hub"
    elif matrix or (direction and direction not in builtin_directions()):
        effect = f"reads the file {matrix or direction}"
    else:
        return model
    advice = f"give {option} {model} or set" if option else "set"
    raise InputError(
        f"{source} was embedded with {model}, which {effect}. If you trust it, {advice} UMEKOMI_ALLOW_REMOTE=1."
    )


def is_downloaded(model: str, settings: Settings) -> bool:
    """Return whether a model of the hub needs no download: it is in the hub's cache, or downloads are disabled."""
    if settings.offline:
        return True
    try:
        files = find_cached_folder(model).rglob("*")
    except (FileNotFoundError, ValueError):  # the cache lacks the model, or the id is invalid
        return False
    return any(file.suffix in (".safetensors", ".onnx", ".xml") for file in files)
