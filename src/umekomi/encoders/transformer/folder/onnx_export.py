"""Convert a model folder: export its transformer as an ONNX file with transformers and torch, and compare the vectors.

Only this module needs transformers. It runs no code of the model and opens no pickle.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxscript
import torch
import transformers

from ....errors import InputError
from ....settings import Settings
from ....vectors.arithmetic import FloatArray, cosine
from ..encoder import TransformerEncoder
from ..steps import MEAN
from .graph_file import read_graph_file
from .tokenizer_classes import read_folder_vocabulary

FILE = "onnx/model.onnx"
MIN_COSINE = 0.9999
MAX_FILE_BYTES = 1_500_000_000
"""Above this size, weights are written to a file of their own: an ONNX file has at most 2 GB."""
TEXTS = (
    "Two beans.",
    "The food was delicious and the waiter was friendly. 料理はおいしかった。",
    "Embeddings are lists of numbers that measure how related two texts are. " * 6,
    "Large distances suggest low relatedness, and small distances suggest high relatedness. " * 24,
)
"""Texts of different lengths, the last one longer than the sliding windows of most models."""

assert onnxscript, "torch needs it"  # noqa: S101


class _States(torch.nn.Module):  # type: ignore[misc]  # mypy does not look into torch
    """The token states of a model, with the inputs that Umekomi has values for."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self._model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def load_network(root: Path) -> Any:
    """Load a transformer on the CPU in fp32.

    Args:
        root: Folder with ``config.json`` and safetensors.

    Raises:
        InputError: transformers cannot load it without running code of the model or opening a pickle, or weights are missing.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model, facts = transformers.AutoModel.from_pretrained(
            root,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many types
        raise InputError(f"transformers cannot load {root}: {_first_line(error)}.", param="model") from error
    # transformers fills missing weights with random numbers. Those of the pooler, which only classifiers use, are no loss.
    missing = sorted(str(name) for name in facts["missing_keys"] if "pooler" not in str(name))
    # Not config.is_encoder_decoder, which is false in folders of the encoder alone (T5EncoderModel).
    has_decoder = hasattr(model, "encoder") and hasattr(model, "decoder")
    if has_decoder:
        missing = [name for name in missing if name.startswith("encoder.")]
    if missing:
        raise InputError(f"The weights in {root} have no tensor {missing[0]!r}.", param="model")
    # The encoder of T5 and similar models.
    return (model.get_encoder() if has_decoder else model).eval()


def export_network(model: Any, path: Path) -> None:
    """Write a transformer as an ONNX file with dynamic batch sizes and lengths.

    Raises:
        InputError: torch cannot export it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    ids = torch.ones((2, 9), dtype=torch.int64)
    axes = {0: "batch", 1: "length"}
    errors: list[Exception] = []
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for attention in (model.config._attn_implementation, "eager"):
        try:
            model.set_attn_implementation(attention)
            # The warnings are about torch's own code.
            with warnings.catch_warnings(action="ignore"):
                torch.onnx.export(
                    _States(model).eval(),
                    (ids, torch.ones_like(ids)),
                    str(path),
                    dynamo=True,
                    external_data=n_bytes > MAX_FILE_BYTES,
                    input_names=["input_ids", "attention_mask"],
                    output_names=["last_hidden_state"],
                    dynamic_shapes=(axes, axes),
                    verbose=False,
                )
            return
        except Exception as error:  # torch raises many types; some models can be exported with the other attention only
            errors.append(error)
    raise InputError(f"torch cannot export the model: {_first_line(errors[-1])}.", param="model") from errors[-1]


def copy_descriptions(folder: Path, target: Path, *, root: Path) -> None:
    """Copy the files of a model without the weights of the transformer.

    Args:
        folder: Folder of the model.
        target: Folder that the files are copied to.
        root: Folder of the transformer, inside ``folder``.
    """
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_description = path.suffix in (".json", ".txt", ".md") and not path.name.endswith(".index.json")
        is_module_weight = path.name == "model.safetensors" and path.parent != root
        if path.is_file() and not relative.name.startswith(".") and (is_description or is_module_weight):
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / relative)


def compare(model: Any, root: Path, settings: Settings) -> float:
    """Return the lowest cosine between the vectors of a network and those of its exported file, in fp32.

    Args:
        model: Result of :func:`load_network`.
        root: Folder with the exported file, ``config.json`` and ``tokenizer.json``.
        settings: Threads.
    """
    vocabulary = read_folder_vocabulary(root, name=str(root))
    description = json.loads((root / "config.json").read_text("utf-8"))
    file = read_graph_file(root / FILE, description, name=FILE, make_tokenizer=lambda: vocabulary)
    exact = replace(settings, precision="fp32", device="cpu")
    encoder = TransformerEncoder(
        "converted", file, window=min(file.config.positions or 512, 512), settings=exact, steps=MEAN
    )
    texts = [text for text in TEXTS if len(encoder.lengths([text])) == 1]
    expected = np.concatenate(
        [vectors for _, vectors in sorted(_mean_states(model, encoder, texts, file.config.pad_id))]
    )
    return float(np.diag(cosine(encoder.encode(texts), expected)).min())


def _mean_states(
    model: Any, encoder: TransformerEncoder, texts: list[str], pad_id: int
) -> Iterator[tuple[int, FloatArray]]:
    """Yield the index of each text and the mean of its token states: ``(1, hidden) float32``."""
    for indices, inputs in encoder.batches(texts):
        for index, row, length in zip(indices, inputs[0], inputs[1], strict=True):
            ids = torch.tensor(row[:length].astype(np.int64))[None]
            with torch.inference_mode():
                states = _States(model)(ids, torch.ones_like(ids))
            yield index, states.mean(dim=1).float().numpy()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".")[:300] if lines else type(error).__name__
