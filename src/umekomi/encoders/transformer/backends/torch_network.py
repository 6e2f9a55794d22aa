"""A BERT-like encoder in torch, built from its tensors alone: with the same arithmetic as in ``openvino_graph.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the usual name

from ..checkpoint import Checkpoint
from ..config import TransformerConfig
from ..layers import distance_buckets, missing_tensor_error
from ..steps import MEAN, Step
from ..weights import Blocks, Tensor
from .torch_steps import Steps, Tokens, activation_function


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
    """One transformer layer."""

    #: Queries, keys and values in one product.
    projections: _Linear
    attended: _Linear
    attended_norm: _Norm
    inner: _Linear
    outer: _Linear
    norm: _Norm


class Network:
    """An encoder on a device. The steps after the last layer compute in fp32.

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
        config = checkpoint.config
        load = _Loader(checkpoint.tensors, device, dtype, config)
        self._heads = config.heads
        self._words = load.tensor("embeddings.word_embeddings.weight")
        # Added in fp32: they are part of every text, so a rounding error would be part of every vector.
        positions = load.tensor("embeddings.position_embeddings.weight", torch.float32)[config.first_position :]
        if "embeddings.token_type_embeddings.weight" in checkpoint.tensors:
            # Every token belongs to the first segment.
            positions = positions + load.tensor("embeddings.token_type_embeddings.weight", torch.float32)[:1]
        self._positions = positions.to(dtype)
        self._norm = load.norm("embeddings.LayerNorm.")
        self._layers = [load.layer(f"encoder.layer.{number}.") for number in range(config.layers)]
        self._activation = activation_function(config.activation)
        self._by_distance = load.by_distance() if config.family == "mpnet" else None
        self._steps = Steps(steps, device)

    def __call__(self, ids: torch.Tensor, lengths: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """Return ``(rows, dims) float32`` for ``ids (rows, length)``, ``lengths (rows,)`` and ``starts (rows,)``, all int32."""
        length = ids.shape[1]
        positions = torch.arange(length, device=ids.device)
        inside = positions < lengths[:, None]
        mask = torch.zeros(inside.shape, dtype=self._words.dtype, device=ids.device)
        # (rows, 1, 1, length): the same for every head and every query.
        mask = mask.masked_fill(~inside, float("-inf"))[:, None, None, :]
        if self._by_distance is not None:
            n_positions = (self._by_distance.shape[1] + 1) // 2
            offsets = positions[None, :] - positions[:, None] + (n_positions - 1)
            # (rows, heads, length, length); the fast kernels need a last axis that is contiguous in memory.
            mask = mask + self._by_distance[:, offsets]
        state = self._norm(F.embedding(ids, self._words) + self._positions[:length])
        for layer in self._layers:
            state = self._apply_layer(layer, state, mask)
        return self._steps(Tokens(state.float(), lengths, starts))

    def _apply_layer(self, layer: _Layer, state: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows, length, hidden = state.shape
        # (3, rows, heads, length, size)
        parts = layer.projections(state).view(rows, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask)
        attended = layer.attended(context.transpose(1, 2).reshape(rows, length, hidden))
        state = layer.attended_norm(attended + state)
        return layer.norm(layer.outer(self._activation(layer.inner(state))) + state)


class _Loader:
    """Copies a checkpoint's tensors to a device."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor | Blocks],
        device: torch.device,
        dtype: torch.dtype,
        config: TransformerConfig,
    ) -> None:
        self._tensors = tensors
        self._device = device
        self._dtype = dtype
        self._config = config

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        try:
            values = self._tensors[name]
        except KeyError:
            raise missing_tensor_error(name) from None
        tensor = self._unpack(values) if isinstance(values, Blocks) else self._copy(values)
        return tensor.to(dtype or self._dtype)

    def norm(self, name: str) -> _Norm:
        return _Norm(self.tensor(name + "weight"), self.tensor(name + "bias"), self._config.eps)

    def linear(self, *names: str) -> _Linear:
        """Return a linear layer, or several ones with the same input concatenated to one."""
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

    def by_distance(self) -> torch.Tensor:
        """Return MPNet's attention bias for each distance between two tokens: ``(heads, 2 * positions - 1)``."""
        table = self.tensor("encoder.relative_attention_bias.weight")
        n_positions = self._config.positions
        return table[self._copy(distance_buckets(np.arange(1 - n_positions, n_positions), len(table)))].T.contiguous()

    def _copy(self, values: Tensor) -> torch.Tensor:
        # A copy, because torch has no read-only tensors and the files are mapped to read-only memory.
        return torch.tensor(values).to(self._device)

    def _unpack(self, table: Blocks) -> torch.Tensor:
        packed = self._copy(table.packed)
        numbers = torch.cat([packed & 15, packed >> 4], dim=2).to(torch.int8) - 8
        return (numbers * self._copy(table.scales).float()[:, :, None]).flatten(1)
