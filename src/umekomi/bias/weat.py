"""The statistics of association tests. Numbers only; no words, no model.

The association of a target with the attributes is ``s(w) = mean cos(w, A) - mean cos(w, B)``; the effect size compares the
associations of two groups of targets, X and Y, in standard deviations; the p value asks how often a random split of the
same targets does as well (Caliskan et al. 2017, doi:10.1126/science.aal4230).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..vectors.arithmetic import DoubleArray, IntArray

EXACT_UP_TO = 200_000
PERMUTATIONS = 100_000
_CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class PValue:
    """The one-sided p of a permutation test. ``exact`` says that all ``splits`` were tried; else they were drawn at random."""

    value: float
    splits: int
    exact: bool


def effect_size(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Cohen's d of the associations of two groups: the difference of their means over the standard deviation of all.

    The deviation is the sample's (n - 1), of both groups together, as in the published code; 0 where nothing varies.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    deviation = float(np.std(np.concatenate([first, second]), ddof=1))
    # Nothing but rounding varies.
    if deviation < 1e-12:
        return 0.0
    return float(first.mean() - second.mean()) / deviation


def permutation_p(x: npt.ArrayLike, y: npt.ArrayLike, *, seed: int = 0, permutations: int = PERMUTATIONS) -> PValue:
    """How often a random split of all targets into groups of the same sizes favours the first as much or more; one-sided.

    All splits are tried where there are at most 200,000. Else ``permutations`` are drawn, and the split that was measured counts
    as one of them, so that p is never 0 (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    pooled = np.concatenate([first, second])
    n, k = len(pooled), len(first)
    # With the groups' sizes given, the sum over the first settles the difference of the means.
    measured = float(first.sum())
    least = measured - 1e-9 * max(1.0, float(np.abs(pooled).sum()))
    if math.comb(n, k) <= EXACT_UP_TO:
        places = np.fromiter(itertools.chain.from_iterable(itertools.combinations(range(n), k)), dtype=np.int64)
        sums = pooled[places.reshape(-1, k)].sum(axis=1)
        return PValue(float(np.mean(sums >= least)), len(sums), True)
    random = np.random.default_rng(seed)
    as_good = 0
    for start in range(0, permutations, _CHUNK):
        keys = random.random((min(_CHUNK, permutations - start), n))
        places = np.argpartition(keys, k, axis=1)[:, :k]
        as_good += int(np.count_nonzero(pooled[places].sum(axis=1) >= least))
    return PValue((as_good + 1) / (permutations + 1), permutations, False)


def interval(
    x: npt.ArrayLike, y: npt.ArrayLike, *, n_a: int, seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """The 95 % interval of the effect size, by the bootstrap over the words of all four lists.

    So it says how far the effect hangs on which words were chosen. It is the bias-corrected percentile interval (Efron 1981,
    doi:10.2307/3314608), because fewer different words vary less, which makes the effect of a resample a little too large.

    Args:
        x: cosines of the first targets, ``(words, sentences, attribute words)``, the first ``n_a`` of them of A.
        y: of the second targets.
        n_a: how many attribute words are of A.
        seed: of the resampling.
        resamples: how often words are drawn with replacement.
    """
    groups = [np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)]
    n_b = groups[0].shape[2] - n_a
    random = np.random.default_rng(seed)

    def effect(some: Sequence[DoubleArray], a: IntArray, b: IntArray) -> float:
        return effect_size(*((group[:, :, a].mean(axis=2) - group[:, :, b].mean(axis=2)).ravel() for group in some))

    measured = effect(groups, np.arange(n_a), np.arange(n_a, n_a + n_b))
    found = np.empty(resamples)
    for place in range(resamples):
        a, b = random.integers(0, n_a, n_a), n_a + random.integers(0, n_b, n_b)
        found[place] = effect([group[random.integers(0, len(group), len(group))] for group in groups], a, b)
    normal = NormalDist()
    below = (np.count_nonzero(found < measured) + 0.5 * np.count_nonzero(found == measured) + 0.5) / (resamples + 1)
    shift = 2 * normal.inv_cdf(below)
    low, high = np.quantile(found, [normal.cdf(shift + bound) for bound in (-1.96, 1.96)])
    return min(float(low), measured), max(float(high), measured)


def holm(values: Sequence[float]) -> list[float]:
    """P values corrected for there being several tests, in their order (Holm 1979).

    The chance that any true null hypothesis among them falls below 0.05 is then at most 0.05.
    """
    if any(not 0.0 <= value <= 1.0 for value in values):
        raise InputError("A p value lies between 0 and 1.")
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        highest = max(highest, min(1.0, values[place] * (len(values) - rank)))
        corrected[place] = highest
    return corrected
