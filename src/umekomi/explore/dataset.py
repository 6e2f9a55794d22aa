"""A set of embeddings as the explorer holds it: vectors, texts, records, and what its columns are good for.

>>> from umekomi.explore.dataset import open_dataset
>>> open_dataset("reviews.parquet").columns[0].kind      # doctest: +SKIP
<ColumnKind.NUMBER: 'number'>
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..data.embedded_file import Space, read_space
from ..data.readers.parquet import parquet_errors
from ..errors import InputError
from ..stores import open_store
from ..stores.columns import ColumnType, get_column_type
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, normalize
from ..vectors.arrow import from_column
from .values import as_numbers, displayed, plain_array

MAX_CATEGORIES = 40
"""A column of texts with more values than this is for reading, not for colouring."""
FEW_NUMBERS = 12
"""A column of whole numbers with so few values is drawn and filtered value by value, as stars of a review."""
NO_CODE = 65_535
"""The code of a value that is missing."""


class ColumnKind(StrEnum):
    """How a column can be shown: by its categories, on a scale, or only to be read."""

    CATEGORY = "category"
    NUMBER = "number"
    TIME = "time"
    BOOLEAN = "boolean"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Category:
    """One value of a column, and how many rows have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the records. Numbers and times (seconds since 1970) have a range, the others categories.

    ``ordered`` says that the categories have an order, as the stars of a review. ``missing`` counts the rows without a value
    (null, or NaN).
    """

    name: str
    kind: ColumnKind
    categories: tuple[Category, ...] = ()
    low: float | None = None
    high: float | None = None
    ordered: bool = False
    missing: int = 0


class Dataset:
    """Vectors, the text of each, and their records.

    Rows keep the order of the file or the store; their *place* in it is what the explorer calls them by.

    Attributes:
        vectors: ``(n, dims) float32`` of length 1; zeros in rows that are not in ``usable``.
        usable: ``(m,) int64``, the places of the rows with a vector that has a direction. A vector that is null, zero or not
            finite has none: its row has no point on the map and is in no result, but its record can be read.
    """

    def __init__(
        self, name: str, space: Space, vectors: FloatArray, records: pa.Table, *, text: str | None = None
    ) -> None:
        self.name = name
        self.space = space
        usable: npt.NDArray[np.bool_] = np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
        self.usable: IntArray = np.flatnonzero(usable)
        if len(self.usable) < len(vectors):
            vectors = np.where(usable[:, None], vectors, np.float32(0))
        self.vectors = normalize(vectors)
        names = records.column_names
        self.records = pa.table({name: plain_array(records[name]) for name in names}) if names else records
        if text is not None and text not in self.records.column_names:
            raise InputError(f"There is no column {text!r} to show; the columns are {', '.join(names)}.", param="text")
        self.text_column = text if text is not None else _text_column(self.records)
        self.columns = tuple(
            _describe(column, self.records[column])
            for column in self.records.column_names
            if column not in (self.text_column, "n_tokens")
        )

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def id(self) -> str:
        """A digest of the vectors and the records: two sets with the same content have the same id."""
        digest = hashlib.blake2b(self.vectors_digest.encode(), digest_size=16)
        digest.update(f"{self.name}\0{self.space}\0{self.text_column}".encode())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.records.schema) as writer:
            writer.write_table(self.records)
        digest.update(memoryview(sink.getvalue()))
        return digest.hexdigest()

    @cached_property
    def vectors_digest(self) -> str:
        """A digest of the vectors alone, by which a layout is cached."""
        return hashlib.sha256(np.ascontiguousarray(self.vectors).data).hexdigest()[:32]

    def column(self, name: str) -> Column | None:
        """The column of this name, if it can be shown."""
        return next((column for column in self.columns if column.name == name), None)

    def texts(self, places: Iterable[int] | None = None) -> list[str]:
        """The texts of some rows, or of all."""
        if self.text_column is None:
            return [f"#{place}" for place in (range(len(self)) if places is None else places)]
        column = self.records[self.text_column]
        if places is not None:
            column = column.take(pa.array(list(places), pa.int64()))
        return ["" if text is None else str(text) for text in displayed(column)]

    def rows(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Records without their vectors and texts; the values are those of :func:`umekomi.explore.values.displayed`."""
        chosen = pa.array(places, pa.int64())
        values = [displayed(self.records[column.name].take(chosen)) for column in self.columns]
        names = [column.name for column in self.columns]
        return (
            [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)] if names else [{} for _ in places]
        )

    def codes(self, name: str) -> npt.NDArray[np.uint16]:
        """The category of each row, as its place in ``column(name).categories``; ``NO_CODE`` where it is missing."""
        column = self.column(name)
        if column is None or not column.categories:
            return np.full(len(self), NO_CODE, dtype=np.uint16)
        values = pc.cast(self.records[name], pa.string()).combine_chunks()
        found = pc.index_in(values, value_set=pa.array([category.value for category in column.categories]))
        return np.asarray(pc.fill_null(found, NO_CODE).to_numpy(zero_copy_only=False), dtype=np.uint16)

    def numbers(self, name: str) -> DoubleArray:
        """The number (or the seconds since 1970) of each row ``(n,) float64``; NaN where it is missing."""
        return as_numbers(self.records[name])


