"""Models in the format of sentence-transformers: a local folder, or an id on the Hugging Face hub.

This module reads ``modules.json`` (a transformer, a pooling, dense layers, a normalization), ``config.json``, ``tokenizer.json``,
one or more ``model.safetensors``, and the prompts in ``config_sentence_transformers.json``; docs/model-folders.md lists all files
and keys. Unknown keys are errors. It runs no code of the model and opens no pickle.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....assets.digests import Digests
from ....assets.store import Report
from ....catalog import EncoderSpec, Part, Role
from ....errors import InputError
from ....settings import Settings
from ...base import Encoder
from ...hub import download_model
from ...json_files import JsonObject, read_object
from ...model_ids import is_folder, split_file
from ...static import is_model2vec_folder, load_static, read_static_vocabulary
from ..checkpoint import Checkpoint, read_safetensors
from ..encoder import TransformerEncoder
from ..network.adapters import ADAPTERS, AdapterEncoder
from ..network.architectures import find_architecture
from ..network.config import read_config
from ..steps import MEAN, Dense, LayerNorm, Normalize, Pool, Step, Truncate
from ..tokenizer import EncoderTokenizer
from ..vocabulary import TextTokenizer
from .graph_file import GraphFile, find_graph_file, has_safetensors, read_graph_file
from .model_settings import ModelSettings, read_model_settings
from .modules import Module, read_later_steps, read_modules, read_steps
from .tokenizer_classes import read_folder_vocabulary
from .transformer_files import check_tokenizer_settings, read_transformer_settings

logger = logging.getLogger(__name__)

DEFAULT_WINDOW = 512
"""Maximum number of tokens in a piece of a text if neither the architecture nor the settings of the model limit it, as for T5."""

_RERANKER = "it scores pairs of texts, which `umekomi search --rerank` uses, or classifies texts"
_OTHER_ARCHITECTURES = {
    "ForSequenceClassification": _RERANKER,
    "ForTokenClassification": "it classifies tokens; Umekomi embeds texts",
    "ForQuestionAnswering": "it marks answers; Umekomi embeds texts",
    "ForMultipleChoice": "it chooses answers; Umekomi embeds texts",
    "ColBERT": "it gives a vector for each token (ColBERT); Umekomi supports one vector for each text",
    "ForRetrieval": "it gives a vector for each token (ColBERT); Umekomi supports one vector for each text",
}
"""Ends of class names in ``config.json`` of models that do not embed texts, and what they do."""


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
    folder = open_folder(model, settings, file=file, report=report)
    modules = read_modules(folder, model) or [_require_plain_folder(folder, model)]
    if modules[0].type == "StaticEmbedding":
        return _load_static(folder, modules, model, options or {}, settings)
    if modules[0].type != "Transformer":
        raise InputError(f"The first module of {model} is {modules[0].type!r}; it must be Transformer.", param="model")
    root = modules[0].folder
    for name in ("config.json", "tokenizer.json"):
        require_file(root / name, model)
    # Without modules.json, sentence-transformers uses the mean of the tokens.
    steps = read_steps(modules[1:], model) if (folder / "modules.json").is_file() else list(MEAN)
    module_settings = read_transformer_settings(root)
    model_settings = read_model_settings(folder, is_normalized=steps[-1:] == [Normalize()])
    checkpoint, hashes = read_network(root, model, file, settings, lowercase=module_settings.lowercase)
    vocabulary = checkpoint.tokenizer
    check_tokenizer_settings(root, vocabulary)
    require_rows(root / "config.json", vocabulary)
    _require_padding(checkpoint, vocabulary, model)
    if isinstance(checkpoint, GraphFile) and checkpoint.is_pooled:
        has_modules = (folder / "modules.json").is_file()
        prompts = choose_prefixes(model_settings, options or {}).values()
        _check_pooled(checkpoint, steps if has_modules else (), model_settings.truncate_dim, has_prompts=any(prompts))
        steps = list(MEAN)
    if model_settings.truncate_dim:
        steps.append(Truncate(model_settings.truncate_dim))
    if not isinstance(steps[-1], Normalize):
        steps.append(Normalize())
    limits = [limit for limit in (module_settings.window, checkpoint.config.positions) if limit]
    adapters = _list_adapters(root, checkpoint)
    prefixes = choose_prefixes(model_settings, options or {}, adapters)

    def load(adapter: str | None) -> TransformerEncoder:
        return TransformerEncoder(
            # Not the name of the folder, because the same files have the same space under any path.
            checkpoint.config.family,
            _adapt(checkpoint, root, adapter, model),
            window=min(limits, default=DEFAULT_WINDOW),
            settings=settings,
            prefixes=prefixes,
            steps=steps,
        )

    encoder: Encoder = AdapterEncoder(_assign_adapters(prefixes, adapters), load) if adapters else load(None)
    encoder.source = checkpoint.name if isinstance(checkpoint, GraphFile) else "model.safetensors"
    encoder.matryoshka_dims = _read_matryoshka_dims(JsonObject.read(root / "config.json"), encoder.dims)
    encoder.file_hashes = (*hashes, *hash_files([root / "config.json", root / "tokenizer.json"], settings))
    return encoder, EncoderTokenizer(_public_name(model), vocabulary)


def load_folder_tokenizer(model: str, settings: Settings) -> EncoderTokenizer:
    """Load the tokenizer of a folder, or of an ``owner/name`` of the hub.

    Raises:
        InputError: The folder has no ``tokenizer.json``.
        AssetMissingError: The hub does not respond, or has no such model.
    """
    folder = open_folder(split_file(model)[0], settings)
    first = (read_modules(folder, model) or [_require_plain_folder(folder, model)])[0]
    path = require_file(first.folder / "tokenizer.json", model)
    if first.type == "StaticEmbedding":
        return EncoderTokenizer(_public_name(model), read_static_vocabulary(path, model))
    lowercase = read_transformer_settings(first.folder).lowercase
    vocabulary = read_folder_vocabulary(first.folder, name=model, lowercase=lowercase)
    return EncoderTokenizer(_public_name(model), vocabulary)


def _public_name(model: str) -> str:
    """Return the name of a model in errors about inputs, which a server sends to its clients: they must not see paths."""
    return Path(model).expanduser().resolve().name if is_folder(model) else model


def build(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> Encoder:
    """Build the encoder of a row of the catalog; its option ``model`` is the folder or the id on the hub."""
    options = {**spec.options, **part.options}
    return load_folder(options["model"], settings, options=options)[0]


def open_folder(model: str, settings: Settings, *, file: str = "", report: Report | None = None) -> Path:
    """Return the folder of a model; one of the hub is downloaded.

    Args:
        model: Path of the folder, or id on the hub.
        settings: Whether the network may be used.
        file: ONNX or OpenVINO file to download.
        report: Callback that receives one line of text before a download. By default it is logged.

    Raises:
        InputError: There is no such folder.
        AssetMissingError: The hub does not respond, or has no such model.
    """
    if is_folder(model):
        folder = Path(model).expanduser()
    else:
        folder = download_model(
            model,
            settings,
            file=file,
            report=report or logger.info,
            can_read_tensors=lambda path: _can_read_tensors(path, model),
        )
    if not folder.is_dir():
        raise InputError(f"There is no folder {model}. `umekomi models list` shows the catalog.", param="model")
    return folder


def _can_read_tensors(path: Path, model: str) -> bool:
    """Return whether Umekomi supports safetensors of the architecture and the settings in a ``config.json``."""
    if is_model2vec_folder(path.parent):
        return True
    try:
        description = read_object(path)
        read_config(description, find_architecture(description, name=model).keys, name=model)
    except InputError:
        return False
    return True


def hash_files(paths: Iterable[Path], settings: Settings) -> tuple[str, ...]:
    """Return the SHA-256 of files. Weights are read again only if they have changed since an earlier start."""
    return tuple(map(Digests(settings.cache).sha256, paths))


def read_network(
    root: Path, model: str, file: str, settings: Settings, *, lowercase: bool = False
) -> tuple[Checkpoint | GraphFile, tuple[str, ...]]:
    """Read a transformer and return it with the SHA-256 of its weights and, if its class changes it, of its tokenizer.

    An ONNX or OpenVINO file is used if the model has no safetensors, if Umekomi does not support its architecture, or if ``file``
    names one.

    Args:
        root: Folder of the transformer.
        model: Name of the model for messages.
        file: Name of an ONNX or OpenVINO file in the folder, or an empty string.
        settings: Cache folder.
        lowercase: Whether texts are converted to lower case first.

    Raises:
        InputError: Umekomi cannot run the model.
    """
    vocabulary = read_folder_vocabulary(root, name=model, lowercase=lowercase)
    variant = [vocabulary.variant] if vocabulary.variant else []
    path = find_graph_file(root, model, file=file)
    if path is None or (has_safetensors(root) and not file):
        weights = _find_weights(root, model)
        try:
            checkpoint = read_safetensors(weights, root / "config.json", vocabulary, name=model)
            return checkpoint, (*hash_files(weights, settings), *variant)
        except InputError as error:
            if path is None:
                raise
            logger.info("%s uses the file %s, because: %s", model, path.relative_to(root), error)
    description = read_object(root / "config.json")
    name = path.relative_to(root).as_posix()
    hash_file = Digests(settings.cache).sha256
    graph_file = read_graph_file(path, description, name=name, make_tokenizer=lambda: vocabulary, hash_file=hash_file)
    return graph_file, (*graph_file.hashes, *variant)


def require_file(path: Path, model: str) -> Path:
    """Return the path of a file. Raise InputError if it does not exist."""
    if not path.is_file():
        hint = " Save the tokenizer with AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(…)."
        raise InputError(f"{model} has no {path.name}.{hint if path.name == 'tokenizer.json' else ''}", param="model")
    return path


def _require_plain_folder(folder: Path, model: str) -> Module:
    """Return the module of a folder without ``modules.json``, which transformers wrote.

    Raises:
        InputError: The folder has no model, or its model does not embed texts.
    """
    path = folder / "config.json"
    if is_model2vec_folder(folder):
        return Module("StaticEmbedding", folder)
    if not path.is_file():
        raise InputError(
            f"{model} has neither modules.json nor config.json, so it is not a model folder.", param="model"
        )
    for name in JsonObject.read(path).names("architectures"):
        for ending, reason in _OTHER_ARCHITECTURES.items():
            if name.endswith(ending):
                raise InputError(f"{model} is a {name}: {reason}.", param="model")
    return Module("Transformer", folder)


def require_rows(path: Path, vocabulary: TextTokenizer) -> None:
    """Raise InputError if the tokenizer has more ids than the model has embeddings."""
    n_rows = JsonObject.read(path).integer("vocab_size")
    if n_rows and vocabulary.size > n_rows:
        raise InputError(
            f"The tokenizer in {path.parent} has {vocabulary.size:,} ids, but the model has embeddings for {n_rows:,}.",
            param="model",
        )


def _require_padding(checkpoint: Checkpoint | GraphFile, vocabulary: TextTokenizer, model: str) -> None:
    """Raise InputError if a special token is also the padding, because transformers gives such tokens no position."""
    padding = checkpoint.config.first_position - 1
    if padding >= 0 and padding in (*vocabulary.before, *vocabulary.after):
        raise InputError(
            f"{model} has the pad_token_id {padding} in its config.json, but its tokenizer adds this token to each text.",
            param="model",
        )


def _check_pooled(file: GraphFile, steps: Sequence[Step], truncate_dim: int | None, *, has_prompts: bool) -> None:
    """Raise InputError if the vectors of a file that has been pooled cannot be those of a model's modules.

    Args:
        file: The file.
        steps: Steps of the modules; empty if the model has no modules.
        truncate_dim: Number of dimensions that the model keeps.
        has_prompts: Whether the model has a prompt.
    """
    needed = "Export the model with the output last_hidden_state."
    if file.output == "pooler_output":
        raise InputError(
            f"{file.name} has only the output pooler_output, which is for classifiers and not an embedding. {needed}",
            param="model",
        )
    if has_prompts and any(isinstance(step, Pool) and not step.include_prompt for step in steps):
        raise InputError(
            f"The output {file.output} of {file.name} has been pooled with the prompt, but the model's Pooling has "
            f"include_prompt false. {needed}",
            param="model",
        )
    last = next((step for step in reversed(steps) if isinstance(step, Dense | LayerNorm)), None)
    dims = {None if last is None else len(last.weight), truncate_dim} - {None}
    if last is not None and file.config.hidden not in dims:
        raise InputError(
            f"The output {file.output} of {file.name} has {file.config.hidden:,} dimensions, but the model's modules give "
            f"{len(last.weight):,}. {needed}",
            param="model",
        )


def _read_matryoshka_dims(config: JsonObject, dims: int) -> tuple[int, ...] | None:
    """Return the lengths that vectors may be shortened to: empty for all, None if the model does not declare any."""
    declared = config.numbers("matryoshka_dimensions")
    if not declared and not config.truth("is_matryoshka", default=False):
        return None
    return tuple(sorted({length for length in declared if length <= dims}))


def _find_weights(root: Path, model: str) -> list[Path]:
    if (root / "model.safetensors").is_file():
        return [root / "model.safetensors"]
    index = root / "model.safetensors.index.json"
    if index.is_file():
        description = JsonObject.read(index)
        description.ignore(["metadata"])
        names = sorted(set(description.texts("weight_map").values()))
        description.close()
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
    folder: Path, modules: list[Module], model: str, options: Mapping[str, Any], settings: Settings
) -> tuple[Encoder, EncoderTokenizer]:
    """Load a static model. Vectors have length 1 with and without a module Normalize."""
    steps = read_later_steps(modules[1:], model)
    model_settings = read_model_settings(folder, is_normalized=steps[-1:] == [Normalize()])
    if model_settings.truncate_dim:
        steps.append(Truncate(model_settings.truncate_dim))
    while steps[-1:] == [Normalize()]:
        steps.pop()
    prefixes = choose_prefixes(model_settings, options)
    root = modules[0].folder
    encoder, vocabulary = load_static(model, root, prefixes=prefixes, steps=steps)
    encoder.file_hashes = hash_files([root / "model.safetensors", root / "tokenizer.json"], settings)
    return encoder, EncoderTokenizer(_public_name(model), vocabulary)


def _list_adapters(root: Path, checkpoint: Checkpoint | GraphFile) -> list[str]:
    """Return the names of a model's low-rank adapters (Jina v3)."""
    return [] if isinstance(checkpoint, GraphFile) else JsonObject.read(root / "config.json").names("lora_adaptations")


