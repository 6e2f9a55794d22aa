"""The exact reference: everything in memory, every vector compared. Some tens of thousands of rows are searched at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..records import Space
from ..vectors import FloatArray, normalize
from .base import Hit, Store
from .where import Where, evaluate


class MemoryStore(Store):
    """An exact store that ends with the process."""

    def __init__(self, url: str, space: Space) -> None:
        self.url = url
        self.space = space
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._vectors: FloatArray = np.empty((0, space.dims), dtype=np.float32)
        self._records = pa.table({})

    def schema(self) -> pa.Schema:
        return self._records.schema

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        self.delete(ids)
        self._ids.extend(ids)
        self._vectors = np.concatenate([self._vectors, normalize(vectors)])
        # A column that is missing from a later batch is null there.
        tables = [self._records, records] if self._records.num_columns else [records]
        self._records = pa.concat_tables(tables, promote_options="default")
        self._index()

    def delete(self, ids: Sequence[str]) -> None:
        gone = {self._rows[name] for name in ids if name in self._rows}
        if gone:
            kept = np.array([row for row in range(len(self._ids)) if row not in gone], dtype=np.int64)
            self._ids = [self._ids[row] for row in kept]
            self._vectors = self._vectors[kept]
            self._records = self._records.take(pa.array(kept))
            self._index()

    def _index(self) -> None:
        self._rows = {name: row for row, name in enumerate(self._ids)}

    def get(self, ids: Sequence[str]) -> list[Hit]:
        rows = [self._rows[name] for name in ids if name in self._rows]
        return self._hits(rows, np.ones(len(rows), dtype=np.float32))

    def _search(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        rows = self._matching(where)
        if not len(rows):
            return [[] for _ in vectors]
        scores = normalize(vectors) @ self._vectors[rows].T
        k = min(k, len(rows))
        found = []
        for line in scores:
            nearest = np.argpartition(-line, k - 1)[:k]
            nearest = nearest[np.argsort(-line[nearest], kind="stable")]
            found.append(self._hits(rows[nearest].tolist(), line[nearest]))
        return found

    def _matching(self, where: Where | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        if where is None:
            return np.arange(len(self._ids), dtype=np.int64)
        mask = evaluate(where, self._records).fill_null(False)
        return np.flatnonzero(mask.to_numpy(zero_copy_only=False))

    def _hits(self, rows: list[int], scores: FloatArray) -> list[Hit]:
        records = self._records.take(pa.array(rows, pa.int64())).to_pylist()
        return [
            Hit(self._ids[row], float(score), record) for row, score, record in zip(rows, scores, records, strict=True)
        ]

    def _count(self, where: Where | None) -> int:
        return len(self._matching(where))

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        for start in range(0, len(self._ids), size):
            piece = slice(start, start + size)
            yield self._ids[piece], self._vectors[piece], self._records.slice(start, size)

    def drop(self) -> None:
        self.delete(list(self._ids))
        self._records = pa.table({})
