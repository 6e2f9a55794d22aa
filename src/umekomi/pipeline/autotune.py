"""Measures how this machine encodes fastest: threads, streams, precision and tokens a batch.

One thing is varied at a time, each from the best so far; the candidates of a step take turns, and the best turn of each counts,
since other work on the machine only ever makes one slower. Whatever is chosen, the vectors are of the same space: fp32 and bf16
are one precision class, so that a store that was filled before stays searchable. A precision whose vectors are further than a
cosine of 0.999 from the usual ones is left out all the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..embedder import Embedder
from ..errors import InputError, UmekomiError
from ..machine import Tuning, available_cores
from ..settings import Settings

LEAST_COSINE = 0.999
GAIN = 1.05
"""How much faster than the best so far another must be to be chosen: less is within what a shared machine does to a figure."""

_WORDS = "a the coffee tea dog food taste price order box fresh sweet very not good best never again water time store"


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to compute: texts a second of many mixed ones, and seconds of one short text alone.

    ``cosine`` is the least to the vectors of the usual way.
    """

    tuning: Tuning
    texts_per_second: float
    lone_seconds: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found: the fastest, the usual way, and all that was measured, in the order of measuring.

    ``complete`` is false where the time was over before every candidate had been measured.
    """

    best: Measured
    usual: Measured
    measured: tuple[Measured, ...]
    seconds: float
    complete: bool


def tune(
    model: str,
    settings: Settings,
    *,
    seconds: float = 50.0,
    cores: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Measure a model in several ways and say which is fastest, in about ``seconds`` seconds at most.

    Args:
        model: the model to measure with.
        settings: where its files are; what they say of threads, streams, precision and tokens a batch is not used.
        seconds: after this time no further candidate is begun.
        cores: how many to use; by default all that this process may.
        report: told, in one line, of each candidate.

    Raises:
        InputError: the settings name a GPU, where there is nothing to choose.
        UmekomiError: a way of computing changed the fingerprint; please report it.
    """
    if settings.device != "cpu":
        raise InputError(
            f"There is nothing to tune on {settings.device}: threads and streams are of the CPU, and a GPU's batches have "
            "sizes of their own. Unset UMEKOMI_DEVICE to tune the CPU."
        )
    began = time.monotonic()
    texts = mixed_texts()
    n_cores = cores or available_cores()
    usual = _Candidate(Tuning(), model, settings, texts)
    usual.take_turns(2)
    best = usual
    tried = [usual]
    complete = True
    for step in _steps(n_cores, usual.precision):
        rivals = [best]
        for tuning in step(best.tuning):
            if any(other.tuning == tuning for other in tried):
                continue
            if time.monotonic() - began > seconds:
                complete = False
                break
            report(f"measuring {describe(tuning)}")
            candidate = _Candidate(tuning, model, settings, texts, reference=usual.vectors)
            if candidate.fingerprint != usual.fingerprint:
                raise UmekomiError(f"{describe(tuning)} gives vectors of another space; please report it.")
            tried.append(candidate)
            rivals.append(candidate)
        for _ in range(2):
            for rival in rivals:
                if time.monotonic() - began < seconds or rival.seconds == float("inf"):
                    rival.take_turns(1)
        good = [rival for rival in rivals if rival.cosine >= LEAST_COSINE]
        fastest = min(good, key=lambda rival: rival.seconds)
        previous = best
        best = fastest if fastest.seconds * GAIN < best.seconds else best
        for other in (*rivals, previous):
            if other is not best:
                other.release()
    measured = tuple(candidate.result() for candidate in tried)
    return Outcome(best.result(), usual.result(), measured, time.monotonic() - began, complete)


def describe(tuning: Tuning) -> str:
    """A tuning in words.

    >>> describe(Tuning(threads=2, streams=2))
    '2 threads, 2 streams, auto, 2,048 tokens a batch'
    """
    threads = "all threads" if not tuning.threads else f"{tuning.threads} thread{'s' * (tuning.threads > 1)}"
    streams = f"{tuning.streams} stream{'s' * (tuning.streams > 1)}"
    return f"{threads}, {streams}, {tuning.precision}, {tuning.batch_tokens:,} tokens a batch"


def mixed_texts(count: int = 48) -> list[str]:
    """Texts as they come: many short, some long; the same at every call."""
    choose = random.Random(11)  # noqa: S311 - for lengths, not for secrets
    words = _WORDS.split()
    lengths = [min(400, max(3, round(choose.lognormvariate(4.0, 0.8)))) for _ in range(count)]
    return [" ".join(choose.choices(words, k=length)) for length in lengths]


def _steps(cores: int, precision: str) -> Iterator[Callable[[Tuning], list[Tuning]]]:
    if precision == "bf16":
        # Without bf16 in the processor there is nothing to choose: OpenVINO then computes in fp32 whatever is asked.
        yield lambda best: [replace(best, precision="fp32")]
    yield lambda best: [replace(best, streams=streams) for streams in _powers(cores)]
    if cores > 2:
        # Two hardware threads of one core share its arithmetic.
        yield lambda best: [replace(best, threads=cores // 2, streams=min(best.streams, cores // 2))]
    # Last, because it moves least.
    yield lambda best: [replace(best, batch_tokens=tokens) for tokens in (1024, 4096, 8192)]


def _powers(cores: int) -> list[int]:
    return sorted({2**power for power in range(1, 6) if 2**power <= cores} | ({cores} if 1 < cores <= 32 else set()))


class _Candidate:
    """One way to compute, loaded and warm; it forgets the model when it is out of the race."""

    def __init__(
        self,
        tuning: Tuning,
        model: str,
        settings: Settings,
        texts: Sequence[str],
        *,
        reference: np.ndarray[tuple[int, int], np.dtype[np.float32]] | None = None,
    ) -> None:
        how = replace(
            settings,
            threads=tuning.threads,
            streams=tuning.streams,
            precision=tuning.precision,
            batch_tokens=tuning.batch_tokens,
        )
        self.tuning = tuning
        embedder = Embedder(model, settings=how)
        self.fingerprint = embedder.fingerprint
        self.precision = embedder.precision
        self._embedder: Embedder | None = embedder
        self._texts = texts
        self.vectors = embedder.embed_texts(texts)
        self.cosine = 1.0 if reference is None else float((self.vectors * reference).sum(axis=1).min())
        self.seconds = float("inf")
        self._lone = float("inf")

    def take_turns(self, count: int) -> None:
        for _ in range(count if self._embedder else 0):
            self.seconds = min(self.seconds, self._timed(self._texts))
            self._lone = min(self._lone, *(self._timed(["good coffee"]) for _ in range(5)))

    def _timed(self, texts: Sequence[str]) -> float:
        assert self._embedder is not None  # noqa: S101 - those who are out of the race take no turns
        began = time.perf_counter()
        self._embedder.embed_texts(texts)
        return time.perf_counter() - began

    def release(self) -> None:
        self._embedder = None

    def result(self) -> Measured:
        return Measured(self.tuning, len(self._texts) / self.seconds, self._lone, self.cosine)
