"""A BERT-like encoder in torch, built from its tensors alone: the same arithmetic as ``graph.py`` has for OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the name that everyone knows it by

from ..checkpoint import Blocks, Checkpoint, Config, Tensor
from ..layers import Dense, distance_buckets, known_activation, missing_tensor


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: torch.Tensor
    bias: torch.Tensor | None

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        return F.linear(state, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, state: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(state, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class _Layer:
    """``projections`` makes queries, keys and values in one product."""

    projections: _Linear
    attended: _Linear
    attended_norm: _Norm
    inner: _Linear
    outer: _Linear
    norm: _Norm


class Network:
    """The encoder on a device, its matrices in ``dtype``; pooling, the dense layers and the scaling are in single precision.

    Args:
        checkpoint: the weights and their configuration.
        device: where they are put; matrices in blocks travel packed and are unpacked there.
        dtype: what the transformer computes in.
        pooling: ``mean``, ``max`` or ``cls`` (the first token).
        dense: layers over the pooled vector.

    Raises:
        InputError: a tensor is missing, or the activation is not one that is known.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: torch.device,
        dtype: torch.dtype,
        pooling: str = "mean",
        dense: Sequence[Dense] = (),
    ) -> None:
        config = checkpoint.config
        load = _Loader(checkpoint.tensors, device, dtype, config)
        self._heads = config.heads
        self._words = load.tensor("embeddings.word_embeddings.weight")
        # In single precision until they are added: every text has them, so that their rounding would be in every vector.
        positions = load.tensor("embeddings.position_embeddings.weight", torch.float32)[config.first_position :]
        if "embeddings.token_type_embeddings.weight" in checkpoint.tensors:
            # Every token is of the first segment.
            positions = positions + load.tensor("embeddings.token_type_embeddings.weight", torch.float32)[:1]
        self._positions = positions.to(dtype)
        self._norm = load.norm("embeddings.LayerNorm.")
        self._layers = [load.layer(f"encoder.layer.{number}.") for number in range(config.layers)]
        self._activation = _ACTIVATIONS[known_activation(config.activation)]
        self._by_distance = load.by_distance() if config.family == "mpnet" else None
        self._pool = _POOLINGS[pooling]
        self._dense = [(load.dense(layer), _ACTIVATIONS[known_activation(layer.activation)]) for layer in dense]

    def __call__(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """``ids (rows, length) int32`` and ``lengths (rows,) int32``, at least 1, give ``(rows, dims) float32``."""
        length = ids.shape[1]
        places = torch.arange(length, device=ids.device)
        inside = places < lengths[:, None]
        mask = torch.zeros(inside.shape, dtype=self._words.dtype, device=ids.device)
        # (rows, 1, 1, length): the same for every head and every query.
        mask = mask.masked_fill(~inside, float("-inf"))[:, None, None, :]
        if self._by_distance is not None:
            reach = (self._by_distance.shape[1] + 1) // 2
            apart = places[None, :] - places[:, None] + (reach - 1)
            # (rows, heads, length, length); the fast kernels take it only with its last axis dense in memory.
            mask = mask + self._by_distance[:, apart]
        state = self._norm(F.embedding(ids, self._words) + self._positions[:length])
        for layer in self._layers:
            state = self._through(layer, state, mask)
        pooled = self._pool(state.float(), inside[:, :, None])
        for product, activation in self._dense:
            pooled = activation(product(pooled))
        return F.normalize(pooled, dim=1)

    def _through(self, layer: _Layer, state: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows, length, hidden = state.shape
        # (3, rows, heads, length, size)
        parts = layer.projections(state).view(rows, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask)
        attended = layer.attended(context.transpose(1, 2).reshape(rows, length, hidden))
        state = layer.attended_norm(attended + state)
        return layer.norm(layer.outer(self._activation(layer.inner(state))) + state)


class _Loader:
    """Puts a checkpoint's tensors on a device."""

    def __init__(
        self, tensors: Mapping[str, Tensor | Blocks], device: torch.device, dtype: torch.dtype, config: Config
    ) -> None:
        self._tensors = tensors
        self._device = device
        self._dtype = dtype
        self._config = config

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        try:
            found = self._tensors[name]
        except KeyError:
            raise missing_tensor(name) from None
        return (self._unpacked(found) if isinstance(found, Blocks) else self._moved(found)).to(dtype or self._dtype)

    def norm(self, name: str) -> _Norm:
        return _Norm(self.tensor(name + "weight"), self.tensor(name + "bias"), self._config.eps)

    def linear(self, *names: str) -> _Linear:
        """A product; several over the same state are one."""
        weights = torch.cat([self.tensor(name + "weight") for name in names])
        return _Linear(weights, torch.cat([self.tensor(name + "bias") for name in names]))

    def layer(self, name: str) -> _Layer:
        own = name + "attention.self."
        return _Layer(
            projections=self.linear(own + "query.", own + "key.", own + "value."),
            attended=self.linear(name + "attention.output.dense."),
            attended_norm=self.norm(name + "attention.output.LayerNorm."),
            inner=self.linear(name + "intermediate.dense."),
            outer=self.linear(name + "output.dense."),
            norm=self.norm(name + "output.LayerNorm."),
        )

    def dense(self, layer: Dense) -> _Linear:
        return _Linear(self._moved(layer.weight), None if layer.bias is None else self._moved(layer.bias))

    def by_distance(self) -> torch.Tensor:
        """MPNet's bias of attention for each distance that two tokens can have: ``(heads, 2 * positions - 1)``."""
        table = self.tensor("encoder.relative_attention_bias.weight")
        reach = self._config.positions
        return table[self._moved(distance_buckets(np.arange(1 - reach, reach), len(table)))].T.contiguous()

    def _moved(self, values: Tensor) -> torch.Tensor:
        # A copy: files are mapped to memory that must not be written to, which torch cannot say of a tensor.
        return torch.tensor(values).to(self._device)

    def _unpacked(self, table: Blocks) -> torch.Tensor:
        packed = self._moved(table.packed)
        numbers = torch.cat([packed & 15, packed >> 4], dim=2).to(torch.int8) - 8
        return (numbers * self._moved(table.scales).float()[:, :, None]).flatten(1)


def _mean(state: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    return (state * inside).sum(dim=1) / inside.sum(dim=1)


def _max(state: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    return state.masked_fill(~inside, float("-inf")).amax(dim=1)


def _first(state: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    return state[:, 0]


_POOLINGS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": _mean,
    "max": _max,
    "cls": _first,
}

_ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
    "identity": lambda state: state,
}
