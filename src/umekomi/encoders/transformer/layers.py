"""What the graphs of both libraries have in common: layers after the transformer, the names they know, MPNet's distances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...vectors.arithmetic import FloatArray, IntArray

POOLINGS = ("mean", "max", "cls")
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "tanh", "identity")


@dataclass(frozen=True, slots=True)
class Dense:
    """A layer over the pooled vector: ``weight (out, in)``, ``bias (out,)`` and an activation of :data:`ACTIVATIONS`."""

    weight: FloatArray
    bias: FloatArray | None
    activation: str


def known_activation(activation: str) -> str:
    """The same name. Raises InputError where it is none of :data:`ACTIVATIONS`."""
    if activation not in ACTIVATIONS:
        raise InputError(f"The activation {activation!r} is not known; the known ones are {', '.join(ACTIVATIONS)}.")
    return activation


def missing_tensor(name: str) -> InputError:
    """What to raise where a checkpoint lacks a tensor that its config promises."""
    return InputError(f"The model's weights have no tensor {name!r}; the file is not what its config says.")


def distance_buckets(distances: IntArray, n_buckets: int) -> IntArray:
    """T5's buckets of distances, which MPNet uses: exact when near, logarithmic up to 128 tokens, one half a direction."""
    half = n_buckets // 2
    exact = half // 2
    far = np.abs(distances)
    # In single precision, as the models were trained: at the edges of buckets the last bit decides.
    logarithm = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact)) / np.float32(math.log(128 / exact))
    large = np.minimum(exact + (logarithm * np.float32(half - exact)).astype(np.int64), half - 1)
    return np.where(distances > 0, half, 0) + np.where(far < exact, far, large)
