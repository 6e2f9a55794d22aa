"""Settings in ``config.json`` that only some architectures have: local attention, shared layers, relative positions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .config import ConfigReader, TransformerConfig


def read_mistral_reaches(reader: ConfigReader, layers: int) -> tuple[int | None, ...]:
    window = reader.get("sliding_window")
    return (None if window is None else int(window) - 1,) * layers


def read_qwen_reaches(reader: ConfigReader, layers: int) -> tuple[int | None, ...]:
    window, types = reader.get("sliding_window"), reader.get("layer_types")
    first = int(reader.get("max_window_layers") or 0)
    if not reader.flag("use_sliding_window", default=False) or window is None:
        return (None,) * layers
    if types is None:
        types = ["sliding_attention" if layer >= first else "full_attention" for layer in range(layers)]
    return _by_types(reader, types, layers, int(window) - 1)


def read_modernbert_reaches(reader: ConfigReader, layers: int) -> tuple[int | None, ...]:
    reach = reader.integer("local_attention", default=128) // 2
    every = reader.integer("global_attn_every_n_layers", default=3)
    types = reader.get("layer_types") or [
        "sliding_attention" if layer % every else "full_attention" for layer in range(layers)
    ]
    return _by_types(reader, types, layers, reach)


def read_gemma_reaches(reader: ConfigReader, layers: int) -> tuple[int | None, ...]:
    window = reader.integer("sliding_window", default=4096)
    every = reader.integer("sliding_window_pattern", "_sliding_window_pattern", default=6)
    types = reader.get("layer_types") or [
        "sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)
    ]
    bidirectional = reader.flag("use_bidirectional_attention", default=False)
    return _by_types(reader, types, layers, window // 2 if bidirectional else window - 1)


def _by_types(reader: ConfigReader, types: Any, layers: int, reach: int) -> tuple[int | None, ...]:
    reaches = {"full_attention": None, "sliding_attention": reach}
    if not isinstance(types, list) or len(types) != layers or not set(types) <= reaches.keys():
        raise reader.unsupported(["layer_types"], f"a list of {layers} times {' or '.join(reaches)}")
    return tuple(reaches[name] for name in types)


def adjust_gemma(reader: ConfigReader, config: TransformerConfig) -> TransformerConfig:
    return replace(
        config,
        causal=not reader.flag("use_bidirectional_attention", default=False),
        scale=reader.number("query_pre_attn_scalar", default=256) ** -0.5,
        word_scale=config.hidden**0.5,
        exceeds_fp16=True,
    )


def adjust_t5(reader: ConfigReader, config: TransformerConfig) -> TransformerConfig:
    activations = {"relu": "relu", "gated-gelu": "gelu_new", "gated-silu": "silu"}
    name = reader.get("feed_forward_proj") or "relu"
    if name not in activations:
        raise reader.unsupported(["feed_forward_proj"], ", ".join(activations))
    distance = reader.integer("relative_attention_max_distance", default=128)
    activation = activations[name]
    return replace(config, scale=1.0, activation=activation, max_distance=distance, exceeds_fp16=True)


def adjust_alibi(reader: ConfigReader, config: TransformerConfig) -> TransformerConfig:
    """Add attention with linear biases."""
    return replace(config, linear_biases=True, max_distance=config.positions)


def adjust_albert(reader: ConfigReader, config: TransformerConfig) -> TransformerConfig:
    groups, members = (reader.integer(key, default=1) for key in ("num_hidden_groups", "inner_group_num"))
    shared = tuple(
        (layer * groups // config.layers, member) for layer in range(config.layers) for member in range(members)
    )
    return replace(config, layers=len(shared), shared=shared)


def adjust_deberta(reader: ConfigReader, config: TransformerConfig) -> TransformerConfig:
    types = reader.get("pos_att_type") or []
    if sorted(types.split("|") if isinstance(types, str) else types) != ["c2p", "p2c"]:
        raise reader.unsupported(["pos_att_type"], "c2p and p2c together")
    if reader.get("relative_attention") is not True:
        raise reader.unsupported(["relative_attention"], "true")
    if reader.get("embedding_size") not in (None, config.hidden):
        raise reader.unsupported(["embedding_size"], f"{config.hidden}, the hidden size")
    distance, buckets = int(reader.get("max_relative_positions") or -1), int(reader.get("position_buckets") or -1)
    return replace(
        config,
        scale=(3 * config.size) ** -0.5,
        max_distance=distance if distance > 0 else config.positions,
        position_buckets=max(buckets, 0),
    )
