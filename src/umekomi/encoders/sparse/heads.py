"""Heads of masked language models: the steps between the last hidden states and a score for each word of the vocabulary.

Each architecture has a row with the names of its tensors. The last matrix is usually the table of the word embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError
from ..transformer.checkpoint import Checkpoint
from ..transformer.network.architectures import find_architecture
from ..transformer.network.head_tensors import HeadTensors, resolve_setting
from ..transformer.network.layers import require_activation
from ..transformer.steps import Dense, LayerNorm, Step


@dataclass(frozen=True, slots=True)
class _Row:
    """The head of an architecture. Names of tensors are without ``.weight`` and ``.bias``."""

    dense: str
    norm: str
    decoder: str
    #: Name of the bias of the decoder if it is not that of its layer.
    bias: str = ""
    #: Activation of the dense layer, in the form of :func:`resolve_setting`.
    activation: str = "gelu"


_ROBERTA = _Row("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", bias="lm_head.bias")

HEADS: Mapping[str, _Row] = {
    "albert": _Row(
        "predictions.dense",
        "predictions.LayerNorm",
        "predictions.decoder",
        bias="predictions.bias",
        activation="=hidden_act:gelu_new",
    ),
    "bert": _Row(
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
        bias="cls.predictions.bias",
        activation="=hidden_act:gelu",
    ),
    "camembert": _ROBERTA,
    "distilbert": _Row("vocab_transform", "vocab_layer_norm", "vocab_projector", activation="=activation:gelu"),
    "electra": _Row("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head"),
    "modernbert": _Row("head.dense", "head.norm", "decoder", activation="=classifier_activation:gelu"),
    "mpnet": _ROBERTA,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
"""Heads of the ``…ForMaskedLM`` classes of transformers, by ``model_type``."""


def read_masked_head(description: Mapping[str, Any], checkpoint: Checkpoint, *, name: str) -> tuple[Step, ...]:
    """Return the steps from hidden states to logits, ``(…, hidden) -> (…, vocabulary)``.

    Args:
        description: Content of ``config.json``.
        checkpoint: The model.
        name: Name of the model for messages.

    Raises:
        InputError: The architecture is unknown, or a tensor is missing or has another shape.
    """
    model_type = str(description.get("model_type"))
    if model_type not in HEADS:
        raise InputError(
            f"{name} is a sparse encoder of type {model_type!r}; Umekomi supports {', '.join(HEADS)}.", param="model"
        )
    row = HEADS[model_type]
    architecture = find_architecture(description, name=name)
    tensors = HeadTensors(checkpoint.tensors, architecture.prefixes, name=name, expected="a masked language model")
    dense = tensors.dense(row.dense, require_activation(resolve_setting(row.activation, description)))
    weight = tensors.get(f"{row.norm}.weight", f"{row.norm}.gamma")
    bias = tensors.find(f"{row.norm}.bias", f"{row.norm}.beta")
    norm = LayerNorm(weight, np.zeros_like(weight) if bias is None else bias, checkpoint.config.eps)
    is_tied = description.get("tie_word_embeddings", True)
    words = [f"{words}.weight" for words in architecture.words]
    own = f"{row.decoder}.weight"
    decoder = Dense(
        tensors.get(*words) if is_tied else tensors.get(own),
        tensors.find(*([row.bias] if row.bias else []), f"{row.decoder}.bias"),
        "identity",
    )
    steps = (dense, norm, decoder)
    dims = checkpoint.config.hidden
    for step in steps:
        dims = step.output_dims(dims)
    return steps
