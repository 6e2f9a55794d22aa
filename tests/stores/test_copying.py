"""Copying a collection: every row, once, compared afterwards, and begun again where it was cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from umekomi.data.embedded_file import Space
from umekomi.errors import SpaceMismatchError, StoreError
from umekomi.stores import MemoryStore, copy_store

SPACE = Space("umekomi-fake", "0123456789abcdef", 4)


def source(n: int = 300) -> MemoryStore:
    store = MemoryStore("memory://source", SPACE)
    vectors = np.random.default_rng(0).standard_normal((n, 4), dtype=np.float32)
    store.upsert([str(row) for row in range(n)], vectors, [{"n": row, "odd": row % 2 == 1} for row in range(n)])
    return store


class Cut(MemoryStore):
    """Fails at the second batch, as a server that goes away does."""

    batches = 0

    def _upsert(self, *rows: Any) -> None:
        self.batches += 1
        if self.batches == 2:
            raise StoreError("gone")
        super()._upsert(*rows)


class Forgetful(MemoryStore):
    """Keeps another record than it was given."""

    def _upsert(self, ids: list[str], vectors: Any, records: Any) -> None:
        super()._upsert(ids, vectors, records.take(list(range(len(ids)))[::-1]))


def test_every_row_is_there_and_a_sample_is_compared() -> None:
    target = MemoryStore("memory://target", SPACE)
    steps: list[int] = []
    done = copy_store(source(), target, progress=steps.append)
    assert (done.rows, done.written, done.checked, sum(steps)) == (300, 300, 64, 300)
    assert {hit.id: hit.record for hit in target.get(["7", "8"])} == {
        "7": {"n": 7, "odd": True},
        "8": {"n": 8, "odd": False},
    }


def test_a_copy_that_was_cut_goes_on_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.stores.copying._MOST_ROWS", 100)
    target = Cut("memory://target", SPACE)
    with pytest.raises(StoreError, match="gone"):
        copy_store(source(), target)
    assert target.count() == 100
    done = copy_store(source(), target, resume=True)
    assert (done.rows, done.written, target.count()) == (300, 200, 300)


def test_a_target_that_holds_something_else_is_said_so() -> None:
    with pytest.raises(StoreError, match="something else than was copied"):
        copy_store(source(), Forgetful("memory://target", SPACE))


def test_another_space_is_refused_before_anything_is_written() -> None:
    target = MemoryStore("memory://target", Space("other", "f" * 16, 4))
    with pytest.raises(SpaceMismatchError):
        copy_store(source(), target)
    assert target.count() == 0


def test_an_empty_collection_is_copied() -> None:
    target = MemoryStore("memory://target", SPACE)
    assert copy_store(MemoryStore("memory://none", SPACE), target).rows == 0
