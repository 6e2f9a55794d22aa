"""Rows, filters and the exact store that the contract tests share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from umekomi.data.embedded_file import Space
from umekomi.stores import Hit, MemoryStore, Store

DIMS = 16
SPACE = Space("umekomi-fake", "0123456789abcdef", DIMS)
START = datetime(2012, 10, 1, tzinfo=UTC)
FOUR_RECORDS = pa.table({"text": ["a", "b", "c", "d"]})

FILTERS = [
    "Score = 3",
    "Score != 3",
    "Score > 2.5",
    "Score = 2.5",
    "Score != 2.5",
    "Score in (1, 2.5, 4.0)",
    "not Score in (1, 2)",
    "Score < 100000000000000000000",
    "Score = 100000000000000000000",
    "weight >= 12",
    "weight = 0.125",
    "weight < -1e-3 or weight > 3.0e1",
    "verified = true",
    "verified != true",
    "not verified = true",
    "time >= '2012-10-05'",
    "time = '2012-10-01T05:00:00+00:00'",
    "time = '2012-10-01T14:00:00+09:00'",
    "time in ('2012-10-01T01:00:00', '2012-10-01T02:00:00Z')",
    "time < '9999-12-31'",
    "time > '0001-01-01'",
    "text = 'it''s \\n\"row\" 8 行'",
    "text > 'it''s \\n\"row\" 2'",
    "text = 'x'' or 1=1 --'",
    "text in ('it''s \\n\"row\" 8 行', 'none')",
    "text is null",
    "text is not null and not (Score is null or weight is null)",
    "Score = 3 and (verified = true or weight < 5)",
    "Score = 3 or text is null",
    "not (Score = 3 or text is null)",
    '"No. of `stars`" >= 2',
    '"No. of `stars`" is null',
]


def vectors(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((n, DIMS), dtype=np.float32)


def records(n: int, first: int = 0) -> pa.Table:
    """Return a table with columns of every type, most of them with nulls."""
    rows = range(first, first + n)
    return pa.table(
        {
            "text": pa.array([None if r % 7 == 0 else f'it\'s \\n"row" {r} 行' for r in rows], pa.string()),
            "Score": pa.array([None if r % 5 == 0 else r % 6 for r in rows], pa.int64()),
            "weight": pa.array([None if r % 11 == 0 else r / 8 for r in rows], pa.float64()),
            "verified": pa.array([None if r % 3 == 0 else r % 2 == 0 for r in rows], pa.bool_()),
            "time": pa.array(
                [None if r % 13 == 0 else START + timedelta(hours=r) for r in rows], pa.timestamp("us", "UTC")
            ),
            "No. of `stars`": pa.array([r % 4 for r in rows], pa.int32()),
        }
    )


def names(n: int, first: int = 0) -> list[str]:
    return [f"row {r}" for r in range(first, first + n)]


def fill(store: Store, n: int = 300) -> Store:
    store.upsert(names(n), vectors(n), records(n))
    return store


def exact_store(n: int = 300) -> Store:
    """Return the exact store with the same rows."""
    return fill(MemoryStore("memory://exact", SPACE), n)


def count_shared_hits(results: list[list[Hit]], expected: list[list[Hit]]) -> int:
    """Return the number of hits that both results of the same queries contain."""
    pairs = zip(results, expected, strict=True)
    return sum(len({hit.id for hit in a} & {hit.id for hit in b}) for a, b in pairs)
