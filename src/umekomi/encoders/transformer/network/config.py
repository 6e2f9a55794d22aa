"""The configuration of a transformer, read from ``config.json``. A setting that Umekomi does not know is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....errors import InputError
from ...json_files import JsonObject
from .layers import require_activation
from .rope import Rope, RopeKeys, read_ropes

_HARMLESS = """
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal _name_or_path architectures
    attention_dropout attention_probs_dropout_prob auto_map bad_words_ids begin_suppress_tokens bos_token bos_token_id
    chunk_size_feed_forward classifier_activation classifier_bias classifier_dropout classifier_dropout_prob
    classifier_pooling cls_token_id decoder_start_token_id directionality diversity_penalty do_sample dtype early_stopping
    encoder_no_repeat_ngram_size eos_token eos_token_id exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing hidden_dropout_prob id2label initializer_factor initializer_range
    is_matryoshka label2id length_penalty mask_token mask_token_id matryoshka_dimensions max_length min_length model_type
    no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences output_attentions output_hidden_states
    output_past output_scores pad_token pad_token_id pooler_act_fn pooler_dropout pooler_fc_size pooler_hidden_act
    pooler_hidden_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type prefix problem_type
    remove_invalid_values repetition_penalty return_dict return_dict_in_generate sentence_transformers sep_token_id
    suppress_tokens task_specific_params temperature tf_legacy_loss tie_word_embeddings tokenizer_class top_k top_p
    torch_dtype torchscript transformers_version truncate_dim typical_p unk_token_id use_bfloat16 use_cache vocab_size
    sbert_ce_default_activation_function
