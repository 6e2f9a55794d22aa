"""The steps after the last layer as nodes of an OpenVINO graph, so that each batch returns ``(batch, dims)`` numbers only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..steps import Dense, LayerNorm, Normalize, Pool, PoolMode, Step, Truncate
from .openvino_import import Node, op, ov
from .openvino_nodes import MINUS_INFINITY, activate, constant, ints


@dataclass(frozen=True, slots=True)
class GraphInputs:
    """The inputs of a graph, and nodes that are computed from them."""

    #: Token ids: ``(batch, length) int32``. Ids after the end of a text are padding.
    ids: Node
    #: Number of tokens of each text: ``(batch,) int32``.
    lengths: Node
    #: Index of the first token after the prompt: ``(batch,) int32``.
    starts: Node
    #: ``0 … length - 1``: ``(length,) int32``.
    positions: Node
    #: Whether a token belongs to the text and is not padding: ``(batch, length) bool``.
    inside: Node
    #: Segment of each token: ``(batch, length) int32``; None if all are 0.
    segments: Node | None = None

    @classmethod
    def create(cls, *, has_segments: bool = False) -> GraphInputs:
        """Create the parameters of a new graph."""
        ids = op.parameter([-1, -1], ov.Type.i32, name="ids")
        lengths = op.parameter([-1], ov.Type.i32, name="lengths")
        starts = op.parameter([-1], ov.Type.i32, name="starts")
        length = op.gather(op.shape_of(ids, "i32"), ints(1), ints(0))
        positions = op.range(ints(0), length, ints(1), "i32")
        inside = op.less(op.unsqueeze(positions, ints(0)), op.unsqueeze(lengths, ints(1)))
        segments = op.parameter([-1, -1], ov.Type.i32, name="segments") if has_segments else None
        return cls(ids, lengths, starts, positions, inside, segments)

    @property
    def parameters(self) -> list[Node]:
        """The parameters of the graph, in the order of :data:`~.base.Inputs`."""
        return [self.ids, self.lengths, self.starts, *([] if self.segments is None else [self.segments])]


def finish_graph(state: Node, inputs: GraphInputs, steps: Sequence[Step]) -> ov.Model:
    """Apply the steps to token states ``(batch, length, hidden) float32`` and return the complete graph.

    The graph takes the parameters of ``inputs`` and returns ``(batch, dims) float32``.
    """
    for step in steps:
        state = _apply(step, state, inputs)
    return ov.Model([state], inputs.parameters, "encoder")


def _apply(step: Step, state: Node, inputs: GraphInputs) -> Node:
    match step:
        case Pool():
            return _pool(step, state, inputs)
        case Dense():
            return _dense(step, state)
        case LayerNorm():
            normal = op.mvn(state, ints([-1]), True, step.eps, "inside_sqrt")
            return op.add(op.multiply(normal, constant(step.weight[None, :])), constant(step.bias[None, :]))
        case Normalize():
            return op.normalize_l2(state, ints([1]), 1e-12, "max")
        case Truncate():
            return op.slice(state, ints([0]), ints([step.dims]), ints([1]), ints([-1]))


def _dense(step: Dense, state: Node) -> Node:
    product = op.matmul(state, constant(step.weight), False, True)
    if step.bias is not None:
        product = op.add(product, constant(step.bias[None, :]))
    product = activate(product, step.activation)
    if not step.use_residual:
        return product
    residual = state if step.residual is None else op.matmul(state, constant(step.residual), False, True)
    return op.add(product, residual)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Token states to be pooled."""

    #: ``(batch, length, hidden) float32``.
    state: Node
    #: Whether a token is pooled: ``(batch, length) bool``.
    selected: Node
    #: Index of the first pooled token: ``(batch,) int32``; None for index 0.
    first: Node | None
    #: Index of the last pooled token: ``(batch,) int32``.
    last: Node
    #: ``(length,) int32``.
    positions: Node


def _pool(step: Pool, state: Node, inputs: GraphInputs) -> Node:
    last = op.subtract(inputs.lengths, ints(1))
    if step.include_prompt:
        tokens = _Tokens(state, inputs.inside, None, last, inputs.positions)
    else:
        after = op.greater_equal(op.unsqueeze(inputs.positions, ints(0)), op.unsqueeze(inputs.starts, ints(1)))
        selected = op.logical_and(inputs.inside, after)
        tokens = _Tokens(state, selected, inputs.starts, last, inputs.positions)
    pooled = [_POOLINGS[mode](tokens) for mode in step.modes]
    return pooled[0] if len(pooled) == 1 else op.concat(pooled, 1)


def _sum(tokens: _Tokens, weights: Node) -> Node:
    return op.reduce_sum(op.multiply(tokens.state, weights), ints([1]), False)


def _weights(tokens: _Tokens) -> Node:
    """Return 1 for pooled tokens and 0 for others: ``(batch, length, 1) float32``."""
    return op.unsqueeze(op.convert(tokens.selected, "f32"), ints(2))


def _mean(tokens: _Tokens) -> Node:
    weights = _weights(tokens)
    return op.divide(_sum(tokens, weights), op.reduce_sum(weights, ints([1]), False))


def _mean_sqrt_len(tokens: _Tokens) -> Node:
    weights = _weights(tokens)
    return op.divide(_sum(tokens, weights), op.sqrt(op.reduce_sum(weights, ints([1]), False)))


def _weighted_mean(tokens: _Tokens) -> Node:
    ranks = op.convert(op.add(tokens.positions, ints(1)), "f32")
    weights = op.multiply(_weights(tokens), op.unsqueeze(ranks, ints([0, 2])))
    return op.divide(_sum(tokens, weights), op.reduce_sum(weights, ints([1]), False))


def _max(tokens: _Tokens) -> Node:
    selected = op.unsqueeze(tokens.selected, ints(2))
    return op.reduce_max(op.select(selected, tokens.state, MINUS_INFINITY), ints([1]), False)


def _row(state: Node, indices: Node) -> Node:
    """Return one token of each text: ``(batch, hidden)``."""
    return op.squeeze(op.gather(state, op.unsqueeze(indices, ints(1)), ints(1), 1), ints([1]))


def _first(tokens: _Tokens) -> Node:
    return op.gather(tokens.state, ints(0), ints(1)) if tokens.first is None else _row(tokens.state, tokens.first)


_POOLINGS: Mapping[PoolMode, Callable[[_Tokens], Node]] = {
    PoolMode.CLS: _first,
    PoolMode.MAX: _max,
    PoolMode.MEAN: _mean,
    PoolMode.MEAN_SQRT_LEN: _mean_sqrt_len,
    PoolMode.WEIGHTED_MEAN: _weighted_mean,
    PoolMode.LAST_TOKEN: lambda tokens: _row(tokens.state, tokens.last),
}
