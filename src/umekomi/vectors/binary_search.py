"""Searching many vectors in memory by their bits: all are compared by one bit a dimension, the best of them by their numbers.

The bits are the signs of the vectors after a rotation (:mod:`.quantization`). How many bits of two vectors differ says what
the angle between them is, within about 1/sqrt(dims); counting them reads a thirty-second of the memory that the vectors take.
They are kept in words of 64, one word of every vector after another, so that NumPy counts long rows of words at a time.

>>> import numpy as np
>>> vectors = np.random.default_rng(0).standard_normal((5000, 64)).astype(np.float32)
>>> 7 in BitScan(to_words(vectors)).candidates(vectors[7:8], 50)[0]
True
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt

from ..machine import available_cores
from .arithmetic import FloatArray, IntArray
from .quantization import to_bits

Words = npt.NDArray[np.uint64]

_BLOCK = 2048
"""Vectors at once: their words and the counts stay in a core's own cache."""
_LEAST_FOR_THREADS = 1 << 16
_GATHERED = 512
DEVIATIONS = 2.0
"""How far beyond what is expected of the k-th best bits may differ; after the rotation they deviate less than by chance."""


def to_words(vectors: FloatArray) -> Words:
    """The bits of vectors by words: ``(n, dims) float32 -> (dims / 64 rounded up, n) uint64``.

    Raises:
        InputError: the number of dimensions is no multiple of 8.
    """
    codes = to_bits(vectors)
    spare = -codes.shape[1] % 8
    padded = np.pad(codes, ((0, 0), (0, spare))) if spare else codes
    return np.ascontiguousarray(padded.view(np.uint64).T)


class BitScan:
    """The words of a set of vectors, to be searched; the array is not copied. May be used from several threads."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def candidates(self, queries: FloatArray, n: int) -> Iterator[IntArray]:
        """For each query, ``(q, dims) float32``, the rows of the vectors whose bits differ least, in their order: ``n``, and all
        that are as near as the last of them.
        """
        for code in to_words(queries).T:
            differing = self._differing(code)
            yield np.flatnonzero(differing <= _limit(differing, n))

    def compare(self, query: FloatArray, vectors: FloatArray, *, k: int, least: int) -> tuple[IntArray, FloatArray]:
        """Rows among which the ``k`` nearest of a query nearly always are, with their dot products; in no order.

        The ``least`` rows whose bits differ least are compared first. The k-th best of them says how many bits of a better one
        could differ: as each bit differs by chance, with the share of the angle in a half turn, a few rows are beyond twice the
        standard deviation and none is looked for there. All rows within are compared too; where they are many, all are.

        Args:
            query: ``(dims,) float32`` of length 1.
            vectors: ``(n, dims) float32`` of length 1, those that the words are of.
            k: how many are wanted.
            least: how many are compared at least, no fewer than ``k``.
        """
        differing = self._differing(to_words(query[np.newaxis])[:, 0])
        limit = _limit(differing, least)
        rows = np.flatnonzero(differing <= limit)
        scores = scores_of(vectors, rows, query)
        if len(rows) == len(vectors):
            return rows, scores
        best = float(np.partition(scores, -k)[-k])
        dims = vectors.shape[1]
        share = math.acos(min(1.0, max(-1.0, best))) / math.pi
        reach = dims * share + DEVIATIONS * math.sqrt(dims * share * (1 - share))
        more = np.flatnonzero((differing > limit) & (differing <= reach))
        if len(more) > len(vectors) // 8:
            return np.arange(len(vectors), dtype=np.int64), vectors @ query
        return np.concatenate([rows, more]), np.concatenate([scores, scores_of(vectors, more, query)])

    def _differing(self, code: Words) -> npt.NDArray[np.uint16]:
        """How many bits of each vector differ from the query's: ``(words,) -> (n,) uint16``."""
        n_rows = self._words.shape[1]
        found = np.empty(n_rows, dtype=np.uint16)
        cores = available_cores()
        if n_rows < _LEAST_FOR_THREADS or cores == 1:
            self._count(code, found, 0, n_rows)
            return found
        # Each core takes its own stretch; NumPy holds no lock while it counts.
        ends = np.linspace(0, n_rows, cores + 1, dtype=np.int64).tolist()
        list(_pool().map(lambda start, stop: self._count(code, found, start, stop), ends[:-1], ends[1:]))
        return found

    def _count(self, code: Words, found: npt.NDArray[np.uint16], start: int, stop: int) -> None:
        n_words = len(code)
        # Of four words at most 256 bits differ, of three 192: three counts can be summed in a byte.
        whole = n_words - n_words % 3
        mixed = np.empty((n_words, _BLOCK), dtype=np.uint64)
        counts = np.empty((n_words, _BLOCK), dtype=np.uint8)
        column = code[:, np.newaxis]
        for left in range(start, stop, _BLOCK):
            right = min(left + _BLOCK, stop)
            size = right - left
            np.bitwise_xor(self._words[:, left:right], column, out=mixed[:, :size])
            np.bitwise_count(mixed[:, :size], out=counts[:, :size])
            total = found[left:right]
            total[:] = 0
            for word in range(0, whole, 3):
                three = counts[word, :size] + counts[word + 1, :size]
                three += counts[word + 2, :size]
                total += three
            for word in range(whole, n_words):
                total += counts[word, :size]


def _limit(differing: npt.NDArray[np.uint16], n: int) -> int:
    """How many bits differ of the ``n``-th nearest at most."""
    return int(np.searchsorted(np.cumsum(np.bincount(differing)), min(n, len(differing))))


def scores_of(vectors: FloatArray, rows: IntArray, query: FloatArray) -> FloatArray:
    """The dot products of some rows of the vectors, ``(n, dims)``, with a query, ``(dims,)``: ``(len(rows),) float32``."""
    if len(rows) < 2 * _GATHERED or available_cores() == 1:
        few: FloatArray = vectors[rows] @ query
        return few
    pieces = [rows[start : start + _GATHERED] for start in range(0, len(rows), _GATHERED)]
    # IntArray from all over the memory: waiting for them is most of the work, and each core waits by itself.
    return np.concatenate(list(_pool().map(lambda some: np.take(vectors, some, axis=0) @ query, pieces)))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="umekomi-scan")
