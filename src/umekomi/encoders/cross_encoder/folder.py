"""Read the folder of a cross-encoder, as sentence-transformers' CrossEncoder does.

Supported are folders that CrossEncoder saved, folders of transformers' ``…ForSequenceClassification`` classes with one label, and
language models that answer yes or no (``…ForCausalLM``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ...assets.store import Report
from ...errors import InputError
from ...settings import Settings
from ..json_files import read_object
from ..model_ids import split_file
from ..transformer.checkpoint import Checkpoint
from ..transformer.folder.graph_file import GraphFile
from ..transformer.folder.modules import Module, read_modules
from ..transformer.folder.sentence_transformers import hash_files, open_folder, read_network, require_file
from ..transformer.folder.tokenizer_classes import gives_segments, read_folder_tokenizer
from ..transformer.steps import Pool, PoolMode, Step
from .chat import QWEN3_TEMPLATE, ChatTokenizer, has_roles, parse_template, read_template
from .heads import read_answer_head, read_head
from .pairs import PairTokenizer

_CLASSIFIER, _LANGUAGE_MODEL = "ForSequenceClassification", "ForCausalLM"
_CONFIG_KEYS = {"__version__", "activation_fn", "default_prompt_name", "keep_in_fp32_modules", "model_type", "prompts"}
_N_SEGMENTS = {"albert": 2, "bert": 2, "deberta-v2": 0, "electra": 2, "new": 2}
"""Model types that may distinguish the two texts of a pair, and the default of ``type_vocab_size``."""


def _sigmoid(logit: float) -> float:
    # Without overflow for large negative numbers.
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


ACTIVATIONS: Mapping[str, Callable[[float], float]] = {"Sigmoid": _sigmoid, "Identity": float}
"""Functions from a logit to a score, by the name of the class in torch."""


@dataclass(frozen=True, slots=True)
class CrossEncoderFolder:
    """What a folder contains."""

    network: Checkpoint | GraphFile
    #: Steps after the last layer. The last one returns the logit.
    steps: tuple[Step, ...]
    tokenizer: PairTokenizer
    #: Key of :data:`ACTIVATIONS`.
    activation: str
    has_segments: bool
    #: SHA-256 of the files that the scores depend on.
    file_hashes: tuple[str, ...]


def read_cross_encoder(
    model: str, settings: Settings, *, max_length: int | None = None, report: Report | None = None
) -> CrossEncoderFolder:
    """Read a folder, or a model of the Hugging Face hub.

    Args:
        model: Path of the folder, or ``owner/name``.
        settings: Whether the hub may be used, and so on.
        max_length: Maximum number of tokens of a pair. By default the model's own; a larger value has no effect.
        report: Callback that receives one line of text before a download.

    Raises:
        InputError: The folder is not a cross-encoder, or Umekomi cannot run it. The message says why.
        AssetMissingError: The hub does not respond, or has no such model.
    """
    model, file = split_file(model)
    root = open_folder(model, settings, file=file, report=report)
    modules = _read_modules(root, model)
    architecture = _find_architecture(root, modules, model)
    config = require_file(root / "config.json", model)
    vocabulary = require_file(root / "tokenizer.json", model)
    description = read_object(config)
    lowercase = bool(read_object(root / "sentence_bert_config.json").get("do_lower_case"))
    network, hashes = read_network(root, model, file, settings, lowercase=lowercase)
    tokenizer = read_folder_tokenizer(root, name=model, lowercase=lowercase)
    if architecture.endswith(_LANGUAGE_MODEL):
        if isinstance(network, GraphFile):
            raise InputError(f"{model} is a language model without safetensors, which Umekomi needs.", param="model")
        yes, no = _read_answers(modules, tokenizer, model)
        steps = read_answer_head(description, network.tensors, yes=yes, no=no, name=model)
    elif isinstance(network, GraphFile):
        steps = _logits_of(network)
    else:
        steps = read_head(description, network.tensors, name=model)
    own = read_object(root / "config_sentence_transformers.json") if modules else {}
    if unknown := own.keys() - _CONFIG_KEYS:
        raise InputError(
            f"{model} has the unknown setting {min(unknown)!r} in config_sentence_transformers.json.", param="model"
        )
    has_segments = gives_segments(root, tokenizer, name=model) and _has_segments(network, description)
    window = _read_window(network.config.positions, root, max_length, name=model)
    prompt = (own.get("prompts") or {}).get(own.get("default_prompt_name")) or ""
    return CrossEncoderFolder(
        network,
        steps,
        _read_pair_tokenizer(tokenizer, root, architecture, window, prompt, has_segments, name=model),
        _read_activation(description, own, model),
        has_segments,
        (*hashes, *hash_files([config, vocabulary], settings)),
    )


def _read_pair_tokenizer(
    tokenizer: Tokenizer, root: Path, architecture: str, window: int, prompt: str, has_segments: bool, *, name: str
) -> PairTokenizer:
    template = read_template(root, name=name)
    modalities = read_object(root / "sentence_bert_config.json").get("modality_config") or {"message": {}}
    is_language_model = architecture.endswith(_LANGUAGE_MODEL)
    if is_language_model and architecture.startswith("Qwen3") and not has_roles(template or ""):
        template = QWEN3_TEMPLATE
    if template is not None and "message" in modalities:
        return ChatTokenizer(tokenizer, window=window, template=parse_template(template, name=name), instruction=prompt)
    if is_language_model:
        raise InputError(f"{name} is a language model without a chat template for pairs.", param="model")
    side = read_object(root / "tokenizer_config.json").get("truncation_side", "right")
    return PairTokenizer(tokenizer, window=window, has_segments=has_segments, truncation_side=str(side), prompt=prompt)


def _read_answers(modules: list[Module] | None, tokenizer: Tokenizer, model: str) -> tuple[int, int | None]:
    """Return the ids of the tokens of a positive and a negative answer."""
    if modules:
        answers = read_object(modules[1].folder / "config.json")
        yes, no = answers.get("true_token_id"), answers.get("false_token_id")
        if answers.keys() - {"true_token_id", "false_token_id", "module_input_name"} or type(yes) is not int:
            raise InputError(f"{model} has an invalid module LogitScore.", param="model")
        return yes, no
    yes, no = (tokenizer.token_to_id(answer) for answer in ("yes", "no"))
    if yes is None or no is None:
        raise InputError(f"{model} is not a cross-encoder: its tokenizer has no tokens for yes and no.", param="model")
    return yes, no


def _logits_of(file: GraphFile) -> tuple[Step, ...]:
    """Return the steps after a file that contains the head. Raises InputError if it does not return one number per pair."""
    if not file.is_pooled or file.config.hidden != 1:
        shape = f"{file.config.hidden:,} numbers per {'pair' if file.is_pooled else 'token'}"
        raise InputError(f"{file.name} is not a cross-encoder: it returns {shape} instead of one score.", param="model")
    return (Pool((PoolMode.CLS,)),)


def is_cross_encoder(folder: Path) -> bool:
    """Return whether a folder is a cross-encoder that :func:`read_cross_encoder` tries to read.

    A language model alone may also be an embedding model, so it is not reported as one.
    """
    try:
        modules = _read_modules(folder, str(folder))
        architecture = _find_architecture(folder, modules, str(folder))
    except InputError:
        return False
    return architecture.endswith(_CLASSIFIER) or modules is not None


def _read_modules(root: Path, model: str) -> list[Module] | None:
    return read_modules(root, model, more=("LogitScore",))


def _find_architecture(root: Path, modules: list[Module] | None, model: str) -> str:
    """Return the class of transformers in ``config.json``. Raises InputError if the folder is not a cross-encoder."""
    suffix = _CLASSIFIER
    if modules:
        types = [module.type for module in modules]
        if "Pooling" in types or "StaticEmbedding" in types:
            raise InputError(
                f"{model} is not a cross-encoder but an embedding model; use it with Embedder.", param="model"
            )
        if types == ["Transformer", "LogitScore"]:
            suffix = _LANGUAGE_MODEL
        elif types != ["Transformer"]:
            raise InputError(
                f"{model} has the modules {', '.join(types)}; Umekomi supports cross-encoders with one Transformer.",
                param="model",
            )
    elif not (root / "config.json").is_file():
        raise InputError(f"{model} has no config.json, so it is not a model folder.", param="model")
    architectures = read_object(root / "config.json").get("architectures") or []
    architecture = str(next(iter(architectures), "")) if isinstance(architectures, list) else ""
    if not architecture.endswith(suffix) and not (modules is None and architecture.endswith(_LANGUAGE_MODEL)):
        raise InputError(
            f"{model} is not a cross-encoder: its architecture is {architecture or 'not given'}, not …{suffix}.",
            param="model",
        )
    return architecture


def _has_segments(network: Checkpoint | GraphFile, description: Mapping[str, Any]) -> bool:
    # A file without an input for segments ignores them.
    if isinstance(network, GraphFile):
        return True
    default = _N_SEGMENTS.get(str(description.get("model_type")))
    return default is not None and description.get("type_vocab_size", default) > 1


def _read_window(positions: int, root: Path, max_length: int | None, *, name: str) -> int:
    own = read_object(root / "tokenizer_config.json").get("model_max_length")
    limits = [positions, own, read_object(root / "sentence_bert_config.json").get("max_seq_length"), max_length]
    window = int(min(limit for limit in limits if limit))
    if max_length is not None and max_length < 8:
        raise InputError(f"max_length is {max_length}; it must be at least 8.", param="max_length")
    if window < 8:
        raise InputError(
            f"{name} has a window of {window} tokens, which is too short for a pair of texts.", param="model"
        )
    return window


def _read_activation(description: Mapping[str, Any], own: Mapping[str, Any], model: str) -> str:
    """Return the activation that CrossEncoder uses: that of its own configuration, of ``config.json``, or the sigmoid."""
    in_config = description.get("sentence_transformers") or {}
    old = description.get("sbert_ce_default_activation_function")
    path = own.get("activation_fn") or in_config.get("activation_fn", old)
    # CrossEncoder ignores functions of other packages, because they would be code of the model.
    if path is None or not str(path).startswith("torch."):
        return "Sigmoid"
    name = str(path).rsplit(".", 1)[-1]
    if name not in ACTIVATIONS:
        raise InputError(
            f"{model} has scores with the activation {name!r}; Umekomi supports {' and '.join(ACTIVATIONS)}.",
            param="model",
        )
    return name
