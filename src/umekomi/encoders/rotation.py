"""Rotate the first dimensions of a composition so that the most important ones come first.

Vectors can then be shortened to a prefix, by the server or by a client, which keeps more than the same number of dimensions of
each part would: the first dimensions are the principal components of the parts together. A rotation changes no dot product of
complete vectors. benchmarks/rotation.py computes the matrices.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ..errors import AssetCorruptError
from ..vectors.arithmetic import FloatArray, IntArray, normalize
from ..vectors.exact import multiply_exactly, round_to
from .alignment import MATRIX_STEP, VECTOR_STEP

VERSION = 1
"""Increases whenever the same file gives other vectors."""
TENSOR = "rotation"


@cache
def interleaved_order(part_dims: tuple[int, ...]) -> IntArray:
    """Return an order of dimensions in which any prefix has a proportional share of each part but the last, which comes last.

    >>> interleaved_order((2, 4, 3)).tolist()
    [0, 2, 3, 1, 4, 5, 6, 7, 8]
    """
    order = np.argsort(np.concatenate([np.arange(dims) / dims for dims in part_dims[:-1]]), kind="stable")
    return np.concatenate([order, np.arange(len(order), sum(part_dims))])


class Rotation:
    """An orthogonal matrix for the first dimensions of vectors.

    Args:
        matrix: ``(n, n)``; the first ``n`` dimensions are multiplied by it.
    """

    def __init__(self, matrix: FloatArray) -> None:
        self._matrix = round_to(matrix, MATRIX_STEP)

    @classmethod
    def read(cls, path: Path) -> Rotation:
        """Read the matrix from a safetensors file.

        Raises:
            AssetCorruptError: The file does not contain it.
        """
        try:
            return cls(load_file(path)[TENSOR].astype(np.float32))
        except (OSError, SafetensorError, KeyError) as error:
            raise AssetCorruptError(f"{path} does not contain a rotation. Run `umekomi models verify`.") from error

    def identity(self) -> dict[str, object]:
        """Return what the vectors depend on besides the file, as JSON data. It is part of the model's fingerprint."""
        return {"version": VERSION}

    def apply(self, vectors: FloatArray) -> FloatArray:
        """Rotate vectors: ``(n, dims) -> (n, dims) float32`` of length 1. The other dimensions stay as they are."""
        size = len(self._matrix)
        rotated = vectors.copy()
        rotated[:, :size] = multiply_exactly(vectors[:, :size], self._matrix, VECTOR_STEP)
        return normalize(rotated)
