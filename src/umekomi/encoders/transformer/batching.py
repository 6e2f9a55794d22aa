"""Batches for a transformer: texts of one length bucket, up to a maximum number of tokens.

The last bits of a bf16 result depend on the length that a text is padded to, and on nothing else about the other texts in the
batch. A text is always padded to the end of its own bucket, so the same text has the same bytes in every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...vectors.arithmetic import IntArray

BUCKET = 4
"""Width of a bucket in tokens. benchmarks/padding.py: 1.5% of the tokens of the guide's reviews are padding (3.5% at 8)."""


def padded_lengths(lengths: IntArray, *, bucket: int = BUCKET) -> IntArray:
    """Return the end of the bucket of each length: ``(n,) -> (n,) int64``.

    >>> padded_lengths(np.array([5, 8])).tolist()
    [8, 8]
    """
    return -(-lengths // bucket) * bucket


def max_batch_size(length: int, *, max_tokens: int, max_rows: int | None) -> int:
    """Return the number of texts of a padded length that fit into a batch, at least 1.

    >>> [max_batch_size(length, max_tokens=16_384, max_rows=64) for length in (32, 512, 99_999)]
    [64, 32, 1]
    """
    size = max(1, max_tokens // length)
    return size if max_rows is None else min(size, max_rows)


def plan_batches(
    lengths: Sequence[int],
    *,
    max_tokens: int,
    max_rows: int | None = None,
    pad: Callable[[IntArray], IntArray] = padded_lengths,
    full_only: bool = False,
) -> Iterator[list[int]]:
    """Yield the indices of the texts of each batch, longest texts first. Each text is in one batch, unless ``full_only``.

    Args:
        lengths: Number of tokens of each text.
        max_tokens: Maximum number of tokens in a batch, including padding.
        max_rows: Maximum number of texts in a batch.
        pad: Function that returns the end of the bucket of each length.
        full_only: Whether to omit batches that have room for more texts.

    >>> list(plan_batches([3, 9, 4, 10], max_tokens=16))
    [[1], [3], [0, 2]]
    """
    padded = pad(np.asarray(lengths, dtype=np.int64))
    order = np.argsort(-padded, kind="stable")
    start = 0
    while start < len(order):
        length = int(padded[order[start]])
        last = start + int(np.searchsorted(-padded[order[start:]], -length, side="right"))
        size = max_batch_size(length, max_tokens=max_tokens, max_rows=max_rows)
        stop = min(last, start + size)
        if not full_only or stop - start == size:
            yield order[start:stop].tolist()
        start = stop
