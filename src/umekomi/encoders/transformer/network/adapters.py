"""Low-rank adapters in the files of a model (Hu et al. 2022), such as those of jina-embeddings-v3 for its tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ....catalog import Role
from ....errors import InputError
from ....progress import Progress
from ....vectors.arithmetic import FloatArray
from ...base import Encoder
from ...forks import guard

_ORIGINAL = ".parametrizations.weight.original"
_FACTORS = (".parametrizations.weight.0.lora_B", ".parametrizations.weight.0.lora_A")

ADAPTERS: Mapping[str | None, str] = {
    Role.QUERY: "retrieval.query",
    Role.DOCUMENT: "retrieval.passage",
    None: "text-matching",
}
"""Adapter of each role; None is for texts without a role. A model may lack some, and then uses no adapter."""


class AdapterEncoder(Encoder):
    """A transformer with an adapter for each role. The weights with an adapter are loaded when a text first needs them.

    Args:
        adapters: Adapter of each role and of each prompt; None for texts without a role.
        load: Loads the transformer with an adapter; None is the transformer without one.
    """

    def __init__(self, adapters: Mapping[str | None, str | None], load: Callable[[str | None], Encoder]) -> None:
        self._adapters = dict(adapters)
        self._load = load
        self._encoders: dict[str | None, Encoder] = {}
        self.after_fork()
        guard.register(self)
        first = self._encoder(None)
        self.name, self.dims, self.architecture = first.name, first.dims, first.architecture
        self.window, self.prompts = first.window, first.prompts

    def after_fork(self) -> None:
        """Replace the lock: a thread that held it does not exist in this process."""
        self._lock = threading.Lock()

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or, on a GPU, ``fp16``."""
        return self._encoder(None).precision

    @property
    def n_weights(self) -> int:
        """Number of weights in the files, including all adapters."""
        return self._encoder(None).n_weights

    def _encoder(self, role: str | None) -> Encoder:
        adapter = self._adapters.get(role, self._adapters[None])
        with self._lock:
            if adapter not in self._encoders:
                self._encoders[adapter] = self._load(adapter)
            return self._encoders[adapter]

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        return self._encoder(role).encode(texts, role=role, progress=progress)

    def identity(self) -> dict[str, object]:
        adapters = {role or "": adapter for role, adapter in self._adapters.items()}
        return {**self._encoder(None).identity(), "adapters": adapters}


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
