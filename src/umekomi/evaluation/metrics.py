"""How good a ranking or a set of similarities is, as trec_eval and the STS benchmark count it. Numbers only; no model.

A *run* is what a system answered, ``{query id: {document id: score}}``; *judgments* are what people said,
``{query id: {document id: relevance}}``. Both have the shape that trec_eval and pytrec_eval use.

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
    """A figure with its confidence interval (95 % unless a function says otherwise).

    Shares have Clopper-Pearson intervals (:func:`share`), everything else bootstrap intervals (:func:`bootstrap`).
    """

    value: float
    low: float
    high: float


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first; of equal scores the greater id comes first, as in trec_eval."""
    by_id = sorted(scores, reverse=True)
    return sorted(by_id, key=lambda document: -scores[document])


def ndcg(judgments: Judgments, run: Run, k: int = 10) -> dict[str, float]:
    """nDCG@k of every judged query: the gain is the relevance, the discount ``log2(rank + 1)`` (trec_eval's ndcg_cut).

    A query that the run does not answer, or that has no relevant document, counts 0; a query without judgments is left out.
    """
    found = {}
    for query, known in judgments.items():
        ideal = sorted((relevance for relevance in known.values() if relevance > 0), reverse=True)[:k]
        gains = [max(0, known.get(document, 0)) for document in ranked(run.get(query, {}))[:k]]
        best = _discounted(ideal)
        found[query] = _discounted(gains) / best if best else 0.0
    return found


def _discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def recall(judgments: Judgments, run: Run, k: int = 100) -> dict[str, float]:
    """The share of the relevant documents (relevance of at least 1) among the first k, for every judged query."""
    found = {}
    for query, known in judgments.items():
        relevant = {document for document, relevance in known.items() if relevance > 0}
        hits = relevant.intersection(ranked(run.get(query, {}))[:k])
        found[query] = len(hits) / len(relevant) if relevant else 0.0
    return found


def average_precision(judgments: Judgments, run: Run, k: int | None = None) -> dict[str, float]:
    """The average precision of every judged query: trec_eval's ``map``, or its ``map_cut`` with ``k``.

    The mean, over all relevant documents (relevance of at least 1), of the precision at the rank of each; a relevant document
    that was not found counts 0.
    """
    found = {}
    for query, known in judgments.items():
        n_relevant = sum(relevance > 0 for relevance in known.values())
        hits, total = 0, 0.0
        for rank, document in enumerate(ranked(run.get(query, {}))[:k], start=1):
            if known.get(document, 0) > 0:
                hits += 1
                total += hits / rank
        found[query] = total / n_relevant if n_relevant else 0.0
    return found


def reciprocal_rank(judgments: Judgments, run: Run, k: int | None = None) -> dict[str, float]:
    """One over the rank of the first relevant document among the first k (all, by default), or 0."""
    found = {}
    for query, known in judgments.items():
        places = (
            rank for rank, document in enumerate(ranked(run.get(query, {}))[:k], start=1) if known.get(document, 0) > 0
        )
        found[query] = 1.0 / next(places, math.inf)
    return found


def ranks(values: npt.ArrayLike) -> DoubleArray:
    """Ranks from 1; equal values share the mean of theirs. ``(n,) -> (n,) float64``."""
    _, places, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: DoubleArray = (last - (counts - 1) / 2.0)[places]
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
    measure: Callable[[IntArray], float],
    n: int,
    *,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """A figure over ``n`` rows with its expanded percentile interval (Efron 1979, doi:10.1214/aos/1176344552).

    The percentile interval is too narrow for few rows. The expanded one (Hesterberg 2015, doi:10.1080/00031305.2015.1089789)
    takes percentiles further out, so that the interval of a mean is as wide as Student's.

    Args:
        measure: gives the figure of the rows at some positions, ``(m,) int64``, which may contain a position more than once.
        n: how many rows there are.
        groups: ``(n,)``, the independent unit that each row belongs to (a user, a text). Whole units are drawn, because rows of
            one unit say almost the same and are no independent evidence. By default every row is a unit.
        seed: of the resampling, so that the same call gives the same interval.
        resamples: how often the units are drawn with replacement.
        level: the confidence level.

    Raises:
        InputError: ``n`` is 0, or there is not one group for each row.
    """
    if n < 1:
        raise InputError("There is nothing to measure.")
    members = _members(groups, n)
    units = n if members is None else len(members)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        some = random.integers(0, units, units)
        drawn.append(measure(some if members is None else np.concatenate([members[unit] for unit in some])))
    finite = [value for value in drawn if math.isfinite(value)]
    tail = _expanded_tail((1 - level) / 2, units)
    low, high = np.quantile(finite, [tail, 1 - tail]) if finite and units > 1 else (math.nan, math.nan)
    return Estimate(float(measure(np.arange(n))), float(low), float(high))


