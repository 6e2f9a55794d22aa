"""Backends compute a transformer on a device: OpenVINO on the CPU, torch on a GPU."""

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
from ..folder.graph_file import GraphFile
from ..steps import Step

Inputs = tuple[npt.NDArray[np.int32], ...]
"""The token ids of a batch, ``(batch, length)``; the number of tokens of each text, ``(batch,)``; the index of the first token
after the prompt, ``(batch,)``; and, for models of pairs, the segment of each token, ``(batch, length)``."""

Batch = tuple[list[int], Inputs]
"""The indices of the texts of a batch, and its inputs."""

# Imported lazily, so that a CPU installation does not need torch and a GPU installation does not need OpenVINO. Each module has a
# function `build`.
BACKENDS = {
    "cpu": "umekomi.encoders.transformer.backends.openvino",
    "cuda": "umekomi.encoders.transformer.backends.torch",
    "mps": "umekomi.encoders.transformer.backends.torch",
}


class Backend(Protocol):
    """A model that is loaded on a device. Safe to use from several threads."""

    #: ``fp32``, ``bf16`` or ``fp16``.
    precision: str
    #: Maximum number of tokens in a batch, including padding.
    max_tokens: int
    #: Maximum number of texts in a batch; None means no maximum.
    max_rows: int | None
    #: Number of texts that are tokenized at a time, while the device computes earlier ones; None means all.
    slice_size: int | None

    def pad(self, lengths: IntArray) -> IntArray:
        """Return the padded length for each length. All texts of a batch have the same padded length."""

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[list[int], FloatArray]]:
        """Yield the indices and the vectors ``(batch, dims) float32`` of each batch, in order."""


class BackendBuilder(Protocol):
    """Signature of each backend's ``build`` function."""

    def __call__(self, checkpoint: Checkpoint | GraphFile, settings: Settings, *, steps: Sequence[Step]) -> Backend: ...


def build_backend(checkpoint: Checkpoint | GraphFile, settings: Settings, *, steps: Sequence[Step]) -> Backend:
    """Load a model on the device in the settings.

    Args:
        checkpoint: Weights and configuration, or a file with the whole network, which only the CPU runs.
        settings: Device, precision, threads and streams.
        steps: Steps after the last layer.

    Raises:
        InputError: There is no such device, it does not support the precision, or a tensor is missing.
        MissingExtraError: The library of the device is not installed.
    """
    device_type = settings.device.partition(":")[0]
    if device_type not in BACKENDS:
        raise InputError(f"There is no device {settings.device!r}; use one of {', '.join(BACKENDS)}.")
    if isinstance(checkpoint, GraphFile) and device_type != "cpu":
        raise InputError(f"{checkpoint.name} runs on the CPU only; UMEKOMI_DEVICE={settings.device} needs safetensors.")
    module = import_optional(BACKENDS[device_type], f"UMEKOMI_DEVICE={settings.device}")
    return cast(BackendBuilder, module.build)(checkpoint, settings, steps=steps)
