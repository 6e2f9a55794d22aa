"""Backend for the CPU: a graph that OpenVINO compiles, and requests that run it.

With one stream, requests run one after another on all threads. With several, each stream has its share of the threads and the
batches of one call run in parallel.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ....errors import InputError, UmekomiError
from ....machine import affinity_cores, available_cores
from ....settings import Settings
from ....vectors.arithmetic import FloatArray, IntArray
from ...forks import guard, never_destroy
from ..batching import BUCKET, padded_lengths
from ..byte_stability import Mode, build_probe, choose_by_check, choose_mode, is_byte_stable, is_reliable_on_amx
from ..checkpoint import Checkpoint
from ..folder.graph_file import GraphFile
from ..steps import Step
from .base import Batch, Inputs
from .openvino_import import op, ov
from .prepared_graph import PreparedGraph

logger = logging.getLogger(__name__)

MAX_DIFFERENCE = 0.014
"""Maximum Euclidean distance by which padding may change a vector: a cosine similarity of 0.9999."""


def choose_precision(requested: str) -> str:
    """Return ``fp32`` if it is requested or the CPU does not support bf16, otherwise ``bf16``.

    Raises:
        InputError: fp16 is requested, which OpenVINO does not support on a CPU.
    """
    if requested == "fp16":
        raise InputError("UMEKOMI_PRECISION=fp16 is for a GPU; on the CPU set it to auto, bf16 or fp32.")
    if requested == "fp32" or "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "fp32" if requested == "fp32" else "bf16"
    if requested == "bf16":
        logger.warning("This CPU does not compute in bf16; fp32 is used instead.")
    return "fp32"


def compile_options(precision: str, settings: Settings) -> dict[str, str]:
    """Return OpenVINO's properties for a precision of :func:`choose_precision` and the threads and streams in the settings."""
    options = {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": str(count_streams(settings)),
        # Compiled kernels are cached for each shape of a batch (rows, padded length). The default of 5,000 takes too much memory.
        "CPU_RUNTIME_CACHE_CAPACITY": "256",
    }
    # OpenVINO respects the CPU affinity by itself, but not the CPU quota of a container.
    threads = settings.threads or (available_cores() if available_cores() < affinity_cores() else 0)
    if threads:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    if 0 < threads < affinity_cores():
        # OpenVINO pins threads to the first cores, which several processes on one machine would then share.
        options["ENABLE_CPU_PINNING"] = "NO"
    return options


def count_streams(settings: Settings) -> int:
    """Return the number of streams in the settings, but not more than there are threads."""
    return min(settings.streams, settings.threads or available_cores())


@dataclass(frozen=True, slots=True)
class _Running:
    """A batch that is being computed."""

    indices: list[int]
    request: ov.InferRequest
    #: Thread that started it.
    thread: int


