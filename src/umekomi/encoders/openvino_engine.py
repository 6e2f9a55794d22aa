"""The CPU: a graph compiled by OpenVINO, and the requests that run on it.

With one stream every request computes on all threads, one after another; with several, each stream has its share of the
threads and the batches of one call run side by side.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from ..errors import InputError
from ..machine import affinity_cores, available_cores
from ..settings import Settings
from ..vectors import FloatArray
from .batching import IntArray, padded_lengths
from .checkpoint import Checkpoint
from .engine import Inputs
from .graph import build_graph
from .head import Dense
from .runtime import ov


def choose_precision(wanted: str) -> str:
    """``bf16`` or ``fp32``: what is wanted, or, for ``auto``, bf16 where the CPU computes in it.

    Raises:
        InputError: fp16 is wanted, in which OpenVINO does not compute on a CPU.
    """
    if wanted == "fp16":
        raise InputError("UMEKOMI_PRECISION=fp16 is for a GPU; on the CPU set it to auto, bf16 or fp32.")
    if wanted != "auto":
        return wanted
    return "bf16" if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "fp32"


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


class OpenVinoEngine:
    """A graph on the CPU. It may be used from several threads: the batches of each take turns for the requests.

    Args:
        graph: takes ids and lengths, gives vectors.
        settings: precision, threads, streams and tokens a batch.
    """

    def __init__(self, graph: ov.Model, settings: Settings) -> None:
        # Any number of texts; all are tokenised first, since no core would be idle meanwhile.
        self.budget, self.rows, self.slice = settings.batch_tokens, None, None
        self.precision = choose_precision(settings.precision)
        compiled = ov.Core().compile_model(graph, "CPU", compile_options(self.precision, settings))
        self._free: queue.LifoQueue[ov.InferRequest] = queue.LifoQueue()
        for _ in range(count_streams(settings)):
            self._free.put(compiled.create_infer_request())

    def pad(self, lengths: IntArray) -> IntArray:
        """The ends of the length buckets."""
        return padded_lengths(lengths)

    def run(self, batches: Iterable[tuple[list[int], Inputs]]) -> Iterator[tuple[list[int], FloatArray]]:
        """The vectors of each batch, ``(batch, dims) float32``, beside the places it came with; in the order given."""
        running: deque[tuple[list[int], ov.InferRequest]] = deque()
        try:
            for places, inputs in batches:
                while (request := self._take(wait=not running)) is None:
                    # Another's batches hold the rest. Waiting for one while we hold one ourselves could last for ever.
                    yield self._finish(*running.popleft())
                request.start_async(list(inputs))
                running.append((places, request))
            while running:
                yield self._finish(*running.popleft())
        finally:
            for _, request in running:
                request.wait()
                self._free.put(request)

    def _take(self, *, wait: bool) -> ov.InferRequest | None:
        try:
            return self._free.get(block=wait)
        except queue.Empty:
            return None

    def _finish(self, places: list[int], request: ov.InferRequest) -> tuple[list[int], FloatArray]:
        try:
            request.wait()
            result: FloatArray = request.get_output_tensor(0).data.copy()
        finally:
            self._free.put(request)
        return places, result


def build(checkpoint: Checkpoint, settings: Settings, *, pooling: str, dense: Sequence[Dense]) -> OpenVinoEngine:
    """The model on the CPU."""
    return OpenVinoEngine(build_graph(checkpoint, pooling=pooling, dense=dense), settings)
