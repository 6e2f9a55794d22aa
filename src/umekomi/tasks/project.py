"""Maps: projections to two or three dimensions in which similar rows lie together.

>>> import numpy as np
>>> vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
>>> project(vectors, method="pca").points.shape
(30, 2)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ..errors import InputError
from ..vectors.arithmetic import FloatArray, normalize, require_nonzero
from .choices import MapMethod, parse_method
from .tsne import large_tsne

MAX_TSNE_ROWS = 5_000
_MAX_3D_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Projection:
    """Positions of rows on a map. The same vectors, method and seed give the same positions on one machine."""

    #: ``(n, 2) float32`` or ``(n, 3) float32``.
    points: FloatArray
    #: Method that was used; never ``auto``.
    method: MapMethod
    #: Seed of all random choices.
    seed: int


def project(
    vectors: npt.ArrayLike,
    *,
    method: MapMethod | str = MapMethod.AUTO,
    dimensions: int = 2,
    perplexity: float | None = None,
    seed: int = 42,
) -> Projection:
    """Project vectors to two or three dimensions.

    Args:
        vectors: ``(n, dims) float32``.
        method: See :class:`MapMethod`.
        dimensions: 2 or 3.
        perplexity: Approximate number of neighbors of a row; by default 15, as in the guide, and 30 for ``fast``. It is
            reduced if there are too few rows.
        seed: Seed of all random choices.

    Raises:
        InputError: There are too few rows, a vector is all zeros, all rows are equal, or the method is unknown.
        MissingExtraError: openTSNE is not installed.
    """
    method = parse_method(MapMethod, method)
    if dimensions not in (2, 3):
        raise InputError(f"A map has 2 or 3 dimensions, not {dimensions}.", param="dimensions")
    rows = require_nonzero(vectors, min_rows=dimensions + 1)
    if rows.shape[1] < dimensions:
        raise InputError(f"Vectors of {rows.shape[1]} dimensions have no map of {dimensions}.")
    if (rows == rows[0]).all():
        raise InputError("All rows are equal; there is nothing to show.")
    if method is MapMethod.AUTO:
        method = MapMethod.TSNE if len(rows) <= MAX_TSNE_ROWS else MapMethod.FAST
    if method is MapMethod.PCA:
        points = PCA(dimensions, random_state=seed).fit_transform(rows)
    elif method is MapMethod.TSNE:
        points = _tsne(rows, dimensions, _limit_perplexity(perplexity or 15.0, len(rows)), seed)
    else:
        points = large_tsne(
            normalize(rows),
            dimensions,
            perplexity=_limit_perplexity(perplexity or 30.0, len(rows)),
            seed=seed,
            # In three dimensions openTSNE has no fast approximation of the gradient.
            max_landmarks=None if dimensions == 2 else _MAX_3D_ROWS,
        )
    return Projection(np.ascontiguousarray(points, dtype=np.float32), method, seed)


def _limit_perplexity(perplexity: float, n_rows: int) -> float:
    if not perplexity > 1:
        raise InputError(f"The perplexity is {perplexity:g}; it must be above 1.", param="perplexity")
    return max(1.1, min(perplexity, (n_rows - 1) / 3))


def _tsne(rows: FloatArray, dimensions: int, perplexity: float, seed: int) -> FloatArray:
    options: dict[str, Any] = {"init": "random", "learning_rate": 200}
    if dimensions == 3:
        # The guide's learning rate scatters small sets in three dimensions. The number of rows divided by the early
        # exaggeration (Belkina et al. 2019) does not.
        options = {"init": "pca", "learning_rate": min(200.0, max(5.0, len(rows) / 12))}
    points: FloatArray = TSNE(dimensions, perplexity=perplexity, random_state=seed, **options).fit_transform(rows)
    return points
