"""Filtered searches whose exact answers are known: filters of every size, correlated with the vectors or not.

An approximate index loses recall under filters that few rows match, and under filters whose rows are all far from the query, such
as ``language = 'ja'`` with an English query. Used by the contract tests and by ``benchmarks/filtered_recall.py``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from umekomi.data.embedded_file import Space
from umekomi.stores import Store
from umekomi.vectors.arithmetic import FloatArray, normalize

_SPREAD = 0.6
_BATCH = 10_000


@dataclass(frozen=True)
class Case:
    """A filter, or none, and the queries that are searched under it."""

    #: Relation of the matching rows to the queries: ``random``, ``near``, ``far``, ``ids`` or ``none``.
    relation: str
    #: Filter expression.
    where: str | None
    #: Indices of the matching rows.
    rows: np.ndarray
    #: Query vectors, ``(q, dims) float32``.
    queries: FloatArray


@dataclass(frozen=True)
class CaseResult:
    """Recall, errors and latency of the queries of a case."""

    #: Share of the exact ``k`` nearest rows that each query returned, ``(q,) float64``.
    recalls: np.ndarray
    #: Number of queries with fewer than ``min(k, matching rows)`` hits.
    n_short: int
    #: Number of hits that do not match the filter, are duplicates, or have a wrong score.
    n_wrong: int
    #: Median latency of a search of one query, in milliseconds.
    p50_ms: float


class Rows:
    """Clustered unit vectors with an independent and a correlated column.

    ``pick`` is a random permutation of the row numbers. ``along`` ranks the rows by their similarity to one direction, so that
    ``along < m`` selects the ``m`` rows closest to it. They are near to queries like the first rows of this order, and far from
    queries like the last ones.
    """

    def __init__(self, n: int, dims: int, *, seed: int = 0, n_clusters: int | None = None) -> None:
        self._random = random = np.random.default_rng(seed)
        self.space = Space("umekomi-fake", "0123456789abcdef", dims)
        centers = random.standard_normal((n_clusters or max(8, n // 200), dims), dtype=np.float32)
        self.direction = normalize(random.standard_normal((1, dims), dtype=np.float32))[0]
        vectors = centers[random.integers(len(centers), size=n)]
        vectors += _SPREAD * random.standard_normal((n, dims), dtype=np.float32)
        self.vectors = normalize(vectors)
        self.pick = random.permutation(n)
        self.along = np.empty(n, np.int64)
        self.along[np.argsort(-(self.vectors @ self.direction), kind="stable")] = np.arange(n)

    def __len__(self) -> int:
        return len(self.vectors)

    def ids(self, rows: np.ndarray) -> list[str]:
        """Return the ids of rows."""
        return [f"row {row}" for row in rows]

    def load(self, store: Store) -> None:
        """Write all rows."""
        for start in range(0, len(self), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(self)))
            records = pa.table({"pick": self.pick[rows], "along": self.along[rows], "lang": self._languages(rows)})
            store.upsert(self.ids(rows), self.vectors[rows], records)

    def _languages(self, rows: np.ndarray) -> list[str]:
        # One tenth of the rows, at one end of the direction, is in another language.
        return ["ja" if rank < len(self) // 10 else "en" for rank in self.along[rows]]

    def cases(self, sizes: list[int], n_queries: int) -> Iterator[Case]:
        """Yield cases with filters of these numbers of rows, near to, far from and independent of the queries."""
        random_queries = self._near(self.vectors[self._random.integers(len(self), size=n_queries)])
        by_rank = np.argsort(self.along)
        share = max(1, len(self) // 20)
        near_queries = self._near(self.vectors[self._random.choice(by_rank[:share], n_queries)])
        far_queries = self._near(self.vectors[self._random.choice(by_rank[-share:], n_queries)])
        for n_rows in sizes:
            yield Case("random", f"pick < {n_rows}", np.flatnonzero(self.pick < n_rows), random_queries)
            yield Case("near", f"along < {n_rows}", np.flatnonzero(self.along < n_rows), near_queries)
            yield Case("far", f"along < {n_rows}", np.flatnonzero(self.along < n_rows), far_queries)
        yield Case("far", "lang = 'ja'", np.flatnonzero(self.along < len(self) // 10), far_queries)
        for n_rows in (2, 30):
            rows = self._random.choice(len(self), n_rows, replace=False)
            listed = ", ".join(f"'{name}'" for name in self.ids(rows))
            yield Case("ids", f"_id in ({listed})", rows, random_queries)
        yield Case("none", None, np.arange(len(self)), random_queries)

    def _near(self, points: FloatArray) -> FloatArray:
        noise = self._random.standard_normal(points.shape, dtype=np.float32) / np.sqrt(points.shape[1])
        return normalize((points + _SPREAD * noise).astype(np.float32))

    def measure(self, store: Store, case: Case, *, k: int = 10) -> CaseResult:
        """Search each query of a case and compare the results with the exact ones."""
        scores = case.queries @ self.vectors[case.rows].T
        n_expected = min(k, len(case.rows))
        recalls, seconds, n_short, n_wrong = [], [], 0, 0
        matching_ids = set(self.ids(case.rows)) if case.where else None
        for query, row_scores in zip(case.queries, scores, strict=True):
            start = time.perf_counter()
            (hits,) = store.search(query[None], k=k, where=case.where)
            seconds.append(time.perf_counter() - start)
            order = np.argpartition(-row_scores, n_expected - 1)[:n_expected]
            expected = set(self.ids(case.rows[order]))
            ids = {hit.id for hit in hits}
            recalls.append(len(ids & expected) / n_expected)
            n_short += len(hits) < n_expected
            n_wrong += len(hits) - len(ids) + (len(ids - matching_ids) if matching_ids is not None else 0)
            n_wrong += sum(abs(hit.score - float(self.vectors[int(hit.id[4:])] @ query)) > 1e-3 for hit in hits[:20])
        return CaseResult(np.array(recalls), n_short, n_wrong, 1000 * float(np.median(seconds)))
