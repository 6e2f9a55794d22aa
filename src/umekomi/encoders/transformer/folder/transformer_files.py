"""Read the settings of the module Transformer that ``config.json`` does not contain: window, case and tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...json_files import MAX_INTEGER, JsonObject
from ..vocabulary import TextTokenizer

_SETTINGS_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""Names of the module's settings, in the order in which sentence-transformers looks for them."""

_LOADING_ARGUMENTS = (
    "model_args",
    "model_kwargs",
    "config_args",
    "config_kwargs",
    "tokenizer_args",
    "processor_kwargs",
)
"""Keys with arguments for transformers."""

_HARMLESS_ARGUMENTS = [
    "attn_implementation",
    "device_map",
    "dtype",
    "low_cpu_mem_usage",
    "padding_side",
    "torch_dtype",
    "trust_remote_code",
    "use_cache",
    "use_fast",
    "use_safetensors",
]

_TOKENIZER_KEYS = [
    "add_prefix_space",
    "add_special_tokens",
    "added_tokens_decoder",
    "additional_special_tokens",
    "auto_map",
    "backend",
    "bos_token",
    "chat_template",
    "clean_up_tokenization_spaces",
    "cls_token",
    "do_basic_tokenize",
    "eos_token",
    "errors",
    "extra_ids",
    "extra_special_tokens",
    "fix_mistral_regex",
    "from_slow",
    "full_tokenizer_file",
    "is_local",
    "keep_accents",
    "legacy",
    "local_files_only",
    "mask_token",
    "max_length",
    "model_input_names",
    "model_specific_special_tokens",
    "name_or_path",
    "never_split",
    "pad_to_multiple_of",
    "pad_token",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "processor_class",
    "remove_space",
    "sep_token",
    "sp_model_kwargs",
    "spaces_between_special_tokens",
    "special_tokens_map_file",
    "split_by_punct",
    "split_special_tokens",
    "stride",
    "token",
    "tokenizer_class",
    "tokenizer_file",
    "trim_offsets",
    "truncation",
    "truncation_side",
    "truncation_strategy",
    "trust_remote_code",
    "unk_id",
    "unk_token",
    "use_default_system_prompt",
    "use_fast",
    "vocab_file",
    "vocab_type",
]
"""Keys of ``tokenizer_config.json`` that do not change token ids, because ``tokenizer.json`` contains what they describe."""


@dataclass(frozen=True, slots=True)
class TransformerSettings:
    """Settings of the module Transformer."""

    #: Maximum number of tokens of a text including special tokens; None if only the model limits it.
    window: int | None
    #: Whether texts are converted to lower case first.
    lowercase: bool


_OUTPUTS = {"feature-extraction": "last_hidden_state", "fill-mask": "logits"}
"""Output of transformers' classes for each task."""


def read_transformer_settings(root: Path, *, task: str = "feature-extraction") -> TransformerSettings:
    """Read ``sentence_bert_config.json`` and ``tokenizer_config.json``.

    Args:
        root: Folder of the module.
        task: Task that the module must have: a key of ``_OUTPUTS``.

    Raises:
        InputError: A file has an unknown key, or a value that Umekomi does not support.
    """
    path = next((root / name for name in _SETTINGS_FILES if (root / name).is_file()), root / _SETTINGS_FILES[0])
    settings = JsonObject.read(path)
    window = _read_window(settings, "max_seq_length")
    lowercase = settings.truth("do_lower_case", default=False)
    settings.require("transformer_task", [task])
    settings.require("module_output_name", ["token_embeddings"])
    text = {"method": "forward", "method_output_name": _OUTPUTS[task]}
    messages = [text | {"format": name} for name in ("flat", "structured", "auto")]
    settings.require("modality_config", [{"text": text}, *({"text": text, "message": message} for message in messages)])
    settings.require("processing_kwargs", [{}])
    for key in ("query_length", "document_length", "query_expansion"):
        settings.require(key, [], "Umekomi does not support multi-vector models (ColBERT)")
    settings.require("tokenizer_name_or_path", [])
    # Only the speed depends on it.
    settings.ignore(["unpad_inputs"])
    for key in _LOADING_ARGUMENTS:
        arguments = settings.object(key)
        arguments.ignore(_HARMLESS_ARGUMENTS)
        if key in ("tokenizer_args", "processor_kwargs"):
            # It has precedence over the key max_seq_length.
            window = _read_window(arguments, "model_max_length") or window
        arguments.close()
    settings.close()
    return TransformerSettings(
        window or _read_window(JsonObject.read(root / "tokenizer_config.json"), "model_max_length"), lowercase
    )


def _read_window(settings: JsonObject, key: str) -> int | None:
    """Return a maximum number of tokens, or None if there is none."""
    window = settings.integer(key)
    return None if window is None or window >= MAX_INTEGER else window


def check_tokenizer_settings(root: Path, vocabulary: TextTokenizer) -> None:
    """Check that ``tokenizer_config.json`` describes the same tokenizer as ``tokenizer.json``.

    Raises:
        InputError: A key is unknown, or contradicts ``tokenizer.json``.
    """
    config = JsonObject.read(root / "tokenizer_config.json")
    config.ignore(_TOKENIZER_KEYS)
    config.integer("model_max_length")
    normalizer = vocabulary.normalizer if vocabulary.normalizer.get("type") == "BertNormalizer" else {}
    for key, own_key in (
        ("do_lower_case", "lowercase"),
        ("tokenize_chinese_chars", "handle_chinese_chars"),
        ("strip_accents", "strip_accents"),
    ):
        if own_key in normalizer:
            config.require(key, [normalizer[own_key]], f"but tokenizer.json says {json.dumps(normalizer[own_key])}")
        else:
            config.ignore([key])
    for key, ids, side in (
        ("add_bos_token", vocabulary.before, "before"),
        ("add_eos_token", vocabulary.after, "after"),
    ):
        config.require(key, [bool(ids)], f"but tokenizer.json adds {len(ids) or 'no'} tokens {side} a text")
    config.close()
