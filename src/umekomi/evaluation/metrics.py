"""Metrics of rankings and similarities, as in trec_eval and the STS benchmark, and confidence intervals.

A *run* is the output of a system, ``{query id: {document id: score}}``. *Judgments* are human relevance ratings,
``{query id: {document id: relevance}}``. trec_eval and pytrec_eval use the same structures.

>>> ndcg({"q": {"a": 2, "b": 1}}, {"q": {"b": 0.9, "a": 0.8}})
{'q': 0.8597186998521972}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..extras import needed_for
from ..vectors.arithmetic import DoubleArray, IntArray

Judgments = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its confidence interval (95 % unless a function says otherwise).

    Shares have Clopper-Pearson intervals (:func:`share`), everything else bootstrap intervals (:func:`bootstrap`).
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """Format the value and the interval.

        >>> f"{Estimate(0.41, 0.38, 0.45):.2f}"
        '0.41 [0.38, 0.45]'
        """
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Return document ids in descending order of scores. As in trec_eval, the greater id comes first among equal scores."""
    by_id = sorted(scores, reverse=True)
    return sorted(by_id, key=lambda document: -scores[document])


def ndcg(judgments: Judgments, run: Run, k: int = 10) -> dict[str, float]:
    """Return the nDCG@k of every judged query (trec_eval's ndcg_cut): gain is relevance, discount is ``log2(rank + 1)``.

    Queries without results or without relevant documents get 0. Queries without judgments are omitted.
    """
    values = {}
    for query, judged in judgments.items():
        ideal = sorted((relevance for relevance in judged.values() if relevance > 0), reverse=True)[:k]
        gains = [max(0, judged.get(document, 0)) for document in ranked(run.get(query, {}))[:k]]
        best = _discounted(ideal)
        values[query] = _discounted(gains) / best if best else 0.0
    return values


def _discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def recall(judgments: Judgments, run: Run, k: int = 100) -> dict[str, float]:
    """Return the share of relevant documents (relevance ≥ 1) among the first k results of every judged query."""
    values = {}
    for query, judged in judgments.items():
        relevant = {document for document, relevance in judged.items() if relevance > 0}
        hits = relevant.intersection(ranked(run.get(query, {}))[:k])
        values[query] = len(hits) / len(relevant) if relevant else 0.0
    return values


def average_precision(judgments: Judgments, run: Run, k: int | None = None) -> dict[str, float]:
    """Return the average precision of every judged query: trec_eval's ``map``, or its ``map_cut`` with ``k``.

    It is the mean of the precision at the rank of each relevant document (relevance ≥ 1). Relevant documents outside of the
    results count as 0.
    """
    values = {}
    for query, judged in judgments.items():
        n_relevant = sum(relevance > 0 for relevance in judged.values())
        hits, total = 0, 0.0
        for rank, document in enumerate(ranked(run.get(query, {}))[:k], start=1):
            if judged.get(document, 0) > 0:
                hits += 1
                total += hits / rank
        values[query] = total / n_relevant if n_relevant else 0.0
    return values


def reciprocal_rank(judgments: Judgments, run: Run, k: int | None = None) -> dict[str, float]:
    """Return 1 / rank of the first relevant document among the first k results (by default all), or 0, for every judged query."""
    values = {}
    for query, judged in judgments.items():
        results = enumerate(ranked(run.get(query, {}))[:k], start=1)
        values[query] = 1.0 / next((rank for rank, document in results if judged.get(document, 0) > 0), math.inf)
    return values


def ranks(values: npt.ArrayLike) -> DoubleArray:
    """Return the ranks of values, from 1; ties get the mean of their ranks. ``(n,) -> (n,) float64``."""
    _, indices, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: DoubleArray = (last - (counts - 1) / 2.0)[indices]
    return middle


