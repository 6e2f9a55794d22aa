"""Low-rank adapters in the files of a model (Hu et al. 2022), such as those of jina-embeddings-v3 for its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ...vectors.arithmetic import FloatArray

_ORIGINAL = ".parametrizations.weight.original"
_FACTORS = (".parametrizations.weight.0.lora_B", ".parametrizations.weight.0.lora_A")


class AdaptedTensors(Mapping[str, FloatArray]):
    """Tensors with adapters, each under the name that it has without adapters.

    Args:
        tensors: Tensors by their names in the files.
        index: Number of the adapter that is added to the weights; None adds none.
        scale: Factor of the adapter.
    """

    def __init__(self, tensors: Mapping[str, FloatArray], index: int | None, scale: float) -> None:
        self._tensors = tensors
        self._index = index
        self._scale = np.float32(scale)
        self._names = {name.replace(_ORIGINAL, ".weight"): name for name in tensors if not name.endswith(_FACTORS)}

    def __getitem__(self, name: str) -> FloatArray:
        stored = self._names[name]
        weight = self._tensors[stored]
        factors = [stored.replace(_ORIGINAL, factor) for factor in _FACTORS]
        if self._index is None or stored == name or factors[0] not in self._tensors:
            return weight
        left, right = (self._tensors[factor][self._index] for factor in factors)
        # The factors of embeddings are stored in the other order.
        product = left @ right if len(left) == len(weight) else right @ left
        adapted: FloatArray = weight + product * self._scale
        return adapted

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def merge_adapter(
    tensors: Mapping[str, FloatArray], description: Mapping[str, Any], adapter: str | None, *, name: str
) -> Mapping[str, FloatArray]:
    """Return the tensors of a model with one of its adapters.

    Args:
        tensors: Tensors by their names in the files.
        description: Content of ``config.json``.
        adapter: Name of the adapter; None leaves the weights as they are.
        name: Name of the model for messages.

    Raises:
        InputError: The model has no such adapter.
    """
    adapters = description.get("lora_adaptations") or []
    if adapter is not None and adapter not in adapters:
        options = f"it has {', '.join(adapters)}" if adapters else "it has none"
        raise InputError(f"{name} has no adapter {adapter!r}; {options}.")
    if not adapters:
        return tensors
    scale = float(description.get("lora_alpha", 1)) / float(description.get("lora_rank", 4))
    return AdaptedTensors(tensors, None if adapter is None else adapters.index(adapter), scale)
