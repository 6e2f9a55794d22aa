"""Statistics of association tests.

The association of a target with the attributes is ``s(w) = mean cos(w, A) - mean cos(w, B)``; the effect size compares the
associations of two groups of targets, X and Y, in standard deviations; the p-value is the share of random splits of the
same targets with an effect at least as large (Caliskan et al. 2017, doi:10.1126/science.aal4230).
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
    """The one-sided p-value of a permutation test."""

    value: float
    #: Number of splits that were compared.
    splits: int
    #: Whether these are all splits, and not a random sample.
    exact: bool


def effect_size(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return Cohen's d of the associations of two groups: the difference of their means over their common standard deviation.

    As in the published code, it is the sample standard deviation (n - 1) of both groups together. The result is 0 if there is no
    variation.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    deviation = float(np.std(np.concatenate([first, second]), ddof=1))
    # Smaller deviations are rounding errors.
    if deviation < 1e-12:
        return 0.0
    return float(first.mean() - second.mean()) / deviation


def permutation_p(x: npt.ArrayLike, y: npt.ArrayLike, *, seed: int = 0, permutations: int = PERMUTATIONS) -> PValue:
    """Return the share of splits of all targets into groups of the same sizes that favor the first as much or more (one-sided).

    All splits are compared if there are at most 200,000. Otherwise ``permutations`` are drawn, and the observed split counts
    as one of them, so that p is never 0 (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585).
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    pooled = np.concatenate([first, second])
    n, k = len(pooled), len(first)
    # For given group sizes, the sum over the first group determines the difference of the means.
    observed = float(first.sum())
    threshold = observed - 1e-9 * max(1.0, float(np.abs(pooled).sum()))
    if math.comb(n, k) <= EXACT_UP_TO:
        indices = np.fromiter(itertools.chain.from_iterable(itertools.combinations(range(n), k)), dtype=np.int64)
        sums = pooled[indices.reshape(-1, k)].sum(axis=1)
        return PValue(float(np.mean(sums >= threshold)), len(sums), True)
    random = np.random.default_rng(seed)
    n_as_large = 0
    for start in range(0, permutations, _CHUNK):
        keys = random.random((min(_CHUNK, permutations - start), n))
        indices = np.argpartition(keys, k, axis=1)[:, :k]
        n_as_large += int(np.count_nonzero(pooled[indices].sum(axis=1) >= threshold))
    return PValue((n_as_large + 1) / (permutations + 1), permutations, False)


def interval(
    x: npt.ArrayLike, y: npt.ArrayLike, *, n_a: int, seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """Return the 95 % interval of the effect size, by the bootstrap over the words of all four lists.

    The interval shows how much the effect depends on the choice of words. It is the bias-corrected percentile interval (Efron
    1981, doi:10.2307/3314608), because resamples contain fewer distinct words and therefore vary less, which makes their effects
    slightly too large.

    Args:
        x: Cosine similarities of the first targets, ``(words, sentences, attribute words)``; the first ``n_a`` are of A.
        y: The same for the second targets.
        n_a: Number of attribute words of A.
        seed: Seed of the resampling.
        resamples: Number of times that words are drawn with replacement.
    """
    groups = [np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)]
    n_b = groups[0].shape[2] - n_a
    random = np.random.default_rng(seed)

    def effect(sample: Sequence[DoubleArray], a: IntArray, b: IntArray) -> float:
        return effect_size(*((group[:, :, a].mean(axis=2) - group[:, :, b].mean(axis=2)).ravel() for group in sample))

    observed = effect(groups, np.arange(n_a), np.arange(n_a, n_a + n_b))
    effects = np.empty(resamples)
    for index in range(resamples):
        a, b = random.integers(0, n_a, n_a), n_a + random.integers(0, n_b, n_b)
        effects[index] = effect([group[random.integers(0, len(group), len(group))] for group in groups], a, b)
    normal = NormalDist()
    below = (np.count_nonzero(effects < observed) + 0.5 * np.count_nonzero(effects == observed) + 0.5) / (resamples + 1)
    shift = 2 * normal.inv_cdf(below)
    low, high = np.quantile(effects, [normal.cdf(shift + bound) for bound in (-1.96, 1.96)])
    return min(float(low), observed), max(float(high), observed)


def holm(values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests by Holm's method (Holm 1979), and return them in the same order.

    The probability that the p-value of any true null hypothesis is below 0.05 is then at most 0.05.
    """
    if any(not 0.0 <= value <= 1.0 for value in values):
        raise InputError("p-values must be between 0 and 1.")
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        highest = max(highest, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = highest
    return corrected
