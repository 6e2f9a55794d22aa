"""t-SNE of many rows: of all rows, or of landmarks, between which the other rows are interpolated.

t-SNE is that of van der Maaten and Hinton (2008), with the interpolation of Linderman et al. (2019), as implemented by openTSNE.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from ..extras import import_optional
from ..vectors.arithmetic import FloatArray

N_COMPONENTS = 50
"""Number of principal components that t-SNE runs on. The others are mostly noise."""
N_NEAREST = 10
"""Number of landmarks that determine the position of another row."""
_MAX_EXACT_ROWS = 5_000


def large_tsne(
    rows: FloatArray,
    dimensions: int,
    *,
    perplexity: float,
    seed: int,
    max_landmarks: int | None = None,
    iterations: int = 500,
    threads: int = 1,
) -> FloatArray:
    """Return the position of each row by t-SNE of the principal components.

    Args:
        rows: ``(n, dims) float32``.
        dimensions: 2 or 3.
        perplexity: Approximate number of neighbors of a row.
        seed: Seed of the landmarks and of t-SNE.
        max_landmarks: If there are more rows, t-SNE runs on this number of rows, drawn at random. Each other row gets the
            weighted mean position of its nearest landmarks. None runs t-SNE on all rows.
        iterations: Number of iterations after the early exaggeration.
        threads: CPU threads of t-SNE. With more than one, numbers are added in varying order, so positions can vary.

    Returns:
        ``(n, dimensions) float32``.

    Raises:
        MissingExtraError: openTSNE is not installed.
    """
    n = len(rows)
    landmarks = np.arange(n)
    if max_landmarks is not None and n > max_landmarks:
        landmarks = np.sort(np.random.default_rng(seed).choice(n, max_landmarks, replace=False))
    if float(np.ptp(rows[landmarks], axis=0).max()) < 1e-5:
        return _spiral(n, dimensions)  # with equal rows, PCA and t-SNE would divide by zero
    n_components = min(N_COMPONENTS, len(landmarks) - 1, rows.shape[1])
    pca = PCA(n_components, svd_solver="randomized", random_state=seed).fit(rows[landmarks])
    reduced = pca.transform(rows).astype(np.float32)
    points = _tsne(
        reduced[landmarks], dimensions, perplexity=perplexity, seed=seed, iterations=iterations, threads=threads
    )
    return points if len(landmarks) == n else _interpolate(reduced, reduced[landmarks], points)


def _tsne(
    rows: FloatArray, dimensions: int, *, perplexity: float, seed: int, iterations: int, threads: int
) -> FloatArray:
    openTSNE = import_optional("openTSNE", "A large map")  # noqa: N806 - only large maps need it
    is_large = len(rows) > _MAX_EXACT_ROWS
    model = openTSNE.TSNE(
        n_components=dimensions,
        perplexity=perplexity,
        initialization="pca",
        neighbors="annoy" if is_large else "exact",
        negative_gradient_method="fft" if dimensions == 2 and is_large else "bh",
        random_state=seed,
        n_iter=iterations,
        n_jobs=threads,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # perplexity and the number of iterations are set above
        return np.asarray(model.fit(rows), dtype=np.float32)


def _spiral(n: int, dimensions: int) -> FloatArray:
    """Return points in a plane around the origin at equal density, so that no point hides another."""
    angle = np.arange(n) * np.pi * (3 - 5**0.5)
    points = np.zeros((n, dimensions), dtype=np.float32)
    points[:, 0], points[:, 1] = np.cos(angle), np.sin(angle)
    points *= np.sqrt(np.arange(n, dtype=np.float32))[:, np.newaxis]
    return points


def _interpolate(rows: FloatArray, landmarks: FloatArray, points: FloatArray) -> FloatArray:
    """Return the mean position of each row's nearest landmarks, weighted by distance. Landmarks stay where they are."""
    # Brute force is fast here: scikit-learn selects the nearest ones while it multiplies blocks of the matrices.
    nearest = NearestNeighbors(n_neighbors=N_NEAREST, algorithm="brute").fit(landmarks)
    distances, indices = nearest.kneighbors(rows)
    weights = 1.0 / np.maximum(distances, 1e-6) ** 3
    weights /= weights.sum(axis=1, keepdims=True)
    positions: FloatArray = np.einsum("nk,nkd->nd", weights, points[indices]).astype(np.float32)
    return positions
