"""Vectors in fewer bytes: int8, or one bit per dimension. Decoded vectors have length 1, so no scale is stored.

One bit is the sign of a dimension after a fixed rotation, as in RaBitQ (Gao & Long 2024, arXiv:2405.12497). Without the rotation,
the signs of a vector with many zeros, such as a lexical part, carry little information.

>>> import numpy as np
>>> vectors = normalize(np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32))
>>> [round(float(vectors[0] @ from_int8(to_int8(vectors))[0]), 3), to_bits(vectors).shape, from_bits(to_bits(vectors)).shape]
[1.0, (2, 8), (2, 64)]
"""

from __future__ import annotations

import hashlib
import math
from functools import cache

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .arithmetic import DoubleArray, FloatArray, normalize

_ROUNDS = 2
_BLOCK = 4096


def to_int8(vectors: FloatArray) -> npt.NDArray[np.int8]:
    """Scale each row so that its largest absolute value is 127, and round: ``(n, dims) float32 -> (n, dims) int8``."""
    maxima = np.abs(vectors).max(axis=1, keepdims=True)
    maxima[maxima == 0] = 1
    codes: npt.NDArray[np.int8] = np.rint(vectors * (np.float32(127) / maxima)).astype(np.int8)
    return codes


def from_int8(codes: npt.NDArray[np.int8]) -> FloatArray:
    """Decode :func:`to_int8`, except for the lengths: ``(n, dims) int8 -> (n, dims) float32`` of length 1."""
    return normalize(codes.astype(np.float32))


def to_bits(vectors: FloatArray) -> npt.NDArray[np.uint8]:
    """Return the signs of the rotated vectors, eight per byte: ``(n, dims) float32 -> (n, dims / 8) uint8``.

    Raises:
        InputError: The number of dimensions is not a multiple of 8.
    """
    dims = vectors.shape[1]
    if dims % 8:
        raise InputError(
            f"Vectors of {dims} dimensions cannot be stored as bits, because {dims} is not a multiple of 8."
        )
    rotation = get_rotation(dims)
    codes = np.empty((len(vectors), dims // 8), dtype=np.uint8)
    for start in range(0, len(vectors), _BLOCK):
        codes[start : start + _BLOCK] = np.packbits(rotation.apply(vectors[start : start + _BLOCK]) > 0, axis=1)
    return codes


def from_bits(codes: npt.NDArray[np.uint8]) -> FloatArray:
    """Rotate signs back to vectors: ``(n, dims / 8) uint8 -> (n, dims) float32`` of length 1."""
    dims = codes.shape[1] * 8
    signs = np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1
    return get_rotation(dims).invert(signs / np.float32(math.sqrt(dims)))


class Rotation:
    """A fast rotation that mixes all dimensions.

    Each of two rounds flips signs, shuffles the dimensions, reshapes the vector to a table, and multiplies the table by a small
    orthogonal matrix from both sides. The numbers come from a hash instead of a random number generator, so that files
    remain readable in all later versions.

    Args:
        dims: Number of dimensions.
    """

    def __init__(self, dims: int) -> None:
        self.dims = dims
        height = next(size for size in range(math.isqrt(dims), 0, -1) if dims % size == 0)
        self._shape = (height, dims // height)
        self._rounds = [
            (
                np.where(_uniform(f"signs {number}", dims) < 0.5, -1, 1).astype(np.float32),
                np.argsort(_uniform(f"order {number}", dims), kind="stable"),
                _orthogonal(f"left {number}", height),
                _orthogonal(f"right {number}", dims // height),
            )
            for number in range(_ROUNDS)
        ]

    def apply(self, vectors: FloatArray) -> FloatArray:
        """Rotate vectors ``(n, dims) float32``. Lengths and dot products do not change."""
        for signs, order, left, right in self._rounds:
            tables = (vectors * signs)[:, order].reshape(-1, *self._shape)
            vectors = np.matmul(left, tables @ right, dtype=np.float32).reshape(-1, self.dims)
        return vectors

    def invert(self, vectors: FloatArray) -> FloatArray:
        """Undo :meth:`apply`."""
        for signs, order, left, right in reversed(self._rounds):
            tables = left.T @ (vectors.reshape(-1, *self._shape) @ right.T)
            shuffled = np.empty((len(tables), self.dims), dtype=np.float32)
            shuffled[:, order] = tables.reshape(-1, self.dims)
            vectors = (shuffled * signs).astype(np.float32)
        return vectors


@cache
def get_rotation(dims: int) -> Rotation:
    """Return the rotation for vectors with ``dims`` dimensions."""
    return Rotation(dims)


def _uniform(name: str, size: int) -> DoubleArray:
    """Return ``size`` numbers in the open interval (0, 1) that depend on the name and the size only."""
    raw = hashlib.shake_256(f"umekomi rotation {name} {size}".encode()).digest(8 * size)
    return ((np.frombuffer(raw, dtype="<u8") >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def _orthogonal(name: str, size: int) -> FloatArray:
    """Return an orthogonal matrix ``(size, size) float32``: the QR decomposition of normal numbers (Box-Muller transform)."""
    radius = np.sqrt(-2 * np.log(_uniform(f"{name} radius", size * size)))
    normal = radius * np.cos(2 * np.pi * _uniform(f"{name} angle", size * size))
    q, r = np.linalg.qr(normal.reshape(size, size))
    # QR is unique up to signs. Fixing them makes the result independent of the LAPACK implementation.
    matrix: FloatArray = (q * np.sign(np.diag(r))).astype(np.float32)
    return matrix
