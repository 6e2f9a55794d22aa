"""A transformer in torch, built from its structure and weights: with the same arithmetic as in ``openvino_graph.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the usual name

from ..checkpoint import Checkpoint
from ..network.config import TransformerConfig
from ..network.structure import Attention, Layer, Linear, Mlp, Norm, Norms, NormType
from ..network.weights import Blocks, Tensor
from ..steps import MEAN, Step
from .torch_steps import Steps, Tokens, activation_function

Function = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: torch.Tensor
    bias: torch.Tensor | None

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        return F.linear(state, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _LayerNorm:
    weight: torch.Tensor
    bias: torch.Tensor | None
    eps: float

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(state, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class _RmsNorm:
    #: In fp32, as is the computation: the squares of large states exceed the range of fp16.
    weight: torch.Tensor
    eps: float

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        wide = state.float()
        normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (normal * self.weight).to(state.dtype)


@dataclass(frozen=True, slots=True)
class _Norms:
    before: Function
    result: Function
    after: Function

    def __call__(self, state: torch.Tensor, compute: Function) -> torch.Tensor:
        return self.after(self.result(compute(self.before(state))) + state)


@dataclass(frozen=True, slots=True)
class _Attention:
    """Multi-head attention."""

    #: Queries, keys and values in one product.
    projections: _Linear
    output: _Linear
    query_norm: Function
    key_norm: Function
    rotation: tuple[float, ...] | None
    reach: int | None
    #: ``(heads, buckets, size)``.
    relative_keys: torch.Tensor | None
    relative_queries: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class _Layer:
    """One transformer layer."""

    attention: _Attention
    attention_norms: _Norms
    mlp: Function
    mlp_norms: _Norms


@dataclass(frozen=True, slots=True)
class _Positions:
    """What depends on the positions of a batch's tokens, computed once for all layers."""

    #: Added to the scores for each reach of attention: ``(rows, 1 or heads, 1 or length, length)``.
    masks: dict[int | None, torch.Tensor]
    #: Cosines and sines, ``(length, size)``, for the angles of each layer.
    rotations: dict[tuple[float, ...], tuple[torch.Tensor, torch.Tensor]]
    #: Bucket of the distance of query and key: ``(length, length)``.
    buckets: torch.Tensor | None


