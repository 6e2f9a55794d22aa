"""Settings in ``config.json`` that only some architectures have: local attention, shared layers, relative positions."""

from __future__ import annotations

from dataclasses import replace

from ...json_files import JsonObject
from .config import TransformerConfig


def read_mistral_reaches(reader: JsonObject, layers: int) -> tuple[int | None, ...]:
    window = _read_sliding_window(reader)
    return (None if window is None else window - 1,) * layers


def _read_sliding_window(reader: JsonObject) -> int | None:
    """Return the number of tokens that a token attends to, or None if null says that there is no limit."""
    return None if reader.is_null("sliding_window") else reader.required("sliding_window", default=4096)


def read_qwen_reaches(reader: JsonObject, layers: int) -> tuple[int | None, ...]:
    window, types = _read_sliding_window(reader), reader.names("layer_types")
    first = reader.required("max_window_layers", default=28, minimum=0)
    if not reader.truth("use_sliding_window", default=False) or window is None:
        return (None,) * layers
    types = types or ["sliding_attention" if layer >= first else "full_attention" for layer in range(layers)]
    return _by_types(reader, types, layers, window - 1)


def read_modernbert_reaches(reader: JsonObject, layers: int) -> tuple[int | None, ...]:
    reach = reader.required("local_attention", default=128) // 2
    every = reader.required("global_attn_every_n_layers", default=3)
    types = reader.names("layer_types") or [
        "sliding_attention" if layer % every else "full_attention" for layer in range(layers)
    ]
    return _by_types(reader, types, layers, reach)


def read_gemma_reaches(reader: JsonObject, layers: int) -> tuple[int | None, ...]:
    window = reader.required("sliding_window", default=4096)
    every = reader.required("sliding_window_pattern", "_sliding_window_pattern", default=6)
    types = reader.names("layer_types") or [
        "sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)
    ]
    bidirectional = reader.truth("use_bidirectional_attention", default=False)
    return _by_types(reader, types, layers, window // 2 if bidirectional else window - 1)


def _by_types(reader: JsonObject, types: list[str], layers: int, reach: int) -> tuple[int | None, ...]:
    reaches = {"full_attention": None, "sliding_attention": reach}
    if len(types) != layers or not set(types) <= reaches.keys():
        raise reader.error(["layer_types"], f"Umekomi expects a list of {layers} times {' or '.join(reaches)}")
    return tuple(reaches[name] for name in types)


def adjust_gemma(reader: JsonObject, config: TransformerConfig) -> TransformerConfig:
    return replace(
        config,
        causal=not reader.truth("use_bidirectional_attention", default=False),
        scale=reader.number("query_pre_attn_scalar", default=256) ** -0.5,
        word_scale=config.hidden**0.5,
        exceeds_fp16=True,
    )


def adjust_t5(reader: JsonObject, config: TransformerConfig) -> TransformerConfig:
    activations = {"relu": "relu", "gated-gelu": "gelu_new", "gated-silu": "silu"}
    name = reader.text("feed_forward_proj", default="relu")
    if name not in activations:
        raise reader.error(["feed_forward_proj"], f"Umekomi supports {', '.join(activations)}")
    distance = reader.required("relative_attention_max_distance", default=128)
    activation = activations[name]
    return replace(config, scale=1.0, activation=activation, max_distance=distance, exceeds_fp16=True)


def adjust_alibi(reader: JsonObject, config: TransformerConfig) -> TransformerConfig:
    """Add attention with linear biases."""
    return replace(config, linear_biases=True, max_distance=config.positions)


def adjust_albert(reader: JsonObject, config: TransformerConfig) -> TransformerConfig:
    groups, members = (reader.required(key, default=1) for key in ("num_hidden_groups", "inner_group_num"))
    shared = tuple(
        (layer * groups // config.layers, member) for layer in range(config.layers) for member in range(members)
    )
    return replace(config, layers=len(shared), shared=shared)


def adjust_deberta(reader: JsonObject, config: TransformerConfig) -> TransformerConfig:
    types = reader.names("pos_att_type")
    if sorted(types[0].split("|") if len(types) == 1 else types) != ["c2p", "p2c"]:
        raise reader.error(["pos_att_type"], "Umekomi supports c2p and p2c together")
    if not reader.truth("relative_attention", default=False):
        raise reader.error(["relative_attention"], "Umekomi supports true")
    reader.require("embedding_size", [config.hidden], f"Umekomi supports {config.hidden}, the hidden size")
    # -1 and 0 mean as many positions as the model has, and one bucket for each distance.
    distance = reader.required("max_relative_positions", default=-1, minimum=-1)
    buckets = reader.required("position_buckets", default=-1, minimum=-1)
    return replace(
        config,
        scale=(3 * config.size) ** -0.5,
        max_distance=distance if distance > 0 else config.positions,
        position_buckets=max(buckets, 0),
    )
