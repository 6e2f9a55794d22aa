"""The tensors of a head: the layers after a transformer's last one, which the transformer itself does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import InputError
from ....vectors.arithmetic import FloatArray
from ..steps import Dense


class HeadTensors:
    """Tensors by their names without the prefix that some files have.

    Args:
        tensors: Tensors of the files.
        prefixes: Possible prefixes.
        name: Name of the model for messages.
        expected: What the model is not if a tensor is missing, such as ``a cross-encoder``.
    """

    def __init__(self, tensors: Mapping[str, Any], prefixes: Sequence[str], *, name: str, expected: str) -> None:
        self._tensors = tensors
        self._prefixes = ("", *prefixes)
        self._name = name
        self._expected = expected

    def find(self, *names: str) -> FloatArray | None:
        """Return the first tensor that exists, or None."""
        for tensor in names:
            for prefix in self._prefixes:
                if prefix + tensor in self._tensors:
                    return np.ascontiguousarray(self._tensors[prefix + tensor], dtype=np.float32)
        return None

    def get(self, *names: str) -> FloatArray:
        """Return the first tensor that exists. Raise InputError if there is none."""
        values = self.find(*names)
        if values is None:
            raise InputError(
                f"{self._name} is not {self._expected}: its weights have no tensor {names[0]!r}, which its head needs.",
                param="model",
            )
        return values

    def dense(self, layer: str, activation: str = "identity") -> Dense:
        """Return a dense layer."""
        return Dense(self.get(f"{layer}.weight"), self.find(f"{layer}.bias"), activation)


def resolve_setting(value: str, description: Mapping[str, Any]) -> str:
    """Return a value of a table of heads: a name, or a key of ``config.json`` after ``=``, with a default after ``:``.

    >>> resolve_setting("=hidden_act:gelu", {}), resolve_setting("tanh", {})
    ('gelu', 'tanh')
    """
    if not value.startswith("="):
        return value
    key, _, default = value[1:].partition(":")
    return str(description.get(key, default))
