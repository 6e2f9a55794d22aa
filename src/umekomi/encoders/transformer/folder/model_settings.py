"""Read ``config_sentence_transformers.json``: the prompts, the number of dimensions and the similarity of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .json_files import JsonObject

_OTHER_TYPES = {
    "CrossEncoder": "it is a reranker, which scores pairs of texts; use it with `umekomi search --rerank`",
    "SparseEncoder": "it is a sparse encoder (SPLADE); Umekomi supports dense vectors",
    "MultiVectorEncoder": "it gives a vector for each token (ColBERT); Umekomi supports one vector for each text",
}
"""Values of ``model_type`` of models that are not dense encoders."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings of a whole model."""

    #: Prompts by name, such as ``query`` and ``document``.
    prompts: Mapping[str, str]
    #: Prompt of texts without a role.
    default_prompt: str
    #: Number of dimensions that vectors are shortened to; None means all.
    truncate_dim: int | None


def read_model_settings(folder: Path, *, is_normalized: bool) -> ModelSettings:
    """Read the settings of a model.

    Args:
        folder: Folder of the model.
        is_normalized: Whether the last module scales vectors to length 1.

    Raises:
        InputError: The file has an unknown key, or a value that Umekomi does not support.
    """
    settings = JsonObject.read(folder / "config_sentence_transformers.json")
    # Versions of libraries, and the versions that a model requires.
    settings.ignore(["__version__", "requirements"])
    model_type = settings.text("model_type", "SentenceTransformer")
    if model_type != "SentenceTransformer":
        raise settings.error("model_type", _OTHER_TYPES.get(model_type, "Umekomi supports SentenceTransformer"))
    # Vectors of Umekomi have length 1. Then the order by dot product and by distance is that by cosine.
    settings.require(
        "similarity_fn_name",
        ["cosine", "dot", "euclidean"] if is_normalized else ["cosine"],
        "Umekomi compares vectors of length 1 by cosine, which gives another order for this model",
    )
    prompts = settings.texts("prompts")
    name = settings.text("default_prompt_name", "")
    if name and name not in prompts:
        raise settings.error("default_prompt_name", f"there are prompts for {', '.join(prompts) or 'no name'}")
    truncate_dim = settings.positive("truncate_dim")
    settings.close()
    return ModelSettings(prompts, prompts.get(name, ""), truncate_dim)
