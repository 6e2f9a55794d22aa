"""Backend for GPUs: torch, with one fixed batch shape for each length bucket, recorded as a CUDA graph.

The library chooses the kernel of a matrix product by its shape, and kernels round differently. With a fixed shape for each bucket
a text always uses the same kernels, so it has the same bytes in every batch. Smaller batches are filled up with empty rows.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from ....errors import InputError, UmekomiError
from ....settings import Settings
from ....vectors.arithmetic import FloatArray, IntArray
from ..batching import max_batch_size
from ..checkpoint import Checkpoint
from ..network.config import TransformerConfig
from ..steps import MEAN, Step, limit_tokens
from .base import Batch, Inputs
from .torch_network import Network

ENDS = (32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Ends of the length buckets. Longer buckets end at multiples of the last one."""
MAX_ROWS, MAX_TOKENS = 64, 16_384
"""Maximum number of texts and tokens in a batch, including empty rows and padding. More texts would slow down a single query,
which computes all rows of its shape; more tokens are not faster."""
SLICE_SIZE = 256
"""Number of texts that are tokenized at a time, while the device computes earlier ones."""
MAX_PENDING = 2
"""Maximum number of batches that are queued on the device while the next one is prepared."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# The process that used torch first. A forked process inherits its state, and torch cannot use a GPU there.
_owner_pid: int | None = None

# Serializes access to the device: the work of other threads must not enter a graph that is being recorded.
_device_lock = threading.Lock()


def choose_device(name: str) -> torch.device:
    """Return the device with a name such as ``cuda:1``.

    Raises:
        InputError: torch does not find the device.
    """
    device = torch.device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("UMEKOMI_DEVICE is mps, but torch finds no Apple GPU; unset it to run on the CPU.")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            result = f"finds only {count}" if count else "finds none (`nvidia-smi` shows the GPUs of the driver)"
            raise InputError(
                f"UMEKOMI_DEVICE is {name}, a CUDA GPU, but torch {torch.__version__} {result}; unset it to run on the CPU."
            )
        return torch.device("cuda", device.index or 0)
    return device


def choose_precision(requested: str, device: torch.device, config: TransformerConfig) -> str:
    """Return the requested precision; for ``auto`` fp16 on a GPU, as fast as bf16 and 8 times as precise.

    The states of some architectures exceed the range of fp16, for which ``auto`` is bf16.
    """
    if requested != "auto":
        return requested
    if device.type == "cpu":
        return "fp32"
    return "bf16" if config.exceeds_fp16 else "fp16"


def bucket_ends(lengths: IntArray) -> IntArray:
    """Return the ends of the buckets for texts with these numbers of tokens.

    >>> bucket_ends(np.array([5, 100, 513])).tolist()
    [32, 128, 1024]
    """
    ends = np.array(ENDS, dtype=np.int64)
    within = ends[np.minimum(np.searchsorted(ends, lengths), len(ends) - 1)]
    return np.where(lengths <= ends[-1], within, -(-lengths // ends[-1]) * ends[-1])


@contextmanager
def _explain_out_of_memory(device: torch.device) -> Iterator[None]:
    """Raise UmekomiError instead of torch's error if the device is out of memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UmekomiError(
            f"The memory of {device} is full: other processes use it (`nvidia-smi` shows them), or the model is too large."
        ) from error


