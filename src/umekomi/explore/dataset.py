"""A data set of the explorer: vectors, texts and records in memory, and how each column can be displayed.

>>> from umekomi.explore.dataset import open_dataset
>>> open_dataset("reviews.parquet").columns[0].type      # doctest: +SKIP
<DisplayType.NUMBER: 'number'>
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
from .values import as_numbers, to_json_values, to_plain_type

MAX_CATEGORIES = 40
"""Maximum number of values of a text column that can be used for colors."""
MAX_ORDERED_VALUES = 12
"""Maximum number of values of an integer column that is shown as ordered categories, such as the stars of a review."""
NO_CODE = 65_535
"""Code of a missing value."""


class DisplayType(StrEnum):
    """How a column is displayed: by categories, on a scale, or as text only."""

    CATEGORY = "category"
    NUMBER = "number"
    TIME = "time"
    BOOLEAN = "boolean"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Category:
    """One value of a column."""

    value: str
    #: Number of rows with this value.
    count: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the records."""

    name: str
    type: DisplayType
    #: Values of a column that is displayed by categories.
    categories: tuple[Category, ...] = ()
    #: Minimum of a column of numbers, or of times in seconds since 1970.
    low: float | None = None
    #: Maximum of such a column.
    high: float | None = None
    #: Whether the categories have an order, such as the stars of a review.
    ordered: bool = False
    #: Number of rows without a value (null or NaN).
    missing: int = 0


class Dataset:
    """Vectors with their texts and records. Rows are identified by their index in the file or store.

    Attributes:
        vectors: ``(n, dims) float32`` of length 1; zeros in rows that are not in ``usable``.
        usable: ``(m,) int64``, the indices of the rows with a usable vector. Rows whose vector is null, zero or not
            finite have no point on the map and are in no result, but their records can be read.
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
        self.records = pa.table({name: to_plain_type(records[name]) for name in names}) if names else records
        if text is not None and text not in self.records.column_names:
            raise InputError(f"There is no column {text!r} to show; the columns are {', '.join(names)}.", param="text")
        self.text_column = text if text is not None else _find_text_column(self.records)
        self.columns = tuple(
            _describe_column(column, self.records[column])
            for column in self.records.column_names
            if column not in (self.text_column, "n_tokens")
        )

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def id(self) -> str:
        """A digest of the vectors and the records. Data sets with the same content have the same id."""
        digest = hashlib.blake2b(self.vectors_digest.encode(), digest_size=16)
        digest.update(f"{self.name}\0{self.space}\0{self.text_column}".encode())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.records.schema) as writer:
            writer.write_table(self.records)
        digest.update(memoryview(sink.getvalue()))
        return digest.hexdigest()

    @cached_property
    def vectors_digest(self) -> str:
        """A digest of the vectors alone, the key of a cached layout."""
        return hashlib.sha256(np.ascontiguousarray(self.vectors).data).hexdigest()[:32]

    def usable_vectors(self) -> FloatArray:
        """Return the vectors of the usable rows, ``(m, dims) float32``."""
        return self.vectors if len(self.usable) == len(self) else self.vectors[self.usable]

    def column(self, name: str) -> Column | None:
        """Return the column with this name, if it can be displayed."""
        return next((column for column in self.columns if column.name == name), None)

    def texts(self, indices: Iterable[int] | None = None) -> list[str]:
        """Return the texts of some rows, or of all."""
        if self.text_column is None:
            return [f"#{index}" for index in (range(len(self)) if indices is None else indices)]
        column = self.records[self.text_column]
        if indices is not None:
            column = column.take(pa.array(list(indices), pa.int64()))
        return ["" if text is None else str(text) for text in to_json_values(column)]

    def rows(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return records without vectors and texts, with the values of :func:`.to_json_values`."""
        selected = self.records.select([column.name for column in self.columns]).take(pa.array(indices, pa.int64()))
        columns = [to_json_values(values) for values in selected.columns]
        names = selected.column_names
        return [dict(zip(names, [values[i] for values in columns], strict=True)) for i in range(len(indices))]

    def codes(self, name: str) -> npt.NDArray[np.uint16]:
        """Return the index of each row's category in ``column(name).categories``, or ``NO_CODE`` if it is missing."""
        column = self.column(name)
        if column is None or not column.categories:
            return np.full(len(self), NO_CODE, dtype=np.uint16)
        values = pc.cast(self.records[name], pa.string()).combine_chunks()
        codes = pc.index_in(values, value_set=pa.array([category.value for category in column.categories]))
        return np.asarray(pc.fill_null(codes, NO_CODE).to_numpy(zero_copy_only=False), dtype=np.uint16)

    def numbers(self, name: str) -> DoubleArray:
        """Return the number (or the seconds since 1970) of each row, ``(n,) float64``; NaN if it is missing."""
        return as_numbers(self.records[name])


