"""The layers and weights of a transformer, independent of the names in its files and of the library that computes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ....vectors.arithmetic import FloatArray, IntArray
from .config import TransformerConfig
from .weights import Blocks, Tensor


class NormType(StrEnum):
    """How a normalization scales a token's state."""

    #: To mean 0 and variance 1 (Ba, Kiros and Hinton 2016).
    LAYER = "layer"
    #: To a mean square of 1 (Zhang and Sennrich 2019).
    RMS = "rms"


@dataclass(frozen=True, slots=True)
class Norm:
    """A normalization of the last axis."""

    type: NormType
    #: ``(n,)``.
    weight: FloatArray
    #: ``(n,)``.
    bias: FloatArray | None
    eps: float


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix product: ``state @ weight.T + bias``."""

    #: ``(out, in)``.
    weight: Tensor | Blocks
    #: ``(out,)``.
    bias: FloatArray | None


@dataclass(frozen=True, slots=True)
class Attention:
    """Multi-head attention."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    #: Normalizations of each head's queries and keys.
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    #: Angle between neighboring positions for each pair of a head's numbers: ``(head_size / 2,)``. None: no rotation.
    rotation: tuple[float, ...] | None = None
    #: Maximum distance between two tokens that attend to each other; None means no maximum.
    reach: int | None = None
    #: Keys and queries of the relative positions, ``(heads, buckets, head_size)``, in DeBERTa (He et al. 2021).
    relative_keys: FloatArray | None = None
    relative_queries: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Mlp:
    """A feed-forward network: ``down(activation(up(state)))``, or ``down(activation(gate(state)) * up(state))``."""

    up: Linear
    down: Linear
    gate: Linear | None = None


@dataclass(frozen=True, slots=True)
class Norms:
    """The normalizations around attention or a feed-forward network: ``after(state + result(f(before(state))))``."""

    before: Norm | None = None
    result: Norm | None = None
    after: Norm | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer."""

    attention: Attention
    attention_norms: Norms
    mlp: Mlp
    mlp_norms: Norms


@dataclass(frozen=True, slots=True)
class Transformer:
    """A transformer from token ids to token states ``(batch, length, hidden)``."""

    config: TransformerConfig
    #: Word embeddings: ``(vocabulary, width)``. ``width`` is the hidden size unless there is a projection.
    words: Tensor | Blocks
    #: Embeddings of positions, of the first token first: ``(positions, width)``.
    positions: FloatArray | None
    #: Embeddings of segments: ``(segments, width)``.
    segments: FloatArray | None
    embedding_norm: Norm | None
    #: From ``width`` to the hidden size.
    projection: Linear | None
    layers: tuple[Layer, ...] = field(repr=False)
    final_norm: Norm | None
    #: Added to the attention scores by the distance of key and query, from ``-n`` to ``n``: ``(2 n + 1, heads)``. Larger
    #: distances use the first and the last row. In T5 (Raffel et al. 2020) and MPNet.
    distance_bias: FloatArray | None = None
    #: Bucket of DeBERTa's relative positions for each distance of key and query, from ``-n`` to ``n``: ``(2 n + 1,)``.
    relative_buckets: IntArray | None = None
