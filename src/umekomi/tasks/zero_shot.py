"""Zero-shot classification: labels are given by names or descriptions, without any labeled row.

>>> from umekomi import Embedder
>>> from umekomi.tasks.choices import Calibration
>>> embedder = Embedder("umekomi-fake")
>>> labels = embed_labels({"animal": ["a dog", "a cat"], "food": ["beans"]}, embedder)
>>> zero_shot(embedder.embed(["the dog and the cat", "two beans"]), labels, calibration=Calibration.NONE).predictions
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
from .choices import Calibration

NAME_PROMPTS = ("{}", "This text is about {}.", "A text about {}.")
CALIBRATION_ROWS = 50
ROWS_PER_LABEL = 15
SPLIT_ROWS = 200
_MIN_SIDE_SHARE = 0.02
_MIN_DEPTH = 0.02
_COMPONENTS = 150
_COMPONENT_ROWS = 2000
_SHRINKAGE = 0.7
_PASSES = 3
_DISCRIMINANT_WEIGHT = 2 / 3


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
    #: ``(n, labels) float64``: cosines, or calibrated scores on the scale of cosines. The label with the highest score is
    #: predicted.
    scores: DoubleArray
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
        labels: The descriptions of each label by its name. The mean of their vectors represents the label. A label whose
            only description is its name is embedded in three English sentences (``NAME_PROMPTS``; Radford et al. 2021,
            arXiv:2103.00020, section 3.1.4), because a single word can be similar to texts for other reasons than its
            meaning. Names with letters outside ASCII are embedded alone.
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
    groups = [_add_prompts(name, descriptions) for name, descriptions in labels.items()]
    vectors = embedder.embed([text for descriptions in groups for text in descriptions])
    ends = np.cumsum([len(descriptions) for descriptions in groups])[:-1]
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


def _add_prompts(name: str, descriptions: Sequence[str]) -> Sequence[str]:
    if list(descriptions) != [name] or not name.isascii():
        return descriptions
    return [prompt.replace("{}", name) for prompt in NAME_PROMPTS]


def zero_shot(vectors: npt.ArrayLike, labels: LabelSet, *, calibration: Calibration = Calibration.BATCH) -> ZeroShot:
    """Assign a label to each row, without any labeled row.

    Without calibration this is the label with the highest cosine. With :attr:`Calibration.BATCH`, the rows show what else
    distinguishes the labels, and how frequent each label is (:func:`refine_scores`). With two labels and 200 rows or more, it
    starts from a threshold between the two modes of the difference of the two cosines, if there are two modes
    (:func:`find_split`), because one label can be nearer to all texts for reasons unrelated to its meaning.

    Args:
        vectors: ``(n, dims) float32``, the texts.
        labels: Labels embedded with the same model.
        calibration: What the scores depend on. Fewer rows than 50, or than 15 per label, are not calibrated.

    Raises:
        InputError: The dimensions differ, or a vector is all zeros.
    """
    unit = normalize(require_nonzero(vectors))
    require_same_dimensions(unit, labels.vectors)
    cosines = unit.astype(np.float64) @ labels.vectors.T.astype(np.float64)
    n_labels = len(labels.names)
    if calibration is Calibration.NONE or len(unit) < max(CALIBRATION_ROWS, ROWS_PER_LABEL * n_labels):
        return ZeroShot(labels.names, cosines, False)
    start = cosines
    if n_labels == 2 and len(unit) >= SPLIT_ROWS:
        split = find_split(cosines[:, 1] - cosines[:, 0]) or 0.0
        start = cosines + np.array([split, -split]) / 2
    refined = refine_scores(unit, start)
    return ZeroShot(labels.names, cosines if refined is None else refined, refined is not None)


def refine_scores(unit: FloatArray, scores: DoubleArray) -> DoubleArray | None:
    """Return scores that the rows contribute to, ``(n, labels) float64``, or None if fewer than two labels have two rows.

    The rows with the highest score for a label represent it: Fisher's linear discriminant between the labels, in the 150
    strongest principal components, its covariance shrunk towards a sphere; three passes of expectation-maximization of normal
    distributions with one covariance and a share of the rows each (self-training; McLachlan 1975,
    doi:10.1080/01621459.1975.10479874). More passes would drift to the strongest division of the texts, whatever it is. The
    result is the mean of the log odds, with twice the weight, and ``scores``, on the scale of ``scores``. From 200 rows on, a
    second round starts with the result of the first.

    Args:
        unit: ``(n, dims) float32``, vectors of length 1.
        scores: ``(n, labels) float64``.
    """
    rows = _project(unit)
    centers = scores.mean(axis=1, keepdims=True)
    refined: DoubleArray | None = None
    for _ in range(2 if len(unit) >= SPLIT_ROWS else 1):
        assigned = (scores if refined is None else refined).argmax(axis=1)
        present = np.flatnonzero(np.bincount(assigned, minlength=scores.shape[1]) >= 2)
        if len(present) < 2:
            break
        log_odds = _discriminate(rows, np.eye(scores.shape[1])[assigned][:, present])
        # The rows say nothing about a label that none of them has.
        complete = np.repeat(log_odds.min(axis=1, keepdims=True), scores.shape[1], axis=1)
        complete[:, present] = log_odds
        complete -= complete.mean(axis=1, keepdims=True)
        scale = float((scores - centers)[:, present].std()) / max(float(complete[:, present].std()), 1e-12)
        refined = centers + _DISCRIMINANT_WEIGHT * scale * complete + (1 - _DISCRIMINANT_WEIGHT) * (scores - centers)
    return refined


def _discriminate(rows: DoubleArray, weights: DoubleArray) -> DoubleArray:
    """Return the log odds of each label, given its initial rows: ``(n, components), (n, labels) -> (n, labels)``."""
    n, n_components = rows.shape
    covariance = rows.T @ rows / n
    log_odds = np.zeros(weights.shape)
    for _ in range(_PASSES):
        counts = weights.sum(axis=0)
        if counts.min() < 1:
            break
        means = weights.T @ rows / counts[:, None]
        within = covariance - (means.T * counts) @ means / n
        within = (1 - _SHRINKAGE) * within + _SHRINKAGE * np.trace(within) / n_components * np.eye(n_components)
        axes = np.linalg.solve(within, means.T)
        log_odds = rows @ axes - np.einsum("lc,cl->l", means, axes) / 2 + np.log(counts)
        weights = np.exp(np.maximum(log_odds - log_odds.max(axis=1, keepdims=True), -500))
        weights /= weights.sum(axis=1, keepdims=True)
    return log_odds


def _project(unit: FloatArray) -> DoubleArray:
    """Return the strongest principal components of rows, ``(n, at most 150) float64``."""
    n = len(unit)
    centered = unit - unit.mean(axis=0)
    sample = centered[np.linspace(0, n - 1, min(n, _COMPONENT_ROWS)).astype(np.int64)].astype(np.float64)
    values, vectors = np.linalg.eigh(sample @ sample.T)
    n_components = max(1, min(_COMPONENTS, n // 6, int((values > values[-1] * 1e-9).sum())))
    rows: DoubleArray = centered @ (sample.T @ (vectors[:, -n_components:] / np.sqrt(values[-n_components:])))
    return rows


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
