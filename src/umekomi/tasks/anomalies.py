"""Anomalies: rows that have little to do with the others, each with a false-alarm rate.

>>> import numpy as np
>>> random = np.random.default_rng(0)
>>> usual = (np.array([1, 0, 0]) + 0.1 * random.normal(size=(200, 3))).astype(np.float32)
>>> found = find_anomalies(np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32), reference=usual)
>>> found.flagged(0.01).tolist()
[1]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ..errors import InputError
from ..vectors import FloatArray, normalize
from .checks import require_directions, require_same_dimensions
from .choices import AnomalyMethod
from .neighbours import nearest

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Anomalies:
    """``scores`` is ``(n,) float64``, higher is stranger. ``false_alarm`` is ``(n,) float64``: how often an ordinary row
    would look
    at least as strange as this one.

    Against a reference set that holds ordinary rows only, it is a conformal p-value (Vovk et al. 2005; Bates et al. 2023), and
    flagging where it is at most 1 % flags 1 % of ordinary rows, whatever the vectors' distribution. Where the rows are
    judged among
    themselves (``conformal`` is False), it is the tail of a normal curve laid on the middle half of the scores, an estimate only.
    """

    scores: Numbers
    false_alarm: Numbers
    method: AnomalyMethod
    k: int
    conformal: bool

    def flagged(self, rate: float = 0.01) -> npt.NDArray[np.int64]:
        """The rows whose false-alarm rate is at most ``rate``, strangest first."""
        if not 0 < rate < 1:
            raise InputError(f"The false-alarm rate is {rate}; it must be between 0 and 1.", param="rate")
        order = np.argsort(-self.scores, kind="stable")
        rows: npt.NDArray[np.int64] = order[self.false_alarm[order] <= rate]
        return rows


def find_anomalies(
    vectors: npt.ArrayLike,
    *,
    reference: npt.ArrayLike | None = None,
    method: AnomalyMethod | str = AnomalyMethod.KNN,
    k: int = 20,
) -> Anomalies:
    """Score rows by how little they have to do with the others.

    Args:
        vectors: ``(n, dims) float32``, the rows to judge.
        reference: ``(m, dims) float32``, rows known to be ordinary; by default the rows are judged among themselves.
        method: ``knn`` or ``lof``.
        k: how many neighbours count. Strange rows that are alike hide each other if there are more than k of them.

    Raises:
        InputError: there are not more rows than k, a vector points nowhere, or the two sets' dimensions differ.
    """
    try:
        method = AnomalyMethod(method)
    except ValueError as error:
        raise InputError(f"There is no method {method!r}; choose one of {', '.join(AnomalyMethod)}.") from error
    unit = normalize(require_directions(vectors))
    usual = unit if reference is None else normalize(require_directions(reference))
    require_same_dimensions(unit, usual)
    if not 1 <= k < len(usual):
        raise InputError(
            f"k is {k}; with {len(usual):,} rows to compare with it must be between 1 and {len(usual) - 1:,}.",
            param="k",
        )
    distances, places = _distances(usual, usual, k, themselves=True)
    score = _knn if method is AnomalyMethod.KNN else _lof
    own = score(distances, places, distances)
    if reference is None:
        return Anomalies(own, _normal_tail(own), method, k, conformal=False)
    scores = score(*_distances(unit, usual, k, themselves=False), distances, own_places=places)
    ordinary = np.sort(own)
    as_strange = len(ordinary) - np.searchsorted(ordinary, scores - 1e-12, side="left")
    rates = np.asarray((1.0 + as_strange) / (1.0 + len(ordinary)), dtype=np.float64)
    return Anomalies(scores, rates, method, k, conformal=True)


def _distances(
    queries: FloatArray, vectors: FloatArray, k: int, *, themselves: bool
) -> tuple[Numbers, npt.NDArray[np.int64]]:
    cosines, places = nearest(queries, vectors, k, themselves=themselves)
    return 1.0 - cosines.astype(np.float64), places


def _knn(
    distances: Numbers, places: npt.NDArray[np.int64], known: Numbers, own_places: npt.NDArray[np.int64] | None = None
) -> Numbers:
    means: Numbers = distances.mean(axis=1)
    return means


def _lof(
    distances: Numbers, places: npt.NDArray[np.int64], known: Numbers, own_places: npt.NDArray[np.int64] | None = None
) -> Numbers:
    reach = known[:, -1]  # each known row's distance to its k-th neighbour
    neighbours = places if own_places is None else own_places
    density = 1.0 / (np.maximum(known, reach[neighbours]).mean(axis=1) + 1e-10)
    here = 1.0 / (np.maximum(distances, reach[places]).mean(axis=1) + 1e-10)
    factors: Numbers = density[places].mean(axis=1) / here
    return factors


def _normal_tail(scores: Numbers) -> Numbers:
    low, middle, high = np.percentile(scores, [25, 50, 75])
    spread = (high - low) / (2 * norm.ppf(0.75))
    if spread <= 0:
        return np.where(scores > middle, 0.0, 1.0)
    tail: Numbers = norm.sf((scores - middle) / spread)
    return tail
