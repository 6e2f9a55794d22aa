"""Read ``config_sentence_transformers.json``: the prompts, the number of dimensions and the similarity of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...json_files import JsonObject

_OTHER_TYPES = {
    "CrossEncoder": "it is a reranker, which scores pairs of texts; use it with `umekomi search --rerank`",
    "SparseEncoder": "it is a sparse encoder (SPLADE); use it with `umekomi embed --sparse`",
    "SentenceTransformer": "it is a dense encoder; use it with `umekomi embed -m`",
    "MultiVectorEncoder": "it gives a vector for each token (ColBERT); Umekomi supports one vector for each text",
}
"""Types of models, and what to do with a model of another type than expected."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings of a whole model."""

    #: Prompts by name, such as ``query`` and ``document``.
    prompts: Mapping[str, str]
    #: Prompt of texts without a role.
    default_prompt: str
    #: Number of dimensions that vectors are shortened to; None means all.
    truncate_dim: int | None
    #: Number of dimensions that a sparse vector keeps; None means all.
    max_active_dims: int | None = None


def read_model_settings(
    folder: Path, *, is_normalized: bool = False, expected_type: str = "SentenceTransformer"
) -> ModelSettings:
    """Read the settings of a model.

    Args:
        folder: Folder of the model.
        is_normalized: Whether the last module scales vectors to length 1.
        expected_type: ``SentenceTransformer`` or ``SparseEncoder``.

    Raises:
        InputError: The file has an unknown key, or a value that Umekomi does not support.
    """
    settings = JsonObject.read(folder / "config_sentence_transformers.json")
    # Versions of libraries, and the versions that a model requires.
    settings.ignore(["__version__", "requirements"])
    model_type = settings.text("model_type", default=expected_type)
    if model_type != expected_type:
        raise settings.error(["model_type"], _OTHER_TYPES.get(model_type, f"Umekomi supports {expected_type}"))
    if expected_type == "SparseEncoder":
        settings.require("similarity_fn_name", ["dot"], "Umekomi compares sparse vectors by their dot product")
        max_active_dims = settings.integer("max_active_dims")
    else:
        # Vectors of Umekomi have length 1. Then the order by dot product and by distance is that by cosine.
        settings.require(
            "similarity_fn_name",
            ["cosine", "dot", "euclidean"] if is_normalized else ["cosine"],
            "Umekomi compares vectors of length 1 by cosine, which gives another order for this model",
        )
        max_active_dims = None
    prompts = settings.texts("prompts")
    name = settings.text("default_prompt_name", default="")
    if name and name not in prompts:
        raise settings.error(["default_prompt_name"], f"there are prompts for {', '.join(prompts) or 'no name'}")
    truncate_dim = settings.integer("truncate_dim")
    settings.close()
    return ModelSettings(prompts, prompts.get(name, ""), truncate_dim, max_active_dims)
