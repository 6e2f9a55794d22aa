"""Embedded Parquet files: as stores for reading only, and as the source of a load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..data.embedded_file import read_embedded, read_space
from ..errors import RecordError, StoreError
from ..progress import Progress, no_progress
from ..vectors.arithmetic import FloatArray
from .base import Store
from .columns import ColumnType, cast_to_text, find_text_columns, get_column_type
from .copying import require_no_other_rows, write_rows
from .engines.memory import MemoryStore


def load_parquet(path: str | Path) -> Store:
    """An embedded file as an exact store in memory, for reading only; ids as :func:`read_rows` gives them."""
    store = _FileStore(str(path), read_space(path))
    store.has_numbered_rows = _id_column(path, None) is None
    text = loaded_as_text(path, store)
    for ids, vectors, records in read_rows(path, size=1 << 16, text=text):
        store.load(ids, vectors, records)
    return store


def read_rows(
    path: str | Path, *, id_column: str | None = None, size: int = 4096, text: Sequence[str] = ()
) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
    """An embedded file as a store takes it: ids, vectors ``(n, dims) float32`` and records, ``size`` rows at a time.

    The ids are the column that is named; else a column ``id``, ``Id`` or ``ID`` if no two of its values are alike; else the
    numbers of the rows, from 0. Columns that a record cannot hold (lists, bytes; see :func:`left_out`) are left out; those of
    ``text`` become text.

    Raises:
        RecordError: there is no such column, or its values are not unique.
    """
    column = _id_column(path, id_column)
    dropped = left_out(path)
    start = 0
    for vectors, batch in read_embedded(path, size=size):
        batch = cast_to_text(batch, text)
        ids = range(start, start + len(batch)) if column is None else batch.column(column).to_pylist()
        yield [str(name) for name in ids], vectors, pa.Table.from_batches([batch]).drop_columns(dropped)
        start += len(batch)


def left_out(path: str | Path) -> list[str]:
    """The columns of an embedded file that a record cannot hold."""
    schema = pq.read_schema(path)
    return [field.name for field in schema if field.name != "embedding" and get_column_type(field.type) is None]


def loaded_as_text(path: str | Path, target: Store) -> list[str]:
    """The columns of an embedded file whose numbers a store cannot hold exactly, so that they are kept as text."""
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
    """Write an embedded file into a store; gives how many rows were written.

    Rows that have ids of their own replace those of the same ids. Rows that are only numbered replace nothing: if the store has
    other rows under these numbers, nothing is written. Rows that it has already, from an earlier load of the same file, stay.

    Args:
        path: The file.
        target: The store.
        id_column: The column that names each row; see :func:`read_rows`.
        size: Rows that are written at once.
        resume: Leave out rows that the store has already, with the same vector and the same record.
        overwrite: Replace rows that have the same number.
        progress: Called with the number of rows after each batch.

    Raises:
        InputError: The store has other rows under the numbers of this file's rows.
        RecordError: There is no such column, or its values are not unique.
    """
    is_numbered = _id_column(path, id_column) is None
    text = loaded_as_text(path, target)
    if is_numbered and not overwrite and target.count():
        for ids, vectors, records in read_rows(path, id_column=id_column, size=size, text=text):
            require_no_other_rows(target, ids, vectors, records, str(path))
        resume = True
    rows = read_rows(path, id_column=id_column, size=size, text=text)
    return write_rows(target, rows, resume=resume, progress=progress)


def _id_column(path: str | Path, wanted: str | None) -> str | None:
    names = pq.read_schema(path).names
    if wanted is not None and wanted not in names:
        raise RecordError(f"There is no column {wanted!r}; the columns are {', '.join(names)}.")
    for name in ("id", "Id", "ID") if wanted is None else (wanted,):
        if name in names and get_column_type(pq.read_schema(path).field(name).type) in (
            ColumnType.TEXT,
            ColumnType.INTEGER,
        ):
            values = pq.read_table(path, columns=[name]).column(name)
            if not values.null_count and pc.count_distinct(values).as_py() == len(values):
                return name
    if wanted is not None:
        raise RecordError(
            f"The column {wanted!r} cannot name the rows: its values must be texts or whole numbers, none missing, no two alike."
        )
    return None


class _FileStore(MemoryStore):
    """What is read from a file is not written back, so that writing to it is refused."""

    engine = "Parquet file"

    def load(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        super().upsert(ids, vectors, records)

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
            f"{self.url} is a file, for reading only. Load it with `umekomi store load {self.url} lance:///folder/name`."
        )