def _assign_adapters(roles: Iterable[str | None], adapters: Collection[str]) -> dict[str | None, str | None]:
    """Return the adapter of each role. The name of a prompt is that of its adapter."""
    names = {role: ADAPTERS.get(role, role) for role in (*roles, None)}
    return {role: name if name in adapters else None for role, name in names.items()}


def _adapt(checkpoint: Checkpoint | GraphFile, root: Path, adapter: str | None, model: str) -> Checkpoint | GraphFile:
    """Return a checkpoint with an adapter."""
    if adapter is None or isinstance(checkpoint, GraphFile):
        return checkpoint
    return read_safetensors(checkpoint.files, root / "config.json", checkpoint.tokenizer, name=model, adapter=adapter)


def choose_prefixes(
    settings: ModelSettings, options: Mapping[str, Any], adapters: Collection[str] = ()
) -> dict[str | None, str]:
    """Return the prompt of each role. Queries and documents have the default prompt only if the options say so.

    The prompts of adapters have the names of the adapters.
    """
    prompts = {**dict.fromkeys(adapters, ""), **settings.prompts}
    for role, adapter in ADAPTERS.items():
        if role is not None and adapter in adapters:
            prompts.setdefault(role, prompts[adapter])
    default = options.get("prefix", "")
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), default)
    return {
        **{name: prompt for name, prompt in prompts.items() if name},
        None: options.get("prefix", settings.default_prompt),
        Role.QUERY: options.get("query_prefix", prompts.get("query", default)),
        Role.DOCUMENT: options.get("document_prefix", document),
    }
