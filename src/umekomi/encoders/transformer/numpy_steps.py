"""The steps after the pooling in NumPy, for models without a network (see :mod:`~umekomi.encoders.static`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np

from ...errors import InputError
from ...vectors.arithmetic import FloatArray
from .steps import Dense, LayerNorm, Normalize, Pool, Step, Truncate


def apply_steps(vectors: FloatArray, steps: Sequence[Step]) -> FloatArray:
    """Apply steps to vectors: ``(n, dims) -> (n, output dims) float32``.

    Each vector is computed by itself, because the last bits of a product of matrices depend on the number of rows.
    """
    rows = [reduce(_apply, steps, row) for row in vectors]
    return np.stack(rows).astype(np.float32) if rows else vectors


def _apply(row: FloatArray, step: Step) -> FloatArray:
    match step:
        case Dense():
            return _dense(row, step)
        case LayerNorm():
            centered = row - row.mean()
            scaled: FloatArray = centered / np.sqrt(np.square(centered).mean() + step.eps) * step.weight + step.bias
            return scaled
        case Normalize():
            return row / np.float32(max(float(np.linalg.norm(row)), 1e-12))
        case Truncate():
            return row[: step.dims]
        case Pool():
            raise InputError("A model without a network has no pooling.", param="model")


def _dense(row: FloatArray, step: Dense) -> FloatArray:
    result = step.weight @ row
    if step.bias is not None:
        result = result + step.bias
    activation = _ACTIVATIONS[step.activation]
    # One by one, because NumPy's vectorized functions may round the last elements differently.
    result = np.array([activation(value) for value in result.tolist()], dtype=np.float32)
    if not step.use_residual:
        return result
    return result + (row if step.residual is None else step.residual @ row)


def _sigmoid(x: float) -> float:
    # Without overflow for large negative numbers.
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def _selu(x: float) -> float:
    return 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x))


_ACTIVATIONS: Mapping[str, Callable[[float], float]] = {
    "identity": float,
    "tanh": math.tanh,
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "selu": _selu,
    "softplus": _softplus,
    "mish": lambda x: x * math.tanh(_softplus(x)),
}
"""The functions that a module Dense can name."""