@dataclass(frozen=True, slots=True)
class _RecordedGraph:
    """A CUDA graph for one shape, with the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: torch.Tensor
    vectors: torch.Tensor


@dataclass(frozen=True, slots=True)
class _PendingBatch:
    """A batch on the device. ``vectors`` are complete when ``event`` has happened."""

    vectors: torch.Tensor
    event: torch.cuda.Event | None

    def wait(self) -> FloatArray:
        if self.event is not None:
            self.event.synchronize()
        vectors: FloatArray = self.vectors.cpu().numpy()
        return vectors


class TorchBackend:
    """A model on a torch device. Safe to use from several threads.

    Args:
        checkpoint: Weights and configuration.
        settings: Device and precision.
        steps: Steps after the last layer.

    Raises:
        InputError: There is no such device, or a tensor is missing.
        UmekomiError: The device has too little free memory, now or when a batch is computed.
    """

    def __init__(self, checkpoint: Checkpoint, settings: Settings, *, steps: Sequence[Step] = MEAN) -> None:
        _require_unforked()
        self.max_tokens = min(MAX_TOKENS, limit_tokens(steps, checkpoint.config.hidden))
        self.max_rows, self.slice_size = MAX_ROWS, SLICE_SIZE
        self._device = choose_device(settings.device)
        self.precision = choose_precision(settings.precision, self._device, checkpoint.config)
        with _explain_out_of_memory(self._device), torch.inference_mode():
            self._network = Network(checkpoint, device=self._device, dtype=DTYPES[self.precision], steps=steps)
        self._positions = checkpoint.config.positions
        self._recorded: dict[int, _RecordedGraph] = {}
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None

    def pad(self, lengths: IntArray) -> IntArray:
        """Return the end of the bucket of each length."""
        # The model has no embeddings for later positions.
        return np.minimum(bucket_ends(lengths), self._positions) if self._positions else bucket_ends(lengths)

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[list[int], FloatArray]]:
        """Yield the indices and the vectors ``(batch, dims) float32`` of each batch, in order."""
        _require_unforked()
        pending: deque[tuple[list[int], _PendingBatch]] = deque()
        for indices, inputs in batches:
            pending.append((indices, self._start(inputs)))
            if len(pending) > MAX_PENDING:
                done, batch = pending.popleft()
                yield done, batch.wait()
        for indices, batch in pending:
            yield indices, batch.wait()

    def _start(self, batch: Inputs) -> _PendingBatch:
        count, length = batch[0].shape
        rows = max_batch_size(length, max_tokens=self.max_tokens, max_rows=self.max_rows)
        on_gpu = self._stream is not None
        # The ids of all rows, their lengths and their starts, in one array so that there is one copy. An empty row has one token.
        inputs = torch.zeros(rows * (length + 2), dtype=torch.int32, pin_memory=on_gpu)
        parts = [part.numpy() for part in _split(inputs, length)]
        parts[1][:] = 1
        for part, values in zip(parts, batch, strict=True):
            part[:count] = values
        if self._stream is None:
            vectors = self._compute(inputs.to(self._device), length)
            return _PendingBatch(vectors[:count], None)
        with _device_lock, _explain_out_of_memory(self._device), torch.cuda.stream(self._stream):
            recorded = self._recorded.get(length) or self._record(rows, length)
            recorded.inputs.copy_(inputs, non_blocking=True)
            recorded.graph.replay()
            # To separate memory, which the device can write to while the next batch runs.
            vectors = recorded.vectors[:count].to("cpu", non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._stream)
        return _PendingBatch(vectors, event)

    def _compute(self, inputs: torch.Tensor, length: int) -> torch.Tensor:
        with torch.inference_mode():
            return self._network(*_split(inputs, length))

    def _record(self, rows: int, length: int) -> _RecordedGraph:
        """Record the graph of a shape. Without it the device would wait for Python, which starts each operation."""
        assert self._stream is not None  # noqa: S101 - only a GPU of CUDA records
        inputs = torch.zeros(rows * (length + 2), dtype=torch.int32, device=self._device)
        _split(inputs, length)[1].fill_(1)
        # Libraries load their kernels at the first call, which cannot be recorded.
        self._compute(inputs, length)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        pool = next((other.graph.pool() for other in self._recorded.values()), None)
        with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
            vectors = self._compute(inputs, length)
        self._recorded[length] = recorded = _RecordedGraph(graph, inputs, vectors)
        return recorded


def _split(inputs: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return views of the ids ``(rows, length)``, the lengths ``(rows,)`` and the starts ``(rows,)`` of a batch."""
    rows = len(inputs) // (length + 2)
    ids, lengths, starts = inputs.split([rows * length, rows, rows])
    return ids.view(rows, length), lengths, starts


def _require_unforked() -> None:
    global _owner_pid
    _owner_pid = _owner_pid or os.getpid()
    if _owner_pid != os.getpid():
        raise UmekomiError(
            "A model on a GPU cannot be used in a forked process. Start processes with the method `spawn`."
        )


def build(checkpoint: Checkpoint, settings: Settings, *, steps: Sequence[Step]) -> TorchBackend:
    """Load a model on the device in the settings."""
    return TorchBackend(checkpoint, settings, steps=steps)
