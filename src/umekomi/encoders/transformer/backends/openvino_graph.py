"""A transformer as an OpenVINO graph, built from its structure and weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..checkpoint import Checkpoint
from ..network.structure import Attention, Layer, Linear, Mlp, Norm, Norms, NormType, Transformer
from ..network.weights import Blocks, Tensor
from ..steps import MEAN, Step
from .openvino_import import Node, op, ov
from .openvino_nodes import MINUS_INFINITY, activate, constant, ints
from .openvino_steps import GraphInputs, finish_graph


def build_graph(checkpoint: Checkpoint, *, steps: Sequence[Step] = MEAN, has_segments: bool = False) -> ov.Model:
    """Build a graph from ids, lengths and starts (see :class:`~.openvino_steps.GraphInputs`) to ``(batch, dims) float32``.

    Row ``i`` is the last layer at the first ``lengths[i]`` tokens, passed through the steps. With ``has_segments`` the graph also
    takes the segments of the tokens.

    Raises:
        InputError: A tensor is missing, or the activation is unknown.
    """
    inputs = GraphInputs.create(has_segments=has_segments)
    return finish_graph(build_states(checkpoint.read(), inputs, segments=inputs.segments), inputs, steps)


def build_states(transformer: Transformer, inputs: GraphInputs, *, segments: Node | None = None) -> Node:
    """Return the token states after the last layer: ``(batch, length, hidden) float32``.

    Args:
        transformer: Structure and weights.
        inputs: Ids and lengths.
        segments: Segment of each token, ``(batch, length) int32``. By default all tokens belong to the first one.
    """
    return _StateBuilder(transformer, inputs).build(segments)


class _StateBuilder:
    def __init__(self, transformer: Transformer, inputs: GraphInputs) -> None:
        self._transformer = transformer
        self._config = transformer.config
        self._inputs = inputs
        self._masks: dict[int | None, Node] = {}
        self._rotations: dict[tuple[float, ...], tuple[Node, Node]] = {}

    def build(self, segments: Node | None) -> Node:
        transformer = self._transformer
        state = self._embed(segments)
        state = _norm(state, transformer.embedding_norm)
        if transformer.projection is not None:
            state = _linear(state, transformer.projection)
        for layer in transformer.layers:
            state = self._layer(state, layer)
        return _norm(state, transformer.final_norm)

    def _embed(self, segments: Node | None) -> Node:
        transformer = self._transformer
        state = self._look_up_words()
        if self._config.word_scale != 1:
            state = op.multiply(state, np.float32(self._config.word_scale))
        added = None
        if transformer.positions is not None:
            added = op.gather(constant(transformer.positions), self._inputs.positions, ints(0))
        if transformer.segments is not None:
            # If every token belongs to the first segment, its embedding is a constant.
            segment = (
                constant(transformer.segments[:1])
                if segments is None
                else op.gather(constant(transformer.segments), segments, ints(0))
            )
            added = segment if added is None else op.add(added, segment)
        return state if added is None else op.add(state, added)

    def _look_up_words(self) -> Node:
        """Look up the rows of the words. A quantized table stays packed, and only the rows of the batch are unpacked."""
        table, ids = self._transformer.words, self._inputs.ids
        if not isinstance(table, Blocks):
            return op.gather(constant(table), ids, ints(0))
        packed = op.convert(op.gather(constant(table.packed), ids, ints(0)), "f32")
        scales = op.convert(op.gather(constant(table.scales[:, :, None]), ids, ints(0)), "f32")
        high = op.floor(op.multiply(packed, np.float32(1 / 16)))
        numbers = op.concat([op.subtract(packed, op.multiply(high, np.float32(16))), high], 3)
        product = op.multiply(op.subtract(numbers, np.float32(8)), scales)
        return op.reshape(product, ints([0, 0, self._config.hidden]), True)

    def _layer(self, state: Node, layer: Layer) -> Node:
        state = _residual(state, layer.attention_norms, lambda before: self._attention(before, layer.attention))
        return _residual(state, layer.mlp_norms, lambda before: self._mlp(before, layer.mlp))

    def _attention(self, state: Node, attention: Attention) -> Node:
        config = self._config
        query = self._heads(state, attention.query, config.heads, attention.query_norm)
        key = self._heads(state, attention.key, config.groups, attention.key_norm)
        value = self._heads(state, attention.value, config.groups, None)
        if attention.rotation is not None:
            cosine, sine = self._rotation(attention.rotation)
            query, key = _rotate(query, cosine, sine, config.size), _rotate(key, cosine, sine, config.size)
        mask = self._mask(attention.reach)
        if attention.relative_keys is not None and attention.relative_queries is not None:
            mask = op.add(mask, self._relative_scores(query, key, attention.relative_keys, attention.relative_queries))
        key, value = self._repeat(key), self._repeat(value)
        scale = [] if config.scale is None else [op.constant(np.float32(config.scale))]
        context = op.scaled_dot_product_attention(query, key, value, mask, *scale)
        joined = op.reshape(op.transpose(context, ints([0, 2, 1, 3])), ints([0, 0, config.heads * config.size]), True)
        return _linear(joined, attention.output)

    def _heads(self, state: Node, linear: Linear, n_heads: int, norm: Norm | None) -> Node:
        """Return ``(batch, heads, length, size)``."""
        split = op.reshape(_linear(state, linear), ints([0, 0, n_heads, self._config.size]), True)
        return op.transpose(_norm(split, norm), ints([0, 2, 1, 3]))

    def _repeat(self, keys: Node) -> Node:
        """Return keys or values once for each head of queries."""
        config = self._config
        if config.groups == config.heads:
            return keys
        shape = ints([1, 1, config.heads // config.groups, 1, 1])
        repeated = op.broadcast(op.unsqueeze(keys, ints(2)), shape, broadcast_spec="BIDIRECTIONAL")
        return op.reshape(repeated, ints([0, config.heads, -1, config.size]), True)

    def _mlp(self, state: Node, mlp: Mlp) -> Node:
        if mlp.gate is None:
            inner = activate(_linear(state, mlp.up), self._config.activation)
        else:
            inner = op.multiply(activate(_linear(state, mlp.gate), self._config.activation), _linear(state, mlp.up))
        return _linear(inner, mlp.down)

    def _mask(self, reach: int | None) -> Node:
        """Return what is added to the scores: ``(batch, 1 or heads, 1 or length, length)``."""
        if reach not in self._masks:
            self._masks[reach] = self._build_mask(reach)
        return self._masks[reach]

    def _build_mask(self, reach: int | None) -> Node:
        # The same for every head and, without local or causal attention, for every query.
        if reach is None and not self._config.causal:
            mask = op.unsqueeze(op.select(self._inputs.inside, np.float32(0), MINUS_INFINITY), ints([1, 2]))
        else:
            allowed = op.unsqueeze(self._inputs.inside, ints([1, 2]))
            distances = self._distances()
            if self._config.causal:
                allowed = op.logical_and(allowed, op.less_equal(distances, ints(0)))
            if reach is not None:
                allowed = op.logical_and(allowed, op.less_equal(op.abs(distances), ints(reach)))
            mask = op.select(allowed, np.float32(0), MINUS_INFINITY)
        if self._transformer.distance_bias is not None:
            rows = self._by_distance(self._transformer.distance_bias)
            mask = op.add(mask, op.unsqueeze(op.transpose(rows, ints([2, 0, 1])), ints(0)))
        return mask

    def _distances(self) -> Node:
        """Return the position of the key minus that of the query: ``(length, length) int32``."""
        positions = self._inputs.positions
        return op.subtract(op.unsqueeze(positions, ints(0)), op.unsqueeze(positions, ints(1)))

    def _by_distance(self, table: Tensor) -> Node:
        """Look up the rows of a table of distances: ``(length, length, …)``."""
        reach = len(table) // 2
        return op.gather(constant(table), op.add(op.clamp(self._distances(), -reach, reach), ints(reach)), ints(0))

    def _relative_scores(self, query: Node, key: Node, keys: Tensor, queries: Tensor) -> Node:
        """Return DeBERTa's scores of contents and relative positions: ``(batch, heads, length, length)``."""
        buckets = self._transformer.relative_buckets
        assert buckets is not None  # noqa: S101 - read together with the keys of the positions
        rows = self._by_distance(buckets.astype(np.int32))
        shape = op.concat(
            [
                op.slice(op.shape_of(query, "i32"), ints([0]), ints([3]), ints([1])),
                op.shape_of(self._inputs.positions, "i32"),
            ],
            0,
        )
        scores = []
        for side, relative, index in ((query, keys, rows), (key, queries, op.transpose(rows, ints([1, 0])))):
            products = op.matmul(side, constant(relative[None]), False, True)
            scores.append(op.gather_elements(products, op.broadcast(index, shape), 3))
        total = op.add(scores[0], op.transpose(scores[1], ints([0, 1, 3, 2])))
        scale = self._config.scale or self._config.size**-0.5
        return op.multiply(total, np.float32(scale))

    def _rotation(self, angles: tuple[float, ...]) -> tuple[Node, Node]:
        """Return the cosines and sines of each position, ``(1, 1, length, size)``, in float32 also if the rest is in bf16."""
        if angles not in self._rotations:
            table = np.arange(self._config.positions)[:, None] * np.array(angles)[None, :]
            self._rotations[angles] = (self._rotation_rows(np.cos(table)), self._rotation_rows(np.sin(table)))
        return self._rotations[angles]

    def _rotation_rows(self, table: Tensor) -> Node:
        rows = op.gather(constant(table.astype(np.float32)), self._inputs.positions, ints(0))
        return op.unsqueeze(op.concat([rows, rows], 1), ints([0, 1]))


