"""SPLADE models: a weight for each word of a transformer's vocabulary (Formal et al. 2021, arXiv:2109.10086).

The head of a masked language model gives each token a logit for every word of the vocabulary. The weight of a word is
``log(1 + relu(x))``, where ``x`` is its largest logit among the tokens of the text. Texts that are longer than the window are
split into pieces, and the largest logit among all pieces counts.

Supported are folders of sentence-transformers' ``SparseEncoder`` with a transformer and a ``SpladePooling``, and plain folders
of transformers' ``…ForMaskedLM`` classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...assets.store import Report
from ...errors import InputError, UmekomiError
from ...progress import Progress, no_progress
from ...settings import Settings
from ...vectors.arithmetic import FloatArray
from ...vectors.sparse import IndexArray, SparseVectors
from ..json_files import JsonObject, read_object
from ..model_ids import split_file
from ..transformer.checkpoint import Checkpoint
from ..transformer.folder.graph_file import GraphFile
from ..transformer.folder.model_settings import read_model_settings
from ..transformer.folder.modules import SPARSE_MODULES, Module, read_modules
from ..transformer.folder.sentence_transformers import (
    DEFAULT_WINDOW,
    choose_prefixes,
    hash_files,
    open_folder,
    read_network,
    require_file,
    require_rows,
)
from ..transformer.folder.transformer_files import check_tokenizer_settings, read_transformer_settings
from ..transformer.pieces import PieceNetwork, Pieces
from ..transformer.steps import Pool, PoolMode, Step, limit_tokens
from .base import SparseEncoder
from .heads import read_masked_head

VERSION = 1
"""Increases whenever the same text gives another vector."""

ACTIVATIONS: Mapping[str, Callable[[float], float]] = {
    "relu": math.log1p,
    "log1p_relu": lambda x: math.log1p(math.log1p(x)),
}
"""Functions from a positive logit to a weight, by their names in SpladePooling."""


@dataclass(frozen=True, slots=True)
class SpladeFolder:
    """What a folder contains."""

    network: Checkpoint | GraphFile
    #: Steps from hidden states to the largest logit of each word.
    steps: tuple[Step, ...]
    #: Key of :data:`ACTIVATIONS`.
    activation: str
    window: int
    prefixes: Mapping[str | None, str]
    #: Number of weights that a vector keeps; None means all.
    max_active_dims: int | None
    #: Number of words in the vocabulary.
    dims: int
    #: SHA-256 of the files that the vectors depend on.
    file_hashes: tuple[str, ...]


class SpladeEncoder(SparseEncoder):
    """A SPLADE model. Several threads can use it at the same time; their batches take turns.

    Args:
        name: Name for messages.
        folder: Content of the model's folder.
        settings: Device, threads and so on. The precision is always fp32, because small weights are lost in others.
    """

    def __init__(self, name: str, folder: SpladeFolder, settings: Settings) -> None:
        self.dims = folder.dims
        self.window = folder.window
        self.prompts = {role: prompt for role, prompt in folder.prefixes.items() if role is not None and prompt}
        self.architecture = folder.network.config.family
        self.source = folder.network.name if isinstance(folder.network, GraphFile) else "model.safetensors"
        self.n_weights = folder.network.n_weights
        self.activation = folder.activation
        self._name = name
        self._folder = folder
        max_tokens = limit_tokens(folder.steps, folder.network.config.hidden)
        self._network = PieceNetwork(
            name,
            folder.network,
            window=folder.window,
            settings=replace(settings, precision="fp32", batch_tokens=min(settings.batch_tokens, max_tokens)),
            prefixes=folder.prefixes,
            steps=folder.steps,
        )

    def encode(
        self, texts: Sequence[str], *, role: str | None = None, progress: Progress = no_progress
    ) -> SparseVectors:
        role = role if role in self._network.prefixes else None
        pieces = Pieces.empty(len(texts))
        parts: dict[int, tuple[IndexArray, FloatArray]] = {}
        for batch, logits in self._network.run(texts, role, pieces, progress) if texts else ():
            if not np.isfinite(logits).all():
                raise UmekomiError(f"{self._name} returned a weight that is not a finite number, so it is damaged.")
            for index, row in zip(batch, logits, strict=True):
                selected = np.flatnonzero(row > 0)
                parts[index] = selected.astype(np.int32), row[selected]
        by_text: list[list[tuple[IndexArray, FloatArray]]] = [[] for _ in texts]
        for index, owner in enumerate(pieces.owners):
            by_text[owner].append(parts[index])
        return SparseVectors.from_parts([self._finish(*_merge(of_text)) for of_text in by_text], dims=self.dims)

    def _finish(self, indices: IndexArray, logits: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Return the weights of the words with positive logits."""
        limit = self._folder.max_active_dims
        if limit is not None and len(indices) > limit:
            selected = np.sort(np.argsort(-logits, kind="stable")[:limit])
            indices, logits = indices[selected], logits[selected]
        activate = ACTIVATIONS[self._folder.activation]
        # In float64, one by one, because NumPy's vectorized functions may round the last elements differently.
        return indices, np.array([activate(logit) for logit in logits.tolist()], dtype=np.float32)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, without special tokens."""
        return len(self._network.tokenizer.ids([text])[0])

    def words(self, text: str, indices: Sequence[int]) -> list[str]:
        return [self._network.tokenizer.text([index]).strip() or f"[{index}]" for index in indices]

    def identity(self) -> dict[str, object]:
        folder = self._folder
        return {
            "kind": "splade",
            "version": VERSION,
            "files": list(folder.file_hashes),
            "activation": folder.activation,
            "max_active_dims": folder.max_active_dims,
            "window": folder.window,
            "prefixes": {role or "": prefix for role, prefix in folder.prefixes.items()},
        }


def _merge(parts: Sequence[tuple[IndexArray, FloatArray]]) -> tuple[IndexArray, FloatArray]:
    """Return the largest logit of each word among the pieces of a text."""
    if len(parts) == 1:
        return parts[0]
    indices = np.concatenate([indices for indices, _ in parts])
    logits = np.concatenate([logits for _, logits in parts])
    order = np.lexsort((logits, indices))
    indices, logits = indices[order], logits[order]
    last = np.flatnonzero(np.diff(indices, append=-1))
    return indices[last], logits[last]


def load_splade(model: str, settings: Settings, *, report: Report | None = None) -> SpladeEncoder:
    """Load the sparse encoder of a folder or of the Hugging Face hub.

    Args:
        model: Path of the folder, or ``owner/name``.
        settings: Device, threads and so on.
        report: Callback that receives one line of text before a download.

    Raises:
        InputError: The folder is not a sparse encoder, or Umekomi cannot run it. The message says why.
        AssetMissingError: The hub does not respond, or has no such model.
    """
    name = split_file(model)[0]
    return SpladeEncoder(name, read_splade(model, settings, report=report), settings)


def read_splade(model: str, settings: Settings, *, report: Report | None = None) -> SpladeFolder:
    """Read the files of a sparse encoder. The arguments and errors are those of :func:`load_splade`."""
    model, file = split_file(model)
    folder = open_folder(model, settings, file=file, report=report)
    modules = read_modules(folder, model, more=SPARSE_MODULES) or [_require_masked_model(folder, model)]
    activation = _read_pooling(modules[1:], model) if (folder / "modules.json").is_file() else "relu"
    root = modules[0].folder
    if modules[0].type not in ("Transformer", "MLMTransformer"):
        raise InputError(
            f"The first module of {model} is {modules[0].type!r}; that of a SPLADE model is Transformer.", param="model"
        )
    config = require_file(root / "config.json", model)
    vocabulary_file = require_file(root / "tokenizer.json", model)
    module_settings = read_transformer_settings(root, task="fill-mask")
    model_settings = read_model_settings(folder, expected_type="SparseEncoder")
    description = read_object(config)
    network, hashes = read_network(root, model, file, settings, lowercase=module_settings.lowercase)
    vocabulary = network.tokenizer
    check_tokenizer_settings(root, vocabulary)
    require_rows(config, vocabulary)
    pool = Pool((PoolMode.MAX,))
    if isinstance(network, GraphFile):
        if network.is_pooled or network.config.hidden < vocabulary.size:
            raise InputError(f"{model} has a file {network.name} without a logit for each word.", param="model")
        steps: tuple[Step, ...] = (pool,)
        dims = network.config.hidden
    else:
        head = read_masked_head(description, network, name=model)
        dims = head[-1].output_dims(head[0].output_dims(network.config.hidden))
        steps = (*head, pool)
    limits = [limit for limit in (module_settings.window, network.config.positions) if limit]
    return SpladeFolder(
        network,
        steps,
        activation,
        min(limits, default=DEFAULT_WINDOW),
        choose_prefixes(model_settings, {}),
        model_settings.max_active_dims,
        dims,
        (*hashes, *hash_files([config, vocabulary_file], settings)),
    )


def is_splade(folder: Path) -> bool:
    """Return whether the modules of a folder are those of a sparse encoder that :func:`read_splade` tries to read.

    A plain ``…ForMaskedLM`` may also be an embedding model, so it is not reported as one.
    """
    try:
        modules = read_modules(folder, str(folder), more=SPARSE_MODULES) or []
    except InputError:
        return False
    return any(module.type in SPARSE_MODULES for module in modules)


def _require_masked_model(folder: Path, model: str) -> Module:
    """Return the module of a folder without ``modules.json``. Raise InputError if it is not a masked language model."""
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{model} has neither modules.json nor config.json, so it is not a model folder.", param="model"
        )
    names = JsonObject.read(folder / "config.json").names("architectures")
    if not any(name.endswith("ForMaskedLM") for name in names):
        raise InputError(
            f"{model} is not a sparse encoder: its architecture is {', '.join(names) or 'not given'}, not …ForMaskedLM.",
            param="model",
        )
    return Module("Transformer", folder)


def _read_pooling(modules: Sequence[Module], model: str) -> str:
    """Return the activation of the module SpladePooling, which must be the only one after the transformer."""
    types = [module.type for module in modules]
    if types != ["SpladePooling"]:
        hint = " It is a dense encoder; use it with `umekomi embed -m`." if "Pooling" in types else ""
        raise InputError(
            f"{model} is not a SPLADE model: after its first module it has {', '.join(types) or 'none'}, not SpladePooling."
            f"{hint}",
            param="model",
        )
    config = JsonObject.read(modules[0].folder / "config.json")
    config.require("pooling_strategy", ["max"])
    activation = config.text("activation_function", default="relu")
    if activation not in ACTIVATIONS:
        raise config.error(["activation_function"], f"Umekomi supports {', '.join(ACTIVATIONS)}")
    # Neither changes the vectors: the size of the vocabulary, and how much memory the pooling uses.
    config.ignore(["embedding_dimension", "word_embedding_dimension", "chunk_size"])
    config.close()
    return activation
