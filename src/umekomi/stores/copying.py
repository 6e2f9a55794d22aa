"""Writing of rows into a store, and copies of collections: streamed, resumable, and verified by a sample."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..data.embedded_file import SPARSE_COLUMN, Space
from ..errors import InputError, StoreError
from ..progress import Progress, no_progress
from ..vectors.arithmetic import FloatArray, normalize
from ..vectors.matrices import SEPARATOR, Matrix
from .base import ID, Store
from .columns import cast_to_text, convert_records, get_column_types
from .filters.language import Compare

RowBatch = tuple[list[str], FloatArray, pa.Table]
"""Ids, vectors ``(n, dims) float32`` and records of some rows."""

SAMPLE_SIZE = 64
"""Number of rows that are compared after a copy."""

_TOLERANCE = 1e-4
"""Largest difference from 1 of the cosine between a vector and its copy."""

_MAX_BATCH_BYTES, _MAX_BATCH_ROWS = 1 << 23, 4096


@dataclass(frozen=True, slots=True)
class CopyResult:
    """Result of a copy or a load."""

    #: Number of rows of the source.
    rows: int
    #: Number of rows that were written. The target already contained the others.
    written: int
    #: Number of rows that were read back and compared.
    checked: int
    #: Number of rows that were deleted because the source no longer contains them.
    removed: int = 0


def write_batches(
    target: Store, batches: Iterable[RowBatch], *, resume: bool = False, progress: Progress = no_progress
) -> int:
    """Write rows into a store and return how many were written.

    Args:
        target: The store. Rows with the same ids are replaced.
        batches: The rows.
        resume: Skip rows that the target already contains with the same vector and the same record.
        progress: Called with the number of rows after each batch.
    """
    n_written = 0
    for ids, vectors, records in batches:
        existing = compare_rows(target, ids, vectors, records).same if resume else set()
        new = [row for row, row_id in enumerate(ids) if row_id not in existing]
        if new:
            target.upsert([ids[row] for row in new], vectors[new], records.take(pa.array(new)))
        n_written += len(new)
        progress(len(ids))
    return n_written


@dataclass(frozen=True, slots=True)
class RowComparison:
    """Result of comparing rows with those of a store."""

    #: Ids of rows that the store contains with the same vector and the same record.
    same: set[str]
    #: Ids of rows that the store contains with a different vector or record.
    different: set[str]


def compare_rows(target: Store, ids: list[str], vectors: FloatArray, records: pa.Table) -> RowComparison:
    """Compare rows with those of the same ids in a store. ``vectors`` has the shape ``(len(ids), dims)``."""
    hits = {hit.id: hit.record for hit in target.get(ids)}
    if not hits:
        return RowComparison(set(), set())
    stored = target.get_vectors(list(hits))
    columns = get_column_types(target.schema())
    if target.space.sparse is not None and SPARSE_COLUMN in records.column_names:
        records = records.drop_columns([SPARSE_COLUMN])
    plain = convert_records(records, columns, supports_unsigned=target.supports_unsigned)
    missing = dict.fromkeys(name for name in columns if name not in plain.column_names)
    unit = normalize(vectors)
    same = {
        row_id
        for row, (row_id, record) in enumerate(
            zip(ids, plain.to_pylist() if plain.num_columns else [{}] * len(ids), strict=True)
        )
        if row_id in stored and hits[row_id] == record | missing and float(unit[row] @ stored[row_id]) > 1 - _TOLERANCE
    }
    return RowComparison(same, set(hits) - same)


def require_no_conflicts(target: Store, ids: list[str], vectors: FloatArray, records: pa.Table, source: str) -> None:
    """Raise InputError if a store contains different rows with the numbers of these rows, whose source has no ids."""
    different = compare_rows(target, ids, vectors, records).different
    if different:
        raise InputError(
            f"{target.url} and {source} contain different rows with the number {min(different, key=ids.index)}, and the rows of "
            f"{source} have no ids. Select ids with `umekomi store load --id COLUMN`, choose another collection, or replace the "
            "rows with `umekomi store load --overwrite`."
        )


def customize_space(space: Space, matrix: Matrix) -> Space:
    """Return the space of vectors to which a matrix has been applied.

    Raises:
        SpaceMismatchError: The matrix was learned for another model, or has other dimensions.
    """
    matrix.require_space(space.model, space.fingerprint, space.dims)
    model = f"{space.model}{SEPARATOR}{matrix.name}"
    return Space(model, matrix.combined_fingerprint(space.fingerprint), matrix.dims_out, space.role)


def copy_store(
    source: Store,
    target: Store,
    *,
    matrix: Matrix | None = None,
    resume: bool = False,
    before_writing: Callable[[], None] = lambda: None,
    progress: Progress = no_progress,
) -> CopyResult:
    """Copy every row, then compare the number of rows and a sample of them.

    Args:
        source: The store to read.
        target: The store to write. Rows with the same ids are replaced.
        matrix: Matrix to apply to the vectors.
        resume: Skip rows that the target already contains with the same vector and the same record.
        before_writing: Called after all checks, before the first row is written.
        progress: Called with the number of rows after each batch.

    Raises:
        SpaceMismatchError: The target holds vectors of another space.
        InputError: The rows of the source only have numbers, and the target contains different rows with these numbers.
        StoreError: The target does not contain the copied rows.
    """
    target.require_space(source.space if matrix is None else customize_space(source.space, matrix))

    def read() -> Iterable[RowBatch]:
        for ids, vectors, records in source.iterate(size=batch_size(source)):
            yield ids, vectors if matrix is None else matrix.apply(vectors), records

    text = [] if target.supports_unsigned else _large_unsigned(source)
    if source.has_numbered_rows and target.count():
        for ids, vectors, records in read():
            require_no_conflicts(target, ids, vectors, cast_to_text(records, text), source.url)
    rng = random.Random(0)  # noqa: S311 - not used for security
    sample: list[tuple[str, FloatArray, dict[str, object]]] = []
    n_rows = 0

    def read_and_sample() -> Iterable[RowBatch]:
        nonlocal n_rows
        for ids, vectors, rows in read():
            records = cast_to_text(rows, text)
            for row, row_id in enumerate(ids):
                # Reservoir sampling: every row has the same probability, without knowing the number of rows.
                slot = len(sample) if len(sample) < SAMPLE_SIZE else rng.randrange(n_rows + row + 1)
                if slot < SAMPLE_SIZE:
                    sample[slot : slot + 1] = [(row_id, vectors[row].copy(), records.slice(row, 1).to_pylist()[0])]
            n_rows += len(ids)
            yield ids, vectors, records

    before_writing()
    n_written = write_batches(target, read_and_sample(), resume=resume, progress=progress)
    target.optimize()
    n_stored = target.count()
    if n_stored < n_rows:
        raise StoreError(
            f"{target.url} has {n_stored:,} rows after {n_rows:,} were copied; run the same command again with --resume."
        )
    for row_id, vector, record in sample:
        verify_row(target, row_id, vector, record)
    return CopyResult(n_rows, n_written, len(sample))


def _large_unsigned(source: Store) -> list[str]:
    """Return the columns with integers above 2**63 - 1, which most stores can only hold as text."""
    columns = [field.name for field in source.schema() if pa.types.is_uint64(field.type)]
    if not columns:
        return []
    large = {
        name for _, _, records in source.iterate() for name in columns if (pc.max(records[name]).as_py() or 0) >= 2**63
    }
    return sorted(large)


def batch_size(store: Store) -> int:
    """Return the number of rows of a batch."""
    return max(1, min(_MAX_BATCH_ROWS, _MAX_BATCH_BYTES // (4 * store.space.dims)))


def verify_row(target: Store, row_id: str, vector: FloatArray, record: dict[str, object]) -> None:
    """Raise StoreError unless the target contains a row with this vector, ``(dims,) float32``, and this record."""
    hits = target.search(vector[np.newaxis], k=1, where=Compare(ID, "=", row_id))[0]
    if not hits or hits[0].id != row_id or hits[0].record != record or abs(hits[0].score - 1) > _TOLERANCE:
        raise StoreError(
            f"{target.url} holds a different row than was copied for the id {row_id[:60]!r}; copy into a new collection."
        )
