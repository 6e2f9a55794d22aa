"""Vectors in fewer bytes: int8, and one bit a dimension. What is read back has length 1 again, so that no scale is kept.

One bit is the sign of each dimension after a rotation that is always the same, as RaBitQ does (Gao and Long 2024,
arXiv:2405.12497). Without it the signs of a vector with many zeros, as a lexical part has, would say little; after it every bit
says about as much.

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
_ROWS = 4096


def to_int8(vectors: FloatArray) -> npt.NDArray[np.int8]:
    """Each row scaled so that its greatest number is 127, and rounded: ``(n, dims) float32 -> (n, dims) int8``."""
    greatest = np.abs(vectors).max(axis=1, keepdims=True)
    greatest[greatest == 0] = 1
    codes: npt.NDArray[np.int8] = np.rint(vectors * (np.float32(127) / greatest)).astype(np.int8)
    return codes


def from_int8(codes: npt.NDArray[np.int8]) -> FloatArray:
    """The reverse of :func:`to_int8`, but for the lengths: ``(n, dims) int8 -> (n, dims) float32`` of length 1."""
    return normalize(codes.astype(np.float32))


def to_bits(vectors: FloatArray) -> npt.NDArray[np.uint8]:
    """The signs of the rotated vectors, eight to a byte: ``(n, dims) float32 -> (n, dims / 8) uint8``.

    Raises:
        InputError: the number of dimensions is no multiple of 8.
    """
    if vectors.shape[1] % 8:
        raise InputError(
            f"Vectors of {vectors.shape[1]} dimensions cannot be kept as bits: it must be a multiple of 8."
        )
    turn = rotation(vectors.shape[1])
    codes = np.empty((len(vectors), vectors.shape[1] // 8), dtype=np.uint8)
    for start in range(0, len(vectors), _ROWS):
        codes[start : start + _ROWS] = np.packbits(turn.apply(vectors[start : start + _ROWS]) > 0, axis=1)
    return codes


def from_bits(codes: npt.NDArray[np.uint8]) -> FloatArray:
    """The vectors that these signs are nearest to, turned back: ``(n, dims / 8) uint8 -> (n, dims) float32`` of length 1."""
    dims = codes.shape[1] * 8
    signs = np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1
    return rotation(dims).undo(signs / np.float32(math.sqrt(dims)))


class Rotation:
    """A rotation that mixes every dimension with every other and costs little: twice, signs are turned, dimensions shuffled, and
    the vector, laid out as a table, is multiplied by a small orthogonal matrix from either side.

    It is made from a hash, not from a generator of random numbers, so that files made today are read tomorrow.
    """

    def __init__(self, dims: int) -> None:
        self.dims = dims
        height = next(size for size in range(math.isqrt(dims), 0, -1) if dims % size == 0)
        self._shape = (height, dims // height)
        self._steps = [
            (
                np.where(_uniform(f"signs {step}", dims) < 0.5, -1, 1).astype(np.float32),
                np.argsort(_uniform(f"order {step}", dims), kind="stable"),
                _orthogonal(f"left {step}", height),
                _orthogonal(f"right {step}", dims // height),
            )
            for step in range(_ROUNDS)
        ]

    def apply(self, vectors: FloatArray) -> FloatArray:
        """``(n, dims) -> (n, dims) float32``; lengths and dot products stay."""
        turned: FloatArray = vectors
        for signs, order, left, right in self._steps:
            table = (turned * signs)[:, order].reshape(-1, *self._shape)
            turned = np.matmul(left, table @ right, dtype=np.float32).reshape(-1, self.dims)
        return turned

    def undo(self, vectors: FloatArray) -> FloatArray:
        """The reverse of :meth:`apply`."""
        for signs, order, left, right in reversed(self._steps):
            table = left.T @ (vectors.reshape(-1, *self._shape) @ right.T)
            turned = np.empty((len(table), self.dims), dtype=np.float32)
            turned[:, order] = table.reshape(-1, self.dims)
            vectors = (turned * signs).astype(np.float32)
        return vectors


@cache
def rotation(dims: int) -> Rotation:
    """The rotation of vectors of so many dimensions; always the same."""
    return Rotation(dims)


def _uniform(name: str, size: int) -> DoubleArray:
    """Numbers between 0 and 1, neither included, that a name and the size settle for ever."""
    raw = hashlib.shake_256(f"umekomi rotation {name} {size}".encode()).digest(8 * size)
    return ((np.frombuffer(raw, dtype="<u8") >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def _orthogonal(name: str, size: int) -> FloatArray:
    """An orthogonal matrix, from normal numbers by Box and Muller's method, made square by QR: ``(size, size) float32``."""
    radius = np.sqrt(-2 * np.log(_uniform(f"{name} radius", size * size)))
    normal = radius * np.cos(2 * np.pi * _uniform(f"{name} angle", size * size))
    square, upper = np.linalg.qr(normal.reshape(size, size))
    # The signs that QR leaves open are settled, whatever library did it.
    matrix: FloatArray = (square * np.sign(np.diag(upper))).astype(np.float32)
    return matrix
