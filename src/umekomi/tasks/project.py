"""Maps: many dimensions to two or three, so that what is alike lies together.

>>> import numpy as np
>>> vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
>>> project(vectors, method="pca").points.shape
(30, 2)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ..errors import InputError
from ..extras import import_optional
from ..vectors.arithmetic import FloatArray, normalize, require_nonzero
from .choices import MapMethod
from .neighbors import nearest

GUIDE_ROWS = 5_000
_FAST_COMPONENTS = 50
_EXACT_NEIGHBOURS = 5_000
_SOLID_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Projection:
    """``points`` is ``(n, 2) float32``, or ``(n, 3)``. The same vectors, method and seed give the same points on one machine."""

    points: FloatArray
    method: MapMethod
    seed: int


def project(
    vectors: npt.ArrayLike,
    *,
    method: MapMethod | str = MapMethod.AUTO,
    dimensions: int = 2,
    perplexity: float | None = None,
    seed: int = 42,
) -> Projection:
    """Lay vectors out in two or three dimensions.

    Args:
        vectors: ``(n, dims) float32``.
        method: see :class:`MapMethod`.
        dimensions: 2 or 3.
        perplexity: how many neighbours a row roughly has; by default 15, as in the guide, and 30 for ``fast``. It is
        lowered where
            there are too few rows for it.
        seed: of everything random.

    Raises:
        InputError: too few rows, a vector that points nowhere, all rows the same, or an unknown method.
        MissingExtraError: openTSNE is not installed.
    """
    try:
        method = MapMethod(method)
    except ValueError as error:
        raise InputError(f"There is no method {method!r}; choose one of {', '.join(MapMethod)}.") from error
    if dimensions not in (2, 3):
        raise InputError(f"A map has 2 or 3 dimensions, not {dimensions}.", param="dimensions")
    rows = require_nonzero(vectors, min_rows=dimensions + 1)
    if rows.shape[1] < dimensions:
        raise InputError(f"Vectors of {rows.shape[1]} dimensions have no map of {dimensions}.")
    if (rows == rows[0]).all():
        raise InputError("All rows are the same; there is nothing to see.")
    if method is MapMethod.AUTO:
        method = MapMethod.TSNE if len(rows) <= GUIDE_ROWS else MapMethod.FAST
    if method is MapMethod.PCA:
        points = _pca(rows, dimensions, seed)
    elif method is MapMethod.TSNE:
        points = _tsne(rows, dimensions, _fitting(perplexity or 15.0, len(rows)), seed)
    else:
        points = _fast(rows, dimensions, _fitting(perplexity or 30.0, len(rows)), seed)
    return Projection(np.ascontiguousarray(points, dtype=np.float32), method, seed)


def _fitting(perplexity: float, rows: int) -> float:
    if not perplexity > 1:
        raise InputError(f"The perplexity is {perplexity:g}; it must be above 1.", param="perplexity")
    return max(1.1, min(perplexity, (rows - 1) / 3))


def _pca(rows: FloatArray, dimensions: int, seed: int) -> FloatArray:
    points: FloatArray = PCA(dimensions, random_state=seed).fit_transform(rows).astype(np.float32)
    return points


def _tsne(rows: FloatArray, dimensions: int, perplexity: float, seed: int) -> FloatArray:
    # In three dimensions the guide's rate throws small sets apart; rows over early exaggeration (Belkina et al. 2019)
    # does not.
    solid: dict[str, Any] = {"init": "pca", "learning_rate": min(200.0, max(5.0, len(rows) / 12))}
    start: dict[str, Any] = {"init": "random", "learning_rate": 200} if dimensions == 2 else solid
    model = TSNE(dimensions, perplexity=perplexity, random_state=seed, **start)
    points: FloatArray = model.fit_transform(rows)
    return points


def _fast(rows: FloatArray, dimensions: int, perplexity: float, seed: int) -> FloatArray:
    """t-SNE of the strongest 50 directions. In three dimensions, where there is no interpolation, of at most 5,000 rows;
    the others
    are laid between those of them that they are nearest to."""
    unit = normalize(rows)
    components = min(_FAST_COMPONENTS, len(unit) - 1, unit.shape[1])
    reduced = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(unit).astype(np.float32)
    if dimensions == 2 or len(unit) <= _SOLID_ROWS:
        return _open_tsne(reduced, dimensions, perplexity, seed)
    some = np.sort(np.random.default_rng(seed).choice(len(unit), _SOLID_ROWS, replace=False))
    placed = _open_tsne(reduced[some], dimensions, perplexity, seed)
    cosines, places = nearest(unit, unit[some], 5)
    weights = np.exp((cosines - cosines[:, :1]) / 0.05)
    weights /= weights.sum(axis=1, keepdims=True)
    points: FloatArray = np.einsum("nk,nkd->nd", weights, placed[places])
    points[some] = placed
    return points


def _open_tsne(reduced: FloatArray, dimensions: int, perplexity: float, seed: int) -> FloatArray:
    openTSNE = import_optional("openTSNE", "A large map")  # noqa: N806 - only large maps need it
    model = openTSNE.TSNE(
        n_components=dimensions,
        perplexity=perplexity,
        initialization="pca",
        neighbors="exact" if len(reduced) <= _EXACT_NEIGHBOURS else "annoy",
        negative_gradient_method="fft" if dimensions == 2 and len(reduced) > _EXACT_NEIGHBOURS else "bh",
        random_state=seed,
        n_jobs=1,  # several threads add up in another order each time
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # perplexity and the number of iterations are settled above
        return np.asarray(model.fit(reduced), dtype=np.float32)
