"""Constants and activations as nodes of OpenVINO graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..network.layers import require_activation
from .openvino_import import Node, op

MINUS_INFINITY = np.float32(-1e9)


def constant(values: npt.NDArray[Any]) -> Node:
    """Return a constant that shares the array's memory. OpenVINO would copy a plain array through a Python list."""
    return op.constant(np.require(values, requirements=["C", "A", "W"]), shared_memory=True)


def ints(values: int | list[int]) -> Node:
    """Return a constant of int32."""
    return op.constant(np.array(values, dtype=np.int32))


def activate(state: Node, activation: str) -> Node:
    """Apply an activation. Raise InputError if there is none of this name."""
    return _ACTIVATIONS[require_activation(activation)](state)


# Parameters of SELU as in torch.
_SELU_ALPHA, _SELU_SCALE = np.float32(1.6732632423543772), np.float32(1.0507009873554805)

_ACTIVATIONS: Mapping[str, Callable[[Node], Node]] = {
    "gelu": lambda state: op.gelu(state, "erf"),
    "gelu_tanh": lambda state: op.gelu(state, "tanh"),
    "quick_gelu": lambda state: op.multiply(state, op.sigmoid(op.multiply(state, np.float32(1.702)))),
    "relu": op.relu,
    "silu": op.swish,
    "tanh": op.tanh,
    "sigmoid": op.sigmoid,
    "leaky_relu": lambda state: op.prelu(state, constant(np.array([0.01], dtype=np.float32))),
    "elu": lambda state: op.elu(state, 1.0),
    "selu": lambda state: op.selu(state, _SELU_ALPHA, _SELU_SCALE),
    "softplus": op.softplus,
    "mish": op.mish,
    "identity": lambda state: state,
}
