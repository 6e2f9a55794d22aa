"""Clusters: which texts belong together, how many groups there are, and what each group is about.

>>> import numpy as np
>>> vectors = np.array([[1, 0], [0.99, 0.1], [0, 1], [0.1, 0.99]], dtype=np.float32)
>>> clustering = cluster(vectors, k=2, seed=42)
>>> clustering.sizes, bool(clustering.labels[0] == clustering.labels[1])
((2, 2), True)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn.cluster import HDBSCAN, KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score

from ..errors import InputError
from ..evaluation.duplicates import group_copies, normalize_text
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, normalize, require_nonzero
from .choices import ClusterMethod, parse_method
from .terms import distinctive_terms

NOISE = -1
MIN_MINI_BATCH_ROWS = 50_000
_MAX_CHOICE_ROWS = 4_000
_DENSITY_DIMENSIONS = 25
_STRUCTURE_ROWS = 500
_STRUCTURE_KS = (2, 3, 4, 6, 9, 12)
_STRUCTURE_DRAWS = 19


@dataclass(frozen=True, slots=True)
class Structure:
    """Whether rows form groups at all: their best mean silhouette, compared with data without groups."""

    #: The best mean silhouette over some numbers of clusters, of at most 500 different rows.
    silhouette: float
    #: The same for samples of the same size from one normal distribution with the rows' mean and covariance.
    without_groups: tuple[float, ...]

    @property
    def p(self) -> float:
        """The p-value of the silhouette for data without groups, at least 1 / 20."""
        return (1 + sum(value >= self.silhouette for value in self.without_groups)) / (1 + len(self.without_groups))

    @property
    def has_structure(self) -> bool:
        """Whether the p-value is at most 0.05."""
        return self.p <= 0.05


@dataclass(frozen=True, slots=True)
class Clustering:
    """An assignment of rows to clusters."""

    #: ``(n,) int64``: the cluster of each row, numbered from 0 in descending order of size; -1 for rows without a
    #: cluster.
    labels: IntArray
    #: ``(k, dims) float32``.
    centers: FloatArray
    #: Algorithm.
    method: ClusterMethod
    #: If k was chosen: each k that was tried, with its mean silhouette.
    silhouettes: tuple[tuple[int, float], ...] = ()
    #: If k was chosen: whether the rows form groups.
    structure: Structure | None = None

    @property
    def at_edge(self) -> bool:
        """Whether k is the largest number that was tried, so that more clusters may fit better."""
        return (
            len(self.silhouettes) > 1 and max(self.silhouettes, key=lambda pair: pair[1])[0] == self.silhouettes[-1][0]
        )

    @property
    def k(self) -> int:
        """The number of clusters."""
        return len(self.centers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows in each cluster."""
        return tuple(int(count) for count in np.bincount(self.labels[self.labels >= 0], minlength=self.k))

    @property
    def n_noise(self) -> int:
        """The number of rows without a cluster."""
        return int((self.labels == NOISE).sum())


