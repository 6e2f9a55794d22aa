"""A BERT-like encoder as an OpenVINO graph, built from its tensors alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..checkpoint import Checkpoint
from ..config import TransformerConfig
from ..layers import distance_buckets, missing_tensor_error
from ..steps import MEAN, Step
from ..weights import Blocks, Tensor
from .openvino_import import Node, op, ov
from .openvino_nodes import MINUS_INFINITY, activate, constant, ints
from .openvino_steps import GraphInputs, finish_graph


def build_graph(checkpoint: Checkpoint, *, steps: Sequence[Step] = MEAN) -> ov.Model:
    """Build a graph from ids, lengths and starts (see :class:`~.openvino_steps.GraphInputs`) to ``(batch, dims) float32``.

    Row ``i`` is the last layer at the first ``lengths[i]`` tokens, passed through the steps.

    Raises:
        InputError: A tensor is missing, or the activation is unknown.
    """
    inputs = GraphInputs.create()
    state = _GraphBuilder(checkpoint.config, checkpoint.tensors).build(inputs)
    return finish_graph(state, inputs, steps)


class _GraphBuilder:
    def __init__(self, config: TransformerConfig, tensors: Mapping[str, Tensor | Blocks]) -> None:
        self._config = config
        self._tensors = tensors

    def build(self, inputs: GraphInputs) -> Node:
        """Return the token states after the last layer: ``(batch, length, hidden)``."""
        # (batch, 1, 1, length): the same for every head and every query.
        mask = op.unsqueeze(op.select(inputs.inside, np.float32(0), MINUS_INFINITY), ints([1, 2]))
        if self._config.family == "mpnet":
            mask = op.add(mask, self._distances(inputs.positions))
        state = self._embeddings(inputs.ids, inputs.positions)
        for layer in range(self._config.layers):
            state = self._layer(state, mask, f"encoder.layer.{layer}.")
        return state

    def _distances(self, positions: Node) -> Node:
        """Return MPNet's attention bias, which depends on the distance of two tokens: ``(1, heads, length, length)``."""
        table = self._float("encoder.relative_attention_bias.weight")
        n_positions = self._config.positions
        by_distance = table[distance_buckets(np.arange(1 - n_positions, n_positions), len(table))]
        offsets = op.subtract(op.unsqueeze(positions, ints(0)), op.unsqueeze(positions, ints(1)))
        rows = op.gather(constant(by_distance), op.add(offsets, ints(n_positions - 1)), ints(0))
        return op.unsqueeze(op.transpose(rows, ints([2, 0, 1])), ints(0))

    def _embeddings(self, ids: Node, index: Node) -> Node:
        words = self._rows("embeddings.word_embeddings.weight", ids)
        if self._config.first_position:
            index = op.add(index, ints(self._config.first_position))
        positions = op.gather(constant(self._float("embeddings.position_embeddings.weight")), index, ints(0))
        if "embeddings.token_type_embeddings.weight" in self._tensors:
            # Every token belongs to the first segment, so the segment embedding is a constant.
            positions = op.add(positions, constant(self._float("embeddings.token_type_embeddings.weight")[:1]))
        return self._layer_norm(op.add(words, positions), "embeddings.LayerNorm.")

    def _rows(self, name: str, ids: Node) -> Node:
        """Look up rows of a table. A quantized table stays packed, and only the rows of the batch are unpacked."""
        table = self._tensor(name)
        if not isinstance(table, Blocks):
            return op.gather(constant(table), ids, ints(0))
        packed = op.convert(op.gather(constant(table.packed), ids, ints(0)), "f32")
        scales = op.convert(op.gather(constant(table.scales[:, :, None]), ids, ints(0)), "f32")
        high = op.floor(op.multiply(packed, np.float32(1 / 16)))
        numbers = op.concat([op.subtract(packed, op.multiply(high, np.float32(16))), high], 3)
        product = op.multiply(op.subtract(numbers, np.float32(8)), scales)
        return op.reshape(product, ints([0, 0, self._config.hidden]), True)

    def _layer(self, state: Node, mask: Node, name: str) -> Node:
        attended = self._attention(state, mask, name + "attention.self.")
        attended = self._linear(attended, name + "attention.output.dense.")
        state = self._layer_norm(op.add(attended, state), name + "attention.output.LayerNorm.")
        inner = activate(self._linear(state, name + "intermediate.dense."), self._config.activation)
        return self._layer_norm(op.add(self._linear(inner, name + "output.dense."), state), name + "output.LayerNorm.")

    def _attention(self, state: Node, mask: Node, name: str) -> Node:
        query, key, value = (self._heads(self._linear(state, f"{name}{part}.")) for part in ("query", "key", "value"))
        context = op.scaled_dot_product_attention(query, key, value, mask)
        return op.reshape(op.transpose(context, ints([0, 2, 1, 3])), ints([0, 0, self._config.hidden]), True)

    def _heads(self, state: Node) -> Node:
        size = self._config.hidden // self._config.heads
        return op.transpose(op.reshape(state, ints([0, 0, self._config.heads, size]), True), ints([0, 2, 1, 3]))

    def _linear(self, state: Node, name: str) -> Node:
        product = op.matmul(state, constant(self._float(name + "weight")), False, True)
        return op.add(product, constant(self._float(name + "bias")[None, None, :]))

    def _layer_norm(self, state: Node, name: str) -> Node:
        normal = op.mvn(state, ints([-1]), True, self._config.eps, "inside_sqrt")
        scaled = op.multiply(normal, constant(self._float(name + "weight")[None, None, :]))
        return op.add(scaled, constant(self._float(name + "bias")[None, None, :]))

    def _tensor(self, name: str) -> Tensor | Blocks:
        try:
            return self._tensors[name]
        except KeyError:
            raise missing_tensor_error(name) from None

    def _float(self, name: str) -> Tensor:
        tensor = self._tensor(name)
        return tensor.to_float() if isinstance(tensor, Blocks) else np.ascontiguousarray(tensor, dtype=np.float32)