def _residual(state: Node, norms: Norms, compute: Callable[[Node], Node]) -> Node:
    result = _norm(compute(_norm(state, norms.before)), norms.result)
    return _norm(op.add(result, state), norms.after)


def _rotate(state: Node, cosine: Node, sine: Node, size: int) -> Node:
    """Rotate the pairs of numbers ``i`` and ``i + size / 2`` of each head."""
    # OpenVINO fuses exactly these operations.
    first, second = op.variadic_split(state, ints(3), ints([size // 2, size // 2])).outputs()
    turned = op.concat([op.multiply(second, np.float32(-1)), first], -1)
    return op.add(op.multiply(state, cosine), op.multiply(turned, sine))


def _linear(state: Node, linear: Linear) -> Node:
    product = op.matmul(state, constant(_float(linear.weight)), False, True)
    return product if linear.bias is None else op.add(product, constant(linear.bias[None, None, :]))


def _norm(state: Node, norm: Norm | None) -> Node:
    """Normalize the last axis, if there is a normalization."""
    if norm is None:
        return state
    if norm.type is NormType.LAYER:
        normal = op.mvn(state, ints([-1]), True, norm.eps, "inside_sqrt")
    else:
        square = op.reduce_mean(op.power(state, np.float32(2)), ints([-1]), True)
        normal = op.multiply(state, op.divide(np.float32(1), op.sqrt(op.add(square, np.float32(norm.eps)))))
    scaled = op.multiply(normal, constant(norm.weight[None, None, :]))
    return scaled if norm.bias is None else op.add(scaled, constant(norm.bias[None, None, :]))


def _float(weight: Tensor | Blocks) -> Tensor:
    return weight.to_float() if isinstance(weight, Blocks) else weight
