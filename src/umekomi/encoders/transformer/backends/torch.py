"""A GPU: the encoder in torch, a fixed shape of batches for each length bucket, each shape a recorded graph.

Why fixed shapes: the library chooses a product's kernel by its shape, and kernels round differently. The rows of one shape are
computed alike whatever the others hold; so a text, which always has the shape of its own bucket, always has the same bytes.
A batch with fewer texts has rows of nothing.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ....errors import InputError, UmekomiError
from ....settings import Settings
from ....vectors.arithmetic import FloatArray, IntArray
from ..batching import most_texts
from ..checkpoint import Checkpoint
from ..layers import Dense
from .base import Inputs
from .torch_network import Network

ENDS = (32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Where length buckets end; longer ones end at multiples of the last."""
ROWS, BUDGET = 64, 16_384
"""The texts in a batch, and its tokens, rows of nothing and padding included: of each at most. More texts would make a lone query
wait, which has all rows of its bucket computed; more tokens are no faster."""
SLICE = 256
"""Texts whose tokens are looked up at a time, while the device computes those before them."""
AHEAD = 2
"""Batches given to the device before the first must be back: meanwhile the next one is filled."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# The process that used torch first: a forked one inherits its state, and torch refuses to use a GPU there.
_owner: int | None = None

# One at a time gives work to a device: a graph that is being recorded must not see the work of others.
_turn = threading.Lock()


def choose_device(name: str) -> torch.device:
    """The device of a name like ``cuda:1``.

    Raises:
        InputError: torch finds no such device.
    """
    device = torch.device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("UMEKOMI_DEVICE is mps, and torch finds no GPU of Apple's here; unset it to run on the CPU.")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"finds only {count} here" if count else "finds none here (`nvidia-smi` shows those of the driver)"
            raise InputError(
                f"UMEKOMI_DEVICE is {name}, a GPU for CUDA, and torch {torch.__version__} {found}; unset it to run on the CPU."
            )
        return torch.device("cuda", device.index or 0)
    return device


def choose_precision(wanted: str, device: torch.device) -> str:
    """What is wanted, or, for ``auto``, fp16 on a GPU: it is as fast as bf16 there and rounds eight times finer."""
    if wanted != "auto":
        return wanted
    return "fp32" if device.type == "cpu" else "fp16"


def bucket_ends(lengths: IntArray) -> IntArray:
    """The ends of the buckets that hold texts of these many tokens.

    >>> bucket_ends(np.array([5, 100, 513])).tolist()
    [32, 128, 1024]
    """
    ends = np.array(ENDS, dtype=np.int64)
    within = ends[np.minimum(np.searchsorted(ends, lengths), len(ends) - 1)]
    return np.where(lengths <= ends[-1], within, -(-lengths // ends[-1]) * ends[-1])


@contextmanager
def _room_on(device: torch.device) -> Iterator[None]:
    """What torch raises when a device's memory is full, as one sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UmekomiError(
            f"The memory of {device} is full: other processes hold the rest (`nvidia-smi` shows them), or the model is too large."
        ) from error


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A graph for one shape, and where it takes its inputs from and puts its vectors."""

    graph: torch.cuda.CUDAGraph
    inputs: torch.Tensor
    vectors: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Started:
    """A batch on its way: ``vectors`` are here when ``event`` has happened."""

    vectors: torch.Tensor
    event: torch.cuda.Event | None

    def wait(self) -> FloatArray:
        if self.event is not None:
            self.event.synchronize()
        found: FloatArray = self.vectors.cpu().numpy()
        return found


class TorchBackend:
    """A model on a device of torch. It may be used from several threads.

    Args:
        checkpoint: the weights and their configuration.
        settings: the device and the precision.
        pooling: ``mean``, ``max`` or ``cls``.
        dense: layers over the pooled vector.

    Raises:
        InputError: there is no such device, or a tensor is missing.
        UmekomiError: the device has too little free memory, now or when a batch is computed.
    """

    def __init__(
        self, checkpoint: Checkpoint, settings: Settings, *, pooling: str = "mean", dense: Sequence[Dense] = ()
    ) -> None:
        _require_unforked()
        self.budget, self.rows, self.slice = BUDGET, ROWS, SLICE
        self._device = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self._device)
        with _room_on(self._device), torch.inference_mode():
            self._network = Network(
                checkpoint, device=self._device, dtype=DTYPES[self.precision], pooling=pooling, dense=dense
            )
        self._positions = checkpoint.config.positions
        self._recorded: dict[int, _Recorded] = {}
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None

    def pad(self, lengths: IntArray) -> IntArray:
        """The ends of the length buckets."""
        # No padding has a position that the model does not know.
        return np.minimum(bucket_ends(lengths), self._positions)

    def run(self, batches: Iterable[tuple[list[int], Inputs]]) -> Iterator[tuple[list[int], FloatArray]]:
        """The vectors of each batch, ``(batch, dims) float32``, beside the places it came with; in the order given."""
        _require_unforked()
        running: deque[tuple[list[int], _Started]] = deque()
        for places, (ids, lengths) in batches:
            running.append((places, self._start(ids, lengths)))
            if len(running) > AHEAD:
                done, started = running.popleft()
                yield done, started.wait()
        for places, started in running:
            yield places, started.wait()

    def _start(self, ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]) -> _Started:
        count, length = ids.shape
        rows = most_texts(length, budget=self.budget, rows=self.rows)
        on_gpu = self._stream is not None
        # One array, one copy: the ids of all rows, then their lengths. A row of nothing has one token.
        inputs = torch.zeros(rows * (length + 1), dtype=torch.int32, pin_memory=on_gpu)
        filled = inputs.numpy()
        filled[: rows * length].reshape(rows, length)[:count] = ids
        filled[rows * length :] = 1
        filled[rows * length :][:count] = lengths
        if self._stream is None:
            vectors = self._compute(inputs.to(self._device), length)
            return _Started(vectors[:count], None)
        with _turn, _room_on(self._device), torch.cuda.stream(self._stream):
            recorded = self._recorded.get(length) or self._record(rows, length)
            recorded.inputs.copy_(inputs, non_blocking=True)
            recorded.graph.replay()
            # Into memory of its own, which the device can write to while the next batch runs.
            vectors = recorded.vectors[:count].to("cpu", non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._stream)
        return _Started(vectors, event)

    def _compute(self, inputs: torch.Tensor, length: int) -> torch.Tensor:
        rows = len(inputs) // (length + 1)
        with torch.inference_mode():
            return self._network(inputs[: rows * length].view(rows, length), inputs[rows * length :])

    def _record(self, rows: int, length: int) -> _Recorded:
        """The graph of a shape: Python asks for each step of a network, and a device of this speed would wait for it."""
        assert self._stream is not None  # noqa: S101 - only a GPU of CUDA records
        inputs = torch.ones(rows * (length + 1), dtype=torch.int32, device=self._device)
        # Once outside: libraries load their kernels at the first call, which cannot be recorded.
        self._compute(inputs, length)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        pool = next((other.graph.pool() for other in self._recorded.values()), None)
        with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
            vectors = self._compute(inputs, length)
        self._recorded[length] = recorded = _Recorded(graph, inputs, vectors)
        return recorded


def _require_unforked() -> None:
    global _owner
    _owner = _owner or os.getpid()
    if _owner != os.getpid():
        raise UmekomiError(
            "A model on a GPU cannot be used in a process that was forked; start processes with the method `spawn`."
        )


def build(checkpoint: Checkpoint, settings: Settings, *, pooling: str, dense: Sequence[Dense]) -> TorchBackend:
    """The model on the device of the settings."""
    return TorchBackend(checkpoint, settings, pooling=pooling, dense=dense)
