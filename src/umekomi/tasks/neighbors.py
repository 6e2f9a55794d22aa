"""Exact nearest neighbors by cosine, computed in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..vectors.arithmetic import FloatArray, IntArray

_BLOCK_CELLS = 16_000_000


def similarity_blocks(queries: FloatArray, vectors: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield cosines of unit vectors in blocks: the index of the block's first query, and ``(rows, n) float32``."""
    step = max(1, _BLOCK_CELLS // max(1, len(vectors)))
    for start in range(0, len(queries), step):
        yield start, np.clip(queries[start : start + step] @ vectors.T, -1.0, 1.0)


def nearest_neighbors(
    queries: FloatArray, vectors: FloatArray, k: int, *, self_indices: IntArray | None = None
) -> tuple[FloatArray, IntArray]:
    """Find the ``k`` nearest unit vectors of each unit query.

    Args:
        queries: ``(q, dims) float32``, of length 1.
        vectors: ``(n, dims) float32``, of length 1.
        k: Number of neighbors.
        self_indices: ``(q,)``, the index of each query among ``vectors``, or -1. A row is not its own neighbor.

    Returns:
        Cosines ``(q, k) float32`` in descending order, and indices ``(q, k) int64``. Of equal cosines, the lower index
        is first.
    """
    cosines = np.empty((len(queries), k), dtype=np.float32)
    indices = np.empty((len(queries), k), dtype=np.int64)
    for start, block in similarity_blocks(queries, vectors):
        end = start + len(block)
        if self_indices is not None:
            rows = np.flatnonzero(self_indices[start:end] >= 0)
            block[rows, self_indices[start:end][rows]] = -np.inf
        candidates = np.argpartition(-block, k - 1, axis=1)[:, :k]
        candidate_cosines = np.take_along_axis(block, candidates, axis=1)
        order = np.lexsort((candidates, -candidate_cosines), axis=1)
        indices[start:end] = np.take_along_axis(candidates, order, axis=1)
        cosines[start:end] = np.take_along_axis(candidate_cosines, order, axis=1)
    return cosines, indices


def top_k(scores: FloatArray, k: int) -> list[int]:
    """Return the indices of the ``k`` greatest scores in descending order; of equal scores, the lower index first."""
    k = min(k, len(scores))
    if not k:
        return []
    candidates = np.argpartition(-scores, k - 1)[:k]
    return [int(index) for index in candidates[np.lexsort((candidates, -scores[candidates]))]]
