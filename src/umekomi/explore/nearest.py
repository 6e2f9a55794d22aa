"""The rows with the greatest scores, and groups of rows that say nearly the same."""

from __future__ import annotations

import numpy as np

from ..vectors.arithmetic import FloatArray, IntArray

NEAR_COPY = 0.95
"""Texts whose cosine is at least this say nearly the same."""


def best(scores: FloatArray, k: int) -> list[int]:
    """The places of the ``k`` greatest, the greatest first."""
    k = min(k, len(scores))
    if not k:
        return []
    some = np.argpartition(-scores, k - 1)[:k]
    return [int(place) for place in some[np.lexsort((some, -scores[some]))]]


def near_copies(vectors: FloatArray, room: IntArray) -> list[list[int]]:
    """Groups of two rows or more: each row joins the first earlier row that it is a near-copy of."""
    first: dict[int, list[int]] = {}
    joined: set[int] = set()
    for start in range(0, len(room), 1024):
        some = room[start : start + 1024]
        rows, others = np.nonzero(vectors[some] @ vectors[room].T >= NEAR_COPY)
        for row, other in zip(some[rows].tolist(), room[others].tolist(), strict=True):
            if row < other and row not in joined and other not in joined:
                first.setdefault(row, [row]).append(other)
                joined.add(other)
    return list(first.values())
