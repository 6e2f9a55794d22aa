"""Clusters: which texts belong together, how many groups there are, and what each is about.

>>> import numpy as np
>>> vectors = np.array([[1, 0], [0.99, 0.1], [0, 1], [0.1, 0.99]], dtype=np.float32)
>>> found = cluster(vectors, k=2, seed=42)
>>> found.sizes, bool(found.labels[0] == found.labels[1])
((2, 2), True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.cluster import HDBSCAN, KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from ..errors import InputError
from ..evaluation.duplicates import group_copies, normalize_text
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, normalize, require_nonzero
from .choices import ClusterMethod
from .terms import distinctive_terms

NOISE = -1
MINI_BATCH_FROM = 50_000
_CHOICE_ROWS = 4_000
_DENSITY_DIMENSIONS = 25
_STRUCTURE_ROWS = 500
_STRUCTURE_KS = (2, 3, 4, 6, 9, 12)
_STRUCTURE_DRAWS = 19


@dataclass(frozen=True, slots=True)
class Structure:
    """Whether rows form groups at all: their best mean silhouette beside that of data without groups.

    Attributes:
        silhouette: the best over some numbers of clusters, of at most 500 different rows.
        without_groups: the same of as many draws of as many rows from one normal distribution with the rows' mean and covariance.
    """

    silhouette: float
    without_groups: tuple[float, ...]

    @property
    def p(self) -> float:
        """How often data without groups has as great a silhouette (a permutation-style p-value, at least 1 / 20)."""
        return (1 + sum(value >= self.silhouette for value in self.without_groups)) / (1 + len(self.without_groups))

    @property
    def has_structure(self) -> bool:
        """Whether that is at most one time in twenty."""
        return self.p <= 0.05


@dataclass(frozen=True, slots=True)
class Clustering:
    """``labels`` is ``(n,) int64``, from 0 by size (0 the largest) with -1 for rows of no cluster; ``centers`` is
    ``(k, dims) float32``. Where k was chosen, ``silhouettes`` holds the mean silhouette of each k that was tried, and
    ``structure`` says whether the rows form groups."""

    labels: IntArray
    centers: FloatArray
    method: ClusterMethod
    silhouettes: tuple[tuple[int, float], ...] = ()
    structure: Structure | None = None

    @property
    def at_edge(self) -> bool:
        """Whether k is the greatest that was tried, so that more clusters may fit better."""
        return (
            len(self.silhouettes) > 1 and max(self.silhouettes, key=lambda pair: pair[1])[0] == self.silhouettes[-1][0]
        )

    @property
    def k(self) -> int:
        """How many clusters there are."""
        return len(self.centers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows in each cluster."""
        return tuple(int(count) for count in np.bincount(self.labels[self.labels >= 0], minlength=self.k))

    @property
    def n_noise(self) -> int:
        """Rows of no cluster."""
        return int((self.labels == NOISE).sum())


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """One cluster in words. ``central`` holds the rows nearest to its center, nearest first,
    each text once; ``mean_value`` is the mean of the
    column that was asked for, over its rows."""

    label: int
    size: int
    name: str
    terms: tuple[str, ...]
    central: tuple[int, ...]
    mean_value: float | None


