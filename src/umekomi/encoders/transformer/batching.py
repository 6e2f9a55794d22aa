"""Batches for a transformer: texts of one length bucket, up to a budget of tokens.

Why one bucket a batch: the last bits of a bf16 result depend on the length that a text is padded to, and on nothing else
about its neighbours. A text is padded to the end of its own bucket always, so the same text gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...vectors.arithmetic import IntArray

BUCKET = 4
"""Buckets end at multiples of this many tokens. On the reviews of the guide 1.5% of the tokens are then padding (8: 3.5%);
benchmarks/padding.py prints it."""


def padded_lengths(lengths: IntArray, *, bucket: int = BUCKET) -> IntArray:
    """The ends of the buckets that hold texts of these many tokens.

    >>> padded_lengths(np.array([5, 8])).tolist()
    [8, 8]
    """
    return -(-lengths // bucket) * bucket


def most_texts(length: int, *, budget: int, rows: int | None) -> int:
    """How many texts of a padded length a batch holds: ``budget`` tokens and ``rows`` texts at most, but one at least.

    >>> most_texts(32, budget=16_384, rows=64), most_texts(512, budget=16_384, rows=64), most_texts(512, budget=100, rows=None)
    (64, 32, 1)
    """
    within = max(1, budget // length)
    return within if rows is None else min(within, rows)


def plan_batches(
    lengths: Sequence[int],
    *,
    budget: int,
    rows: int | None = None,
    pad: Callable[[IntArray], IntArray] = padded_lengths,
    full: bool = False,
) -> Iterator[list[int]]:
    """Places of texts, a batch at a time, longest first; each text is in exactly one batch.

    A batch holds one bucket, and :func:`most_texts` at most. ``pad`` says where the buckets of texts of some lengths end. With
    ``full``, batches that others could still join are left out.

    >>> list(plan_batches([3, 9, 4, 10], budget=16))
    [[1], [3], [0, 2]]
    """
    padded = pad(np.asarray(lengths, dtype=np.int64))
    order = np.argsort(-padded, kind="stable")
    start = 0
    while start < len(order):
        length = int(padded[order[start]])
        last = start + int(np.searchsorted(-padded[order[start:]], -length, side="right"))
        most = most_texts(length, budget=budget, rows=rows)
        stop = min(last, start + most)
        if not full or stop - start == most:
            yield order[start:stop].tolist()
        start = stop