def pearson(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Return Pearson's correlation, or NaN if one side is constant."""
    x, y = (np.asarray(side, dtype=np.float64) - np.mean(np.asarray(side, dtype=np.float64)) for side in (left, right))
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale else math.nan


def spearman(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Return Spearman's correlation: Pearson's correlation of the ranks."""
    return pearson(ranks(left), ranks(right))


def bootstrap(
    statistic: Callable[[IntArray], float],
    n: int,
    *,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """Return a statistic of ``n`` rows with its expanded percentile interval (Efron 1979, doi:10.1214/aos/1176344552).

    The percentile interval is too narrow for few rows. The expanded interval (Hesterberg 2015,
    doi:10.1080/00031305.2015.1089789) uses more extreme percentiles, so that the interval of a mean is as wide as Student's.

    Args:
        statistic: Function of row indices, ``(m,) int64``, which can contain an index more than once.
        n: Number of rows.
        groups: ``(n,)``, the independent unit (a user, a text) of each row. Whole units are resampled, because rows of the same
            unit are not independent. By default every row is a unit.
        seed: Seed of the resampling.
        resamples: Number of times that the units are drawn with replacement.
        level: Confidence level.

    Raises:
        InputError: ``n`` is 0, or the number of groups is not ``n``.
    """
    if n < 1:
        raise InputError("There are no rows to measure.")
    members = _members(groups, n)
    units = n if members is None else len(members)
    random = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        sample = random.integers(0, units, units)
        values.append(statistic(sample if members is None else np.concatenate([members[unit] for unit in sample])))
    finite = [value for value in values if math.isfinite(value)]
    tail = _expanded_tail((1 - level) / 2, units)
    low, high = np.quantile(finite, [tail, 1 - tail]) if finite and units > 1 else (math.nan, math.nan)
    return Estimate(float(statistic(np.arange(n))), float(low), float(high))


def _members(groups: npt.ArrayLike | None, n: int) -> list[IntArray] | None:
    """Return the row indices of each group, or None if every row is a group."""
    if groups is None:
        return None
    _, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(inverse) != n:
        raise InputError(f"There are {n:,} rows but {len(inverse):,} groups. Pass one group for each row.")
    if len(counts) == n:
        return None
    return np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])


def _expanded_tail(tail: float, n: int) -> float:
    """Return the tail probability at which the percentile interval of a mean of ``n`` values is as wide as Student's."""
    if n < 3:
        return 0.0
    z, v = NormalDist().inv_cdf(1 - tail), n - 1
    # Cornish-Fisher expansion of Student's quantile, accurate to 1 % for 4 or more degrees of freedom.
    t = (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * t)


def mean(values: npt.ArrayLike, *, seed: int = 0, groups: npt.ArrayLike | None = None) -> Estimate:
    """Return the mean with its bootstrap interval. For values that are 0 or 1, use :func:`share`."""
    array = np.asarray(values, dtype=np.float64)
    return bootstrap(lambda rows: float(array[rows].mean()), len(array), seed=seed, groups=groups)


def share(hits: npt.ArrayLike, *, groups: npt.ArrayLike | None = None, level: float = LEVEL) -> Estimate:
    """Return the share of hits with its exact interval (Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404).

    The interval has at least the nominal coverage for any number of rows and any share: 0 of 9 gives [0, 0.336], where the
    bootstrap gives [0, 0]. Needs ``umekomi[tasks]``.

    Args:
        hits: ``(n,)``, 0 or 1 (or False or True) for each row.
        groups: ``(n,)``, the independent unit of each row. The rows of a unit count as copies of each other: the interval is that
            of Kish's effective sample size, ``(Σm)² / Σm²`` for groups of sizes m, as in Korn & Graubard 1998 for clustered
            samples.
        level: Confidence level.

    Raises:
        InputError: There are no rows, or the number of groups is not ``n``.
        MissingExtraError: scipy is not installed.
    """
    array = np.asarray(hits, dtype=np.float64)
    if not len(array):
        raise InputError("There are no rows to measure.")
    with needed_for("The interval of a share"):
        # Imported lazily, so that metrics without intervals work without scipy.
        from scipy.special import betaincinv
    n = _effective_rows(groups, len(array))
    value = float(array.mean())
    k, tail = value * n, (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Estimate(value, low, high)


def paired_difference(
    statistic: Callable[[int, IntArray], float],
    n: int,
    *,
    comparisons: int = 1,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Estimate:
    """Return the difference of a statistic between two systems on the same rows, with its paired bootstrap interval.

    Args:
        statistic: Function of a system, 0 (the first) or 1 (the other), and row indices.
        n: Number of rows.
        comparisons: Number of systems that are compared with the first. The level is adjusted by Bonferroni's method, so that all
            of their intervals hold simultaneously with 95 % confidence.
        groups: As for :func:`bootstrap`.
        seed: Seed of the resampling.
    """
    # More extreme percentiles need more resamples.
    return bootstrap(
        lambda rows: statistic(1, rows) - statistic(0, rows),
        n,
        groups=groups,
        seed=seed,
        resamples=min(RESAMPLES * max(comparisons, 1), 10 * RESAMPLES),
        level=1 - (1 - LEVEL) / max(comparisons, 1),
    )


def paired_share_difference(
    first: npt.ArrayLike, other: npt.ArrayLike, *, comparisons: int = 1, groups: npt.ArrayLike | None = None
) -> Estimate:
    """Return the share of hits of ``other`` minus that of ``first`` on the same rows, with its interval.

    The interval is that of Agresti & Min 2005 (doi:10.1002/sim.1781), which also holds for few rows: it adds half a row to each
    cell of the table of hits and misses.

    Args:
        first: ``(n,)``, 0 or 1 for each row.
        other: The same for the other system.
        comparisons: As for :func:`paired_difference`.
        groups: As for :func:`share`.
    """
    gains = np.asarray(other, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if not len(gains):
        raise InputError("There are no rows to measure.")
    value = float(gains.mean())
    n = _effective_rows(groups, len(gains))
    up, down = float((gains > 0).mean()) * n + 0.5, float((gains < 0).mean()) * n + 0.5
    middle = (up - down) / (n + 2)
    z = NormalDist().inv_cdf(1 - (1 - LEVEL) / max(comparisons, 1) / 2)
    half = z * math.sqrt(max(up + down - (up - down) ** 2 / (n + 2), 0.0)) / (n + 2)
    return Estimate(value, max(-1.0, min(value, middle - half)), min(1.0, max(value, middle + half)))


def _effective_rows(groups: npt.ArrayLike | None, n: int) -> float:
    """Return Kish's effective sample size if all rows of a group are equal."""
    members = _members(groups, n)
    if members is None:
        return float(n)
    sizes = np.array([len(rows) for rows in members], dtype=np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())
