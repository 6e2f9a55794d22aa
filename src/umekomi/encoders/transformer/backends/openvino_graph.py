"""A BERT-like encoder as an OpenVINO graph, built from its tensors alone.

Pooling and normalization are part of the graph, so each batch returns ``(batch, dims)`` numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Checkpoint
from ..config import TransformerConfig
from ..layers import Dense, distance_buckets, missing_tensor_error, require_activation
from ..weights import Blocks, Tensor
from .openvino_import import Node, op, ov

MINUS_INFINITY = np.float32(-1e9)


def build_graph(checkpoint: Checkpoint, *, pooling: str = "mean", dense: Sequence[Dense] = ()) -> ov.Model:
    """Build a graph from ``ids (batch, length) int32`` and ``lengths (batch,) int32`` to ``(batch, dims) float32``.

    Row ``i`` is the last layer at the first ``lengths[i]`` tokens, pooled (``mean``, ``max`` or ``cls``, the first token), passed
    through the dense layers, and scaled to length 1.

    Raises:
        InputError: A tensor is missing, or the activation is unknown.
    """
    return _GraphBuilder(checkpoint.config, checkpoint.tensors).model(pooling, dense)


class _GraphBuilder:
    def __init__(self, config: TransformerConfig, tensors: Mapping[str, Tensor | Blocks]) -> None:
        self._config = config
        self._tensors = tensors

    def model(self, pooling: str, dense: Sequence[Dense]) -> ov.Model:
        ids = op.parameter([-1, -1], ov.Type.i32, name="ids")
        lengths = op.parameter([-1], ov.Type.i32, name="lengths")
        length = op.gather(op.shape_of(ids, "i32"), _ints(1), _ints(0))
        positions = op.range(_ints(0), length, _ints(1), "i32")
        inside = op.less(op.unsqueeze(positions, _ints(0)), op.unsqueeze(lengths, _ints(1)))
        # (batch, 1, 1, length): the same for every head and every query.
        mask = op.unsqueeze(op.select(inside, np.float32(0), MINUS_INFINITY), _ints([1, 2]))
        if self._config.family == "mpnet":
            mask = op.add(mask, self._distances(positions))

        state = self._embeddings(ids, positions)
        for layer in range(self._config.layers):
            state = self._layer(state, mask, f"encoder.layer.{layer}.")
        pooled = _POOLINGS[pooling](state, inside)
        for layer_after in dense:
            pooled = op.matmul(pooled, _constant(layer_after.weight), False, True)
            if layer_after.bias is not None:
                pooled = op.add(pooled, _constant(layer_after.bias[None, :]))
            pooled = _activate(pooled, layer_after.activation)
        return ov.Model([op.normalize_l2(pooled, _ints([1]), 1e-12, "max")], [ids, lengths], "encoder")

    def _distances(self, positions: Node) -> Node:
        """Return MPNet's attention bias, which depends on the distance of two tokens: ``(1, heads, length, length)``."""
        table = self._float("encoder.relative_attention_bias.weight")
        n_positions = self._config.positions
        by_distance = table[distance_buckets(np.arange(1 - n_positions, n_positions), len(table))]
        offsets = op.subtract(op.unsqueeze(positions, _ints(0)), op.unsqueeze(positions, _ints(1)))
        rows = op.gather(_constant(by_distance), op.add(offsets, _ints(n_positions - 1)), _ints(0))
        return op.unsqueeze(op.transpose(rows, _ints([2, 0, 1])), _ints(0))

    def _embeddings(self, ids: Node, index: Node) -> Node:
        words = self._rows("embeddings.word_embeddings.weight", ids)
        if self._config.first_position:
            index = op.add(index, _ints(self._config.first_position))
        positions = op.gather(_constant(self._float("embeddings.position_embeddings.weight")), index, _ints(0))
        if "embeddings.token_type_embeddings.weight" in self._tensors:
            # Every token belongs to the first segment, so the segment embedding is a constant.
            positions = op.add(positions, _constant(self._float("embeddings.token_type_embeddings.weight")[:1]))
        return self._layer_norm(op.add(words, positions), "embeddings.LayerNorm.")

    def _rows(self, name: str, ids: Node) -> Node:
        """Look up rows of a table. A quantized table stays packed, and only the rows of the batch are unpacked."""
        table = self._tensor(name)
        if not isinstance(table, Blocks):
            return op.gather(_constant(table), ids, _ints(0))
        packed = op.convert(op.gather(_constant(table.packed), ids, _ints(0)), "f32")
        scales = op.convert(op.gather(_constant(table.scales[:, :, None]), ids, _ints(0)), "f32")
        high = op.floor(op.multiply(packed, np.float32(1 / 16)))
        numbers = op.concat([op.subtract(packed, op.multiply(high, np.float32(16))), high], 3)
        product = op.multiply(op.subtract(numbers, np.float32(8)), scales)
        return op.reshape(product, _ints([0, 0, self._config.hidden]), True)

    def _layer(self, state: Node, mask: Node, name: str) -> Node:
        attended = self._attention(state, mask, name + "attention.self.")
        attended = self._linear(attended, name + "attention.output.dense.")
        state = self._layer_norm(op.add(attended, state), name + "attention.output.LayerNorm.")
        inner = _activate(self._linear(state, name + "intermediate.dense."), self._config.activation)
        return self._layer_norm(op.add(self._linear(inner, name + "output.dense."), state), name + "output.LayerNorm.")

    def _attention(self, state: Node, mask: Node, name: str) -> Node:
        query, key, value = (self._heads(self._linear(state, f"{name}{part}.")) for part in ("query", "key", "value"))
        context = op.scaled_dot_product_attention(query, key, value, mask)
        return op.reshape(op.transpose(context, _ints([0, 2, 1, 3])), _ints([0, 0, self._config.hidden]), True)

    def _heads(self, state: Node) -> Node:
        size = self._config.hidden // self._config.heads
        return op.transpose(op.reshape(state, _ints([0, 0, self._config.heads, size]), True), _ints([0, 2, 1, 3]))

    def _linear(self, state: Node, name: str) -> Node:
        product = op.matmul(state, _constant(self._float(name + "weight")), False, True)
        return op.add(product, _constant(self._float(name + "bias")[None, None, :]))

    def _layer_norm(self, state: Node, name: str) -> Node:
        normal = op.mvn(state, _ints([-1]), True, self._config.eps, "inside_sqrt")
        scaled = op.multiply(normal, _constant(self._float(name + "weight")[None, None, :]))
        return op.add(scaled, _constant(self._float(name + "bias")[None, None, :]))

    def _tensor(self, name: str) -> Tensor | Blocks:
        try:
            return self._tensors[name]
        except KeyError:
            raise missing_tensor_error(name) from None

    def _float(self, name: str) -> Tensor:
        tensor = self._tensor(name)
        return tensor.to_float() if isinstance(tensor, Blocks) else np.ascontiguousarray(tensor, dtype=np.float32)


