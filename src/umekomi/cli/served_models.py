"""The models that ``umekomi serve`` loads, and the ids that clients use for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..catalog import DEFAULT_MODEL, load_catalog
from ..encoders.model_ids import ModelType, model_type, require_model
from ..errors import InputError
from ..vectors.matrices import split_matrix


def served_models(models: Sequence[str], aliases: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the models to load by the id that clients use, and the ids that aliases stand for.

    The id of a model in a folder is the name of the folder. Without any model, the default model is loaded.

    Args:
        models: Ids of the catalog or of the hub, and folders.
        aliases: Aliases of the form ``NAME=MODEL``.

    Raises:
        ModelNotFoundError: There is no model with this id.
        InputError: A folder has no name, or that of another model; or an alias is not of the form NAME=MODEL, or given twice.

    >>> served_models(["umekomi-fake"], ["best=umekomi-fake"])
    ({'umekomi-fake': 'umekomi-fake'}, {'best': 'umekomi-fake'})
    """
    targets = _parse_aliases(aliases)
    sources: dict[str, str] = {}
    ids: dict[str, str] = {}
    for model in [*models, *targets.values()] or [DEFAULT_MODEL]:
        ids[model] = name = _client_id(require_model(model))
        if sources.get(name, model) != model:
            raise InputError(f"Another model already has the name {name!r} of the folder {model}. Rename the folder.")
        sources[name] = model
    return sources, {alias: ids[model] for alias, model in targets.items()}


def _parse_aliases(aliases: Sequence[str]) -> dict[str, str]:
    targets: dict[str, str] = {}
    for alias in aliases:
        name, _, model = alias.partition("=")
        if not name or not model:
            raise InputError(f"--alias {alias!r} is not of the form NAME=MODEL.")
        if name in targets:
            raise InputError(f"--alias names {name!r} twice.")
        targets[name] = model
    return targets


def _client_id(model: str) -> str:
    """Return the id that clients use for a model: its own, or the name of its folder. A matrix has the name of its file."""
    model, matrix = split_matrix(model)
    if matrix:
        return f"{_client_id(model)}+{Path(matrix).name}"
    catalog = load_catalog()
    type_ = model_type(model, catalog)
    if type_ is not ModelType.FOLDER:
        if type_ is not ModelType.HUB:
            catalog.model(model)
        return model
    name = Path(model).expanduser().resolve().name
    if not name or name in catalog.models:
        raise InputError(f"Another model already has the name {name!r} of the folder {model}. Rename the folder.")
    return name
