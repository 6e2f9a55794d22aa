"""A set of embeddings as the explorer holds it: vectors, texts, records, and what its columns are good for.

>>> from umekomi.explore.dataset import open_dataset
>>> open_dataset("reviews.parquet").columns[0].kind      # doctest: +SKIP
<ColumnKind.NUMBER: 'number'>
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..records import Space, read_space
from ..stores import open_store, read_rows
from ..stores.columns import Kind, kind_of
from ..vectors import FloatArray, normalize

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

    ``ordered`` says that the categories have an order, as the stars of a review.
    """

    name: str
    kind: ColumnKind
    categories: tuple[Category, ...] = ()
    low: float | None = None
    high: float | None = None
    ordered: bool = False


class Dataset:
    """Vectors ``(n, dims) float32`` of length 1, the text of each, and their records.

    Rows keep the order of the file or the store; their *place* in it is what the explorer calls them by.
    """

    def __init__(
        self, name: str, space: Space, vectors: FloatArray, records: pa.Table, *, text: str | None = None
    ) -> None:
        self.name = name
        self.space = space
        self.vectors = normalize(vectors)
        self.text_column = text or _text_column(records)
        self.records = records
        self.columns = tuple(
            _describe(column, records[column])
            for column in records.column_names
            if column not in (self.text_column, "n_tokens") and kind_of(records.schema.field(column).type) is not None
        )

    def __len__(self) -> int:
        return len(self.vectors)

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
        return ["" if text is None else str(text) for text in column.to_pylist()]

    def record(self, place: int) -> dict[str, Any]:
        """One row, without its vector and its text."""
        row: dict[str, Any] = self.records.slice(place, 1).to_pylist()[0]
        return {column.name: row[column.name] for column in self.columns}

    def codes(self, name: str) -> npt.NDArray[np.uint16]:
        """The category of each row, as its place in ``column(name).categories``; ``NO_CODE`` where it is missing."""
        column = self.column(name)
        if column is None or not column.categories:
            return np.full(len(self), NO_CODE, dtype=np.uint16)
        values = pc.cast(self.records[name], pa.string()).combine_chunks()
        found = pc.index_in(values, value_set=pa.array([category.value for category in column.categories]))
        return np.asarray(pc.fill_null(found, NO_CODE).to_numpy(zero_copy_only=False), dtype=np.uint16)

    def numbers(self, name: str) -> npt.NDArray[np.float32]:
        """The number (or the second since 1970) of each row; NaN where it is missing."""
        return _numbers(self.records[name]).astype(np.float32)


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
        space, rows, schema = read_space(source), read_rows(source, size=4096), None
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


def _text_column(records: pa.Table) -> str | None:
    texts = [name for name in records.column_names if kind_of(records.schema.field(name).type) is Kind.TEXT]
    if "text" in texts or not texts:
        return "text" if texts else None
    lengths = {name: pc.mean(pc.utf8_length(pc.cast(records[name], pa.string()))).as_py() or 0.0 for name in texts}
    longest: str = max(texts, key=lengths.__getitem__)
    return longest


def _describe(name: str, values: pa.ChunkedArray) -> Column:
    kind = kind_of(values.type)
    if kind is Kind.BOOLEAN:
        return Column(name, ColumnKind.BOOLEAN, _categories(values, ["false", "true"]))
    distinct = pc.count_distinct(values).as_py()
    if kind is Kind.TEXT:
        if not 0 < distinct <= MAX_CATEGORIES or distinct == len(values) > 1:
            return Column(name, ColumnKind.TEXT)
        return Column(name, ColumnKind.CATEGORY, _categories(values))
    if kind is Kind.INTEGER and 0 < distinct <= FEW_NUMBERS:
        order = [str(value) for value in sorted(value for value in pc.unique(values).to_pylist() if value is not None)]
        return Column(name, ColumnKind.CATEGORY, _categories(values, order), ordered=True)
    numbers = _numbers(values)
    known = numbers[np.isfinite(numbers)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    return Column(name, ColumnKind.TIME if kind is Kind.TIME else ColumnKind.NUMBER, (), low, high)


def _categories(values: pa.ChunkedArray, order: Sequence[str] | None = None) -> tuple[Category, ...]:
    counts = {
        str(row["values"]): int(row["counts"])
        for row in pc.value_counts(pc.drop_null(pc.cast(values, pa.string()))).to_pylist()
    }
    names = order if order is not None else sorted(counts, key=lambda value: (-counts[value], value))
    return tuple(Category(value, counts[value]) for value in names if value in counts)


def _numbers(values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    if kind_of(values.type) is Kind.TIME:
        micros = pc.cast(pc.cast(values, pa.timestamp("us")), pa.int64())
        return np.asarray(pc.cast(micros, pa.float64()).to_numpy(), dtype=np.float64) / 1e6
    return np.asarray(pc.cast(values, pa.float64()).to_numpy(), dtype=np.float64)
