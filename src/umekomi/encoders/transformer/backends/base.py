"""What a transformer runs on: OpenVINO on the CPU, torch on a GPU. One file an engine; :data:`BACKENDS` is the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from ....errors import InputError
from ....extras import import_optional
from ....settings import Settings
from ....vectors.arithmetic import FloatArray, IntArray
from ..checkpoint import Checkpoint
from ..layers import Dense

Inputs = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""The ids of a batch, ``(batch, length)``, and the number of tokens of each text, ``(batch,)``."""

# Each engine's file has a function `build`. Named here, not imported: who runs on the one needs not have the other's library.
BACKENDS = {
    "cpu": "umekomi.encoders.transformer.backends.openvino",
    "cuda": "umekomi.encoders.transformer.backends.torch",
    "mps": "umekomi.encoders.transformer.backends.torch",
}


class Backend(Protocol):
    """A model, loaded where it computes. It may be used from several threads.

    ``precision`` is what it computes in: ``fp32``, ``bf16`` or ``fp16``. A batch holds at most ``budget`` tokens, padding
    included, and at most ``rows`` texts, where that is a number. Of ``slice`` texts the tokens are looked up while those before
    them are computed; of all at once where it is None.
    """

    precision: str
    budget: int
    rows: int | None
    slice: int | None

    def pad(self, lengths: IntArray) -> IntArray:
        """The lengths that texts of these lengths are padded to. A batch holds texts of one padded length alone."""

    def run(self, batches: Iterable[tuple[list[int], Inputs]]) -> Iterator[tuple[list[int], FloatArray]]:
        """The vectors of each batch, ``(batch, dims) float32``, beside the places it came with; in the order given."""


class Builder(Protocol):
    """What each engine's ``build`` takes."""

    def __call__(
        self, checkpoint: Checkpoint, settings: Settings, *, pooling: str, dense: Sequence[Dense]
    ) -> Backend: ...


def build_backend(
    checkpoint: Checkpoint, settings: Settings, *, pooling: str = "mean", dense: Sequence[Dense] = ()
) -> Backend:
    """The model on the device that the settings name.

    Args:
        checkpoint: the weights and their configuration.
        settings: the device, and how to compute there.
        pooling: one of :data:`~umekomi.encoders.transformer.layers.POOLINGS`.
        dense: layers over the pooled vector.

    Raises:
        InputError: there is no such device, it does not compute in this precision, or a tensor is missing.
        MissingExtraError: the device's library is not installed.
    """
    kind = settings.device.partition(":")[0]
    if kind not in BACKENDS:
        raise InputError(f"There is no device {settings.device!r}; the kinds are {', '.join(BACKENDS)}.")
    module = import_optional(BACKENDS[kind], f"UMEKOMI_DEVICE={settings.device}")
    return cast(Builder, module.build)(checkpoint, settings, pooling=pooling, dense=dense)