class _Session:
    """A compiled graph and its requests. Only the process that created it can use it."""

    def __init__(self, compile_graph: Callable[[], ov.CompiledModel], n_requests: int) -> None:
        with guard.native():
            self.compiled = compile_graph()
            self._requests = [self.compiled.create_infer_request() for _ in range(n_requests)]
        self._free: queue.LifoQueue[ov.InferRequest] = queue.LifoQueue()
        for request in self._requests:
            self._free.put(request)
        self.pid = os.getpid()

    def require_same_process(self) -> None:
        """Raise UmekomiError in a process that was forked from the one that created this session."""
        if self.pid != os.getpid():
            raise UmekomiError(
                "This process was forked while texts were being embedded. Embed them again, or start processes with the "
                "method `spawn`."
            )

    def take(self) -> ov.InferRequest:
        """Wait until a request is free and return it."""
        return self._free.get()

    def take_free(self) -> ov.InferRequest | None:
        """Return a free request, or None."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            return None

    def start(self, indices: list[int], inputs: Inputs, request: ov.InferRequest) -> _Running:
        """Start to compute a batch and return at once."""
        thread = guard.enter()
        try:
            request.start_async(list(inputs))
        except BaseException:
            self._free.put(request)
            guard.leave(thread)
            raise
        return _Running(indices, request, thread)

    def finish(self, batch: _Running) -> tuple[list[int], FloatArray]:
        """Wait for a batch and return its indices and vectors."""
        self.require_same_process()
        try:
            batch.request.wait()
            vectors: FloatArray = batch.request.get_output_tensor(0).data.copy()
        finally:
            self._free.put(batch.request)
            guard.leave(batch.thread)
        return batch.indices, vectors

    def abandon(self, batch: _Running) -> None:
        """Wait for a batch and discard its vectors."""
        with suppress(Exception):  # the caller raises the error of another batch
            self.finish(batch)


class OpenVinoBackend:
    """A compiled model on the CPU. Safe to use from several threads, which share the requests.

    A forked process compiles the graph again at its first call, because threads do not survive a fork.

    Args:
        compile_graph: Compiles a graph that takes ids, lengths and starts and returns vectors.
        mode: Precision and maximum number of texts in a batch.
        settings: Threads, streams and tokens in a batch.
        after_first_batch: Called once, when the first batch is complete.
    """

    def __init__(
        self,
        compile_graph: Callable[[], ov.CompiledModel],
        mode: Mode,
        settings: Settings,
        *,
        after_first_batch: Callable[[], None] | None = None,
    ) -> None:
        # All texts are tokenized before the first batch, because tokenizing uses all cores too.
        self.max_tokens, self.max_rows, self.slice_size = settings.batch_tokens, mode.max_rows, None
        self.precision = mode.precision
        #: Width of a length bucket in tokens.
        self.bucket = BUCKET
        self._n_requests = count_streams(settings)
        self._compile = compile_graph
        self._after_first_batch = after_first_batch
        self._lock = threading.Lock()
        self._session: _Session | None = _Session(compile_graph, self._n_requests)
        guard.register(self)

    @property
    def compiled(self) -> ov.CompiledModel:
        """The compiled graph of this process."""
        return self._open().compiled

    def after_fork(self) -> None:
        """Drop the parent's session without destroying it, because its threads do not exist in this process."""
        if self._session is not None and self._session.pid != os.getpid():
            never_destroy(self._session)
            self._session = None
        self._lock = threading.Lock()

    def pad(self, lengths: IntArray) -> IntArray:
        """Return the end of the bucket of each length."""
        return padded_lengths(lengths, bucket=self.bucket)

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[list[int], FloatArray]]:
        """Yield the indices and the vectors ``(batch, dims) float32`` of each batch, in order.

        Raises:
            UmekomiError: The process was forked during the call, and this is the child process.
        """
        session = self._open()
        running: deque[_Running] = deque()
        try:
            for indices, inputs in batches:
                session.require_same_process()
                while running and guard.pausing:
                    yield self._finish(session, running.popleft())
                # Other calls may hold all requests. A call that waits for them must not hold one itself.
                while (request := session.take_free()) is None and running:
                    yield self._finish(session, running.popleft())
                    session.require_same_process()
                running.append(session.start(indices, inputs, request or session.take()))
            while running:
                yield self._finish(session, running.popleft())
        finally:
            if session.pid == os.getpid():
                for batch in running:
                    session.abandon(batch)

    def _finish(self, session: _Session, batch: _Running) -> tuple[list[int], FloatArray]:
        result = session.finish(batch)
        if self._after_first_batch is not None:
            notify, self._after_first_batch = self._after_first_batch, None
            notify()
        return result

    def _open(self) -> _Session:
        session = self._session
        if session is not None:
            return session
        with self._lock:
            if self._session is None:
                self._session = _Session(self._compile, self._n_requests)
            return self._session


_anchor: ov.CompiledModel | None = None


def _hold_scheduler() -> None:
    """Keep the scheduler of OpenVINO's threads alive until the process ends.

    Otherwise a forked child would shut it down at exit, and crash because the threads do not exist in it.
    """
    global _anchor
    if _anchor is None:
        number = op.parameter([1], ov.Type.f32)
        model = ov.Model([op.relu(number)], [number], "anchor")
        _anchor = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1"})
        never_destroy(_anchor)


guard.prepare = _hold_scheduler


def _compile(graph: ov.Model, options: Mapping[str, str]) -> ov.CompiledModel:
    return ov.Core().compile_model(graph, "CPU", dict(options))


def _candidates(settings: Settings) -> tuple[Mode, ...]:
    """Return the modes that the check may choose, fastest first."""
    fp32 = (Mode("fp32"), Mode("fp32", separate_activations=True))
    return (Mode("bf16"), *fp32) if choose_precision(settings.precision) == "bf16" else fp32


def _in_mode(graph: ov.Model, mode: Mode) -> ov.Model:
    """Return a new graph as it is compiled in a mode."""
    if mode.separate_activations:
        from .openvino_fusion import separate_activations  # imported lazily, because a prepared graph is not built

        separate_activations(graph)
    return graph


def _make_check(make_graph: Callable[[], ov.Model], settings: Settings, *, positions: int) -> Callable[[Mode], bool]:
    """Return the function that checks in a mode whether texts have the same bytes in every batch."""

    def check(mode: Mode) -> bool:
        graph = _in_mode(make_graph(), mode)
        session = _Session(partial(_compile, graph, compile_options(mode.precision, settings)), 1)
        more_ranks = [more.partial_shape.rank.get_length() for more in graph.inputs[2:]]

        def infer(ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]) -> FloatArray:
            request = session.take()
            # The starts of an encoder and the segments of a cross-encoder are all 0 here.
            more = [np.zeros_like(ids if rank == 2 else lengths) for rank in more_ranks]
            return session.finish(session.start([], (ids, lengths, *more), request))[1]

        return is_byte_stable(infer, positions=positions)

    return check


def build(checkpoint: Checkpoint | GraphFile, settings: Settings, *, steps: Sequence[Step]) -> OpenVinoBackend:
    """Load an encoder on the CPU, in a mode in which a text has the same bytes in every batch."""
    key = [step.describe() for step in steps]
    if isinstance(checkpoint, GraphFile):
        return build_from_file(checkpoint, settings, lambda: _build_file_graph(checkpoint, steps), key=key)
    return build_from(checkpoint, settings, lambda held: _build_graph(held, steps), key=key)


