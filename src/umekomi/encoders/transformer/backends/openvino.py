"""The CPU: a graph compiled by OpenVINO, and the requests that run on it.

With one stream every request computes on all threads, one after another; with several, each stream has its share of the
threads and the batches of one call run side by side.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ....errors import InputError, UmekomiError
from ....machine import affinity_cores, available_cores
from ....settings import Settings
from ....vectors.arithmetic import FloatArray, IntArray
from ...forks import guard, never_destroy
from ..batching import padded_lengths
from ..byte_stability import Mode, choose_mode, is_byte_stable, probe_of
from ..checkpoint import Checkpoint
from ..layers import Dense
from .base import Inputs
from .openvino_graph import build_graph
from .openvino_import import op, ov

logger = logging.getLogger(__name__)


def choose_precision(wanted: str) -> str:
    """``bf16`` or ``fp32``: fp32 if that is wanted, otherwise bf16 where the CPU computes in it.

    Raises:
        InputError: fp16 is wanted, in which OpenVINO does not compute on a CPU.
    """
    if wanted == "fp16":
        raise InputError("UMEKOMI_PRECISION=fp16 is for a GPU; on the CPU set it to auto, bf16 or fp32.")
    if wanted == "fp32" or "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "fp32" if wanted == "fp32" else "bf16"
    if wanted == "bf16":
        logger.warning("This CPU does not compute in bf16; fp32 is used instead.")
    return "fp32"


def compile_options(precision: str, settings: Settings) -> dict[str, str]:
    """OpenVINO's properties for a precision of :func:`choose_precision` and these threads and streams."""
    options = {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": str(count_streams(settings)),
        # The runtime keeps what it makes for each shape of a batch (rows, padded length): of 5,000 if nobody says otherwise.
        "CPU_RUNTIME_CACHE_CAPACITY": "256",
    }
    # OpenVINO respects the CPU affinity by itself, but not the CPU quota of a container.
    threads = settings.threads or (available_cores() if available_cores() < affinity_cores() else 0)
    if threads:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    if 0 < threads < affinity_cores():
        # Threads that are bound to cores are bound to the first ones: several processes of a machine would share those.
        options["ENABLE_CPU_PINNING"] = "NO"
    return options


def count_streams(settings: Settings) -> int:
    """The streams of these settings; no more than there are threads to run them."""
    return min(settings.streams, settings.threads or available_cores())


@dataclass(frozen=True, slots=True)
class _Running:
    """A batch that is being computed: its places, its request, and the thread that started it."""

    places: list[int]
    request: ov.InferRequest
    thread: int


