"""Arithmetic on arrays of vectors, most of them ``(n, dims) float32``. This module knows nothing of models.

>>> import numpy as np
>>> normalize(np.array([[3.0, 4.0]], dtype=np.float32))
array([[0.6, 0.8]], dtype=float32)
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ..errors import InputError

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_BLOCK = 4096


class Metric(StrEnum):
    """Distance between two vectors. Smaller is nearer for all of them."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "L2"
    MANHATTAN = "L1"
    CHEBYSHEV = "Linf"


def as_matrix(values: npt.ArrayLike) -> FloatArray:
    """Return one or more vectors as a contiguous ``(n, dims) float32`` array. A single vector ``(dims,)`` becomes ``(1, dims)``.

    Raises:
        InputError: The values are ragged, have more than two axes, or are not all finite.
    """
    try:
        matrix = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError("The vectors do not form a table of numbers: they must all have the same length.") from error
    if matrix.ndim == 1:
        matrix = matrix[None, :]
    if matrix.ndim != 2:
        raise InputError(f"The vectors have {matrix.ndim} axes; pass one vector or a list of vectors.")
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise InputError(f"Vector {row} contains a value that is not a finite number.")
    return matrix


def require_nonzero(vectors: npt.ArrayLike, *, min_rows: int = 1) -> FloatArray:
    """Return vectors as :func:`as_matrix` does, and check that none is all zeros, because such a vector has no direction.

    Raises:
        InputError: There are fewer than ``min_rows`` vectors, one is all zeros, or :func:`as_matrix` rejects the values.
    """
    matrix = as_matrix(vectors)
    n_rows = len(matrix) if matrix.shape[1] else 0
    if n_rows < min_rows:
        raise InputError(f"There are {n_rows} vectors; at least {min_rows} are needed.")
    zeros = np.flatnonzero(~matrix.any(axis=1))
    if len(zeros):
        raise InputError(
            f"Vector {zeros[0]} is all zeros, so it has no nearest neighbors. Remove all such vectors ({len(zeros)})."
        )
    return matrix


def require_same_dimensions(left: FloatArray, right: FloatArray) -> None:
    """Raise InputError if two sets of vectors differ in their number of dimensions."""
    if left.shape[1] != right.shape[1]:
        raise InputError(
            f"Vectors of {left.shape[1]} and of {right.shape[1]} dimensions cannot be compared. Embed both with one model."
        )


def normalize(vectors: FloatArray) -> FloatArray:
    """Scale each row to length 1. A row of zeros stays zeros. ``(n, dims) -> (n, dims) float32``."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0.0] = 1.0
    # Divided in float64 and written as float32 in one step, which needs no array of float64.
    scaled: FloatArray = np.empty(vectors.shape, dtype=np.float32)
    np.divide(vectors, lengths[:, None], out=scaled, casting="same_kind")
    return scaled


def compose(parts: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Concatenate parts, each scaled by the square root of its share of the weights, into vectors of length 1.

    If each part has length 1, the dot product of two composed vectors is the weighted mean of the parts' cosines, so one
    product is a hybrid search. If a part is shorter or all zeros (a text without words has no lexical part), the other parts
    count more. ``[(n, d1), (n, d2), …] -> (n, d1 + d2 + …) float32``.
    """
    total = float(sum(weights))
    scales = [np.float32((weight / total) ** 0.5) for weight in weights]
    scaled = [part * scale for part, scale in zip(parts, scales, strict=True)]
    return normalize(np.concatenate(scaled, axis=1))


def shorten(vectors: FloatArray, dimensions: int) -> FloatArray:
    """Keep the first ``dimensions`` columns and scale the rows to length 1. ``(n, dims) -> (n, dimensions) float32``.

    Raises:
        InputError: ``dimensions`` is not between 1 and the number of columns.
    """
    if not 1 <= dimensions <= vectors.shape[1]:
        raise InputError(
            f"dimensions is {dimensions}; it must be between 1 and {vectors.shape[1]}.", param="dimensions"
        )
    return normalize(np.ascontiguousarray(vectors[:, :dimensions]))


def cosine(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the cosine similarity of each row of ``left`` to each row of ``right``: ``(n, dims), (m, dims) -> (n, m)``."""
    require_same_dimensions(left, right)
    similarities: FloatArray = normalize(left) @ normalize(right).T
    return similarities


def distances(queries: FloatArray, vectors: FloatArray, metric: Metric | str = Metric.COSINE) -> FloatArray:
    """Return the distance of each vector from each query: ``(q, dims), (n, dims) -> (q, n) float32``.

    ``cosine`` is 1 minus the cosine similarity, ``dot`` the negative dot product, ``L2`` the Euclidean distance, ``L1`` the sum
    and ``Linf`` the maximum of the absolute differences. On vectors of length 1 the first three give the same order.

    Raises:
        InputError: The numbers of dimensions differ, the metric is unknown, or a row of zeros has no cosine.
    """
    try:
        metric = Metric(metric)
    except ValueError as error:
        raise InputError(f"Unknown distance {metric!r}; use one of {', '.join(Metric)}.", param="metric") from error
    require_same_dimensions(queries, vectors)
    if metric is Metric.DOT:
        products: FloatArray = -(queries @ vectors.T)
        return products
    if metric is Metric.COSINE:
        for rows in (queries, vectors):
            require_nonzero(rows, min_rows=0)
        angles: FloatArray = np.float32(1.0) - cosine(queries, vectors)
        return angles
    measure = _MEASURES[metric]
    result = np.empty((len(queries), len(vectors)), dtype=np.float32)
    for row, query in enumerate(queries):
        # In blocks, because the differences of a million vectors would double the memory.
        for start in range(0, len(vectors), _BLOCK):
            result[row, start : start + _BLOCK] = measure(vectors[start : start + _BLOCK] - query)
    return result


_MEASURES: Mapping[Metric, Callable[[FloatArray], FloatArray]] = {
    Metric.EUCLIDEAN: lambda gaps: np.sqrt(np.einsum("ij,ij->i", gaps, gaps)),
    Metric.MANHATTAN: lambda gaps: np.abs(gaps).sum(axis=1),
    Metric.CHEBYSHEV: lambda gaps: np.abs(gaps).max(axis=1),
}


def parse_vector(text: str) -> FloatArray:
    """Parse a vector written as text, such as ``[0.1, -2e-3]``: ``(dims,) float32``. No code in the text is run.

    >>> parse_vector("[3, 4.5]").tolist()
    [3.0, 4.5]

    Raises:
        InputError: The text is not a list of finite numbers.
    """
    shown = repr(text if len(text) <= 40 else text[:39] + "…")
    try:
        values = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not values or not all(type(value) in (int, float) for value in values):
        raise InputError(f"{shown} is not a vector. Write it as [0.1, -0.2, …].")
    try:
        with np.errstate(over="ignore"):
            vector: FloatArray = as_matrix(values)[0]
            return vector
    except (InputError, OverflowError) as error:
        raise InputError(f"{shown} contains a number that is too large for float32.") from error


def _reject_constant(name: str) -> float:
    """Reject NaN and Infinity, which are not JSON."""
    raise ValueError(name)


def to_base64(vector: FloatArray) -> str:
    """Encode a vector as base64 of little-endian float32, as the embeddings API does."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def from_base64(text: str) -> FloatArray:
    """Decode the result of :func:`to_base64`: ``(dims,) float32``.

    Raises:
        InputError: The text is not base64 of float32 numbers.
    """
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
    except ValueError as error:
        raise InputError("The text is not base64 of little-endian float32 numbers.") from error
