"""Zero-shot classification: no labelled rows, only the labels' names or descriptions.

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
from ..vectors.arithmetic import DoubleArray, FloatArray, normalize, require_nonzero, require_same_dimensions

CALIBRATION_ROWS = 50
SHARPENING_ROWS = 200
_LEAST_SHARE = 0.02
_DEPTH = 0.02
_DIRECTIONS = 150
_DIRECTIONS_FROM = 2000
_SHRINKAGE = 0.4
_PASSES = 3


@dataclass(frozen=True, slots=True)
class LabelSet:
    """``names`` of the labels, and ``vectors (labels, dims) float32``: for each, the direction of its descriptions' mean."""

    names: tuple[str, ...]
    vectors: FloatArray


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """``scores`` is ``(n, labels) float64``: cosines less each label's threshold, so that the greatest is the label. Of two
    labels that the rows have sharpened, their difference is that of :func:`sharpen`.

    ``thresholds`` is ``(labels,) float64``, zeros where nothing was calibrated; ``calibrated`` says whether it was.
    """

    names: tuple[str, ...]
    scores: DoubleArray
    thresholds: DoubleArray
    calibrated: bool

    @property
    def predictions(self) -> list[str]:
        """One label a row."""
        return [self.names[place] for place in self.scores.argmax(axis=1)]

    @property
    def margins(self) -> DoubleArray:
        """By how much the first label leads the second, ``(n,) float64``: the greater, the surer."""
        two = np.sort(self.scores, axis=1)[:, -2:]
        lead: DoubleArray = two[:, 1] - two[:, 0]
        return lead


def embed_labels(labels: Mapping[str, Sequence[str]], embedder: Embedder) -> LabelSet:
    """Embed labels, each named by a key and described by one text or several (their mean direction stands for the label).

    Raises:
        InputError: fewer than two labels, a label without a description, or two labels that are described alike.
    """
    if len(labels) < 2:
        raise InputError("Give two labels or more, as --label negative --label positive.")
    for name, descriptions in labels.items():
        if isinstance(descriptions, str) or not descriptions:
            raise InputError(f"The label {name!r} needs a list of one description or more.")
    flat = embedder.embed([text for descriptions in labels.values() for text in descriptions])
    ends = np.cumsum([len(descriptions) for descriptions in labels.values()])[:-1]
    means = np.stack([part.mean(axis=0) for part in np.split(flat, ends)])
    vectors = normalize(means.astype(np.float32))
    alike = np.argwhere(np.triu(vectors @ vectors.T > 1 - 1e-6, 1))
    if len(alike):
        names = list(labels)
        raise InputError(
            f"The labels {names[alike[0][0]]!r} and {names[alike[0][1]]!r} are described alike; nothing tells them apart."
        )
    return LabelSet(tuple(labels), vectors)