def _activate(state: Node, activation: str) -> Node:
    return _ACTIVATIONS[require_activation(activation)](state)


_ACTIVATIONS: Mapping[str, Callable[[Node], Node]] = {
    "gelu": lambda state: op.gelu(state, "erf"),
    "gelu_new": lambda state: op.gelu(state, "tanh"),
    "gelu_pytorch_tanh": lambda state: op.gelu(state, "tanh"),
    "relu": op.relu,
    "tanh": op.tanh,
    "identity": lambda state: state,
}


def _mean(state: Node, inside: Node) -> Node:
    weights = op.unsqueeze(op.convert(inside, "f32"), _ints(2))
    total = op.reduce_sum(op.multiply(state, weights), _ints([1]), False)
    return op.divide(total, op.reduce_sum(weights, _ints([1]), False))


def _max(state: Node, inside: Node) -> Node:
    return op.reduce_max(op.select(op.unsqueeze(inside, _ints(2)), state, MINUS_INFINITY), _ints([1]), False)


def _first(state: Node, inside: Node) -> Node:
    return op.gather(state, _ints(0), _ints(1))


def _constant(values: npt.NDArray[Any]) -> Node:
    """Return a constant that shares the array's memory. OpenVINO would copy a plain array through a Python list."""
    return op.constant(np.require(values, requirements=["C", "A", "W"]), shared_memory=True)


def _ints(values: int | list[int]) -> Node:
    return op.constant(np.array(values, dtype=np.int32))


_POOLINGS: Mapping[str, Callable[[Node, Node], Node]] = {"mean": _mean, "max": _max, "cls": _first}
