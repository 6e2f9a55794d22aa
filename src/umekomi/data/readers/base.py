"""Records: a stream of Arrow batches with a fixed schema, whatever format they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from .templates import Template

Batches = Callable[[int], Iterator[pa.RecordBatch]]
SourceBatches = Callable[[int, Sequence[str]], Iterator[pa.RecordBatch]]

CHUNK_ROWS, CHUNK_CHARACTERS = 4096, 1 << 22
"""Size of the pieces that text formats are parsed in; whichever limit is reached first."""


def source_column(name: str) -> str:
    """Name of the extra column that holds the source text of the column ``name``."""
    return f"\0source:{name}"


class Records:
    """A file of records.

    Attributes:
        name: Path of the file, for messages.
        schema: Columns and types of the batches.
        n_rows: Number of rows.
        metadata: Schema metadata of a Parquet file, which says whether it is itself an embedded file.
    """

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        n_rows: int,
        batches: Batches,
        *,
        source_batches: SourceBatches | None = None,
    ) -> None:
        """Create records from functions that read them.

        Args:
            name: Path of the file, for messages.
            schema: Columns and types of the batches.
            n_rows: Number of rows.
            batches: Reads the rows from the beginning, in pieces of about the given size.
            source_batches: For text formats. The same, followed by one :func:`source_column` for each given name, so that a
                template embeds ``1.50`` where the file says ``1.50`` and the column holds the number 1.5.
        """
        self.name = name
        self.schema = schema
        self.n_rows = n_rows
        self.metadata: dict[bytes, bytes] = {}
        self.resource: Any = None
        """A temporary file, or whatever else must live as long as the records."""
        self._batches = batches
        self._source_batches = source_batches

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """The rows, ``size`` at a time; only the last batch is smaller."""
        return _resized(self._batches(size), self.schema, size)

    def with_texts(self, template: Template, size: int) -> Iterator[tuple[pa.RecordBatch, list[str]]]:
        """Batches as :meth:`batches` yields them, each with the texts that a template makes of its rows.

        Raises:
            RecordError: A column of the template holds values that are not text; the message names column and row.
        """
        template.check(self.schema.names)
        first_row = 1
        if self._source_batches is None:
            for batch in self.batches(size):
                yield batch, template.texts(batch, first_row=first_row, name=self.name)
                first_row += len(batch)
            return
        columns = list(dict.fromkeys(template.columns))
        schema = self.schema
        for name in columns:
            schema = schema.append(pa.field(source_column(name), pa.string()))
        for batch in _resized(self._source_batches(size, columns), schema, size):
            values = {name: batch.column(source_column(name)).to_pylist() for name in columns}
            yield batch.select(self.schema.names), template.join(values, len(batch))


def _resized(batches: Iterator[pa.RecordBatch], schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for batch in batches:
        waiting.append(batch)
        n_waiting += len(batch)
        if n_waiting >= size:
            table = pa.Table.from_batches(waiting, schema).combine_chunks()
            whole = n_waiting - n_waiting % size
            for start in range(0, whole, size):
                yield from table.slice(start, size).combine_chunks().to_batches()
            waiting = table.slice(whole).to_batches()
            n_waiting -= whole
    if n_waiting:
        yield from pa.Table.from_batches(waiting, schema).combine_chunks().to_batches()
