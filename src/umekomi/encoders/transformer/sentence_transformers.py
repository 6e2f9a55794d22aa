"""Models in the format of sentence-transformers: a local folder, or an id on the Hugging Face hub.

This module reads ``modules.json`` (a transformer, a pooling, dense layers, a normalization), ``config.json``, ``tokenizer.json``,
one or more ``model.safetensors``, and the prompts in ``config_sentence_transformers.json``. It runs no code of the model and
opens no pickle.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from ...assets.digests import compute_sha256
from ...assets.store import Report
from ...catalog import EncoderSpec, Part, Role
from ...errors import InputError
from ...settings import Settings
from ..base import Encoder
from ..hub import download_model
from ..model_ids import is_folder, split_file
from ..static import is_model2vec_folder, load_static, read_static_vocabulary
from .checkpoint import Checkpoint, read_safetensors
from .encoder import TransformerEncoder
from .graph_file import GraphFile, find_graph_file, has_safetensors, read_graph_file
from .layers import require_activation
from .steps import MEAN, Dense, Normalize, Pool, PoolMode, Step
from .tokenizer import EncoderTokenizer
from .vocabulary import read_vocabulary

logger = logging.getLogger(__name__)

DEFAULT_WINDOW = 512
"""Maximum number of tokens in a piece for ONNX and OpenVINO files of models whose files do not say it."""
_POOLING_MODES = {
    "pooling_mode_cls_token": PoolMode.CLS,
    "pooling_mode_max_tokens": PoolMode.MAX,
    "pooling_mode_mean_tokens": PoolMode.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": PoolMode.MEAN_SQRT_LEN,
    "pooling_mode_weightedmean_tokens": PoolMode.WEIGHTED_MEAN,
    "pooling_mode_lasttoken": PoolMode.LAST_TOKEN,
}


def load_folder(
    model: str, settings: Settings, *, options: Mapping[str, Any] | None = None, report: Report = logger.info
) -> tuple[Encoder, EncoderTokenizer]:
    """Load the encoder and the tokenizer of a folder, or of an ``owner/name`` of the hub.

    Args:
        model: Path of the folder, or id on the hub.
        settings: Device, precision and so on.
        options: ``prefix``, ``query_prefix`` and ``document_prefix`` replace the prompts of the model.
        report: Callback that receives one line of text before a download.

    Raises:
        InputError: Umekomi cannot run the model. The message says what is missing.
        AssetMissingError: The hub does not respond, or has no such model.
    """
    model, file = split_file(model)
    folder = _open_folder(model, settings, file=file, report=report)
    modules = _read_modules(folder, model)
    types = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if types[:1] == ["StaticEmbedding"]:
        return _load_static(folder, modules, model, options or {})
    unsupported = [name for name in types if name not in ("Transformer", "Pooling", "Dense", "Normalize")]
    if unsupported or types[:1] != ["Transformer"]:
        raise InputError(
            f"{model} has a module {(unsupported or types)[0]!r}; Umekomi supports Transformer, Pooling, Dense and Normalize."
        )
    root = folder / modules[0].get("path", "")
    for name in ("config.json", "tokenizer.json"):
        _require_file(root / name, model)
    steps: list[Step] = []
    for name, module in zip(types, modules, strict=True):
        if name == "Pooling":
            steps.append(_read_pooling(_read_object(folder / module["path"] / "config.json"), model))
        elif name == "Dense":
            steps.append(_read_dense(folder / module["path"], model))
        elif name == "Normalize":
            steps.append(Normalize())
    if not any(isinstance(step, Pool) for step in steps):
        steps.insert(0, Pool((PoolMode.MEAN,)))
    if not isinstance(steps[-1], Normalize):
        steps.append(Normalize())
    checkpoint, hashes = _read_network(root, model, file)
    if isinstance(checkpoint, GraphFile) and checkpoint.is_pooled:
        steps = list(MEAN)
    window = checkpoint.config.positions
    max_length = _read_object(root / "sentence_bert_config.json").get("max_seq_length")
    encoder = TransformerEncoder(
        # Not the name of the folder, because the same files have the same space under any path.
        checkpoint.config.family,
        checkpoint,
        window=min(window, max_length) if max_length and window else max_length or window or DEFAULT_WINDOW,
        settings=settings,
        prefixes=_read_prompts(_read_object(folder / "config_sentence_transformers.json"), options or {}),
        steps=steps,
    )
    encoder.source = checkpoint.name if isinstance(checkpoint, GraphFile) else "model.safetensors"
    encoder.file_hashes = (*hashes, *map(compute_sha256, (root / "config.json", root / "tokenizer.json")))
    return encoder, EncoderTokenizer(model, checkpoint.tokenizer)


def load_folder_tokenizer(model: str, settings: Settings) -> EncoderTokenizer:
    """Load the tokenizer of a folder, or of an ``owner/name`` of the hub.

    Raises:
        InputError: The folder has no ``tokenizer.json``.
        AssetMissingError: The hub does not respond, or has no such model.
    """
    folder = _open_folder(split_file(model)[0], settings)
    first = _read_modules(folder, model)[0]
    path = folder / first.get("path", "") / "tokenizer.json"
    if str(first["type"]).endswith("StaticEmbedding"):
        return EncoderTokenizer(model, read_static_vocabulary(_require_file(path, model), model))
    return EncoderTokenizer(model, read_vocabulary(_require_file(path, model), name=model))


def build(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
    """Build the encoder of a row of the catalog; its option ``model`` is the folder or the id on the hub."""
    options = {**spec.options, **part.options}
    return load_folder(options["model"], settings, options=options)[0]


def _open_folder(model: str, settings: Settings, *, file: str = "", report: Report = logger.info) -> Path:
    if is_folder(model):
        folder = Path(model).expanduser()
    else:
        folder = download_model(model, settings, file=file, report=report)
    if not folder.is_dir():
        raise InputError(f"There is no folder {model}. `umekomi models list` shows the catalog.", param="model")
    return folder


def _read_network(root: Path, model: str, file: str) -> tuple[Checkpoint | GraphFile, tuple[str, ...]]:
    """Read the weights of a transformer and return them with the SHA-256 of their files.

    An ONNX or OpenVINO file is used if the model has no safetensors, if Umekomi does not support its architecture, or if ``file``
    names one.
    """
    path = find_graph_file(root, model, file=file)
    if path is None or (has_safetensors(root) and not file):
        weights = _find_weights(root, model)
        try:
            checkpoint = read_safetensors(weights, root / "config.json", root / "tokenizer.json", name=model)
            return checkpoint, tuple(map(compute_sha256, weights))
        except InputError as error:
            if path is None:
                raise
            logger.info("%s uses the file %s, because: %s", model, path.relative_to(root), error)
    vocabulary = read_vocabulary(root / "tokenizer.json", name=model)
    description = _read_object(root / "config.json")
    name = path.relative_to(root).as_posix()
    graph_file = read_graph_file(path, description, name=name, make_tokenizer=lambda: vocabulary)
    return graph_file, graph_file.hashes


def _require_file(path: Path, model: str) -> Path:
    if not path.is_file():
        hint = " Save the tokenizer with AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(…)."
        raise InputError(f"{model} has no {path.name}.{hint if path.name == 'tokenizer.json' else ''}", param="model")
    return path


def _read_modules(folder: Path, model: str) -> list[dict[str, Any]]:
    if (folder / "modules.json").is_file():
        modules: list[dict[str, Any]] = _read_json(folder / "modules.json")
        return modules
    if is_model2vec_folder(folder):
        return [{"type": "StaticEmbedding", "path": ""}]
    if (folder / "config.json").is_file():
        return [{"type": "Transformer", "path": ""}]
    raise InputError(f"{model} has neither modules.json nor config.json, so it is not a model folder.", param="model")


def _find_weights(root: Path, model: str) -> list[Path]:
    if (root / "model.safetensors").is_file():
        return [root / "model.safetensors"]
    index = root / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_object(index).get("weight_map", {}).values()))
        paths = [root / Path(name).name for name in names]
        missing = [path.name for path in paths if not path.is_file()]
        if missing or not paths:
            raise InputError(
                f"{model} lacks weight files: {', '.join(missing) or 'its index is empty'}.", param="model"
            )
        return paths
    if any(root.glob("pytorch_model*.bin")):
        raise InputError(
            f"{model} has only pickled weights, which Umekomi does not open, because a pickle can run any program. "
            "If you trust the file, convert it with transformers: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True).",
            param="model",
        )
    raise InputError(f"{model} has no model.safetensors.", param="model")


def _load_static(
    folder: Path, modules: list[dict[str, Any]], model: str, options: Mapping[str, Any]
) -> tuple[Encoder, EncoderTokenizer]:
    """Load a static model. Vectors have length 1 with and without a module Normalize."""
    others = [module["type"] for module in modules[1:] if not str(module["type"]).endswith(".Normalize")]
    if others:
        raise InputError(f"{model} is a static model with a module {others[0]!r}; Umekomi supports Normalize.")
    prompts = _read_prompts(_read_object(folder / "config_sentence_transformers.json"), options)
    encoder, vocabulary = load_static(model, folder / modules[0].get("path", ""), prefixes=prompts)
    return encoder, EncoderTokenizer(model, vocabulary)


def _read_pooling(description: Mapping[str, Any], model: str) -> Pool:
    names = description.get("pooling_mode", [])
    modes = [names] if isinstance(names, str) else list(names)
    # In this order sentence-transformers concatenates them, whatever the order of the keys.
    modes = modes or [mode for key, mode in _POOLING_MODES.items() if description.get(key)]
    unknown = [mode for mode in modes if mode not in list(PoolMode)]
    if unknown or not modes:
        raise InputError(f"{model} uses the pooling {unknown or 'none'}; Umekomi supports {', '.join(PoolMode)}.")
    return Pool(tuple(map(PoolMode, modes)), include_prompt=description.get("include_prompt", True))


def _read_dense(folder: Path, model: str) -> Dense:
    description = _read_object(folder / "config.json")
    activation = str(description.get("activation_function", "Tanh")).rsplit(".", 1)[-1].lower()
    path = _find_weights(folder, f"{model}/{folder.name}")[0]
    tensors = {name: np.asarray(tensor, dtype=np.float32) for name, tensor in load_file(path).items()}
    if "linear.weight" not in tensors:
        raise InputError(f"{model} has a dense layer without weights in {path.name}.")
    return Dense(tensors["linear.weight"], tensors.get("linear.bias"), require_activation(activation))


def _read_prompts(description: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str | None, str]:
    """Return the prompts by name. ``None`` is the default."""
    prompts = description.get("prompts") or {}
    default = options.get("prefix", prompts.get(description.get("default_prompt_name") or "", ""))
    document = prompts.get("document", prompts.get("passage", default))
    return {
        **prompts,
        None: default,
        Role.QUERY: options.get("query_prefix", prompts.get("query", default)),
        Role.DOCUMENT: options.get("document_prefix", document),
    }


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or an empty dictionary if the file does not exist."""
    content: dict[str, Any] = _read_json(path) if path.is_file() else {}
    return content


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.", param="model") from error
