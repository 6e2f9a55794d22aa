"""Exact nearest neighbours by cosine, in blocks: the common ground of maps, anomalies and diversity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..vectors.arithmetic import FloatArray, IntArray

_BLOCK_CELLS = 16_000_000


def similarity_blocks(queries: FloatArray, vectors: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Cosines of unit vectors, some rows of queries at a time: the first row's place, and ``(rows, n) float32``."""
    step = max(1, _BLOCK_CELLS // max(1, len(vectors)))
    for start in range(0, len(queries), step):
        yield start, np.clip(queries[start : start + step] @ vectors.T, -1.0, 1.0)


def nearest(
    queries: FloatArray, vectors: FloatArray, k: int, *, themselves: bool = False
) -> tuple[FloatArray, IntArray]:
    """The ``k`` nearest unit vectors of each unit query: cosines ``(q, k) float32``, falling, and places ``(q, k) int64``.

    With ``themselves`` the queries are the vectors, and no row is its own neighbour.
    """
    cosines = np.empty((len(queries), k), dtype=np.float32)
    places = np.empty((len(queries), k), dtype=np.int64)
    for start, block in similarity_blocks(queries, vectors):
        rows = np.arange(len(block))
        if themselves:
            block[rows, start + rows] = -np.inf
        some = np.argpartition(-block, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(block, some, axis=1)
        order = np.lexsort((some, -found), axis=1)
        places[start : start + len(block)] = np.take_along_axis(some, order, axis=1)
        cosines[start : start + len(block)] = np.take_along_axis(found, order, axis=1)
    return cosines, places