@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """Description of one cluster."""

    #: Number of the cluster.
    label: int
    #: Number of rows.
    size: int
    #: The first three terms.
    name: str
    #: The most distinctive terms.
    terms: tuple[str, ...]
    #: Rows nearest to the center, nearest first; each text once.
    central: tuple[int, ...]
    #: Mean of the given values over the rows.
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
    """Group vectors by direction. Each vector is scaled to length 1 first.

    Args:
        vectors: ``(n, dims) float32``.
        k: Number of clusters for k-means (k-means++, ten initializations); by default the result of :func:`choose_k`.
        method: ``kmeans``, or ``hdbscan`` (Campello et al. 2013), which determines the number of clusters and leaves
            rows out.
        min_size: Smallest cluster of HDBSCAN; by default 1 % of the rows, at least 5.
        max_k: Largest k that is tried.
        seed: Seed of the initializations.

    Raises:
        InputError: There are fewer rows than k, or a vector is all zeros or has a value that is not finite.
    """
    unit = normalize(require_nonzero(vectors, min_rows=2))
    method = parse_method(ClusterMethod, method)
    if method is ClusterMethod.HDBSCAN:
        if k is not None:
            raise InputError("HDBSCAN determines the number of clusters itself. Omit k, or use k-means.", param="k")
        return _cluster_by_density(unit, min_size or max(5, len(unit) // 100), seed)
    silhouettes: tuple[tuple[int, float], ...] = ()
    structure = None
    if k is None:
        k, silhouettes = choose_k(unit, max_k=max_k, seed=seed)
        structure = assess_structure(unit, max_k=max_k, seed=seed)
    if not 1 <= k <= len(unit):
        raise InputError(f"k is {k}; with {len(unit):,} rows it must be between 1 and {len(unit):,}.", param="k")
    model = _fit_k_means(unit, k, seed)
    clustering = _sorted_by_size(model.labels_, unit, ClusterMethod.KMEANS, model.cluster_centers_)
    return replace(clustering, silhouettes=silhouettes, structure=structure)


def cluster_points(points: FloatArray, vectors: FloatArray, *, k: int, seed: int = 42) -> Clustering:
    """Group rows by their positions on a map, with the k-means of :func:`cluster`.

    Args:
        points: ``(n, 2) float32``.
        vectors: ``(n, dims) float32``; their means are the centers of the clusters.
        k: Number of clusters.
        seed: Seed of the initializations.
    """
    return _sorted_by_size(_fit_k_means(points, k, seed).labels_, normalize(vectors), ClusterMethod.KMEANS)


def _fit_k_means(rows: FloatArray, k: int, seed: int) -> KMeans | MiniBatchKMeans:
    model = KMeans(k, init="k-means++", n_init=10, random_state=seed)
    if len(rows) >= MIN_MINI_BATCH_ROWS:
        model = MiniBatchKMeans(k, init="k-means++", n_init=3, batch_size=4096, random_state=seed)
    with warnings.catch_warnings():
        # With fewer different rows than clusters, some clusters stay empty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(rows)


def choose_k(vectors: FloatArray, *, max_k: int = 12, seed: int = 42) -> tuple[int, tuple[tuple[int, float], ...]]:
    """Return the k from 2 to ``max_k`` with the highest mean silhouette (Rousseeuw 1987), and the silhouette of each
    k.

    Copies count once, because copies at distance 0 make groups of any size look dense. At most 4,000 different rows are
    used, drawn by the seed.

    Raises:
        InputError: There are fewer than three different rows.
    """
    unit = _sample_different(normalize(require_nonzero(vectors, min_rows=3)), _MAX_CHOICE_ROWS, seed)
    max_k = min(max_k, len(unit) - 1)
    if max_k < 2:
        raise InputError("There are fewer than three different rows, too few to choose k; specify k.", param="k")
    silhouettes = []
    for k in range(2, max_k + 1):
        labels = KMeans(k, n_init=3, random_state=seed).fit_predict(unit)
        silhouettes.append((k, float(silhouette_score(unit, labels))))
    return max(silhouettes, key=lambda pair: pair[1])[0], tuple(silhouettes)


def assess_structure(vectors: npt.ArrayLike, *, max_k: int = 12, seed: int = 42) -> Structure:
    """Compare the best silhouette with that of data without groups.

    K-means divides any data into k groups, and one k always has the highest silhouette. The null hypothesis is one
    normal distribution with the mean and the covariance of the rows (Liu et al. 2008, doi:10.1198/016214508000000454),
    scaled to length 1; the statistic is the highest mean silhouette over 2, 3, 4, 6, 9 and 12 clusters up to
    ``max_k``. Copies count once.

    Raises:
        InputError: There are fewer than three different rows.
    """
    unit = _sample_different(normalize(require_nonzero(vectors, min_rows=3)), _STRUCTURE_ROWS, seed)
    ks = [k for k in _STRUCTURE_KS if k <= min(max_k, len(unit) - 1)]
    if not ks:
        raise InputError("There are fewer than three different rows, too few to look for groups.", param="k")
    random = np.random.default_rng(seed)
    mean = unit.mean(axis=0)
    centered = (unit - mean).astype(np.float64)
    if centered.shape[1] > len(centered):  # a rotation to as many dimensions as there are rows preserves all distances
        _, _, directions = np.linalg.svd(np.vstack([centered, mean]), full_matrices=False)
        centered, mean = centered @ directions.T, mean @ directions.T
    n = len(centered)
    without_groups = []
    for _ in range(_STRUCTURE_DRAWS):
        rows = random.standard_normal((n, n)) @ centered / np.sqrt(n) + mean
        without_groups.append(_best_silhouette(normalize(rows.astype(np.float32)), ks, seed))
    silhouette = _best_silhouette(normalize((centered + mean).astype(np.float32)), ks, seed)
    return Structure(silhouette, tuple(without_groups))


def _best_silhouette(unit: FloatArray, ks: Sequence[int], seed: int) -> float:
    distances = np.sqrt(np.maximum(2 - 2 * unit.astype(np.float64) @ unit.T.astype(np.float64), 0.0))
    np.fill_diagonal(distances, 0.0)
    best = -1.0
    for k in ks:
        labels = KMeans(k, n_init=1, random_state=seed).fit_predict(unit)
        if 1 < len(np.unique(labels)) < len(unit):
            best = max(best, float(silhouette_score(distances, labels, metric="precomputed")))
    return best


def _sample_different(unit: FloatArray, max_rows: int, seed: int) -> FloatArray:
    """Return one row of each text, at most ``max_rows``."""
    _, first = np.unique(group_copies(unit), return_index=True)
    if len(first) > max_rows:
        first = np.random.default_rng(seed).choice(first, max_rows, replace=False)
    sample: FloatArray = unit[np.sort(first)]
    return sample


def _cluster_by_density(unit: FloatArray, min_size: int, seed: int) -> Clustering:
    if min_size < 2 or min_size > len(unit):
        raise InputError(
            f"The smallest cluster is {min_size}; with {len(unit):,} rows it must be between 2 and {len(unit):,}.",
            param="min_size",
        )
    # Distances in a thousand dimensions are all similar, so the density is computed in the first principal components.
    dimensions = min(_DENSITY_DIMENSIONS, *unit.shape)
    reduced = PCA(dimensions, random_state=seed).fit_transform(unit).astype(np.float32)
    labels = HDBSCAN(min_cluster_size=min_size, min_samples=max(2, min_size // 3), copy=True).fit_predict(reduced)
    return _sorted_by_size(labels, unit, ClusterMethod.HDBSCAN)


def _sorted_by_size(
    labels: IntArray, unit: FloatArray, method: ClusterMethod, centers: FloatArray | None = None
) -> Clustering:
    """Number the clusters from the largest. The default centers are the means of the vectors."""
    present, counts = np.unique(labels[labels >= 0], return_counts=True)
    order = present[np.argsort(-counts, kind="stable")]
    sorted_labels = np.full(len(labels), NOISE, dtype=np.int64)
    for new, old in enumerate(order):
        sorted_labels[labels == old] = new
    if centers is None:
        means = [unit[sorted_labels == label].mean(axis=0) for label in range(len(order))]
        sorted_centers = np.array(means, dtype=np.float32).reshape(len(order), unit.shape[1])
    else:
        sorted_centers = np.ascontiguousarray(centers[order], dtype=np.float32)
    return Clustering(sorted_labels, sorted_centers, method)


def describe(
    clustering: Clustering,
    vectors: FloatArray,
    texts: Sequence[str],
    *,
    values: Sequence[float] | DoubleArray | None = None,
    n_terms: int = 5,
    n_central: int = 3,
    terms: Sequence[AbstractSet[str]] | None = None,
) -> list[ClusterSummary]:
    """Name each cluster by its most distinctive terms and list its most central rows.

    Args:
        clustering: Clusters of the rows of ``vectors``.
        vectors: ``(n, dims) float32``.
        texts: The ``n`` texts.
        values: ``n`` numbers, to be averaged over each cluster.
        n_terms: Number of terms per cluster.
        n_central: Number of central rows per cluster.
        terms: The terms of each text, if they were already computed with :func:`umekomi.tasks.terms.extract_terms`.

    Raises:
        InputError: The lengths differ.
    """
    if not len(clustering.labels) == len(vectors) == len(texts) or (values is not None and len(values) != len(texts)):
        raise InputError("The clustering, the vectors, the texts and the values must have the same number of rows.")
    terms_by_label = distinctive_terms(texts, clustering.labels, clustering.k, n=n_terms, terms=terms)
    unit = normalize(vectors)
    summaries = []
    for label, center in enumerate(normalize(clustering.centers)):
        rows = np.flatnonzero(clustering.labels == label)
        order = rows[np.argsort(-(unit[rows] @ center), kind="stable")]
        central = list({normalize_text(texts[row]): int(row) for row in reversed(order)}.values())[::-1]
        mean = None if values is None else float(np.asarray(values, dtype=np.float64)[rows].mean())
        label_terms = terms_by_label[label]
        name = ", ".join(label_terms[:3]) or f"cluster {label}"
        summaries.append(ClusterSummary(label, len(rows), name, label_terms, tuple(central[:n_central]), mean))
    return summaries
