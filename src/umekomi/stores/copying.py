"""Rows from anywhere into a store, and a whole collection from one store to another: streamed, resumable, checked afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..errors import StoreError
from ..vectors import FloatArray
from .base import ID, Store
from .where import Compare

Piece = tuple[list[str], FloatArray, pa.Table]
"""Ids, vectors ``(n, dims) float32`` and records of the same rows."""

SAMPLE = 64
"""Rows that are compared after a copy."""

_NEAR = 1e-4
_BYTES_AT_ONCE, _MOST_ROWS = 1 << 23, 4096


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did: rows of the source, how many of them were written (the others were there), how many were compared."""

    rows: int
    written: int
    checked: int


def write_rows(
    target: Store, pieces: Iterable[Piece], *, resume: bool = False, progress: Callable[[int], object] = lambda n: None
) -> int:
    """Write rows; gives how many were written.

    Args:
        target: where to; whatever it has of the same ids is replaced.
        pieces: the rows.
        resume: leave out rows whose ids the target has already, as a load that was cut leaves them.
        progress: is told how many rows have been done, after each piece.
    """
    n_written = 0
    for ids, vectors, records in pieces:
        there = {hit.id for hit in target.get(ids)} if resume else set()
        new = [row for row, name in enumerate(ids) if name not in there]
        if new:
            target.upsert([ids[row] for row in new], vectors[new], records.take(pa.array(new)))
        n_written += len(new)
        progress(len(ids))
    return n_written


def copy_store(
    source: Store, target: Store, *, resume: bool = False, progress: Callable[[int], object] = lambda n: None
) -> Copied:
    """Copy every row, then compare the number of rows and a sample of them.

    Raises:
        SpaceMismatchError: the target holds vectors of another space.
        StoreError: the target does not hold what was copied.
    """
    target.require_space(source.space)
    chance = random.Random(0)  # noqa: S311 - of which rows are compared
    sample: list[tuple[str, FloatArray, dict[str, object]]] = []
    n_rows = 0

    def watched() -> Iterable[Piece]:
        nonlocal n_rows
        for ids, vectors, records in source.iterate(size=rows_at_once(source)):
            for row, name in enumerate(ids):
                # Each row comes into the sample with the same chance, however many there are (reservoir sampling).
                place = len(sample) if len(sample) < SAMPLE else chance.randrange(n_rows + row + 1)
                if place < SAMPLE:
                    sample[place : place + 1] = [(name, vectors[row].copy(), records.slice(row, 1).to_pylist()[0])]
            n_rows += len(ids)
            yield ids, vectors, records

    n_written = write_rows(target, watched(), resume=resume, progress=progress)
    target.optimize()
    n_there = target.count()
    if n_there < n_rows:
        raise StoreError(
            f"{target.url} has {n_there:,} rows after {n_rows:,} were copied; run the same command again with --resume."
        )
    for name, vector, record in sample:
        compare_row(target, name, vector, record)
    return Copied(n_rows, n_written, len(sample))


def rows_at_once(store: Store) -> int:
    """How many rows to carry at a time."""
    return max(1, min(_MOST_ROWS, _BYTES_AT_ONCE // (4 * store.space.dims)))


def compare_row(target: Store, name: str, vector: FloatArray, record: dict[str, object]) -> None:
    """Raise StoreError unless the target holds this row: its vector, ``(dims,) float32``, and its record."""
    hits = target.search(vector[np.newaxis], k=1, where=Compare(ID, "=", name))[0]
    if not hits or hits[0].id != name or hits[0].record != record or abs(hits[0].score - 1) > _NEAR:
        raise StoreError(
            f"{target.url} holds something else than was copied at the id {name[:60]!r}; copy into a new collection."
        )
