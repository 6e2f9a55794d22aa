"""Batches for a transformer: texts of one length bucket, up to a budget of tokens.

Why one bucket a batch: the last bits of a bf16 result depend on the length that a text is padded to, and on nothing else
about its neighbours. A text is padded to the end of its own bucket always, so the same text gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

BUCKET = 4
"""Buckets end at multiples of this many tokens. On the reviews of the guide 1.5% of the tokens are then padding (8: 3.5%);
benchmarks/padding.py prints it."""


def padded_length(length: int, *, bucket: int = BUCKET) -> int:
    """The end of the bucket that holds a text of this many tokens.

    >>> padded_length(5), padded_length(8)
    (8, 8)
    """
    return -(-length // bucket) * bucket


def plan_batches(lengths: Sequence[int], *, budget: int, bucket: int = BUCKET) -> Iterator[list[int]]:
    """Places of texts, a batch at a time, longest first; each text is in exactly one batch.

    A batch holds one bucket, and at most ``budget`` tokens with their padding, but one text at least.

    >>> list(plan_batches([3, 9, 4, 10], budget=16))
    [[1], [3], [0, 2]]
    """
    padded = np.array([padded_length(length, bucket=bucket) for length in lengths], dtype=np.int64)
    order = np.argsort(-padded, kind="stable")
    start = 0
    while start < len(order):
        length = int(padded[order[start]])
        last = start + int(np.searchsorted(-padded[order[start:]], -length, side="right"))
        stop = min(last, start + max(1, budget // length))
        yield order[start:stop].tolist()
        start = stop
