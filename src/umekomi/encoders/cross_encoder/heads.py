"""Heads of cross-encoders: the steps between the last hidden states and the score.

Each architecture has a row of data: which token or average its head reads, and the names of its layers' tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError
from ..transformer.network.architectures import find_architecture
from ..transformer.network.head_tensors import HeadTensors, resolve_setting
from ..transformer.network.layers import require_activation
from ..transformer.steps import Dense, LayerNorm, Pool, PoolMode, Step


@dataclass(frozen=True, slots=True)
class _Row:
    """The head of an architecture. Names of tensors are without ``.weight`` and ``.bias``."""

    #: The layer before the last one; empty if there is none.
    hidden: str
    last: str
    #: Activation of the layer before the last one: a name; or a key of config.json after ``=``, with a default after ``:``.
    activation: str = "tanh"
    #: Normalization after the layer before the last one.
    norm: str = ""
    #: Which states the head reads, in the same form as ``activation``.
    pooling: str = "cls"


_CLASSIFICATION_HEAD = _Row("classifier.dense", "classifier.out_proj")
_POOLER = _Row("pooler.dense", "classifier")
_LAST_TOKEN = _Row("", "score", pooling="last")

HEADS: Mapping[str, _Row] = {
    "albert": _Row("pooler", "classifier"),
    "bert": _POOLER,
    "camembert": _CLASSIFICATION_HEAD,
    "deberta-v2": _Row("pooler.dense", "classifier", activation="=pooler_hidden_act:gelu"),
    "distilbert": _Row("pre_classifier", "classifier", activation="relu"),
    "electra": _Row("classifier.dense", "classifier.out_proj", activation="gelu"),
    "eurobert": _Row("dense", "classifier", activation="gelu", pooling="=classifier_pooling:late"),
    "gemma3_text": _LAST_TOKEN,
    "llama": _LAST_TOKEN,
    "mistral": _LAST_TOKEN,
    "modernbert": _Row(
        "head.dense",
        "classifier",
        activation="=classifier_activation:gelu",
        norm="head.norm",
        pooling="=classifier_pooling:cls",
    ),
    "mpnet": _CLASSIFICATION_HEAD,
    "new": _POOLER,
    "qwen2": _LAST_TOKEN,
    "qwen3": _LAST_TOKEN,
    "roberta": _CLASSIFICATION_HEAD,
    "xlm-roberta": _CLASSIFICATION_HEAD,
}
"""Heads of the ``…ForSequenceClassification`` classes of transformers, by ``model_type``."""

_POOLINGS = {
    "cls": PoolMode.CLS,
    "bos": PoolMode.CLS,
    "mean": PoolMode.MEAN,
    # The average of the logits of all tokens.
    "late": PoolMode.MEAN,
    "last": PoolMode.LAST_TOKEN,
}
_EXPECTED = "a cross-encoder"


def read_head(description: Mapping[str, Any], tensors: Mapping[str, Any], *, name: str) -> tuple[Step, ...]:
    """Return the steps of a sequence classifier with one label. The last one returns the logit.

    Args:
        description: Content of ``config.json``.
        tensors: Tensors of the model.
        name: Name of the model for messages.

    Raises:
        InputError: The architecture is unknown, the model has several labels, or a tensor is missing.
    """
    model_type = str(description.get("model_type"))
    if model_type not in HEADS:
        raise InputError(
            f"{name} is a cross-encoder of type {model_type!r}; Umekomi supports {', '.join(sorted(HEADS))}.",
            param="model",
        )
    row = HEADS[model_type]
    pooling = resolve_setting(row.pooling, description)
    if pooling not in _POOLINGS:
        raise InputError(
            f"{name} has a head with the pooling {pooling!r}; Umekomi supports cls and mean.", param="model"
        )
    read = HeadTensors(tensors, find_architecture(description, name=name).prefixes, name=name, expected=_EXPECTED)
    last = read.dense(row.last)
    if len(last.weight) != 1:
        raise InputError(
            f"{name} has {len(last.weight)} labels, so it is a classifier. A reranker has one label, the relevance.",
            param="model",
        )
    layers: list[Step] = []
    if row.hidden:
        layers.append(read.dense(row.hidden, require_activation(resolve_setting(row.activation, description))))
    if row.norm:
        weight = read.get(f"{row.norm}.weight")
        bias = read.find(f"{row.norm}.bias")
        eps = float(description.get("norm_eps", 1e-5))
        layers.append(LayerNorm(weight, np.zeros_like(weight) if bias is None else bias, eps))
    pool = Pool((_POOLINGS[pooling],))
    return (*layers, last, pool) if pooling == "late" else (pool, *layers, last)


def read_answer_head(
    description: Mapping[str, Any], tensors: Mapping[str, Any], *, yes: int, no: int | None, name: str
) -> tuple[Step, ...]:
    """Return the steps of a language model that answers yes or no.

    The score is the difference of the logits of the two answers after the last token. It equals one product with the difference
    of their rows in the output matrix.

    Args:
        description: Content of ``config.json``.
        tensors: Tensors of the model.
        yes: Id of the token of a positive answer.
        no: Id of the token of a negative answer. With None the score is the logit of ``yes``.
        name: Name of the model for messages.

    Raises:
        InputError: A tensor is missing, or has no such rows.
    """
    architecture = find_architecture(description, name=name)
    read = HeadTensors(tensors, architecture.prefixes, name=name, expected=_EXPECTED)
    table = None if description.get("tie_word_embeddings") else read.find("lm_head.weight")
    if table is None:
        table = read.get(f"{architecture.words[0]}.weight")
    if max(yes, no or 0) >= len(table):
        raise InputError(f"{name} has no rows for the tokens of its answers.", param="model")
    weight = table[yes] if no is None else table[yes] - table[no]
    return Pool((PoolMode.LAST_TOKEN,)), Dense(np.ascontiguousarray(weight[None, :]), None, "identity")