class Network:
    """A transformer on a device. The steps after the last layer compute in fp32.

    Args:
        checkpoint: Weights and configuration.
        device: Device that the weights are copied to. Quantized matrices are unpacked there.
        dtype: Type of the transformer's matrices.
        steps: Steps after the last layer.

    Raises:
        InputError: A tensor is missing, or the activation is unknown.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype, steps: Sequence[Step] = MEAN
    ) -> None:
        transformer = checkpoint.read()
        load = _Loader(device, dtype, transformer.config)
        self._config = transformer.config
        self._words = load.matrix(transformer.words)
        # Added in fp32: they are part of every text, so a rounding error would be part of every vector.
        # Every token belongs to the first segment.
        segment = None if transformer.segments is None else load.copy(transformer.segments[:1])
        positions = None if transformer.positions is None else load.copy(transformer.positions)
        added = segment if positions is None else positions if segment is None else positions + segment
        self._added = None if added is None else added.to(dtype)
        self._norm = load.norm(transformer.embedding_norm)
        self._projection: Function = (
            _identity if transformer.projection is None else load.linear(transformer.projection)
        )
        self._layers = [load.layer(layer) for layer in transformer.layers]
        self._final_norm = load.norm(transformer.final_norm)
        bias, buckets = transformer.distance_bias, transformer.relative_buckets
        # (heads, distances).
        self._distance_bias = None if bias is None else load.copy(bias).to(dtype).T.contiguous()
        self._relative_buckets = None if buckets is None else load.copy(buckets)
        self._steps = Steps(steps, device)

    def __call__(self, ids: torch.Tensor, lengths: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Return ``(rows, dims) float32`` for ``ids (rows, length)``, ``lengths (rows,)`` and ``starts (rows,)``, all int32."""
        state = F.embedding(ids, self._words)
        if self._config.word_scale != 1:
            state = state * self._config.word_scale
        if self._added is not None:
            # A single row is that of the segment, for every position.
            state = state + self._added[: ids.shape[1]]
        state = self._projection(self._norm(state))
        positions = self._place(ids, lengths)
        for layer in self._layers:
            state = self._apply(layer, state, positions)
        return self._steps(Tokens(self._final_norm(state).float(), lengths, starts))

    def _apply(self, layer: _Layer, state: torch.Tensor, positions: _Positions) -> torch.Tensor:
        state = layer.attention_norms(state, lambda before: self._attend(layer.attention, before, positions))
        return layer.mlp_norms(state, layer.mlp)

    def _place(self, ids: torch.Tensor, lengths: torch.Tensor) -> _Positions:
        places = torch.arange(ids.shape[1], device=ids.device)
        inside = places < lengths[:, None]
        # Position of the key minus that of the query.
        distances = places[None, :] - places[:, None]
        attentions = [layer.attention for layer in self._layers]
        return _Positions(
            masks={reach: self._mask(inside, distances, reach) for reach in {one.reach for one in attentions}},
            rotations={
                angles: self._rotation(places, angles)
                for angles in {one.rotation for one in attentions if one.rotation is not None}
            },
            buckets=None if self._relative_buckets is None else _by_distance(self._relative_buckets, distances),
        )

    def _mask(self, inside: torch.Tensor, distances: torch.Tensor, reach: int | None) -> torch.Tensor:
        # (rows, 1, 1, length): the same for every head and, without local or causal attention, for every query.
        allowed = inside[:, None, None, :]
        if self._config.causal:
            allowed = allowed & (distances <= 0)
        if reach is not None:
            # A token of the padding may be too far from every text, and a softmax over nothing is not a number.
            allowed = allowed & (distances.abs() <= reach) | (distances == 0)
        mask = torch.zeros(allowed.shape, dtype=self._words.dtype, device=allowed.device)
        mask = mask.masked_fill(~allowed, float("-inf"))
        if self._distance_bias is not None:
            # (rows, heads, length, length); the fast kernels need a last axis that is contiguous in memory.
            mask = mask + _by_distance(self._distance_bias, distances)
        return mask

    def _rotation(self, places: torch.Tensor, angles: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        table = places.float()[:, None] * torch.tensor(angles, dtype=torch.float32, device=places.device)
        table = torch.cat([table, table], dim=1)
        return table.cos().to(self._words.dtype), table.sin().to(self._words.dtype)

    def _attend(self, attention: _Attention, state: torch.Tensor, positions: _Positions) -> torch.Tensor:
        config = self._config
        sizes = [config.heads * config.size, *[config.groups * config.size] * 2]
        query, key, value = (
            part.unflatten(2, (-1, config.size)).transpose(1, 2)
            for part in attention.projections(state).split(sizes, dim=2)
        )
        query, key = attention.query_norm(query), attention.key_norm(key)
        if attention.rotation is not None:
            cosine, sine = positions.rotations[attention.rotation]
            query, key = _rotate(query, cosine, sine), _rotate(key, cosine, sine)
        mask = positions.masks[attention.reach]
        scale = config.scale or config.size**-0.5
        if attention.relative_keys is not None and attention.relative_queries is not None:
            mask = mask + scale * _relative_scores(query, key, attention, positions)
        if config.groups != config.heads:
            key, value = (part.repeat_interleave(config.heads // config.groups, dim=1) for part in (key, value))
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        return attention.output(context.transpose(1, 2).flatten(2))


def _relative_scores(
    query: torch.Tensor, key: torch.Tensor, attention: _Attention, positions: _Positions
) -> torch.Tensor:
    """Return DeBERTa's scores of contents and relative positions: ``(rows, heads, length, length)``."""
    rows, heads, length, _ = query.shape
    assert positions.buckets is not None  # noqa: S101 - read together with the keys of the positions
    assert attention.relative_keys is not None  # noqa: S101
    assert attention.relative_queries is not None  # noqa: S101
    buckets = positions.buckets.expand(rows, heads, length, length)
    to_position = (query @ attention.relative_keys.transpose(1, 2)).gather(3, buckets)
    from_position = (key @ attention.relative_queries.transpose(1, 2)).gather(3, buckets.transpose(2, 3))
    return to_position + from_position.transpose(2, 3)


def _by_distance(table: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """Look up distances on the last axis of a table."""
    reach = table.shape[-1] // 2
    return table[..., distances.clamp(-reach, reach) + reach]


def _rotate(state: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    first, second = state.chunk(2, dim=-1)
    return state * cosine + torch.cat([-second, first], dim=-1) * sine


def _identity(state: torch.Tensor) -> torch.Tensor:
    return state


class _Loader:
    """Copies weights to a device."""

    def __init__(self, device: torch.device, dtype: torch.dtype, config: TransformerConfig) -> None:
        self._device = device
        self._dtype = dtype
        self._activation = activation_function(config.activation)

    def matrix(self, weight: Tensor | Blocks) -> torch.Tensor:
        tensor = self._unpack(weight) if isinstance(weight, Blocks) else self.copy(weight)
        return tensor.to(self._dtype)

    def linear(self, *linears: Linear) -> _Linear:
        """Return a linear layer, or several ones with the same input concatenated to one."""
        weight = torch.cat([self.matrix(linear.weight) for linear in linears])
        if all(linear.bias is None for linear in linears):
            return _Linear(weight, None)
        biases = [
            np.zeros(linear.weight.shape[0], dtype=np.float32) if linear.bias is None else linear.bias
            for linear in linears
        ]
        return _Linear(weight, self.copy(np.concatenate(biases)).to(self._dtype))

    def norm(self, norm: Norm | None) -> Function:
        if norm is None:
            return _identity
        if norm.type is NormType.RMS:
            return _RmsNorm(self.copy(norm.weight), norm.eps)
        bias = None if norm.bias is None else self.copy(norm.bias).to(self._dtype)
        return _LayerNorm(self.copy(norm.weight).to(self._dtype), bias, norm.eps)

    def norms(self, norms: Norms) -> _Norms:
        return _Norms(self.norm(norms.before), self.norm(norms.result), self.norm(norms.after))

    def layer(self, layer: Layer) -> _Layer:
        return _Layer(
            attention=self._attention(layer.attention),
            attention_norms=self.norms(layer.attention_norms),
            mlp=self._mlp(layer.mlp),
            mlp_norms=self.norms(layer.mlp_norms),
        )

    def _attention(self, attention: Attention) -> _Attention:
        keys, queries = attention.relative_keys, attention.relative_queries
        return _Attention(
            projections=self.linear(attention.query, attention.key, attention.value),
            output=self.linear(attention.output),
            query_norm=self.norm(attention.query_norm),
            key_norm=self.norm(attention.key_norm),
            rotation=attention.rotation,
            reach=attention.reach,
            relative_keys=None if keys is None else self.matrix(keys),
            relative_queries=None if queries is None else self.matrix(queries),
        )

    def _mlp(self, mlp: Mlp) -> Function:
        up, down, activation = self.linear(mlp.up), self.linear(mlp.down), self._activation
        if mlp.gate is None:
            return lambda state: down(activation(up(state)))
        gate = self.linear(mlp.gate)
        return lambda state: down(activation(gate(state)) * up(state))

    def copy(self, values: Tensor) -> torch.Tensor:
        # A copy, because torch has no read-only tensors and arrays may be mapped to read-only memory.
        return torch.tensor(values).to(self._device)

    def _unpack(self, table: Blocks) -> torch.Tensor:
        packed = self.copy(table.packed)
        numbers = torch.cat([packed & 15, packed >> 4], dim=2).to(torch.int8) - 8
        return (numbers * self.copy(table.scales).float()[:, :, None]).flatten(1)
