"""Parts that the OpenVINO and torch implementations share: names of functions, and MPNet's distance buckets."""

from __future__ import annotations

import math

import numpy as np

from ....errors import InputError
from ....vectors.arithmetic import IntArray

ACTIVATIONS = (
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "relu",
    "silu",
    "tanh",
    "sigmoid",
    "leaky_relu",
    "elu",
    "selu",
    "softplus",
    "mish",
    "identity",
)
"""Functions that both backends implement, with the default parameters of torch. ``gelu_tanh`` approximates ``gelu``."""

_ALIASES = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_python": "gelu",
    "swish": "silu",
    "linear": "identity",
    "leakyrelu": "leaky_relu",
}
"""Other names of the functions in ``config.json``, and names of torch's classes in lower case."""


def require_activation(activation: str) -> str:
    """Return the name in :data:`ACTIVATIONS` of an activation. Raise InputError if there is none."""
    name = _ALIASES.get(activation, activation)
    if name not in ACTIVATIONS:
        raise InputError(f"Unknown activation {activation!r}; Umekomi supports {', '.join(ACTIVATIONS)}.")
    return name


def missing_tensor_error(name: str) -> InputError:
    """Return the error for a checkpoint that lacks a tensor."""
    return InputError(f"The model's weights have no tensor {name!r}, so they do not match its config.json.")


def distance_buckets(distances: IntArray, n_buckets: int, *, max_distance: int = 128) -> IntArray:
    """Return T5's relative position buckets, which MPNet uses: ``(n,) int64``.

    Half of the buckets are for each direction. Small distances have a bucket each, larger ones share logarithmic buckets up
    to ``max_distance`` tokens.
    """
    half = n_buckets // 2
    exact = half // 2
    far = np.abs(distances)
    # In float32, as in training: at the edges of buckets the last bit matters.
    logarithm = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(max_distance / exact)
    )
    large = np.minimum(exact + (logarithm * np.float32(half - exact)).astype(np.int64), half - 1)
    return np.where(distances > 0, half, 0) + np.where(far < exact, far, large)
