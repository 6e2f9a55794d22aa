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
from ..vectors import FloatArray, normalize
from .checks import require_directions, require_same_dimensions

Numbers = npt.NDArray[np.float64]
CALIBRATION_ROWS = 50
_BANDWIDTHS = np.geomspace(0.6, 0.08, 24)
_GRID = 400
_ROWS_OF_CURVE = 5000


@dataclass(frozen=True, slots=True)
class LabelSet:
    """``names`` of the labels, and ``vectors (labels, dims) float32``: for each, the direction of its descriptions' mean."""

    names: tuple[str, ...]
    vectors: FloatArray


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """``scores`` is ``(n, labels) float64``: cosines less each label's threshold, so that the greatest is the label.

    ``thresholds`` is ``(labels,) float64``, zeros where nothing was calibrated; ``calibrated`` says whether it was.
    """

    names: tuple[str, ...]
    scores: Numbers
    thresholds: Numbers
    calibrated: bool

    @property
    def predictions(self) -> list[str]:
        """One label a row."""
        return [self.names[place] for place in self.scores.argmax(axis=1)]

    @property
    def margins(self) -> Numbers:
        """By how much the first label leads the second, ``(n,) float64``: the greater, the surer."""
        two = np.sort(self.scores, axis=1)[:, -2:]
        lead: Numbers = two[:, 1] - two[:, 0]
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
    greatest
    cosine is biased. With two labels, the difference of the two cosines falls into two heaps, and the threshold belongs in the
    valley between them: the valley of the kernel density estimate, at the bandwidths that show exactly two modes
    (Silverman 1981, doi:10.1111/j.2517-6161.1981.tb01155.x). Where no bandwidth does, or there are fewer than 50 rows, nothing is
    changed. With more labels, each label's mean cosine over the rows is taken off by half.

    Args:
        vectors: ``(n, dims) float32``, the texts.
        labels: of the same model.
        calibrate: whether to; it takes rows of all labels.

    Raises:
        InputError: the dimensions differ, or a vector points nowhere.
    """
    unit = normalize(require_directions(vectors))
    require_same_dimensions(unit, labels.vectors)
    cosines = unit.astype(np.float64) @ labels.vectors.T.astype(np.float64)
    thresholds = np.zeros(len(labels.names))
    calibrated = False
    if calibrate and len(unit) >= CALIBRATION_ROWS:
        if len(labels.names) == 2:
            valley = find_valley(cosines[:, 1] - cosines[:, 0])
            calibrated = valley is not None
            thresholds[1] = valley or 0.0
        else:
            means = cosines.mean(axis=0)
            thresholds, calibrated = (means - means.mean()) / 2, True
    return ZeroShot(labels.names, cosines - thresholds, thresholds, calibrated)


def find_valley(values: Numbers) -> float | None:
    """The lowest place between two heaps of numbers, or None where they form one heap, or more than two."""
    if len(values) > _ROWS_OF_CURVE:
        values = np.quantile(values, (np.arange(_ROWS_OF_CURVE) + 0.5) / _ROWS_OF_CURVE)
    spread = float(values.std())
    if spread < 1e-9:
        return None
    grid = np.linspace(values.min(), values.max(), _GRID)
    squares = ((grid[:, None] - values[None]) / spread) ** 2
    valleys = []
    for bandwidth in _BANDWIDTHS:
        curve = np.exp(squares * (-0.5 / bandwidth**2)).sum(axis=1)
        peaks = 1 + np.flatnonzero((curve[1:-1] >= curve[:-2]) & (curve[1:-1] > curve[2:]))
        if len(peaks) == 2:
            valleys.append(float(grid[peaks[0] + curve[peaks[0] : peaks[1]].argmin()]))
    return float(np.median(valleys)) if valleys else None
