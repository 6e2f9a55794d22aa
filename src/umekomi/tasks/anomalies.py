"""Anomalies: rows that differ from the others, with p-values that are exact for any distribution of the vectors.

>>> import numpy as np
>>> random = np.random.default_rng(0)
>>> ordinary = (np.array([1, 0, 0]) + 0.1 * random.normal(size=(200, 3))).astype(np.float32)
>>> anomalies = find_anomalies(np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32), reference=ordinary)
>>> anomalies.flagged(0.01).tolist(), anomalies.discoveries(0.1).tolist()
([1], [1])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom, false_discovery_control

from ..errors import InputError
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, normalize, require_nonzero, require_same_dimensions
from .choices import AnomalyMethod, parse_method
from .neighbors import nearest_neighbors, similarity_blocks


@dataclass(frozen=True, slots=True)
class Anomalies:
    """Scores of rows and their conformal p-values (Vovk et al. 2005; Bates et al. 2023, doi:10.1214/22-AOS2244)."""

    #: ``(n,) float64``; a higher score means a more unusual row.
    scores: DoubleArray
    #: ``(n,) float64``, the probability that an ordinary row has at least this score. Flagging rows with p-values up to
    #: 0.01 flags at most 1 % of ordinary rows, whatever the distribution of the vectors, if ordinary rows are
    #: exchangeable.
    p_values: DoubleArray
    #: Method of the scores.
    method: AnomalyMethod
    #: Number of neighbors.
    k: int
    #: Number of ordinary rows that the p-values are computed with. The smallest possible p-value is ``1 /
    #: (n_calibration + 1)`` with a reference, and ``1 / n`` without.
    n_calibration: int
    #: Whether a reference was given. Without one, p-values are ranks among the rows themselves: they are exact if all
    #: rows are ordinary and conservative otherwise, and about 1 % of the rows are always flagged at 0.01.
    has_reference: bool

    @property
    def min_p_value(self) -> float:
        """The smallest possible p-value."""
        return 1 / (self.n_calibration + self.has_reference)

    def flagged(self, rate: float = 0.01) -> IntArray:
        """Return the indices of the rows whose p-value is at most ``rate``, most unusual first."""
        _require_fraction(rate, "false-alarm rate", "rate")
        return self._select(self.p_values <= rate)

    def discoveries(self, fdr: float = 0.1) -> IntArray:
        """Return the rows selected by the procedure of Benjamini & Hochberg, most unusual first.

        On average at most ``fdr`` of them are ordinary. Conformal p-values depend on each other only in the way that
        the procedure permits (Bates et al. 2023, theorem 2).

        Raises:
            InputError: There was no reference. Ranks among the rows themselves are never small enough for their number.
        """
        _require_fraction(fdr, "false discovery rate", "fdr")
        if not self.has_reference:
            raise InputError("The false discovery rate needs a reference of ordinary rows to compute p-values with.")
        return self._select(false_discovery_control(self.p_values) <= fdr)

    def expected_false_alarms(self, rate: float = 0.01) -> tuple[float, int, int] | None:
        """Return how many rows are flagged at ``rate`` if all are ordinary: the mean and a 95 % range; None without a
        reference.

        The range accounts for the reference being a sample: given the reference, the true rate follows a beta
        distribution (Vovk 2012).
        """
        if not self.has_reference:
            return None
        n, below = len(self.scores), int(np.floor(rate * (self.n_calibration + 1) + 1e-9))
        if below == 0:
            return 0.0, 0, 0
        low, high = betabinom.ppf([0.025, 0.975], n, below, self.n_calibration + 1 - below)
        return n * below / (self.n_calibration + 1), int(low), int(high)

    def _select(self, mask: npt.NDArray[np.bool_]) -> IntArray:
        order = np.argsort(-self.scores, kind="stable")
        rows: IntArray = order[mask[order]]
        return rows


def _require_fraction(value: float, name: str, param: str) -> None:
    if not 0 < value < 1:
        raise InputError(f"The {name} is {value}; it must be between 0 and 1.", param=param)


def find_anomalies(
    vectors: npt.ArrayLike,
    *,
    reference: npt.ArrayLike | None = None,
    method: AnomalyMethod | str = AnomalyMethod.KNN,
    k: int = 20,
    max_candidates: int | None = None,
    seed: int = 42,
) -> Anomalies:
    """Score rows by how much they differ from the others.

    With a reference, each row and each reference row are scored with the same number of neighbors among the same number
    of rows:

    - ``knn``: the row is added to the reference, and every row is scored by its neighbors among the others (full
      conformal).
    - ``lof``: a random half of the reference provides the neighbors; the other half and the rows are scored against it
      (split conformal), because adding a row would change every local density.

    Args:
        vectors: ``(n, dims) float32``, the rows to score.
        reference: ``(m, dims) float32``, rows known to be ordinary. By default the rows are compared with each other.
        method: ``knn`` or ``lof``.
        k: Number of neighbors. More than k unusual rows that are similar to each other hide each other.
        max_candidates: Without a reference and with ``knn``: search for neighbors among at most this many rows, drawn
            at random, so that the time is linear in the number of rows. By default among all rows.
        seed: Seed of the halves of the reference and of ``max_candidates``.

    Raises:
        InputError: The number of rows is not above k, a vector is all zeros, or the dimensions of the two sets differ.
    """
    method = parse_method(AnomalyMethod, method)
    unit = normalize(require_nonzero(vectors))
    ordinary = unit if reference is None else normalize(require_nonzero(reference))
    require_same_dimensions(unit, ordinary)
    is_split = reference is not None and method is AnomalyMethod.LOF
    available = len(ordinary) // 2 if is_split else len(ordinary)
    if not 1 <= k < available:
        population = "rows in half of the reference" if is_split else "rows to compare with"
        raise InputError(
            f"k is {k}; with {available:,} {population} it must be between 1 and {available - 1:,}.", param="k"
        )
    random = np.random.default_rng(seed)
    if reference is None:
        pool = np.arange(len(unit))
        if method is AnomalyMethod.KNN and max_candidates is not None and max_candidates < len(unit):
            pool = np.sort(random.choice(len(unit), max(max_candidates, k + 1), replace=False))
        distances, indices = _neighbors(unit, unit[pool], k, self_indices=_positions_in(pool, len(unit)))
        scores = distances.mean(axis=1) if method is AnomalyMethod.KNN else _LocalDensity(distances, indices).factors()
        return Anomalies(
            scores, _count_above(scores, scores) / len(scores), method, k, len(scores), has_reference=False
        )
    if method is AnomalyMethod.KNN:
        scores, n_above = _full_conformal(unit, ordinary, k)
        m = len(ordinary)
    else:
        order = random.permutation(len(ordinary))
        first, second = ordinary[np.sort(order[:available])], ordinary[np.sort(order[available:])]
        density = _LocalDensity(*_neighbors(first, first, k, self_indices=np.arange(available)))
        ordinary_scores = density.factors_of(*_neighbors(second, first, k))
        scores = density.factors_of(*_neighbors(unit, first, k))
        n_above = _count_above(ordinary_scores, scores)
        m = len(ordinary_scores)
    return Anomalies(scores, np.asarray((1.0 + n_above) / (1.0 + m)), method, k, m, has_reference=True)


def _positions_in(pool: IntArray, n: int) -> IntArray:
    """Return the position of each of ``n`` rows in the pool, or -1."""
    positions = np.full(n, -1, dtype=np.int64)
    positions[pool] = np.arange(len(pool))
    return positions


def _neighbors(
    queries: FloatArray, vectors: FloatArray, k: int, *, self_indices: IntArray | None = None
) -> tuple[DoubleArray, IntArray]:
    cosines, indices = nearest_neighbors(queries, vectors, k, self_indices=self_indices)
    return 1.0 - cosines.astype(np.float64), indices


def _count_above(population: DoubleArray, scores: DoubleArray) -> IntArray:
    """Count the members of the population that are not below each score, apart from rounding errors."""
    below = np.searchsorted(np.sort(population), scores - 1e-9 * np.abs(scores), side="left")
    return np.asarray(len(population) - below, dtype=np.int64)


def _full_conformal(unit: FloatArray, ordinary: FloatArray, k: int) -> tuple[DoubleArray, IntArray]:
    """Return the score of each row, and how many reference rows have at least this score when the row is among them."""
    distances, _ = _neighbors(ordinary, ordinary, k, self_indices=np.arange(len(ordinary)))
    sum_of_nearer, kth = distances[:, :-1].sum(axis=1), distances[:, -1]
    scores = np.empty(len(unit))
    n_above = np.empty(len(unit), dtype=np.int64)
    for start, block in similarity_blocks(unit, ordinary):
        block_distances = 1.0 - block.astype(np.float64)
        block_scores = np.partition(block_distances, k - 1, axis=1)[:, :k].mean(axis=1)
        # A row that is nearer than the k-th neighbor replaces it.
        ordinary_scores = (sum_of_nearer + np.minimum(block_distances, kth)) / k
        scores[start : start + len(block)] = block_scores
        n_above[start : start + len(block)] = (ordinary_scores >= block_scores[:, None] - 1e-9).sum(axis=1)
    return scores, n_above


class _LocalDensity:
    """Local outlier factors relative to a set of rows, as scikit-learn computes them with ``novelty=True``."""

    def __init__(self, distances: DoubleArray, indices: IntArray) -> None:
        self._distances, self._indices = distances, indices
        self._kth_distance = distances[:, -1]
        self._density = self._density_of(distances, indices)

    def _density_of(self, distances: DoubleArray, indices: IntArray) -> DoubleArray:
        reachability = np.maximum(distances, self._kth_distance[indices])
        density: DoubleArray = 1.0 / (reachability.mean(axis=1) + 1e-10)
        return density

    def factors(self) -> DoubleArray:
        """Return the factors of the rows of the set itself."""
        return self.factors_of(self._distances, self._indices)

    def factors_of(self, distances: DoubleArray, indices: IntArray) -> DoubleArray:
        """Return the factors of other rows, given the distances and indices of their neighbors in the set."""
        factors: DoubleArray = self._density[indices].mean(axis=1) / self._density_of(distances, indices)
        return factors
