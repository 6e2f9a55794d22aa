"""Anomalies: rows that have little to do with the others, each with a p-value that is exact for any distribution of the vectors.

>>> import numpy as np
>>> random = np.random.default_rng(0)
>>> usual = (np.array([1, 0, 0]) + 0.1 * random.normal(size=(200, 3))).astype(np.float32)
>>> found = find_anomalies(np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32), reference=usual)
>>> found.flagged(0.01).tolist(), found.discoveries(0.1).tolist()
([1], [1])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom, false_discovery_control

from ..errors import InputError
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, normalize, require_nonzero, require_same_dimensions
from .choices import AnomalyMethod
from .neighbors import nearest, similarity_blocks


@dataclass(frozen=True, slots=True)
class Anomalies:
    """Scores of rows and their conformal p-values (Vovk et al. 2005; Bates et al. 2023, doi:10.1214/22-AOS2244).

    Attributes:
        scores: ``(n,) float64``; higher is stranger.
        false_alarm: ``(n,) float64``, the p-value of each row: how often an ordinary row looks at least as strange. Flagging rows
            of at most 0.01 flags at most 1 % of ordinary rows, whatever the distribution of the vectors, as long as ordinary rows
            are drawn alike.
        method, k: what the scores are.
        calibration: the number of ordinary rows that p-values are computed with; the smallest possible p-value is
            ``1 / (calibration + 1)`` against a reference, and ``1 / n`` without one.
        has_reference: whether there was a reference. Without one, p-values are ranks among the rows themselves: they are exact if
            all rows are ordinary and conservative otherwise, and some 1 % of rows are always flagged at 0.01.
    """

    scores: DoubleArray
    false_alarm: DoubleArray
    method: AnomalyMethod
    k: int
    calibration: int
    has_reference: bool

    @property
    def smallest(self) -> float:
        """The smallest p-value that is possible."""
        return 1 / (self.calibration + self.has_reference)

    def flagged(self, rate: float = 0.01) -> IntArray:
        """The rows whose p-value is at most ``rate``, strangest first."""
        _require_share(rate, "false-alarm rate", "rate")
        return self._strangest(self.false_alarm <= rate)

    def discoveries(self, fdr: float = 0.1) -> IntArray:
        """The rows found by Benjamini & Hochberg's procedure, strangest first: on average at most ``fdr`` of them are ordinary.

        Conformal p-values depend on each other only in the way that the procedure permits (Bates et al. 2023, theorem 2).

        Raises:
            InputError: there was no reference: ranks among the rows themselves are never small enough for their number.
        """
        _require_share(fdr, "false discovery rate", "fdr")
        if not self.has_reference:
            raise InputError("The false discovery rate needs a reference of ordinary rows to compute p-values with.")
        return self._strangest(false_discovery_control(self.false_alarm) <= fdr)

    def expected_false_alarms(self, rate: float = 0.01) -> tuple[float, int, int] | None:
        """How many rows are flagged at ``rate`` if all of them are ordinary: the mean and a 95 % range; None without a reference.

        The range includes that the reference is a sample: the true rate given the reference is Beta distributed (Vovk 2012).
        """
        if not self.has_reference:
            return None
        n, below = len(self.scores), int(np.floor(rate * (self.calibration + 1) + 1e-9))
        if below == 0:
            return 0.0, 0, 0
        low, high = betabinom.ppf([0.025, 0.975], n, below, self.calibration + 1 - below)
        return n * below / (self.calibration + 1), int(low), int(high)

    def _strangest(self, chosen: npt.NDArray[np.bool_]) -> IntArray:
        order = np.argsort(-self.scores, kind="stable")
        rows: IntArray = order[chosen[order]]
        return rows


def _require_share(value: float, name: str, param: str) -> None:
    if not 0 < value < 1:
        raise InputError(f"The {name} is {value}; it must be between 0 and 1.", param=param)


def find_anomalies(
    vectors: npt.ArrayLike,
    *,
    reference: npt.ArrayLike | None = None,
    method: AnomalyMethod | str = AnomalyMethod.KNN,
    k: int = 20,
    seed: int = 42,
) -> Anomalies:
    """Score rows by how little they have to do with the others.

    Against a reference, a row and every reference row are scored with the same number of neighbors among the same number of rows:

    - ``knn``: with the row added to the reference, each row is scored by its neighbors among the others (full conformal).
    - ``lof``: one random half of the reference provides the neighbors, the other half and the rows are scored against it (split
      conformal), because adding a row would change every local density.

    Args:
        vectors: ``(n, dims) float32``, the rows to judge.
        reference: ``(m, dims) float32``, rows known to be ordinary; by default the rows are judged among themselves.
        method: ``knn`` or ``lof``.
        k: how many neighbors count. Strange rows that are alike hide each other if there are more than k of them.
        seed: of the halves of the reference.

    Raises:
        InputError: there are not more rows than k, a vector is all zeros, or the two sets' dimensions differ.
    """
    try:
        method = AnomalyMethod(method)
    except ValueError as error:
        raise InputError(f"There is no method {method!r}; choose one of {', '.join(AnomalyMethod)}.") from error
    unit = normalize(require_nonzero(vectors))
    usual = unit if reference is None else normalize(require_nonzero(reference))
    require_same_dimensions(unit, usual)
    halves = reference is not None and method is AnomalyMethod.LOF
    available = len(usual) // 2 if halves else len(usual)
    if not 1 <= k < available:
        of = "rows in half of the reference" if halves else "rows to compare with"
        raise InputError(f"k is {k}; with {available:,} {of} it must be between 1 and {available - 1:,}.", param="k")
    if reference is None:
        distances, places = _neighbors(unit, unit, k, themselves=True)
        scores = distances.mean(axis=1) if method is AnomalyMethod.KNN else _Density(distances, places).factors()
        return Anomalies(scores, _ranks_from_top(scores), method, k, len(scores), has_reference=False)
    if method is AnomalyMethod.KNN:
        scores, as_strange = _full_conformal(unit, usual, k)
        m = len(usual)
    else:
        order = np.random.default_rng(seed).permutation(len(usual))
        known, held = usual[np.sort(order[:available])], usual[np.sort(order[available:])]
        density = _Density(*_neighbors(known, known, k, themselves=True))
        own = np.sort(density.factors_of(*_neighbors(held, known, k)))
        scores = density.factors_of(*_neighbors(unit, known, k))
        as_strange = len(own) - np.searchsorted(own, scores - 1e-9 * np.abs(scores), side="left")
        m = len(own)
    return Anomalies(scores, np.asarray((1.0 + as_strange) / (1.0 + m)), method, k, m, has_reference=True)


def _neighbors(
    queries: FloatArray, vectors: FloatArray, k: int, *, themselves: bool = False
) -> tuple[DoubleArray, IntArray]:
    cosines, places = nearest(queries, vectors, k, themselves=themselves)
    return 1.0 - cosines.astype(np.float64), places


def _ranks_from_top(scores: DoubleArray) -> DoubleArray:
    """The share of rows that are at least as strange as each, itself included; scores that differ by rounding are equal."""
    ordered = np.sort(scores)
    first = np.searchsorted(ordered, scores - 1e-9 * np.abs(scores), side="left")
    shares: DoubleArray = (len(scores) - first) / len(scores)
    return shares


def _full_conformal(unit: FloatArray, usual: FloatArray, k: int) -> tuple[DoubleArray, IntArray]:
    """The mean distance of each row to its k nearest in the reference, and how many reference rows are as strange with the row
    among them."""
    own, _ = _neighbors(usual, usual, k, themselves=True)
    others, last = own[:, :-1].sum(axis=1), own[:, -1]
    scores = np.empty(len(unit))
    as_strange = np.empty(len(unit), dtype=np.int64)
    for start, block in similarity_blocks(unit, usual):
        distances = 1.0 - block.astype(np.float64)
        here = np.partition(distances, k - 1, axis=1)[:, :k].mean(axis=1)
        # A row that is nearer than the k-th neighbor takes its place.
        theirs = (others + np.minimum(distances, last)) / k
        scores[start : start + len(block)] = here
        as_strange[start : start + len(block)] = (theirs >= here[:, None] - 1e-9).sum(axis=1)
    return scores, as_strange


class _Density:
    """The local outlier factor against known rows, as scikit-learn computes it with ``novelty=True``."""

    def __init__(self, distances: DoubleArray, places: IntArray) -> None:
        self._distances, self._places = distances, places
        self._reach = distances[:, -1]
        self._density = self._density_of(distances, places)

    def _density_of(self, distances: DoubleArray, places: IntArray) -> DoubleArray:
        density: DoubleArray = 1.0 / (np.maximum(distances, self._reach[places]).mean(axis=1) + 1e-10)
        return density

    def factors(self) -> DoubleArray:
        """Of the known rows among themselves."""
        return self.factors_of(self._distances, self._places)

    def factors_of(self, distances: DoubleArray, places: IntArray) -> DoubleArray:
        """Of other rows, of their distances to known rows and these rows' positions."""
        factors: DoubleArray = self._density[places].mean(axis=1) / self._density_of(distances, places)
        return factors
