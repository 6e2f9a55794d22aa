"""Search in memory by binary codes: all vectors are compared by one bit per dimension, and the best ones by their floats.

The bits are the signs of the rotated vectors (:mod:`.quantization`). The number of differing bits estimates the angle between
two vectors within about 1/sqrt(dims), and reads 1/32 of the memory that the vectors take. The bits are stored in words of
64, transposed: NumPy then counts long rows of words at a time.

>>> import numpy as np
>>> vectors = np.random.default_rng(0).standard_normal((5000, 64)).astype(np.float32)
>>> 7 in BinaryIndex(to_words(vectors)).candidates(vectors[7:8], 50)[0]
True
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt

from ..machine import available_cores
from .arithmetic import FloatArray, IntArray
from .quantization import to_bits

Words = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.uint16]

DEVIATIONS = 2.0
"""Standard deviations by which the bits of a candidate may exceed the number expected of the k-th best vector."""

_BLOCK = 4096  # vectors; smaller blocks need more calls of NumPy, larger ones do not fit into the cache of a core
_THREADED_ROWS = 1 << 16
_GATHERED_ROWS = 512


def to_words(vectors: FloatArray) -> Words:
    """Return the bits of vectors in words: ``(n, dims) float32 -> (ceil(dims / 64), n) uint64``.

    Raises:
        InputError: The number of dimensions is not a multiple of 8.
    """
    codes = to_bits(vectors)
    padding = -codes.shape[1] % 8
    padded = np.pad(codes, ((0, 0), (0, padding))) if padding else codes
    return np.ascontiguousarray(padded.view(np.uint64).T)


class BinaryIndex:
    """Searches the words of a set of vectors. Safe to use from several threads.

    Args:
        words: The result of :func:`to_words`. The array is not copied.
    """

    def __init__(self, words: Words) -> None:
        self._words = words

    def candidates(self, queries: FloatArray, n: int) -> list[IntArray]:
        """Return, for each query ``(q, dims) float32``, the ascending row numbers of the ``n`` vectors with the fewest differing
        bits. Ties with the last of them are included.
        """
        results = []
        for code in to_words(queries).T:
            n_bits = self._count_differing_bits(code)
            results.append(np.flatnonzero(n_bits <= _nth_smallest(n_bits, n)))
        return results

    def search(
        self, query: FloatArray, vectors: FloatArray, *, k: int, min_candidates: int
    ) -> tuple[IntArray, FloatArray]:
        """Return rows that almost always include the ``k`` nearest ones, and their dot products with the query, unordered.

        The rows with the fewest differing bits are compared first. The angle to the k-th best of them gives the expected
        number of differing bits of better rows: each bit differs with probability angle / pi. All rows within
        :data:`DEVIATIONS` of that number are compared too; if they are many, all vectors are.

        Args:
            query: ``(dims,) float32`` of length 1.
            vectors: ``(n, dims) float32`` of length 1, the vectors of this index.
            k: Number of neighbors.
            min_candidates: Minimum number of rows to compare, at least ``k``.
        """
        n_bits = self._count_differing_bits(to_words(query[np.newaxis])[:, 0])
        limit = _nth_smallest(n_bits, min_candidates)
        rows = np.flatnonzero(n_bits <= limit)
        products = dot_products(vectors, rows, query)
        if len(rows) == len(vectors):
            return rows, products
        kth_best = float(np.partition(products, -k)[-k])
        dims = vectors.shape[1]
        share = math.acos(min(1.0, max(-1.0, kth_best))) / math.pi
        max_bits = dims * share + DEVIATIONS * math.sqrt(dims * share * (1 - share))
        more = np.flatnonzero((n_bits > limit) & (n_bits <= max_bits))
        if len(more) > len(vectors) // 8:
            return np.arange(len(vectors), dtype=np.int64), vectors @ query
        return np.concatenate([rows, more]), np.concatenate([products, dot_products(vectors, more, query)])

    def _count_differing_bits(self, code: Words) -> Counts:
        """Return the number of bits in which each vector differs from a query: ``(words,) -> (n,) uint16``."""
        n_rows = self._words.shape[1]
        counts = np.empty(n_rows, dtype=np.uint16)
        cores = available_cores()
        if n_rows < _THREADED_ROWS or cores == 1:
            self._count_rows(code, counts, 0, n_rows)
            return counts
        # NumPy releases the GIL while it counts.
        ends = np.linspace(0, n_rows, cores + 1, dtype=np.int64).tolist()
        list(_pool().map(lambda start, stop: self._count_rows(code, counts, start, stop), ends[:-1], ends[1:]))
        return counts

    def _count_rows(self, code: Words, counts: Counts, start: int, stop: int) -> None:
        differing = np.empty((len(code), _BLOCK), dtype=np.uint64)
        per_word = np.empty((len(code), _BLOCK), dtype=np.uint8)
        column = code[:, np.newaxis]
        for left in range(start, stop, _BLOCK):
            right = min(left + _BLOCK, stop)
            size = right - left
            np.bitwise_xor(self._words[:, left:right], column, out=differing[:, :size])
            np.bitwise_count(differing[:, :size], out=per_word[:, :size])
            np.add.reduce(per_word[:, :size], axis=0, dtype=np.uint16, out=counts[left:right])


def dot_products(vectors: FloatArray, rows: IntArray, query: FloatArray) -> FloatArray:
    """Return the dot products of some rows of ``vectors (n, dims)`` with ``query (dims,)``: ``(len(rows),) float32``."""
    if len(rows) < 2 * _GATHERED_ROWS or available_cores() == 1:
        products: FloatArray = vectors[rows] @ query
        return products
    blocks = [rows[start : start + _GATHERED_ROWS] for start in range(0, len(rows), _GATHERED_ROWS)]
    # The rows are scattered, so most of the time is memory latency, which several threads share.
    return np.concatenate(list(_pool().map(lambda block: np.take(vectors, block, axis=0) @ query, blocks)))


def _nth_smallest(counts: Counts, n: int) -> int:
    return int(np.searchsorted(np.cumsum(np.bincount(counts)), min(n, len(counts))))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="umekomi-scan")