def cluster(
    vectors: FloatArray,
    *,
    k: int | None = None,
    method: ClusterMethod | str = ClusterMethod.KMEANS,
    min_size: int | None = None,
    max_k: int = 12,
    seed: int = 42,
) -> Clustering:
    """Group vectors by direction (each is brought to length 1 first).

    Args:
        vectors: ``(n, dims) float32``.
        k: for k-means (k-means++ starts, ten of them), how many clusters; by default what :func:`choose_k` finds.
        method: ``kmeans``, or ``hdbscan`` (Campello et al. 2013), which finds the number itself and leaves rows out.
        min_size: for HDBSCAN, the smallest cluster; by default 1 % of the rows, at least 5.
        max_k: the greatest k that is tried.
        seed: of the starts.

    Raises:
        InputError: fewer rows than k, a vector of zeros or with a value that is not finite.
    """
    unit = normalize(require_nonzero(vectors, min_rows=2))
    method = _method(method)
    if method is ClusterMethod.HDBSCAN:
        if k is not None:
            raise InputError("HDBSCAN finds the number of clusters itself; leave k out, or use k-means.", param="k")
        return _by_density(unit, min_size or max(5, len(unit) // 100), seed)
    tried: tuple[tuple[int, float], ...] = ()
    structure = None
    if k is None:
        k, tried = choose_k(unit, max_k=max_k, seed=seed)
        structure = assess_structure(unit, max_k=max_k, seed=seed)
    if not 1 <= k <= len(unit):
        raise InputError(f"k is {k}; with {len(unit):,} rows it must be between 1 and {len(unit):,}.", param="k")
    fitted = _kmeans(k, len(unit), seed).fit(unit)
    found = _by_size(fitted.labels_, unit, ClusterMethod.KMEANS, tried, fitted.cluster_centers_)
    return replace(found, structure=structure)


def _method(name: ClusterMethod | str) -> ClusterMethod:
    try:
        return ClusterMethod(name)
    except ValueError as error:
        raise InputError(f"There is no method {name!r}; choose one of {', '.join(ClusterMethod)}.") from error


def _kmeans(k: int, rows: int, seed: int) -> KMeans | MiniBatchKMeans:
    if rows >= MINI_BATCH_FROM:
        return MiniBatchKMeans(k, init="k-means++", n_init=3, batch_size=4096, random_state=seed)
    return KMeans(k, init="k-means++", n_init=10, random_state=seed)


def choose_k(vectors: FloatArray, *, max_k: int = 12, seed: int = 42) -> tuple[int, tuple[tuple[int, float], ...]]:
    """The k of the greatest mean silhouette (Rousseeuw 1987) among 2 … ``max_k``, and the silhouette of each that was tried.

    Copies count once, because copies at distance 0 make groups of any size look dense. At most 4,000 different rows are used,
    drawn by the seed.

    Raises:
        InputError: there are fewer than three different rows.
    """
    unit = _different(normalize(require_nonzero(vectors, min_rows=3)), _CHOICE_ROWS, seed)
    most = min(max_k, len(unit) - 1)
    if most < 2:
        raise InputError("There are fewer than three different rows, too few to choose k; say k.", param="k")
    tried = []
    for k in range(2, most + 1):
        labels = KMeans(k, n_init=3, random_state=seed).fit_predict(unit)
        tried.append((k, float(silhouette_score(unit, labels))))
    return max(tried, key=lambda pair: pair[1])[0], tuple(tried)


def assess_structure(vectors: npt.ArrayLike, *, max_k: int = 12, seed: int = 42) -> Structure:
    """Compare the best silhouette with that of data without groups.

    K-means cuts any data into k groups, and one k always has the greatest silhouette. The null hypothesis is one normal
    distribution with the mean and the covariance of the rows (Liu et al. 2008, doi:10.1198/016214508000000454), brought to length
    1; the statistic is the greatest mean silhouette over 2, 3, 4, 6, 9 and 12 clusters up to ``max_k``. Copies count once.

    Raises:
        InputError: there are fewer than three different rows.
    """
    unit = _different(normalize(require_nonzero(vectors, min_rows=3)), _STRUCTURE_ROWS, seed)
    ks = [k for k in _STRUCTURE_KS if k <= min(max_k, len(unit) - 1)]
    if not ks:
        raise InputError("There are fewer than three different rows, too few to look for groups.", param="k")
    random = np.random.default_rng(seed)
    mean = unit.mean(axis=0)
    moved = (unit - mean).astype(np.float64)
    if moved.shape[1] > len(moved):  # a rotation to as many dimensions as there are rows keeps all distances
        _, _, directions = np.linalg.svd(np.vstack([moved, mean]), full_matrices=False)
        moved, mean = moved @ directions.T, mean @ directions.T
    drawn = []
    for _ in range(_STRUCTURE_DRAWS):
        rows = random.standard_normal((len(moved), len(moved))) @ moved / np.sqrt(len(moved)) + mean
        drawn.append(_best_silhouette(normalize(rows.astype(np.float32)), ks, seed))
    return Structure(_best_silhouette(normalize((moved + mean).astype(np.float32)), ks, seed), tuple(drawn))


def _best_silhouette(unit: FloatArray, ks: Sequence[int], seed: int) -> float:
    distances = np.sqrt(np.maximum(2 - 2 * unit.astype(np.float64) @ unit.T.astype(np.float64), 0.0))
    np.fill_diagonal(distances, 0.0)
    best = -1.0
    for k in ks:
        labels = KMeans(k, n_init=1, random_state=seed).fit_predict(unit)
        if 1 < len(np.unique(labels)) < len(unit):
            best = max(best, float(silhouette_score(distances, labels, metric="precomputed")))
    return best


def _different(unit: FloatArray, most: int, seed: int) -> FloatArray:
    """One row of each text, at most ``most`` of them."""
    _, first = np.unique(group_copies(unit), return_index=True)
    if len(first) > most:
        first = np.random.default_rng(seed).choice(first, most, replace=False)
    chosen: FloatArray = unit[np.sort(first)]
    return chosen


def _by_density(unit: FloatArray, min_size: int, seed: int) -> Clustering:
    if min_size < 2 or min_size > len(unit):
        raise InputError(
            f"The smallest cluster is {min_size}; with {len(unit):,} rows it must be between 2 and {len(unit):,}.",
            param="min_size",
        )
    # Distances say little in a thousand dimensions: density is looked for among the strongest directions.
    dimensions = min(_DENSITY_DIMENSIONS, *unit.shape)
    reduced = PCA(dimensions, random_state=seed).fit_transform(unit).astype(np.float32)
    labels = HDBSCAN(min_cluster_size=min_size, min_samples=max(2, min_size // 3), copy=True).fit_predict(reduced)
    return _by_size(labels, unit, ClusterMethod.HDBSCAN)


def _by_size(
    labels: IntArray,
    unit: FloatArray,
    method: ClusterMethod,
    tried: tuple[tuple[int, float], ...] = (),
    centers: FloatArray | None = None,
) -> Clustering:
    """Clusters numbered from the largest, so that the numbers of a run mean something."""
    there, counts = np.unique(labels[labels >= 0], return_counts=True)
    order = there[np.argsort(-counts, kind="stable")]
    renamed = np.full(len(labels), NOISE, dtype=np.int64)
    for new, old in enumerate(order):
        renamed[labels == old] = new
    if centers is None:
        means = [unit[renamed == label].mean(axis=0) for label in range(len(order))]
        middle = np.array(means, dtype=np.float32).reshape(len(order), unit.shape[1])
    else:
        middle = np.ascontiguousarray(centers[order], dtype=np.float32)
    return Clustering(renamed, middle, method, tried)


def describe(
    clustering: Clustering,
    vectors: FloatArray,
    texts: Sequence[str],
    *,
    values: Sequence[float] | DoubleArray | None = None,
    n_terms: int = 5,
    n_central: int = 3,
) -> list[ClusterSummary]:
    """Name each cluster by its most distinctive terms and show its most central rows.

    Args:
        clustering: of the rows of ``vectors``.
        vectors: ``(n, dims) float32``.
        texts: ``n`` texts.
        values: ``n`` numbers, to be averaged over each cluster.
        n_terms: how many terms a cluster has.
        n_central: how many rows are shown.

    Raises:
        InputError: the lengths differ.
    """
    if not len(clustering.labels) == len(vectors) == len(texts) or (values is not None and len(values) != len(texts)):
        raise InputError("The clustering, the vectors, the texts and the values must have as many rows each.")
    terms = distinctive_terms(texts, clustering.labels, clustering.k, n=n_terms)
    unit = normalize(vectors)
    summaries = []
    for label, center in enumerate(normalize(clustering.centers)):
        rows = np.flatnonzero(clustering.labels == label)
        order = rows[np.argsort(-(unit[rows] @ center), kind="stable")]
        central = list({normalize_text(texts[row]): int(row) for row in reversed(order)}.values())[::-1]
        mean = None if values is None else float(np.asarray(values, dtype=np.float64)[rows].mean())
        name = ", ".join(terms[label][:3]) or f"cluster {label}"
        summaries.append(ClusterSummary(label, len(rows), name, terms[label], tuple(central[:n_central]), mean))
    return summaries
