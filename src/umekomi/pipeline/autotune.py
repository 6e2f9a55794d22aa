"""Measures which configuration encodes fastest on this machine: threads, streams, precision and tokens per batch.

Each step varies one setting of the fastest configuration so far. The candidates of a step are measured in turns, and the fastest
turn of each counts, because other processes on the machine only make a turn slower. Every configuration computes vectors of the
same space: fp32 and bf16 belong to one precision class, so existing stores stay searchable. A precision with vectors whose cosine
to those of the default configuration is below 0.999 is rejected all the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..embedder import Embedder
from ..errors import InputError, UmekomiError
from ..machine import Tuning, available_cores
from ..settings import Settings
from ..vectors.arithmetic import FloatArray

MIN_COSINE = 0.999
MIN_SPEEDUP = 1.05
"""Minimum speedup over the fastest configuration so far. Smaller differences are noise on a shared machine."""

_WORDS = "a the coffee tea dog food taste price order box fresh sweet very not good best never again water time store"


@dataclass(frozen=True, slots=True)
class TuningMeasurement:
    """Speed of one configuration."""

    tuning: Tuning
    #: Texts per second for many texts of mixed lengths.
    texts_per_second: float
    #: Seconds for one short text.
    single_text_seconds: float
    #: Minimum cosine of a vector to that of the default configuration.
    cosine: float


@dataclass(frozen=True, slots=True)
class TuningOutcome:
    """Result of :func:`tune`."""

    #: The fastest configuration.
    best: TuningMeasurement
    #: The default configuration.
    default: TuningMeasurement
    #: All measured configurations, in the order of measuring.
    measured: tuple[TuningMeasurement, ...]
    #: Duration of the measurements.
    seconds: float
    #: False if the time budget ran out before all candidates were measured.
    complete: bool


def tune(
    model: str,
    settings: Settings,
    *,
    seconds: float = 50.0,
    cores: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> TuningOutcome:
    """Measure a model in several configurations, and return the fastest.

    Args:
        model: Name of the model.
        settings: Settings for loading the model. Their threads, streams, precision and tokens per batch are ignored.
        seconds: Time budget. No candidate is started after it.
        cores: Number of CPU cores to use; by default all cores that this process may use.
        report: Callback that receives one line for each candidate.

    Raises:
        InputError: The settings select a GPU, for which there is nothing to tune.
        UmekomiError: A configuration changed the fingerprint, which is a bug.
    """
    if settings.device != "cpu":
        raise InputError(
            f"There is nothing to tune on {settings.device}: threads and streams apply to CPUs, and the batch sizes of a GPU "
            "are fixed. Unset UMEKOMI_DEVICE to tune the CPU."
        )
    start = time.monotonic()
    texts = mixed_texts()
    n_cores = cores or available_cores()
    default = _Candidate(Tuning(), model, settings, texts)
    default.measure(2)
    best = default
    measured = [default]
    complete = True
    for step in _steps(n_cores, default.precision):
        candidates = [best]
        for tuning in step(best.tuning):
            if any(other.tuning == tuning for other in measured):
                continue
            if time.monotonic() - start > seconds:
                complete = False
                break
            report(f"measuring {describe(tuning)}")
            candidate = _Candidate(tuning, model, settings, texts, reference=default.vectors)
            if candidate.fingerprint != default.fingerprint:
                raise UmekomiError(f"{describe(tuning)} computes vectors of another space; please report it.")
            measured.append(candidate)
            candidates.append(candidate)
        for _ in range(2):
            for candidate in candidates:
                if time.monotonic() - start < seconds or candidate.seconds == float("inf"):
                    candidate.measure(1)
        accurate = [candidate for candidate in candidates if candidate.cosine >= MIN_COSINE]
        fastest = min(accurate, key=lambda candidate: candidate.seconds)
        best = fastest if fastest.seconds * MIN_SPEEDUP < best.seconds else best
        for candidate in candidates:
            if candidate is not best:
                candidate.release()
    results = tuple(candidate.result() for candidate in measured)
    return TuningOutcome(best.result(), default.result(), results, time.monotonic() - start, complete)


def describe(tuning: Tuning) -> str:
    """Describe a tuning for the user.

    >>> describe(Tuning(threads=2, streams=2))
    '2 threads, 2 streams, auto, 2,048 tokens per batch'
    """
    threads = "all threads" if not tuning.threads else f"{tuning.threads} thread{'s' * (tuning.threads > 1)}"
    streams = f"{tuning.streams} stream{'s' * (tuning.streams > 1)}"
    return f"{threads}, {streams}, {tuning.precision}, {tuning.batch_tokens:,} tokens per batch"


def mixed_texts(count: int = 48) -> list[str]:
    """Return texts of realistic lengths, many short and some long. They are the same in every call."""
    rng = random.Random(11)  # noqa: S311 - not for cryptography
    words = _WORDS.split()
    lengths = [min(400, max(3, round(rng.lognormvariate(4.0, 0.8)))) for _ in range(count)]
    return [" ".join(rng.choices(words, k=length)) for length in lengths]


def _steps(cores: int, precision: str) -> Iterator[Callable[[Tuning], list[Tuning]]]:
    """Yield functions that return variants of the best tuning so far."""
    if precision == "bf16":
        # On processors without bf16, OpenVINO computes in fp32 whatever is requested, so there is nothing to vary.
        yield lambda best: [replace(best, precision="fp32")]
    yield lambda best: [replace(best, streams=streams) for streams in _powers(cores)]
    if cores > 2:
        # Two hardware threads of one core share its arithmetic units.
        yield lambda best: [replace(best, threads=cores // 2, streams=min(best.streams, cores // 2))]
    # Last, because it has the smallest effect.
    yield lambda best: [replace(best, batch_tokens=tokens) for tokens in (1024, 4096, 8192)]


def _powers(cores: int) -> list[int]:
    return sorted({2**power for power in range(1, 6) if 2**power <= cores} | ({cores} if 1 < cores <= 32 else set()))


class _Candidate:
    """A loaded and warmed-up model in one configuration."""

    def __init__(
        self,
        tuning: Tuning,
        model: str,
        settings: Settings,
        texts: Sequence[str],
        *,
        reference: FloatArray | None = None,
    ) -> None:
        tuned = replace(
            settings,
            threads=tuning.threads,
            streams=tuning.streams,
            precision=tuning.precision,
            batch_tokens=tuning.batch_tokens,
        )
        self.tuning = tuning
        embedder = Embedder(model, settings=tuned)
        self.fingerprint = embedder.fingerprint
        self.precision = embedder.precision
        self._embedder: Embedder | None = embedder
        self._texts = texts
        self.vectors = embedder.embed_texts(texts)
        self.cosine = 1.0 if reference is None else float((self.vectors * reference).sum(axis=1).min())
        self.seconds = float("inf")
        self._single_text_seconds = float("inf")

    def measure(self, count: int) -> None:
        for _ in range(count if self._embedder else 0):
            self.seconds = min(self.seconds, self._time(self._texts))
            times = [self._time(["good coffee"]) for _ in range(5)]
            self._single_text_seconds = min(self._single_text_seconds, *times)

    def _time(self, texts: Sequence[str]) -> float:
        assert self._embedder is not None  # noqa: S101 - released candidates are not measured
        start = time.perf_counter()
        self._embedder.embed_texts(texts)
        return time.perf_counter() - start

    def release(self) -> None:
        """Free the memory of the model."""
        self._embedder = None

    def result(self) -> TuningMeasurement:
        return TuningMeasurement(self.tuning, len(self._texts) / self.seconds, self._single_text_seconds, self.cosine)
