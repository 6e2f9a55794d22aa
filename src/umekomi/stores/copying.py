"""Rows from anywhere into a store, and a whole collection from one store to another: streamed, resumable, checked afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError, StoreError
from ..progress import Progress, no_progress
from ..vectors.arithmetic import FloatArray, normalize
from .base import ID, Store
from .columns import cast_to_text, convert_records, get_column_types
from .filters.language import Compare

Piece = tuple[list[str], FloatArray, pa.Table]
"""Ids, vectors ``(n, dims) float32`` and records of the same rows."""

SAMPLE = 64
"""Rows that are compared after a copy."""

_NEAR = 1e-4
_BYTES_AT_ONCE, _MOST_ROWS = 1 << 23, 4096


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did."""

    #: Rows of the source.
    rows: int
    #: Rows that were written; the target had the others already.
    written: int
    #: Rows that were read back and compared.
    checked: int
    #: Rows that were deleted, because the source does not contain them any more.
    removed: int = 0


def write_rows(
    target: Store, pieces: Iterable[Piece], *, resume: bool = False, progress: Progress = no_progress
) -> int:
    """Write rows; gives how many were written.

    Args:
        target: where to; whatever it has of the same ids is replaced.
        pieces: the rows.
        resume: leave out rows that the target has already, with the same vector and the same record.
        progress: is told how many rows have been done, after each piece.
    """
    n_written = 0
    for ids, vectors, records in pieces:
        there = compare_rows(target, ids, vectors, records).same if resume else set()
        new = [row for row, name in enumerate(ids) if name not in there]
        if new:
            target.upsert([ids[row] for row in new], vectors[new], records.take(pa.array(new)))
        n_written += len(new)
        progress(len(ids))
    return n_written


@dataclass(frozen=True, slots=True)
class Compared:
    """Which of some rows a store has."""

    #: Ids of rows that it has with the same vector and the same record.
    same: set[str]
    #: Ids of rows that it has with another vector or another record.
    different: set[str]


def compare_rows(target: Store, ids: list[str], vectors: FloatArray, records: pa.Table) -> Compared:
    """Compare rows with those of the same ids in a store: ``vectors`` is ``(len(ids), dims) float32``."""
    hits = {hit.id: hit.record for hit in target.get(ids)}
    if not hits:
        return Compared(set(), set())
    stored = target.get_vectors([name for name in ids if name in hits])
    columns = get_column_types(target.schema())
    plain = convert_records(records, columns, supports_unsigned=target.supports_unsigned)
    missing = dict.fromkeys(name for name in columns if name not in plain.column_names)
    unit = normalize(vectors)
    same = {
        name
        for row, (name, record) in enumerate(
            zip(ids, plain.to_pylist() if plain.num_columns else [{}] * len(ids), strict=True)
        )
        if name in stored and hits[name] == record | missing and float(unit[row] @ stored[name]) > 1 - _NEAR
    }
    return Compared(same, set(hits) - same)


def require_no_other_rows(target: Store, ids: list[str], vectors: FloatArray, records: pa.Table, source: str) -> None:
    """Raise InputError if a store has other rows under the numbers of these, whose source has no ids."""
    different = compare_rows(target, ids, vectors, records).different
    if different:
        raise InputError(
            f"{target.url} has another row under the number {min(different, key=ids.index)} than {source}, whose rows have no "
            "ids. Name the rows with `umekomi store load --id COLUMN`, choose another collection, or replace the rows with "
            "`umekomi store load --overwrite`."
        )


def copy_store(source: Store, target: Store, *, resume: bool = False, progress: Progress = no_progress) -> Copied:
    """Copy every row, then compare the number of rows and a sample of them.

    Raises:
        SpaceMismatchError: the target holds vectors of another space.
        InputError: the source's rows are only numbered, and the target has other rows under these numbers.
        StoreError: the target does not hold what was copied.
    """
    target.require_space(source.space)
    text = [] if target.supports_unsigned else _large_unsigned(source)
    if source.has_numbered_rows and target.count():
        for ids, vectors, records in source.iterate(size=rows_at_once(source)):
            require_no_other_rows(target, ids, vectors, cast_to_text(records, text), source.url)
    chance = random.Random(0)  # noqa: S311 - of which rows are compared
    sample: list[tuple[str, FloatArray, dict[str, object]]] = []
    n_rows = 0

    def watched() -> Iterable[Piece]:
        nonlocal n_rows
        for ids, vectors, rows in source.iterate(size=rows_at_once(source)):
            records = cast_to_text(rows, text)
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


def _large_unsigned(source: Store) -> list[str]:
    """The columns with whole numbers above 2**63 - 1, which most stores can only keep as text."""
    columns = [field.name for field in source.schema() if pa.types.is_uint64(field.type)]
    if not columns:
        return []
    found = {
        name for _, _, records in source.iterate() for name in columns if (pc.max(records[name]).as_py() or 0) >= 2**63
    }
    return sorted(found)


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
