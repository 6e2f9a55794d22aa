"""Map of the explorer: the position of each row, and the groups that are named on the map.

Positions are those of t-SNE. With more than ``MAX_LANDMARKS`` rows, t-SNE runs on that many of them, so that a map of 200,000
rows costs little more than one of 10,000; see :mod:`umekomi.tasks.tsne`. Positions are cached by the checksum of the vectors.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..machine import available_cores
from ..settings import Settings
from ..tasks.cluster import ClusterSummary, cluster, cluster_points, describe
from ..tasks.terms import extract_terms
from ..tasks.tsne import large_tsne
from ..vectors.arithmetic import FloatArray, IntArray
from ..vectors.array_cache import read_array, write_array
from .dataset import NO_CODE, Dataset

MAX_LANDMARKS = 10_000
ITERATIONS = 250
"""Iterations of t-SNE on landmarks. More take longer and preserve no more neighbors (docs/lab/maps.md)."""
SEED = 0
GROUP_COUNTS = (9, 30, 90)
"""Number of groups at each zoom level, coarse first."""
_VERSION = 2


@dataclass(frozen=True, slots=True)
class MapGroup:
    """A group of similar rows on the map."""

    #: Description of the group; its ``central`` rows are indices in the data set.
    summary: ClusterSummary
    #: Position of the name.
    x: float
    y: float
    #: Indices of the rows in the data set.
    indices: IntArray


@dataclass(frozen=True, slots=True)
class MapGroups:
    """Groups at each zoom level."""

    #: Groups of each level, coarse first.
    levels: tuple[tuple[MapGroup, ...], ...]
    #: ``(rows,) uint16``, the coarse group of each row, or ``NO_CODE``.
    codes: npt.NDArray[np.uint16]


def compute_positions(dataset: Dataset, settings: Settings) -> FloatArray:
    """Return the position of each row, ``(rows, 2) float32``; NaN for rows without a usable vector.

    The same vectors give the same positions. Their median is the origin.
    """
    positions = np.full((len(dataset), 2), np.nan, dtype=np.float32)
    path = settings.cache / "maps" / f"{dataset.vectors_digest}-{_VERSION}.npy"
    result = read_array(path, (len(dataset.usable), 2))
    if result is None:
        result = _project(dataset.usable_vectors())
        with suppress(OSError, InputError):  # without a cache the map is only slower
            write_array(path, result)
    positions[dataset.usable] = result
    return positions


def _project(vectors: FloatArray) -> FloatArray:
    n = len(vectors)
    if n < 5:
        # Too few rows for t-SNE. On a line, no point hides another.
        return np.stack([np.arange(n) - (n - 1) / 2, np.zeros(n)], axis=1).astype(np.float32)
    rows = min(n, MAX_LANDMARKS)
    points = large_tsne(
        vectors,
        2,
        perplexity=min(30.0, (rows - 1) / 3),
        seed=SEED,
        max_landmarks=MAX_LANDMARKS,
        iterations=ITERATIONS if n > MAX_LANDMARKS else 500,
        # Threads synchronize at every step, so one thread is faster for few rows, especially on a busy machine.
        threads=available_cores() if rows >= 1000 else 1,
    )
    points -= np.median(points, axis=0)
    return points


def find_groups(dataset: Dataset, positions: FloatArray) -> MapGroups:
    """Group similar rows at up to three zoom levels: the coarse groups by their vectors, the finer ones by their
    positions.

    The coarse groups are those of ``umekomi cluster -k 9``.
    """
    usable = dataset.usable
    codes = np.full(len(dataset), NO_CODE, dtype=np.uint16)
    vectors, texts = dataset.usable_vectors(), dataset.texts(usable.tolist())
    terms = [frozenset(extract_terms(text)) for text in texts]
    levels: list[tuple[MapGroup, ...]] = []
    for n_groups in GROUP_COUNTS if len(usable) else ():
        k = min(n_groups, max(1, len(usable) // 8))
        if levels and k <= len(levels[-1]):
            break
        if levels or len(usable) == 1:
            clustering = cluster_points(positions[usable], vectors, k=k)
        else:
            clustering = cluster(vectors, k=k)
        if not levels:
            codes[usable] = clustering.labels
        groups = []
        for summary in describe(clustering, vectors, texts, n_terms=6, n_central=5, terms=terms):
            indices = usable[clustering.labels == summary.label]
            summary = replace(summary, central=tuple(usable[list(summary.central)].tolist()))
            groups.append(MapGroup(summary, *_densest_point(positions[indices]), indices))
        levels.append(tuple(groups))
    return MapGroups(tuple(levels), codes)


def _densest_point(points: FloatArray) -> tuple[float, float]:
    """Return the position where the points are densest. The mean would often be a position without points."""
    center = np.median(points, axis=0)
    window = float(np.median(np.linalg.norm(points - center, axis=1))) or 1.0
    for _ in range(8):  # mean shift with a shrinking window
        weights = np.exp(-((np.linalg.norm(points - center, axis=1) / window) ** 2))
        center = (points * weights[:, None]).sum(axis=0) / max(float(weights.sum()), 1e-9)
        window *= 0.85
    return float(center[0]), float(center[1])