def open_dataset(source: str, *, text: str | None = None) -> Dataset:
    """Read a file made by ``umekomi embed``, or a store's collection, whole.

    Args:
        source: the path of the file, or the URL of the store.
        text: the column to show; by default ``text``, or else the column with the longest texts.

    Raises:
        RecordError: there is no such file, or it holds no embeddings.
        StoreError: there is no such collection, or its engine does not answer.
    """
    if "://" in source or source.rstrip("/").endswith(".lance"):
        store = open_store(source)
        space, rows = store.space, store.iterate(size=4096)
        schema = store.schema()
    else:
        space, rows, schema = read_space(source), _read_file(source), None
    vectors: list[FloatArray] = []
    tables: list[pa.Table] = []
    for _, some, records in rows:
        vectors.append(some)
        tables.append(records)
    matrix = np.concatenate(vectors) if vectors else np.empty((0, space.dims), np.float32)
    table = (
        pa.concat_tables(tables, promote_options="permissive") if tables else (schema or pa.schema([])).empty_table()
    )
    name = source.rstrip("/").rpartition("/")[2] if "://" in source else Path(source).stem
    return Dataset(name, space, matrix, table, text=text)


def _read_file(path: str) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
    """An embedded file with all its columns; the vectors of rows that have none are zeros."""
    with parquet_errors(path):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
            column = batch.column("embedding")
            there = column.is_valid().to_numpy(zero_copy_only=False)
            if there.all():
                vectors = from_column(column)
            else:
                known = from_column(column.drop_null())
                vectors = np.zeros((len(batch), known.shape[1]), dtype=np.float32)
                vectors[there] = known
            yield [], vectors, pa.Table.from_batches([batch]).drop_columns(["embedding"]).replace_schema_metadata(None)


def _text_column(records: pa.Table) -> str | None:
    texts = [
        name for name in records.column_names if get_column_type(records.schema.field(name).type) is ColumnType.TEXT
    ]
    if "text" in texts or not texts:
        return "text" if texts else None
    lengths = {name: pc.mean(pc.binary_length(records[name])).as_py() or 0.0 for name in texts}
    longest: str = max(texts, key=lengths.__getitem__)
    return longest


def _describe(name: str, values: pa.ChunkedArray) -> Column:
    kind = get_column_type(values.type)
    if kind is None:
        return Column(name, ColumnKind.TEXT, missing=values.null_count)
    if kind is ColumnType.BOOLEAN:
        return Column(name, ColumnKind.BOOLEAN, _categories(values, ["false", "true"]), missing=values.null_count)
    distinct = pc.count_distinct(values).as_py()
    if kind is ColumnType.TEXT:
        if not 0 < distinct <= MAX_CATEGORIES or distinct == len(values) > 1:
            return Column(name, ColumnKind.TEXT, missing=values.null_count)
        return Column(name, ColumnKind.CATEGORY, _categories(values), missing=values.null_count)
    if kind is ColumnType.INTEGER and 0 < distinct <= FEW_NUMBERS:
        order = [str(value) for value in sorted(value for value in pc.unique(values).to_pylist() if value is not None)]
        return Column(name, ColumnKind.CATEGORY, _categories(values, order), ordered=True, missing=values.null_count)
    numbers = as_numbers(values)
    known = numbers[np.isfinite(numbers)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    missing = int(np.isnan(numbers).sum())
    return Column(
        name, ColumnKind.TIME if kind is ColumnType.TIME else ColumnKind.NUMBER, (), low, high, missing=missing
    )


def _categories(values: pa.ChunkedArray, order: Sequence[str] | None = None) -> tuple[Category, ...]:
    counts = {
        str(row["values"]): int(row["counts"])
        for row in pc.value_counts(pc.drop_null(pc.cast(values, pa.string()))).to_pylist()
    }
    names = order if order is not None else sorted(counts, key=lambda value: (-counts[value], value))
    return tuple(Category(value, counts[value]) for value in names if value in counts)
