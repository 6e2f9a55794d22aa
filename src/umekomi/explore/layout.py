"""Map of the explorer: the position of each row, and the groups that are named on the map.

Up to ``LANDMARKS`` rows, positions are those of t-SNE (van der Maaten and Hinton 2008, with the interpolation of
Linderman et al. 2019, as implemented by openTSNE). With more rows, t-SNE runs on as many rows drawn at random, and each
other row is placed at the weighted mean of its nearest landmarks, so that a map of 200,000 rows costs little more than
one of 10,000. Positions are cached by the checksum of the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from openTSNE import TSNE
from sklearn.decomposition import PCA

from ..errors import InputError
from ..files.outputs import atomic_write
from ..machine import available_cores
from ..settings import Settings
from ..tasks.cluster import ClusterSummary, cluster, cluster_points, describe
from ..tasks.terms import extract_terms
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray
from .dataset import NO_CODE, Dataset

LANDMARKS = 10_000
N_COMPONENTS = 50
"""Number of principal components that t-SNE runs on. The others are mostly noise."""
SEED = 0
GROUP_COUNTS = (9, 30, 90)
"""Number of groups at each zoom level, coarse first."""
_VERSION = 1


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
    result = _load_positions(path, len(dataset.usable))
    if result is None:
        result = _project(dataset.usable_vectors())
        _save_positions(result, path)
    positions[dataset.usable] = result
    return positions


def _load_positions(path: Path, n: int) -> FloatArray | None:
    """Return the cached positions of ``n`` rows, or None if there are none or the file is damaged."""
    try:
        result: FloatArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    usable = isinstance(result, np.ndarray) and result.dtype == np.float32 and result.shape == (n, 2)
    return result if usable and np.isfinite(result).all() else None


def _project(vectors: FloatArray) -> FloatArray:
    n = len(vectors)
    if n < 5:
        # Too few rows for t-SNE. On a line, no point hides another.
        return np.stack([np.arange(n) - (n - 1) / 2, np.zeros(n)], axis=1).astype(np.float32)
    random = np.random.default_rng(SEED)
    landmarks = np.sort(random.choice(n, LANDMARKS, replace=False)) if n > LANDMARKS else np.arange(n)
    pca = PCA(min(N_COMPONENTS, n - 1, vectors.shape[1]), random_state=SEED, svd_solver="randomized").fit(
        vectors[landmarks]
    )
    reduced = pca.transform(vectors).astype(np.float32)
    if float(np.ptp(reduced[landmarks], axis=0).max()) < 1e-5:
        return _spiral(n)  # with equal vectors, t-SNE would divide by zero
    perplexity = min(30.0, (len(landmarks) - 1) / 3)
    # Threads synchronize at every step, so one thread is faster for few rows, above all on a busy machine.
    jobs = available_cores() if len(landmarks) >= 1000 else 1
    tsne = TSNE(perplexity=perplexity, initialization="pca", random_state=SEED, n_jobs=jobs)
    points = np.asarray(tsne.fit(reduced[landmarks]), dtype=np.float64)
    if n > LANDMARKS:
        points = np.concatenate(
            [_interpolate(rows, reduced[landmarks], points) for rows in np.array_split(reduced, n // 2048)]
        )
    points -= np.median(points, axis=0)
    return points.astype(np.float32)


def _spiral(n: int) -> FloatArray:
    """Return points around the origin at equal density, so that no point hides another."""
    angle = np.arange(n) * np.pi * (3 - 5**0.5)
    points: FloatArray = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.sqrt(np.arange(n))[:, None]
    return points.astype(np.float32)


def _interpolate(rows: FloatArray, landmarks: FloatArray, points: DoubleArray) -> DoubleArray:
    """Return the weighted mean of the positions of each row's ten nearest landmarks. Landmarks keep their own."""
    squares = np.square(landmarks).sum(axis=1) - 2.0 * (rows @ landmarks.T)
    indices = np.argpartition(squares, 10, axis=1)[:, :10]
    distances = np.linalg.norm(rows[:, None, :] - landmarks[indices], axis=2)
    weights = 1.0 / np.maximum(distances, 1e-6) ** 3
    weights /= weights.sum(axis=1, keepdims=True)
    points_of_rows: DoubleArray = np.einsum("nk,nkd->nd", weights, points[indices])
    return points_of_rows


def _save_positions(positions: FloatArray, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, positions, allow_pickle=False)
    except (OSError, InputError):
        return  # without a cache the map is only slower


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