"""
"""Keys that do not change the states of the tokens."""

_FIXED: Mapping[str, tuple[object, ...]] = {
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (),
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "pruned_heads": ({},),
    "quantization_config": (),
}
"""Keys with the values that Umekomi supports."""


_MAX_SIZE = 1_000_000
"""Maximum number of dimensions, layers or heads, so that a damaged file does not fill the memory."""


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """The shape and the settings of a transformer."""

    #: Architecture, as named by ``model_type`` in ``config.json``.
    family: str
    hidden: int
    layers: int
    heads: int
    eps: float
    activation: str = "gelu"
    #: Maximum number of tokens in a text; 0 if there is none.
    positions: int = 0
    #: Number of heads of keys and values, each for several heads of queries; 0 means as many as heads.
    key_heads: int = 0
    #: Numbers of a head; 0 means ``hidden / heads``.
    head_size: int = 0
    #: Whether tokens attend only to earlier tokens and themselves.
    causal: bool = False
    #: The scores of attention are multiplied by it; None means ``1 / sqrt(head_size)``.
    scale: float | None = None
    #: Word embeddings are multiplied by it.
    word_scale: float = 1.0
    #: Rotary position embeddings of each layer; empty if there are none.
    ropes: tuple[Rope, ...] = ()
    #: Maximum distance of attention in each layer; empty or None means no maximum.
    reaches: tuple[int | None, ...] = ()
    #: Number of segments; None if ``config.json`` does not say it.
    segments: int | None = None
    #: Position id of the first token of a text in the table of positions.
    first_position: int = 0
    #: Group and number in its group of each layer, if layers share their weights (ALBERT).
    shared: tuple[tuple[int, int], ...] = ()
    #: Largest distance with a bucket of its own in a table of relative positions.
    max_distance: int = 128
    #: Number of buckets for each direction of DeBERTa's relative positions; 0 means one for each distance.
    position_buckets: int = 0
    #: Whether scores decrease linearly with the distance of two tokens (ALiBi, Press, Smith and Lewis 2022).
    linear_biases: bool = False
    #: Whether states can exceed the range of fp16.
    exceeds_fp16: bool = False

    @property
    def size(self) -> int:
        """The numbers of a head."""
        return self.head_size or self.hidden // self.heads

    @property
    def groups(self) -> int:
        """The number of heads of keys and values."""
        return self.key_heads or self.heads


Reaches = Callable[[JsonObject, int], tuple[int | None, ...]]
"""Reads the maximum distance of attention in each of some layers; None means that there is none."""

Adjust = Callable[[JsonObject, "TransformerConfig"], "TransformerConfig"]
"""Reads the settings that only one architecture has."""


@dataclass(frozen=True, slots=True)
class ConfigKeys:
    """The keys of an architecture, and their default values. A key has several names if the hub has files with each."""

    hidden: tuple[str, ...] = ("hidden_size",)
    layers: tuple[str, ...] = ("num_hidden_layers",)
    heads: tuple[str, ...] = ("num_attention_heads",)
    key_heads: tuple[str, ...] = ()
    head_size: tuple[str, ...] = ()
    eps: tuple[str, ...] = ("layer_norm_eps",)
    default_eps: float = 1e-12
    activation: tuple[str, ...] = ("hidden_act",)
    default_activation: str = "gelu"
    positions: tuple[str, ...] = ("max_position_embeddings",)
    #: Whether position ids begin after the id of the padding token, as in fairseq.
    padded_positions: bool = False
    rope: RopeKeys | None = None
    causal: bool = False
    reaches: Reaches | None = None
    adjust: Adjust | None = None
    #: Keys with the values that Umekomi supports.
    fixed: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    #: Further keys that do not change the states of the tokens, or that the shapes of the weights repeat, separated
    #: by spaces.
    harmless: str = ""


def read_config(description: Mapping[str, Any], keys: ConfigKeys, *, name: str) -> TransformerConfig:
    """Return the configuration in a ``config.json``.

    Args:
        description: Content of the file.
        keys: The keys of the architecture.
        name: Name of the model for messages.

    Raises:
        InputError: A key is missing, unknown, or has a value that Umekomi does not support.
    """
    reader = JsonObject(f"The config.json of {name}", description)
    for key, allowed in {**_FIXED, **keys.fixed}.items():
        reader.require(key, allowed)
    hidden, layers, heads = (_read_size(reader, *names) for names in (keys.hidden, keys.layers, keys.heads))
    size = reader.required(*keys.head_size, default=hidden // heads)
    key_heads = reader.required(*keys.key_heads, default=heads)
    if not size or heads % key_heads:
        raise InputError(
            f"{name} has {heads} heads, {key_heads} heads of keys and {hidden} dimensions, which do not fit."
        )
    if keys.padded_positions and reader.is_null("pad_token_id"):
        raise reader.error(["pad_token_id"], "Umekomi expects the id before the first position")
    first = reader.required("pad_token_id", default=1, minimum=0) + 1 if keys.padded_positions else 0
    reaches = keys.reaches(reader, layers) if keys.reaches else ()
    positions = reader.required(*keys.positions) - first if keys.positions else 0
    ropes = read_ropes(reader, keys.rope, reaches or (None,) * layers, size, positions=positions) if keys.rope else ()
    config = TransformerConfig(
        family=str(description["model_type"]),
        hidden=hidden,
        layers=layers,
        heads=heads,
        eps=reader.number(*keys.eps, default=keys.default_eps),
        activation=reader.text(*keys.activation, default=keys.default_activation),
        positions=positions,
        key_heads=key_heads,
        head_size=size,
        causal=keys.causal and reader.truth("is_causal", default=True),
        ropes=ropes,
        # Both factors of a product are scaled.
        scale=size**-0.5 * ropes[0].attention_factor ** 2 if ropes and ropes[0].attention_factor != 1 else None,
        reaches=reaches,
        segments=reader.integer("type_vocab_size", minimum=0),
        first_position=first,
    )
    if keys.adjust:
        config = keys.adjust(reader, config)
    require_activation(config.activation)
    reader.ignore([*_HARMLESS.split(), *keys.harmless.split()])
    reader.close()
    return config


def _read_size(reader: JsonObject, *keys: str) -> int:
    """Return a number of dimensions, layers or heads."""
    size = reader.required(*keys)
    if size > _MAX_SIZE:
        raise reader.error(keys, f"Umekomi supports numbers up to {_MAX_SIZE:,}")
    return size