class _Session:
    """A compiled graph and its requests. Only the process that made it can use it."""

    def __init__(self, graph: ov.Model, options: Mapping[str, str], n_requests: int) -> None:
        with guard.native():
            compiled = ov.Core().compile_model(graph, "CPU", dict(options))
            self._requests = [compiled.create_infer_request() for _ in range(n_requests)]
        self._compiled = compiled
        self._free: queue.LifoQueue[ov.InferRequest] = queue.LifoQueue()
        for request in self._requests:
            self._free.put(request)
        self.pid = os.getpid()

    def require_own(self) -> None:
        """Raise UmekomiError in a process that was forked from the one that made this session."""
        if self.pid != os.getpid():
            raise UmekomiError(
                "This process was forked while texts were being embedded; embed them again here, or start processes with "
                "the method `spawn`."
            )

    def take(self) -> ov.InferRequest:
        """A request, as soon as one is free."""
        return self._free.get()

    def take_free(self) -> ov.InferRequest | None:
        """A request if one is free now."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return None

    def start(self, places: list[int], inputs: Inputs, request: ov.InferRequest) -> _Running:
        """Start to compute a batch."""
        thread = guard.enter()
        try:
            request.start_async(list(inputs))
        except BaseException:
            self._free.put(request)
            guard.leave(thread)
            raise
        return _Running(places, request, thread)

    def finish(self, batch: _Running) -> tuple[list[int], FloatArray]:
        """Wait for a batch. Returns its places and its vectors."""
        self.require_own()
        try:
            batch.request.wait()
            vectors: FloatArray = batch.request.get_output_tensor(0).data.copy()
        finally:
            self._free.put(batch.request)
            guard.leave(batch.thread)
        return batch.places, vectors

    def abandon(self, batch: _Running) -> None:
        """Wait for a batch whose vectors nobody needs."""
        with suppress(Exception):  # the error of the batch that ended the call is raised
            self.finish(batch)


class OpenVinoBackend:
    """A graph on the CPU. It may be used from several threads: the batches of each take turns for the requests.

    In a forked process the graph is built and compiled again at the first call, because threads do not survive a fork.

    Args:
        graph: takes ids and lengths, gives vectors.
        mode: precision and batching.
        settings: threads, streams and tokens a batch.
        rebuild: Builds the graph again, for forked processes.
    """

    def __init__(self, graph: ov.Model, mode: Mode, settings: Settings, *, rebuild: Callable[[], ov.Model]) -> None:
        # All texts are tokenized before the first batch, because no core would be idle meanwhile.
        self.budget, self.rows, self.slice = settings.batch_tokens, mode.rows, None
        self.precision = mode.precision
        self._options = compile_options(mode.precision, settings)
        self._n_requests = count_streams(settings)
        self._rebuild = rebuild
        self._lock = threading.Lock()
        self._session: _Session | None = _Session(graph, self._options, self._n_requests)
        guard.register(self)

    def after_fork(self) -> None:
        """Leave the parent's session alone: its threads do not exist here. Called in a forked child."""
        if self._session is not None and self._session.pid != os.getpid():
            never_destroy(self._session)
            self._session = None
        self._lock = threading.Lock()

    def pad(self, lengths: IntArray) -> IntArray:
        """The ends of the length buckets."""
        return padded_lengths(lengths)

    def run(self, batches: Iterable[tuple[list[int], Inputs]]) -> Iterator[tuple[list[int], FloatArray]]:
        """The vectors of each batch, ``(batch, dims) float32``, beside the places it came with; in the order given.

        Raises:
            UmekomiError: The process was forked during the call, and this is the child.
        """
        session = self._open()
        running: deque[_Running] = deque()
        try:
            for places, inputs in batches:
                session.require_own()
                while running and guard.pausing:
                    yield session.finish(running.popleft())
                # Other calls may hold all requests. A call that waits for them must not hold one itself.
                while (request := session.take_free()) is None and running:
                    yield session.finish(running.popleft())
                    session.require_own()
                running.append(session.start(places, inputs, request or session.take()))
            while running:
                yield session.finish(running.popleft())
        finally:
            if session.pid == os.getpid():
                for batch in running:
                    session.abandon(batch)

    def _open(self) -> _Session:
        session = self._session
        if session is not None:
            return session
        with self._lock:
            if self._session is None:
                self._session = _Session(self._rebuild(), self._options, self._n_requests)
            return self._session


_anchor: ov.CompiledModel | None = None


def _hold_scheduler() -> None:
    """Keep the scheduler of OpenVINO's threads alive until the process ends.

    A forked child would shut it down when it exits, and fail because the threads do not exist there.
    """
    global _anchor
    if _anchor is None:
        number = op.parameter([1], ov.Type.f32)
        model = ov.Model([op.relu(number)], [number], "anchor")
        _anchor = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1"})
        never_destroy(_anchor)


guard.prepare = _hold_scheduler


def _choose_mode(checkpoint: Checkpoint, settings: Settings, *, pooling: str, dense: Sequence[Dense]) -> Mode:
    def check(precision: str) -> bool:
        session = _Session(
            build_graph(probe_of(checkpoint), pooling=pooling, dense=dense), compile_options(precision, settings), 1
        )

        def infer(ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]) -> FloatArray:
            request = session.take()
            return session.finish(session.start([], (ids, lengths), request))[1]

        return is_byte_stable(infer, positions=checkpoint.config.positions)

    fastest = choose_precision(settings.precision)
    layers = [(layer.weight.shape, layer.bias is None, layer.activation) for layer in dense]
    return choose_mode(
        checkpoint,
        settings,
        ("bf16", "fp32") if fastest == "bf16" else ("fp32",),
        check,
        key=(ov.__version__, pooling, layers),
    )


def build(checkpoint: Checkpoint, settings: Settings, *, pooling: str, dense: Sequence[Dense]) -> OpenVinoBackend:
    """The model on the CPU, in a precision and with batches that give a text the same bytes whatever its neighbors."""
    mode = _choose_mode(checkpoint, settings, pooling=pooling, dense=dense)
    # Without the tensors: they would stay in memory beside the compiled model.
    light = replace(checkpoint, tensors={})

    def rebuild() -> ov.Model:
        return build_graph(replace(light, tensors=light.read_tensors()), pooling=pooling, dense=dense)

    return OpenVinoBackend(build_graph(checkpoint, pooling=pooling, dense=dense), mode, settings, rebuild=rebuild)