def zero_shot(vectors: npt.ArrayLike, labels: LabelSet, *, calibrate: bool = True) -> ZeroShot:
    """Give each row the label whose direction is nearest, after calibrating without any labelled row.

    A label's name is nearer to all texts, or to fewer, for reasons that have nothing to do with what it means, so that the
    greatest cosine is biased. With two labels the difference of the two cosines falls into two heaps, and the threshold
    belongs between them (:func:`find_split`). From 200 rows on the rows themselves then teach more of what sets the labels
    apart than the labels' words do (:func:`sharpen`), and the threshold is found again. Where the rows form one heap, or
    there are fewer than 50, nothing is changed. With more labels, each label's mean cosine over the rows is taken off by half.

    Args:
        vectors: ``(n, dims) float32``, the texts.
        labels: of the same model.
        calibrate: whether to; it takes rows of all labels.

    Raises:
        InputError: the dimensions differ, or a vector points nowhere.
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
    if len(unit) >= SHARPENING_ROWS:
        sharper = sharpen(unit, leads, split)
        again = find_split(sharper)
        if again is not None:
            leads, split = sharper, again
    thresholds[1] = split
    middle = cosines.mean(axis=1)
    return ZeroShot(labels.names, np.stack([middle - leads / 2, middle + leads / 2 - split], axis=1), thresholds, True)


def sharpen(unit: FloatArray, leads: DoubleArray, split: float) -> DoubleArray:
    """How far each row is on the second label's side, ``(n,) float64``, by the labels' words and by the other rows together.

    The rows on either side of ``split`` stand for their labels: Fisher's linear discriminant between them, in the strongest
    150 directions, its covariance shrunk towards a sphere, each row weighted by how sure it is; three passes of the
    expectation-maximisation of two normal distributions with one covariance (self-training; McLachlan 1975,
    doi:10.1080/01621459.1975.10479874). Passes without end would drift to the strongest division of the texts, whatever it is.
    The result is the mean of what the discriminant and ``leads`` say, on the scale of ``leads``.
    """
    n = len(unit)
    moved = unit - unit.mean(axis=0)
    some = moved[np.linspace(0, n - 1, min(n, _DIRECTIONS_FROM)).astype(np.int64)].astype(np.float64)
    values, vectors = np.linalg.eigh(some @ some.T)
    kept = max(1, min(_DIRECTIONS, n // 6, int((values > values[-1] * 1e-9).sum())))
    rows = moved @ (some.T @ (vectors[:, -kept:] / np.sqrt(values[-kept:])))
    spread = rows.T @ rows / n
    second = (leads > split).astype(np.float64)
    says = leads
    for _ in range(_PASSES):
        weights = np.stack([1 - second, second])
        counts = weights.sum(axis=1)
        if counts.min() < 2:
            return leads
        means = weights @ rows / counts[:, None]
        inside = spread - (means.T * counts) @ means / n
        inside = (1 - _SHRINKAGE) * inside + _SHRINKAGE * np.trace(inside) / kept * np.eye(kept)
        axis = np.linalg.solve(inside, means[1] - means[0])
        says = rows @ axis - means.sum(axis=0) @ axis / 2 + np.log(counts[1] / counts[0])
        second = 1 / (1 + np.exp(-np.clip(says, -500, 500)))
    width = float(leads.std())
    both: DoubleArray = (says / max(float(says.std()), 1e-12) * width + leads) / 2
    return both


def find_split(values: DoubleArray) -> float | None:
    """The place that parts numbers into two heaps, or None where they form one.

    Minimum error (Kittler & Illingworth 1986, doi:10.1016/0031-3203(86)90030-0): of all places the one at which two normal
    distributions, each with its own share, mean and variance, describe the two sides best. It must describe them better than
    the places around it do, and leave at least a fiftieth of the numbers on each side: of one heap only the edges are good.
    """
    ordered = np.sort(values)
    n = len(ordered)
    if n < 4 or float(ordered.std()) < 1e-9:
        return None
    sizes = np.arange(max(2, int(n * _LEAST_SHARE)), min(n - 1, int(n * (1 - _LEAST_SHARE)) + 1))
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    rest, share = n - sizes, sizes / n
    floor = float(ordered.var()) * 1e-6
    left = np.maximum(squares[sizes - 1] / sizes - (sums[sizes - 1] / sizes) ** 2, floor)
    right = (squares[-1] - squares[sizes - 1]) / rest - ((sums[-1] - sums[sizes - 1]) / rest) ** 2
    right = np.maximum(right, floor)
    cost = (
        share * np.log(left)
        + (1 - share) * np.log(right)
        - 2 * (share * np.log(share) + (1 - share) * np.log(1 - share))
    )
    best = int(cost.argmin())
    depth = min(float(cost[: best + 1].max()), float(cost[best:].max())) - float(cost[best])
    if depth < _DEPTH:
        return None
    return float(ordered[sizes[best] - 1] + ordered[sizes[best]]) / 2