def _members(groups: npt.ArrayLike | None, n: int) -> list[IntArray] | None:
    """The rows of each group; None where every row is a group."""
    if groups is None:
        return None
    _, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(inverse) != n:
        raise InputError(f"There are {n:,} rows and {len(inverse):,} groups; give one group for each row.")
    if len(counts) == n:
        return None
    return np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])


def _expanded_tail(tail: float, n: int) -> float:
    """The tail probability at which the percentile interval of a mean of ``n`` values is as wide as Student's."""
    if n < 3:
        return 0.0
    z, v = NormalDist().inv_cdf(1 - tail), n - 1
    # The Cornish-Fisher expansion of Student's quantile, good to 1 % from 4 degrees of freedom on.
    t = (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
    return NormalDist().cdf(-math.sqrt(n / (n - 1)) * t)


def mean(values: npt.ArrayLike, *, seed: int = 0, groups: npt.ArrayLike | None = None) -> Estimate:
    """The mean of one figure for each row, with its bootstrap interval; for figures that are 0 or 1, use :func:`share`."""
    cells = np.asarray(values, dtype=np.float64)
    return bootstrap(lambda places: float(cells[places].mean()), len(cells), seed=seed, groups=groups)


def share(hits: npt.ArrayLike, *, groups: npt.ArrayLike | None = None, level: float = LEVEL) -> Estimate:
    """The share of rows that are hits, with its exact interval (Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404).

    The interval covers the true share at least as often as ``level`` says, for any number of rows and any share: 0 of 9 gives
    [0, 0.336]. (The bootstrap gives [0, 0].) Needs ``umekomi[tasks]``.

    Args:
        hits: ``(n,)``, 0 or 1 (or False or True) for each row.
        groups: ``(n,)``, the independent unit that each row belongs to. Rows of one unit then count as copies of each other:
            the interval is that of Kish's effective number of rows, ``(Σm)² / Σm²`` over the sizes m of the groups, as Korn &
            Graubard 1998 use it for clustered samples.
        level: the confidence level.

    Raises:
        InputError: there are no rows, or there is not one group for each row.
        MissingExtraError: scipy is not installed.
    """
    cells = np.asarray(hits, dtype=np.float64)
    if not len(cells):
        raise InputError("There is nothing to measure.")
    with needed_for("The interval of a share"):
        # Here, because half of the package is used without scipy.
        from scipy.special import betaincinv
    n = _effective_rows(groups, len(cells))
    value = float(cells.mean())
    k, tail = value * n, (1 - level) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Estimate(value, low, high)


def paired_difference(
    measure: Callable[[int, IntArray], float],
    n: int,
    *,
    comparisons: int = 1,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Estimate:
    """How much greater a figure of one system is than that of another on the same rows, by the paired bootstrap.

    Args:
        measure: gives the figure of system 0 (the first) or 1 (the other) over the rows at some positions.
        n: how many rows there are.
        comparisons: how many systems are compared with the first. The level is corrected for them by Bonferroni, so that all of
            their intervals hold together with 95 % confidence.
        groups: as for :func:`bootstrap`.
        seed: of the resampling.
    """
    # Percentiles further out need more draws.
    return bootstrap(
        lambda rows: measure(1, rows) - measure(0, rows),
        n,
        groups=groups,
        seed=seed,
        resamples=min(RESAMPLES * max(comparisons, 1), 10 * RESAMPLES),
        level=1 - (1 - LEVEL) / max(comparisons, 1),
    )


def paired_share_difference(
    first: npt.ArrayLike, other: npt.ArrayLike, *, comparisons: int = 1, groups: npt.ArrayLike | None = None
) -> Estimate:
    """How much greater the share of hits of ``other`` is than that of ``first`` on the same rows.

    The interval is that of Agresti & Min 2005 (doi:10.1002/sim.1781), which holds for few rows too: half a row is added to each
    cell of the table of hits and misses.

    Args:
        first: ``(n,)``, 0 or 1 for each row.
        other: the same of the other system.
        comparisons: as for :func:`paired_difference`.
        groups: as for :func:`share`.
    """
    gains = np.asarray(other, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if not len(gains):
        raise InputError("There is nothing to measure.")
    value = float(gains.mean())
    n = _effective_rows(groups, len(gains))
    up, down = float((gains > 0).mean()) * n + 0.5, float((gains < 0).mean()) * n + 0.5
    middle = (up - down) / (n + 2)
    z = NormalDist().inv_cdf(1 - (1 - LEVEL) / max(comparisons, 1) / 2)
    half = z * math.sqrt(max(up + down - (up - down) ** 2 / (n + 2), 0.0)) / (n + 2)
    return Estimate(value, max(-1.0, min(value, middle - half)), min(1.0, max(value, middle + half)))


def _effective_rows(groups: npt.ArrayLike | None, n: int) -> float:
    """Kish's effective number of rows if all rows of a group say the same."""
    members = _members(groups, n)
    if members is None:
        return float(n)
    sizes = np.array([len(rows) for rows in members], dtype=np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())
