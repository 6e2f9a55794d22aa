"""The steps after the last layer in torch: with the same arithmetic as in ``openvino_steps.py``, in fp32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812 - the usual name

from ..network.layers import require_activation
from ..steps import Dense, LayerNorm, Normalize, Pool, PoolMode, Step, Truncate


def activation_function(activation: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function of an activation. Raise InputError if there is none of this name."""
    return _ACTIVATIONS[require_activation(activation)]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token states, and which of them are pooled."""

    #: ``(rows, length, hidden) float32``.
    state: torch.Tensor
    #: Number of tokens of each text: ``(rows,) int32``.
    lengths: torch.Tensor
    #: Index of the first token after the prompt: ``(rows,) int32``.
    starts: torch.Tensor


class Steps:
    """The steps of a model, with their tensors on a device.

    Args:
        steps: Steps after the last layer.
        device: Device that the tensors are copied to.
    """

    def __init__(self, steps: Sequence[Step], device: torch.device) -> None:
        self._before = [_build(step, device) for step in steps[: _pool_index(steps)]]
        self._pool = next(step for step in steps if isinstance(step, Pool))
        self._after = [_build(step, device) for step in steps[_pool_index(steps) + 1 :]]

    def __call__(self, tokens: Tokens) -> torch.Tensor:
        """Return the vectors of texts: ``(rows, dims) float32``."""
        state = tokens.state
        for step in self._before:
            state = step(state)
        pooled = _pool(self._pool, Tokens(state, tokens.lengths, tokens.starts))
        for step in self._after:
            pooled = step(pooled)
        return pooled


def _pool_index(steps: Sequence[Step]) -> int:
    return next(index for index, step in enumerate(steps) if isinstance(step, Pool))


def _build(step: Step, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    def copy(values: npt.NDArray[np.float32] | None) -> torch.Tensor | None:
        # A copy, because torch has no read-only tensors and the files are mapped to read-only memory.
        return None if values is None else torch.tensor(values).to(device)

    match step:
        case Dense():
            projection = copy(step.residual)
            return partial(_apply_dense, step, copy(step.weight), copy(step.bias), projection)
        case LayerNorm():
            weight, bias, shape, eps = copy(step.weight), copy(step.bias), step.weight.shape, step.eps
            return lambda state: F.layer_norm(state, shape, weight, bias, eps)
        case Normalize():
            return lambda state: F.normalize(state, dim=1)
        case Truncate():
            dims = step.dims
            return lambda state: state[..., :dims]
        case Pool():
            raise AssertionError("a model has one pooling")


def _apply_dense(
    step: Dense,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    projection: torch.Tensor | None,
    state: torch.Tensor,
) -> torch.Tensor:
    product = activation_function(step.activation)(F.linear(state, weight, bias))
    if not step.use_residual:
        return product
    return product + (state if projection is None else F.linear(state, projection))


@dataclass(frozen=True, slots=True)
class _Selection:
    """The pooled tokens of each text."""

    #: ``(rows, length, hidden) float32``.
    state: torch.Tensor
    #: ``(rows, length, 1) bool``.
    inside: torch.Tensor
    #: Indices of the first and the last pooled token: ``(rows,) int64``.
    first: torch.Tensor
    last: torch.Tensor


def _pool(step: Pool, tokens: Tokens) -> torch.Tensor:
    positions = torch.arange(tokens.state.shape[1], device=tokens.state.device)
    inside = positions < tokens.lengths[:, None]
    first = torch.zeros_like(tokens.starts) if step.include_prompt else tokens.starts
    if not step.include_prompt:
        inside = inside & (positions >= first[:, None])
    selection = _Selection(tokens.state, inside[:, :, None], first.long(), tokens.lengths.long() - 1)
    return torch.cat([_POOLINGS[mode](selection) for mode in step.modes], dim=1)


def _mean(tokens: _Selection) -> torch.Tensor:
    return (tokens.state * tokens.inside).sum(dim=1) / tokens.inside.sum(dim=1)


def _mean_sqrt_len(tokens: _Selection) -> torch.Tensor:
    return (tokens.state * tokens.inside).sum(dim=1) / tokens.inside.sum(dim=1).sqrt()


def _weighted_mean(tokens: _Selection) -> torch.Tensor:
    ranks = torch.arange(1, tokens.state.shape[1] + 1, device=tokens.state.device)[:, None]
    weights = ranks * tokens.inside
    return (tokens.state * weights).sum(dim=1) / weights.sum(dim=1)


def _max(tokens: _Selection) -> torch.Tensor:
    return tokens.state.masked_fill(~tokens.inside, float("-inf")).amax(dim=1)


def _row(state: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    return state.gather(1, indices[:, None, None].expand(-1, 1, state.shape[2]))[:, 0]


_POOLINGS: Mapping[PoolMode, Callable[[_Selection], torch.Tensor]] = {
    PoolMode.CLS: lambda tokens: _row(tokens.state, tokens.first),
    PoolMode.MAX: _max,
    PoolMode.MEAN: _mean,
    PoolMode.MEAN_SQRT_LEN: _mean_sqrt_len,
    PoolMode.WEIGHTED_MEAN: _weighted_mean,
    PoolMode.LAST_TOKEN: lambda tokens: _row(tokens.state, tokens.last),
}

_ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda state: state * torch.sigmoid(1.702 * state),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "mish": F.mish,
    "identity": lambda state: state,
}
