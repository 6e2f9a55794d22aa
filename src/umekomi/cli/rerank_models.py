"""The option ``--rerank-model`` of ``umekomi serve``."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import click

from ..catalog import load_catalog
from ..encoders.model_ids import ModelType
from ..errors import InputError
from ..reranker import Reranker, require_reranker
from .options import load_reranker

rerank_models_option = click.option(
    "--rerank-model",
    "rerank_models",
    multiple=True,
    metavar="MODEL",
    help="Reranker to load for /v1/rerank: the folder of a cross-encoder (./my-reranker), or owner/name on the Hugging Face hub. "
    "NAME=MODEL gives it another ID. Repeatable. Default: none.",
)
_NAMED = re.compile("([A-Za-z0-9._/-]{1,128})=(.+)")


def reranker_sources(rerank_models: Sequence[str], *, others: Collection[str]) -> dict[str, str]:
    """Return the rerankers to load by the ID that clients use, by default the name of the folder for a model in a folder.

    Args:
        rerank_models: Values of the option.
        others: IDs of the loaded embedding models.

    Raises:
        InputError: A model is not the path of a folder or a model of the hub, or has the ID of another model.
    """
    sources: dict[str, str] = {}
    for value in rerank_models:
        named = _NAMED.fullmatch(value)
        model = named[2] if named else value
        is_folder = require_reranker(model) is ModelType.FOLDER
        name = named[1] if named else Path(model).expanduser().resolve().name if is_folder else model
        if not name or name in {*others, *load_catalog().models} or sources.get(name, model) != model:
            raise InputError(
                f"Another model already has the name {name!r} of the reranker {model}. Give it another with NAME=MODEL."
            )
        sources[name] = model
    return sources


def load_rerankers(sources: dict[str, str]) -> dict[str, Reranker]:
    """Return the rerankers of :func:`reranker_sources`, loaded."""
    return {name: load_reranker(model, name=name) for name, model in sources.items()}
