"""Embedded Parquet files: as read-only stores, and as the source of a load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..data.embedded_file import SPARSE_COLUMN, Space, SparseSpace, read_embedded, read_space
from ..data.readers.parquet import parquet_errors
from ..data.types import plain_schema
from ..encoders.sparse.bm25 import inverse_document_frequency, is_bm25
from ..errors import RecordError, StoreError
from ..progress import Progress, no_progress
from ..vectors.arithmetic import FloatArray
from ..vectors.sparse import SparseVectors
from .base import Store
from .columns import ColumnType, cast_to_text, convert_records, find_text_columns, get_column_type
from .copying import RowBatch, require_no_conflicts, write_batches
from .engines.memory import MemoryStore
from .filters.language import Where

ID_TYPES = (ColumnType.TEXT, ColumnType.INTEGER)
"""Types of columns that can contain ids."""

_CONTENT = ("_rows", "_vectors", "_records", "_sparse")
_reading = threading.Lock()
"""Held while a store reads its file, so that two threads do not read it twice. It is not an attribute, because locks cannot be
pickled."""


def open_parquet(path: str | Path, *, check: Callable[[Store], object] | None = None) -> Store:
    """Return an embedded file as a read-only, exact store in memory, with the ids of :func:`read_batches`.

    Only the metadata is read here. The rows are read when they are first needed.

    Args:
        path: Path of the file.
        check: Called with the store before anything else is read. It may raise an exception.
    """
    store = _FileStore(Path(path), read_space(path))
    if check is not None:
        check(store)
    return store


def read_batches(
    path: str | Path,
    *,
    id_column: str | None = None,
    size: int = 4096,
    text: Sequence[str] = (),
    sparse: bool = False,
) -> Iterator[RowBatch]:
    """Yield the rows of an embedded file: ids, vectors ``(n, dims) float32`` and records.

    Columns that records cannot hold, such as lists, are left out (see :func:`list_unsupported_columns`).

    Args:
        path: Path of the file.
        id_column: Column with the ids. By default a column ``id``, ``Id`` or ``ID`` with unique values, otherwise the numbers
            of the rows, from 0.
        size: Number of rows of a batch.
        text: Columns to convert to text.
        sparse: Whether to keep the column of sparse vectors.

    Raises:
        RecordError: There is no such column, or its values are not unique.
    """
    column = _id_column(path, id_column)
    dropped = list_unsupported_columns(pq.read_schema(path), sparse=sparse)
    start = 0
    for vectors, batch in read_embedded(path, size=size):
        batch = cast_to_text(batch, text)
        ids = range(start, start + len(batch)) if column is None else batch.column(column).to_pylist()
        yield [str(row_id) for row_id in ids], vectors, pa.Table.from_batches([batch]).drop_columns(dropped)
        start += len(batch)


def list_unsupported_columns(schema: pa.Schema, *, sparse: bool = False) -> list[str]:
    """Return the columns of an embedded file that a store cannot hold.

    Args:
        schema: Schema of the file.
        sparse: Whether the store has sparse vectors.
    """
    vectors = ("embedding", SPARSE_COLUMN) if sparse else ("embedding",)
    return [field.name for field in schema if field.name not in vectors and get_column_type(field.type) is None]


def list_text_columns(path: str | Path, target: Store) -> list[str]:
    """Return the numeric columns of an embedded file that a store must hold as text to stay exact."""
    with pq.ParquetFile(path) as file:
        return find_text_columns(file, supports_unsigned=target.supports_unsigned)


def load_file(
    path: str | Path,
    target: Store,
    *,
    id_column: str | None = None,
    size: int = 4096,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> int:
    """Write an embedded file into a store and return how many rows were written.

    Rows with ids replace rows with the same ids. Rows of a file without ids only have numbers and replace nothing: if the store
    contains different rows with these numbers, nothing is written. Rows that an earlier load of the same file wrote are skipped.

    Args:
        path: Path of the file.
        target: The store to write.
        id_column: Column with the ids. See :func:`read_batches`.
        size: Number of rows of a batch.
        resume: Skip rows that the store already contains with the same vector and the same record.
        overwrite: Replace rows with the same numbers.
        progress: Called with the number of rows after each batch.

    Raises:
        InputError: The store contains different rows with the numbers of this file's rows.
        RecordError: There is no such column, or its values are not unique.
    """
    is_numbered = _id_column(path, id_column) is None
    text = list_text_columns(path, target)
    sparse = target.space.sparse is not None
    if is_numbered and not overwrite and target.count():
        for ids, vectors, records in read_batches(path, id_column=id_column, size=size, text=text):
            require_no_conflicts(target, ids, vectors, records, str(path))
        resume = True
    batches = read_batches(path, id_column=id_column, size=size, text=text, sparse=sparse)
    if target.space.sparse is not None and not target.has_idf and is_bm25(target.space.sparse.model):
        batches = _multiply_by_idf(batches, path, target.space.sparse)
    return write_batches(target, batches, resume=resume, progress=progress)


def _multiply_by_idf(batches: Iterable[RowBatch], path: str | Path, space: SparseSpace) -> Iterator[RowBatch]:
    """Multiply the sparse vectors of documents by the inverse document frequencies of their terms in the file."""
    column = SparseVectors.from_column(pq.read_table(path, columns=[SPARSE_COLUMN])[SPARSE_COLUMN], dims=space.dims)
    terms, counts = np.unique(column.indices, return_counts=True)
    frequencies = inverse_document_frequency(len(column), counts.astype(np.float64)).astype(np.float32)
    for ids, vectors, records in batches:
        sparse = SparseVectors.from_column(records[SPARSE_COLUMN], dims=space.dims)
        values = sparse.values * frequencies[np.searchsorted(terms, sparse.indices)]
        index = records.column_names.index(SPARSE_COLUMN)
        yield ids, vectors, records.set_column(index, SPARSE_COLUMN, replace(sparse, values=values).to_column())


def _id_column(path: str | Path, name: str | None) -> str | None:
    """Return the column with the ids: the requested one, or one with a usual name and unique values, or None."""
    schema = pq.read_schema(path)
    if name is not None and name not in schema.names:
        raise RecordError(f"There is no column {name!r}; the columns are {', '.join(schema.names)}.")
    for candidate in ("id", "Id", "ID") if name is None else (name,):
        if candidate in schema.names and get_column_type(schema.field(candidate).type) in ID_TYPES:
            values = pq.read_table(path, columns=[candidate]).column(candidate)
            if not values.null_count and pc.count_distinct(values).as_py() == len(values):
                return candidate
    if name is not None:
        raise RecordError(
            f"The column {name!r} cannot be used for ids. Its values must be unique texts or integers, and none may be missing."
        )
    return None


class _FileStore(MemoryStore):
    """A store that rejects writes, because they would not change the file."""

    engine = "Parquet file"

    def __init__(self, path: Path, space: Space) -> None:
        super().__init__(str(path), space)
        self._path = path.absolute()

    @property
    def has_numbered_rows(self) -> bool:  # type: ignore[override]  # the id column is not read before it is needed
        return _id_column(self._path, None) is None

    def _clear(self) -> None:
        """Leave the rows to :meth:`__getattr__`."""

    def __getattr__(self, name: str) -> Any:
        """Read the file when its rows are first needed."""
        if name not in _CONTENT:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with _reading:
            if name not in self.__dict__:
                self.__dict__.update(self._read())
        return self.__dict__[name]

    def _read(self) -> dict[str, Any]:
        if read_space(self._path) != self.space:
            raise RecordError(f"{self.url} was embedded again with another model after it was opened. Open it again.")
        # One upsert of all rows, because each one copies the rows that the store already has.
        ids: list[str] = []
        vectors, records = [np.empty((0, self.space.dims), dtype=np.float32)], []
        text = list_text_columns(self._path, self)
        batches = read_batches(self._path, size=1 << 16, text=text, sparse=self.space.sparse is not None)
        for batch_ids, batch_vectors, batch_records in batches:
            ids += batch_ids
            vectors.append(batch_vectors)
            records.append(batch_records)
        matrix = np.concatenate(vectors)
        vectors.clear()
        content = MemoryStore(self.url, self.space)
        content.upsert(ids, matrix, pa.concat_tables(records) if records else None)
        records.clear()
        # Arrow would keep the memory of the batches for later ones.
        pa.default_memory_pool().release_unused()
        return {name: getattr(content, name) for name in _CONTENT}

    def schema(self) -> pa.Schema:
        if "_records" in self.__dict__:
            return super().schema()
        schema = pq.read_schema(self._path)
        dropped = {"embedding", *list_unsupported_columns(schema)}
        schema = plain_schema(pa.schema([field for field in schema if field.name not in dropped]), name=self.url)
        records = cast_to_text(schema.empty_table(), list_text_columns(self._path, self))
        return convert_records(records, {}, supports_unsigned=self.supports_unsigned).schema

    def _count(self, where: Where | None) -> int:
        if where is None and "_rows" not in self.__dict__:
            with parquet_errors(self.url):
                return int(pq.read_metadata(self._path).num_rows)
        return super()._count(where)

    def upsert(
        self, ids: Sequence[str], vectors: FloatArray, records: pa.Table | Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        raise self._read_only()

    def delete(self, ids: Sequence[str]) -> None:
        raise self._read_only()

    def drop(self) -> None:
        raise self._read_only()

    def _read_only(self) -> StoreError:
        return StoreError(
            f"{self.url} is a file and read-only. Load it into a store with "
            f"`umekomi store load {self.url} lance:///folder/name`."
        )
