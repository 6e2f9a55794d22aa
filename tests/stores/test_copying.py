"""Copying of collections: every row is copied once, a sample is verified, and copies can be resumed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from umekomi.data.embedded_file import Space
from umekomi.errors import SpaceMismatchError, StoreError
from umekomi.stores import MemoryStore, copy_store

SPACE = Space("umekomi-fake", "0123456789abcdef", 4)


def make_source(n: int = 300) -> MemoryStore:
    store = MemoryStore("memory://source", SPACE)
    vectors = np.random.default_rng(0).standard_normal((n, 4), dtype=np.float32)
    store.upsert([str(row) for row in range(n)], vectors, [{"n": row, "odd": row % 2 == 1} for row in range(n)])
    return store


class FailingStore(MemoryStore):
    """A store that fails at the second batch, like a server that stops."""

    batches = 0

    def _upsert(self, *rows: Any) -> None:
        self.batches += 1
        if self.batches == 2:
            raise StoreError("unavailable")
        super()._upsert(*rows)


class CorruptingStore(MemoryStore):
    """A store that stores the records in the wrong order."""

    def _upsert(self, ids: list[str], vectors: Any, records: Any) -> None:
        super()._upsert(ids, vectors, records.take(list(range(len(ids)))[::-1]))


def test_every_row_is_copied_and_a_sample_is_compared() -> None:
    target = MemoryStore("memory://target", SPACE)
    steps: list[int] = []
    result = copy_store(make_source(), target, progress=steps.append)
    assert (result.rows, result.written, result.checked, sum(steps)) == (300, 300, 64, 300)
    assert {hit.id: hit.record for hit in target.get(["7", "8"])} == {
        "7": {"n": 7, "odd": True},
        "8": {"n": 8, "odd": False},
    }


def test_an_interrupted_copy_resumes_with_the_missing_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.copying._MAX_BATCH_ROWS", 100)
    target = FailingStore("memory://target", SPACE)
    with pytest.raises(StoreError, match="unavailable"):
        copy_store(make_source(), target)
    assert target.count() == 100
    result = copy_store(make_source(), target, resume=True)
    assert (result.rows, result.written, target.count()) == (300, 200, 300)


def test_a_target_that_holds_different_rows_is_reported() -> None:
    with pytest.raises(StoreError, match="a different row than was copied"):
        copy_store(make_source(), CorruptingStore("memory://target", SPACE))


def test_another_space_is_rejected_before_anything_is_written() -> None:
    target = MemoryStore("memory://target", Space("other", "f" * 16, 4))
    with pytest.raises(SpaceMismatchError):
        copy_store(make_source(), target)
    assert target.count() == 0


def test_an_empty_collection_is_copied() -> None:
    target = MemoryStore("memory://target", SPACE)
    assert copy_store(MemoryStore("memory://empty", SPACE), target).rows == 0
