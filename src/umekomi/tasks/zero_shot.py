"""Zero-shot classification: labels are given by names or descriptions, without any labeled row.

>>> from umekomi import Embedder
>>> embedder = Embedder("umekomi-fake")
>>> labels = embed_labels({"animal": ["a dog", "a cat"], "food": ["beans"]}, embedder)
>>> zero_shot(embedder.embed(["the dog and the cat", "two beans"]), labels, calibrate=False).predictions
['animal', 'food']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..embedder import Embedder
from ..errors import InputError
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, normalize, require_nonzero, require_same_dimensions

CALIBRATION_ROWS = 50
DISCRIMINANT_ROWS = 200
_MIN_SIDE_SHARE = 0.02
_MIN_DEPTH = 0.02
_COMPONENTS = 150
_COMPONENT_ROWS = 2000
_SHRINKAGE = 0.4
_PASSES = 3


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels as vectors."""

    #: Names of the labels.
    names: tuple[str, ...]
    #: ``(labels, dims) float32``: the direction of the mean of each label's descriptions.
    vectors: FloatArray


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Scores of rows for labels."""

    #: Names of the labels.
    names: tuple[str, ...]
    #: ``(n, labels) float64``: cosines minus each label's threshold. The label with the highest score is predicted.
    #: With two labels and enough rows, the difference of the scores comes from :func:`refine_leads`.
    scores: DoubleArray
    #: ``(labels,) float64``; zeros if the scores are not calibrated.
    thresholds: DoubleArray
    #: Whether the scores are calibrated.
    calibrated: bool

    @property
    def indices(self) -> IntArray:
        """The index of the predicted label of each row, ``(n,) int64``."""
        return np.asarray(self.scores.argmax(axis=1), dtype=np.int64)

    @property
    def predictions(self) -> list[str]:
        """The predicted label of each row."""
        return [self.names[index] for index in self.indices]

    @property
    def margins(self) -> DoubleArray:
        """The lead of the best label over the second, ``(n,) float64``. A larger lead means a more certain prediction."""
        best_two = np.sort(self.scores, axis=1)[:, -2:]
        margins: DoubleArray = best_two[:, 1] - best_two[:, 0]
        return margins


def embed_labels(labels: Mapping[str, Sequence[str]], embedder: Embedder) -> LabelSet:
    """Embed labels.

    Args:
        labels: The descriptions of each label by its name. The mean of their vectors represents the label.
        embedder: The model.

    Raises:
        InputError: There are fewer than two labels, a label has no description, or two labels have the same
            descriptions.
    """
    if len(labels) < 2:
        raise InputError("Give two or more labels, such as --label negative --label positive.")
    for name, descriptions in labels.items():
        if isinstance(descriptions, str) or not descriptions:
            raise InputError(f"The label {name!r} needs a list of one or more descriptions.")
    vectors = embedder.embed([text for descriptions in labels.values() for text in descriptions])
    ends = np.cumsum([len(descriptions) for descriptions in labels.values()])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(vectors, ends)])
    directions = normalize(means.astype(np.float32))
    identical = np.argwhere(np.triu(directions @ directions.T > 1 - 1e-6, 1))
    if len(identical):
        names = list(labels)
        left, right = identical[0]
        raise InputError(
            f"The labels {names[left]!r} and {names[right]!r} have the same description; nothing distinguishes them."
        )
    return LabelSet(tuple(labels), directions)


def zero_shot(vectors: npt.ArrayLike, labels: LabelSet, *, calibrate: bool = True) -> ZeroShot:
    """Assign the nearest label to each row, after a calibration that needs no labeled row.

    A label's name can be nearer to all texts, or to fewer, for reasons unrelated to its meaning, so the highest cosine
    is biased. With two labels the difference of the two cosines has a bimodal distribution, and the threshold belongs
    between the modes (:func:`find_split`). From 200 rows on, the rows contain more information about the difference
    between the labels than their names do (:func:`refine_leads`), and the threshold is computed again. If the distribution
    has one mode, or there are fewer than 50 rows, nothing is changed. With more than two labels, half of each label's
    mean cosine over the rows is subtracted.

    Args:
        vectors: ``(n, dims) float32``, the texts.
        labels: Labels embedded with the same model.
        calibrate: Whether to calibrate. The rows must contain all labels.

    Raises:
        InputError: The dimensions differ, or a vector is all zeros.
    """
    unit = normalize(require_nonzero(vectors))
    require_same_dimensions(unit, labels.vectors)
    cosines = unit.astype(np.float64) @ labels.vectors.T.astype(np.float64)
    thresholds = np.zeros(len(labels.names))
    if not calibrate or len(unit) < CALIBRATION_ROWS:
        return ZeroShot(labels.names, cosines, thresholds, False)
    if len(labels.names) > 2:
        means = cosines.mean(axis=0)
        thresholds = (means - means.mean()) / 2
        return ZeroShot(labels.names, cosines - thresholds, thresholds, True)
    leads = cosines[:, 1] - cosines[:, 0]
    split = find_split(leads)
    if split is None:
        return ZeroShot(labels.names, cosines, thresholds, False)
    if len(unit) >= DISCRIMINANT_ROWS:
        refined = refine_leads(unit, leads, split)
        refined_split = find_split(refined)
        if refined_split is not None:
            leads, split = refined, refined_split
    thresholds[1] = split
    center = cosines.mean(axis=1)
    scores = np.stack([center - leads / 2, center + leads / 2 - split], axis=1)
    return ZeroShot(labels.names, scores, thresholds, True)


def refine_leads(unit: FloatArray, leads: DoubleArray, split: float) -> DoubleArray:
    """Return by how much the second label leads for each row, ``(n,) float64``, judged by the labels' words and by all
    rows.

    The rows on either side of ``split`` represent their labels: Fisher's linear discriminant between them, in the 150
    strongest principal components, its covariance shrunk towards a sphere, each row weighted by its certainty; three
    passes of expectation-maximization of two normal distributions with one covariance (self-training; McLachlan 1975,
    doi:10.1080/01621459.1975.10479874). More passes would drift to the strongest division of the texts, whatever it is.
    The result is the mean of the discriminant and ``leads``, on the scale of ``leads``.
    """
    n = len(unit)
    centered = unit - unit.mean(axis=0)
    sample = centered[np.linspace(0, n - 1, min(n, _COMPONENT_ROWS)).astype(np.int64)].astype(np.float64)
    values, vectors = np.linalg.eigh(sample @ sample.T)
    n_components = max(1, min(_COMPONENTS, n // 6, int((values > values[-1] * 1e-9).sum())))
    rows = centered @ (sample.T @ (vectors[:, -n_components:] / np.sqrt(values[-n_components:])))
    covariance = rows.T @ rows / n
    p_second = (leads > split).astype(np.float64)
    log_odds = leads
    for _ in range(_PASSES):
        weights = np.stack([1 - p_second, p_second])
        counts = weights.sum(axis=1)
        if counts.min() < 2:
            return leads
        means = weights @ rows / counts[:, None]
        within = covariance - (means.T * counts) @ means / n
        within = (1 - _SHRINKAGE) * within + _SHRINKAGE * np.trace(within) / n_components * np.eye(n_components)
        axis = np.linalg.solve(within, means[1] - means[0])
        log_odds = rows @ axis - means.sum(axis=0) @ axis / 2 + np.log(counts[1] / counts[0])
        p_second = 1 / (1 + np.exp(-np.clip(log_odds, -500, 500)))
    scale = float(leads.std()) / max(float(log_odds.std()), 1e-12)
    refined: DoubleArray = (log_odds * scale + leads) / 2
    return refined


def find_split(values: DoubleArray) -> float | None:
    """Return the threshold between the two modes of a distribution, or None if it has one mode.

    Minimum error thresholding (Kittler & Illingworth 1986, doi:10.1016/0031-3203(86)90030-0): the threshold at which
    two normal distributions, each with its own share, mean and variance, describe the two sides best. It must describe
    them better than thresholds on both sides of it do, and leave at least 2 % of the values on each side. With one
    mode, only thresholds at the edges fit well.
    """
    ordered = np.sort(values)
    n = len(ordered)
    if n < 4 or float(ordered.std()) < 1e-9:
        return None
    sizes = np.arange(max(2, int(n * _MIN_SIDE_SHARE)), min(n - 1, int(n * (1 - _MIN_SIDE_SHARE)) + 1))
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    rest, share = n - sizes, sizes / n
    min_variance = float(ordered.var()) * 1e-6
    left = np.maximum(squares[sizes - 1] / sizes - (sums[sizes - 1] / sizes) ** 2, min_variance)
    right = (squares[-1] - squares[sizes - 1]) / rest - ((sums[-1] - sums[sizes - 1]) / rest) ** 2
    right = np.maximum(right, min_variance)
    cost = (
        share * np.log(left)
        + (1 - share) * np.log(right)
        - 2 * (share * np.log(share) + (1 - share) * np.log(1 - share))
    )
    best = int(cost.argmin())
    depth = min(float(cost[: best + 1].max()), float(cost[best:].max())) - float(cost[best])
    if depth < _MIN_DEPTH:
        return None
    return float(ordered[sizes[best] - 1] + ordered[sizes[best]]) / 2
