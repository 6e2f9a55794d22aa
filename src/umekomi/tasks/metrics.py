"""How good a ranking or a set of similarities is, as trec_eval and the STS benchmark count it. Numbers only; no model.

A *run* is what a system answered, ``{query id: {document id: score}}``; *judgements* are what people said,
``{query id: {document id: relevance}}``. Both have the shape that trec_eval and pytrec_eval use.

>>> ndcg({"q": {"a": 2, "b": 1}}, {"q": {"b": 0.9, "a": 0.8}})
{'q': 0.8597186998521972}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Judgements = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]
Numbers = npt.NDArray[np.float64]

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, by the bootstrap over the things that were measured (queries, pairs, rows)."""

    value: float
    low: float
    high: float


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first; of equal scores the greater id comes first, as in trec_eval."""
    by_id = sorted(scores, reverse=True)
    return sorted(by_id, key=lambda document: -scores[document])


def ndcg(judgements: Judgements, run: Run, k: int = 10) -> dict[str, float]:
    """nDCG@k of every judged query: the gain is the relevance, the discount ``log2(rank + 1)`` (trec_eval's ndcg_cut).

    A query that the run does not answer, or that has no relevant document, counts 0; a query without judgements is left out.
    """
    found = {}
    for query, known in judgements.items():
        ideal = sorted((relevance for relevance in known.values() if relevance > 0), reverse=True)[:k]
        gains = [max(0, known.get(document, 0)) for document in ranked(run.get(query, {}))[:k]]
        best = _discounted(ideal)
        found[query] = _discounted(gains) / best if best else 0.0
    return found


def _discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def recall(judgements: Judgements, run: Run, k: int = 100) -> dict[str, float]:
    """The share of the relevant documents (relevance of at least 1) among the first k, for every judged query."""
    found = {}
    for query, known in judgements.items():
        relevant = {document for document, relevance in known.items() if relevance > 0}
        hits = relevant.intersection(ranked(run.get(query, {}))[:k])
        found[query] = len(hits) / len(relevant) if relevant else 0.0
    return found


def reciprocal_rank(judgements: Judgements, run: Run, k: int | None = None) -> dict[str, float]:
    """One over the rank of the first relevant document among the first k (all, by default), or 0."""
    found = {}
    for query, known in judgements.items():
        places = (
            rank for rank, document in enumerate(ranked(run.get(query, {}))[:k], start=1) if known.get(document, 0) > 0
        )
        found[query] = 1.0 / next(places, math.inf)
    return found


def ranks(values: npt.ArrayLike) -> Numbers:
    """Ranks from 1; equal values share the mean of theirs. ``(n,) -> (n,) float64``."""
    _, places, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Numbers = (last - (counts - 1) / 2.0)[places]
    return middle


def pearson(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Pearson's correlation; not a number where one side is constant."""
    x, y = (np.asarray(side, dtype=np.float64) - np.mean(np.asarray(side, dtype=np.float64)) for side in (left, right))
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale else math.nan


def spearman(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Spearman's correlation: Pearson's of the ranks, equal values sharing theirs."""
    return pearson(ranks(left), ranks(right))


def bootstrap(
    measure: Callable[[npt.NDArray[np.int64]], float], n: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """A figure over ``n`` things with its 95 % percentile interval (Efron 1979, doi:10.1214/aos/1176344552).

    Args:
        measure: gives the figure of the things at some places, ``(n,) int64``, which may hold a place more than once.
        n: how many things there are.
        seed: of the resampling, so that the same call gives the same interval.
        resamples: how often ``n`` things are drawn with replacement.
    """
    if n < 1:
        raise InputError("There is nothing to measure.")
    random = np.random.default_rng(seed)
    drawn = [measure(random.integers(0, n, n)) for _ in range(resamples)]
    finite = [value for value in drawn if math.isfinite(value)]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite else (math.nan, math.nan)
    return Estimate(float(measure(np.arange(n))), float(low), float(high))


def mean(values: npt.ArrayLike, *, seed: int = 0) -> Estimate:
    """The mean of one figure a thing, with its interval."""
    cells = np.asarray(values, dtype=np.float64)
    return bootstrap(lambda places: float(cells[places].mean()), len(cells), seed=seed)