def open_dataset(source: str, *, text: str | None = None) -> Dataset:
    """Read a file that ``umekomi embed`` wrote, or a collection of a store.

    Args:
        source: Path of the file or URL of the collection.
        text: Column to show; by default ``text``, or the column with the longest texts.

    Raises:
        RecordError: The file does not exist or contains no embeddings.
        StoreError: The collection does not exist, or the engine does not respond.
    """
    if "://" in source or source.rstrip("/").endswith(".lance"):
        store = open_store(source)
        space, rows = store.space, store.iterate(size=4096)
        schema = store.schema()
    else:
        space, rows, schema = read_space(source), _read_file(source), None
    vectors: list[FloatArray] = []
    tables: list[pa.Table] = []
    for _, batch_vectors, records in rows:
        vectors.append(batch_vectors)
        tables.append(records)
    matrix = np.concatenate(vectors) if vectors else np.empty((0, space.dims), np.float32)
    table = (
        pa.concat_tables(tables, promote_options="permissive") if tables else (schema or pa.schema([])).empty_table()
    )
    name = source.rstrip("/").rpartition("/")[2] if "://" in source else Path(source).stem
    return Dataset(name, space, matrix, table, text=text)


def _read_file(path: str) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
    """Yield an embedded file with all its columns. The vectors of rows without one are zeros."""
    with parquet_errors(path):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
            column = batch.column("embedding")
            is_valid = column.is_valid().to_numpy(zero_copy_only=False)
            valid = from_column(column.drop_null())
            vectors = np.zeros((len(batch), valid.shape[1]), dtype=np.float32)
            vectors[is_valid] = valid
            yield [], vectors, pa.Table.from_batches([batch]).drop_columns(["embedding"]).replace_schema_metadata(None)


def _find_text_column(records: pa.Table) -> str | None:
    texts = [
        name for name in records.column_names if get_column_type(records.schema.field(name).type) is ColumnType.TEXT
    ]
    if "text" in texts or not texts:
        return "text" if texts else None
    lengths = {name: pc.mean(pc.binary_length(records[name])).as_py() or 0.0 for name in texts}
    longest: str = max(texts, key=lengths.__getitem__)
    return longest


def _describe_column(name: str, values: pa.ChunkedArray) -> Column:
    column_type = get_column_type(values.type)
    missing = values.null_count
    if column_type is ColumnType.BOOLEAN:
        return Column(name, DisplayType.BOOLEAN, _count_categories(values, ["false", "true"]), missing=missing)
    if column_type is None:
        return Column(name, DisplayType.TEXT, missing=missing)
    n_values = pc.count_distinct(values).as_py()
    if column_type is ColumnType.TEXT:
        if not 0 < n_values <= MAX_CATEGORIES or n_values == len(values) > 1:
            return Column(name, DisplayType.TEXT, missing=missing)
        return Column(name, DisplayType.CATEGORY, _count_categories(values), missing=missing)
    if column_type is ColumnType.INTEGER and 0 < n_values <= MAX_ORDERED_VALUES:
        order = [str(value) for value in sorted(pc.unique(values).drop_null().to_pylist())]
        return Column(name, DisplayType.CATEGORY, _count_categories(values, order), ordered=True, missing=missing)
    numbers = as_numbers(values)
    finite = numbers[np.isfinite(numbers)]
    return Column(
        name,
        DisplayType.TIME if column_type is ColumnType.TIME else DisplayType.NUMBER,
        low=float(finite.min()) if len(finite) else 0.0,
        high=float(finite.max()) if len(finite) else 0.0,
        missing=int(np.isnan(numbers).sum()),
    )


def _count_categories(values: pa.ChunkedArray, order: Sequence[str] | None = None) -> tuple[Category, ...]:
    counts = {
        str(row["values"]): int(row["counts"])
        for row in pc.value_counts(pc.drop_null(pc.cast(values, pa.string()))).to_pylist()
    }
    names = order if order is not None else sorted(counts, key=lambda value: (-counts[value], value))
    return tuple(Category(value, counts[value]) for value in names if value in counts)
