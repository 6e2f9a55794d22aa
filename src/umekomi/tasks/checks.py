"""What the use cases ask of what they are given, each in one sentence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..vectors.arithmetic import FloatArray, as_matrix


def require_directions(vectors: npt.ArrayLike, *, at_least: int = 1) -> FloatArray:
    """The vectors as ``(n, dims) float32``, each of which points somewhere.

    Raises:
        InputError: there are fewer than ``at_least``, one holds a value that is not finite, or is all zeros.
    """
    matrix = as_matrix(vectors)
    if len(matrix) < at_least or matrix.size == 0:
        raise InputError(f"There are {len(matrix) if matrix.size else 0} rows; this needs at least {at_least}.")
    empty = ~matrix.any(axis=1)
    if empty.any():
        raise InputError(
            f"Vector {int(np.flatnonzero(empty)[0])} is all zeros, so it points nowhere; leave out the "
            f"{int(empty.sum())} such row(s)."
        )
    return matrix


def require_same_dimensions(left: FloatArray, right: FloatArray) -> None:
    """Raise InputError where two sets cannot lie in one space."""
    if left.shape[1] != right.shape[1]:
        raise InputError(
            f"Vectors of {left.shape[1]} and of {right.shape[1]} dimensions cannot be compared: embed both with one model."
        )
