"""Tiny SPLADE models with random weights: names and shapes are those of transformers, the numbers come from a seed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ..cross_encoder.tiny import COMMON, CONFIGS, make_tensor, write_config

GOLDEN = Path(__file__).with_name("tiny.json")
MODEL_TYPES = ("albert", "bert", "camembert", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta")
ACTIVATIONS = ("relu", "log1p_relu")
TEXTS = ["one two", "one two three one", "", "seven", "nine eight " * 12, "query : five"]


def load_golden() -> dict[str, Any]:
    """Return the shapes and the vectors of each model type, as written by generate_tiny.py."""
    golden: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    return golden


def make_folder(folder: Path, model_type: str, golden: dict[str, Any], *, activation: str | None = "relu") -> Path:
    """Write a tiny SPLADE model as SparseEncoder saves it, and return its folder.

    Args:
        folder: Folder to create.
        model_type: One of :data:`MODEL_TYPES`.
        golden: Row of tiny.json with ``architecture`` and ``shapes``.
        activation: Activation of the module SpladePooling. None writes a plain folder without modules.
    """
    write_config(folder, model_type, golden["architecture"], **CONFIGS[model_type])
    tensors = {name: _make_tensor(name, tuple(shape)) for name, shape in golden["shapes"].items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if activation is not None:
        write_modules(
            folder, ["base.modules.transformer.Transformer", "sparse_encoder.modules.splade_pooling.SpladePooling"]
        )
        pooling = {
            "pooling_strategy": "max",
            "activation_function": activation,
            "embedding_dimension": COMMON["vocab_size"],
        }
        (folder / "1_SpladePooling").mkdir(exist_ok=True)
        (folder / "1_SpladePooling" / "config.json").write_text(json.dumps(pooling))
        text = {"text": {"method": "forward", "method_output_name": "logits"}}
        settings = {"transformer_task": "fill-mask", "modality_config": text, "module_output_name": "token_embeddings"}
        (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
        own = {
            "__version__": {},
            "model_type": "SparseEncoder",
            "similarity_fn_name": "dot",
            "default_prompt_name": None,
        }
        own |= {"prompts": {"query": "query : ", "document": ""}}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    return folder


def write_modules(folder: Path, types: list[str]) -> None:
    """Write ``modules.json`` with classes of sentence-transformers."""
    names = [each.rsplit(".", 1)[-1] for each in types]
    rows = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{name}" if index else "",
            "type": f"sentence_transformers.{each}",
        }
        for index, (name, each) in enumerate(zip(names, types, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(rows))


def _make_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    # Larger biases of the words, so that some logits are negative for every token.
    scale = 8 if len(shape) == 1 and shape[0] == COMMON["vocab_size"] else 1
    return make_tensor(name, shape) * np.float32(scale)