def _build_file_graph(file: GraphFile, steps: Sequence[Step]) -> ov.Model:
    from .openvino_file import build_file_graph  # imported lazily, because a prepared graph is not built

    return build_file_graph(file, steps=steps)


def _build_graph(checkpoint: Checkpoint, steps: Sequence[Step]) -> ov.Model:
    from .openvino_graph import build_graph  # imported lazily, because a prepared graph is not built

    return build_graph(checkpoint, steps=steps)


def build_from_file(
    file: GraphFile,
    settings: Settings,
    make_graph: Callable[[], ov.Model],
    *,
    key: Sequence[object],
    max_difference: float = MAX_DIFFERENCE,
) -> OpenVinoBackend:
    """Load a graph that contains an ONNX or OpenVINO file, in a mode in which a text has the same bytes in every batch.

    Args:
        file: The file.
        settings: Precision, threads, streams and tokens in a batch.
        make_graph: Builds the graph. Its inputs and its output are those of :func:`build_from`.
        key: What the kernels of the graph depend on besides the file, as JSON data.
        max_difference: Maximum Euclidean distance between the outputs for a text with and without padding. Where it is exceeded,
            texts are not padded.
    """
    config = file.config

    def choose() -> tuple[Mode, ov.Model]:
        mode = choose_by_check(
            settings,
            _candidates(settings),
            # The whole file, because nothing says where its layers are.
            _make_check(make_graph, settings, positions=config.positions),
            facts=file.hashes,
            key=(ov.__version__, *key),
            # A file of an unknown architecture may contain products of any size.
            is_bf16_reliable=is_reliable_on_amx(config.hidden if config.size else 0),
        )
        return mode, make_graph()

    prepared = PreparedGraph(file.files, settings, key=[asdict(config), *key])
    backend = _open(prepared, settings, choose, make_graph)
    if _measure_padding(backend) > max_difference:
        backend.bucket = 1
    return backend


def _measure_padding(backend: OpenVinoBackend) -> float:
    """Return how much padding changes the output for a text. Convolutions (ConvBERT) see padding."""
    ids = np.arange(2, 10, dtype=np.int32)[None, :]
    lengths = np.array([5], dtype=np.int32)
    batches: list[Batch] = []
    for width in (5, 8):
        inputs = (ids[:, :width], lengths, np.zeros_like(lengths), np.zeros_like(ids[:, :width]))
        batches.append(([0], inputs[: len(backend.compiled.inputs)]))
    exact, padded = (vectors for _, vectors in backend.run(batches))
    return float(np.linalg.norm(exact - padded))


def build_from(
    checkpoint: Checkpoint,
    settings: Settings,
    make_graph: Callable[[Checkpoint], ov.Model],
    *,
    key: Sequence[object],
) -> OpenVinoBackend:
    """Load the graph of a model on the CPU, in a mode in which a text has the same bytes in every batch.

    Args:
        checkpoint: Weights and configuration.
        settings: Precision, threads, streams and tokens in a batch.
        make_graph: Builds the graph of a checkpoint. Its inputs are :data:`~.base.Inputs`; its output is ``(batch, dims)
            float32``.
        key: What the kernels of the graph depend on besides the checkpoint, as JSON data.
    """

    def choose() -> tuple[Mode, ov.Model]:
        # Read once for the check and the graph. The backend must not keep the weights in memory beside the compiled model.
        transformer = checkpoint.read()
        held = replace(checkpoint, read=lambda: transformer)
        check = _make_check(lambda: make_graph(build_probe(held)), settings, positions=held.config.positions)
        return choose_mode(held, settings, _candidates(settings), check, key=(ov.__version__, *key)), make_graph(held)

    prepared = PreparedGraph(checkpoint.files, settings, key=[asdict(checkpoint.config), checkpoint.variant, *key])
    return _open(prepared, settings, choose, lambda: make_graph(checkpoint))


def _open(
    prepared: PreparedGraph,
    settings: Settings,
    choose: Callable[[], tuple[Mode, ov.Model]],
    make_graph: Callable[[], ov.Model],
) -> OpenVinoBackend:
    """Return a backend with the prepared graph, or compile the graph and prepare it for later processes.

    Args:
        prepared: The graph in the cache folder.
        settings: Precision, threads, streams and tokens in a batch.
        choose: Chooses the mode and builds the graph.
        make_graph: Builds the graph again, in forked processes.
    """
    mode = prepared.find_mode()
    if mode is not None:
        options = compile_options(mode.precision, settings)
        # A forked process imports the file again, or compiles the graph if the file is gone.
        return OpenVinoBackend(
            lambda: prepared.load(options) or _compile(_in_mode(make_graph(), mode), options),
            mode,
            settings,
            after_first_batch=prepared.release_pages,
        )
    new_mode, graph = choose()
    new_options, graphs = compile_options(new_mode.precision, settings), [graph]
    del graph
    backend = OpenVinoBackend(
        lambda: _compile(_in_mode(graphs.pop() if graphs else make_graph(), new_mode), new_options), new_mode, settings
    )
    prepared.store_in_background(backend.compiled, new_mode)
    return backend
