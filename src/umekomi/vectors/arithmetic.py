"""Pure maths on arrays of vectors. Everything here takes and gives ``(n, dims) float32``; nothing here knows a model.

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


class Metric(StrEnum):
    """How far two vectors are from each other; of each, smaller is nearer."""

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "L2"
    MANHATTAN = "L1"
    CHEBYSHEV = "Linf"


def as_matrix(values: npt.ArrayLike) -> FloatArray:
    """One or many vectors as a contiguous ``(n, dims) float32`` array; one vector of ``(dims,)`` becomes ``(1, dims)``.

    Raises:
        InputError: the values are ragged, have another number of axes, or are not all finite.
    """
    try:
        matrix = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError("The vectors do not form a table of numbers: they must all have the same length.") from error
    if matrix.ndim == 1:
        matrix = matrix[None, :]
    if matrix.ndim != 2:
        raise InputError(f"The vectors have {matrix.ndim} axes; give one vector, or a list of them.")
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise InputError(f"Vector {row} holds a value that is not a finite number.")
    return matrix


def normalize(vectors: FloatArray) -> FloatArray:
    """Each row scaled to length 1; a row of zeros stays zeros. ``(n, dims) -> (n, dims) float32``."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0.0] = 1.0
    scaled: FloatArray = (vectors / lengths[:, None]).astype(np.float32)
    return scaled


def compose(parts: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Concatenate parts, each scaled by the square root of its share of the weights, into vectors of length 1.

    Where each part has length 1, the dot product of two composed vectors is the weighted mean of the parts' own cosines:
    one product is hybrid search. Where a part is shorter, or all zeros (a text without words has no lexical part), the
    others fill its place.
    ``[(n, d1), (n, d2), …] -> (n, d1 + d2 + …) float32``.
    """
    total = float(sum(weights))
    scales = [np.float32((weight / total) ** 0.5) for weight in weights]
    scaled = [part * scale for part, scale in zip(parts, scales, strict=True)]
    return normalize(np.concatenate(scaled, axis=1))


def shorten(vectors: FloatArray, dimensions: int) -> FloatArray:
    """The first ``dimensions`` columns, brought back to length 1. ``(n, dims) -> (n, dimensions) float32``.

    Raises:
        InputError: ``dimensions`` is not between 1 and the vectors' own.
    """
    if not 1 <= dimensions <= vectors.shape[1]:
        raise InputError(
            f"dimensions is {dimensions}; it must be between 1 and {vectors.shape[1]}.", param="dimensions"
        )
    return normalize(np.ascontiguousarray(vectors[:, :dimensions]))


def cosine(left: FloatArray, right: FloatArray) -> FloatArray:
    """Cosine similarity of every row of ``left`` with every row of ``right``: ``(n, dims), (m, dims) -> (n, m)``."""
    if left.shape[1] != right.shape[1]:
        raise InputError(f"Vectors of {left.shape[1]} and of {right.shape[1]} dimensions cannot be compared.")
    similarities: FloatArray = normalize(left) @ normalize(right).T
    return similarities


def distances(queries: FloatArray, vectors: FloatArray, metric: Metric | str = Metric.COSINE) -> FloatArray:
    """How far every vector is from every query: ``(q, dims), (n, dims) -> (q, n) float32``, smaller is nearer.

    ``cosine`` is 1 less the cosine similarity, ``dot`` the dot product with its sign turned, ``L2`` the Euclidean distance,
    ``L1`` the sum and ``Linf`` the greatest of the coordinates' differences. On vectors of length 1 the first three rank alike.

    Raises:
        InputError: the vectors differ in dimensions, there is no such metric, or a row of zeros has no cosine.
    """
    try:
        metric = Metric(metric)
    except ValueError as error:
        raise InputError(
            f"There is no distance {metric!r}; choose one of {', '.join(Metric)}.", param="metric"
        ) from error
    if queries.shape[1] != vectors.shape[1]:
        raise InputError(f"Vectors of {queries.shape[1]} and of {vectors.shape[1]} dimensions cannot be compared.")
    if metric is Metric.DOT:
        products: FloatArray = -(queries @ vectors.T)
        return products
    if metric is Metric.COSINE:
        for rows in (queries, vectors):
            require_lengths(rows)
        angles: FloatArray = np.float32(1.0) - cosine(queries, vectors)
        return angles
    measure = _MEASURES[metric]
    found = np.empty((len(queries), len(vectors)), dtype=np.float32)
    for row, query in enumerate(queries):
        # In blocks, so that the differences of a million vectors need no memory of their own size.
        for start in range(0, len(vectors), _BLOCK):
            found[row, start : start + _BLOCK] = measure(vectors[start : start + _BLOCK] - query)
    return found


_BLOCK = 4096
_MEASURES: Mapping[Metric, Callable[[FloatArray], FloatArray]] = {
    Metric.EUCLIDEAN: lambda gaps: np.sqrt(np.einsum("ij,ij->i", gaps, gaps)),
    Metric.MANHATTAN: lambda gaps: np.abs(gaps).sum(axis=1),
    Metric.CHEBYSHEV: lambda gaps: np.abs(gaps).max(axis=1),
}


def require_lengths(vectors: FloatArray) -> None:
    """Raise InputError if a row is all zeros: it points nowhere, and nothing is near to it."""
    empty = np.flatnonzero(~vectors.any(axis=1))
    if len(empty):
        raise InputError(f"Vector {int(empty[0])} is all zeros; it is near to nothing. Leave such rows out.")


def parse_vector(text: str) -> FloatArray:
    """A vector written as text, as ``[0.1, -2e-3]``: ``(dims,) float32``. Nothing but a list of finite numbers is read.

    >>> parse_vector("[3, 4.5]").tolist()
    [3.0, 4.5]

    Raises:
        InputError: the text is anything else.
    """
    try:
        values = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{_start(text)} is not a vector: write it as [0.1, -0.2, …].") from error
    if not isinstance(values, list) or not values or not all(type(value) in (int, float) for value in values):
        raise InputError(f"{_start(text)} is not a vector: write it as [0.1, -0.2, …].")
    try:
        with np.errstate(over="ignore"):
            vector: FloatArray = as_matrix(values)[0]
            return vector
    except (InputError, OverflowError) as error:
        raise InputError(f"{_start(text)} holds a number that is too large for float32.") from error


def _refuse(name: str) -> float:
    raise ValueError(name)


def _start(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def to_base64(vector: FloatArray) -> str:
    """A vector as base64 of little-endian float32, as the embeddings API sends it."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def from_base64(text: str) -> FloatArray:
    """The reverse of :func:`to_base64`: ``(dims,) float32``.

    Raises:
        InputError: the text is not base64 of whole float32 numbers.
    """
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
    except ValueError as error:
        raise InputError("The text is not base64 of little-endian float32 numbers.") from error
