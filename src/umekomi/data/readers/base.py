"""Records: a stream of Arrow batches with a fixed schema, whatever format they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from ..templates import Template

BatchReader = Callable[[int], Iterator[pa.RecordBatch]]
SourceReader = Callable[[int, Sequence[str]], Iterator[pa.RecordBatch]]

CHUNK_ROWS, CHUNK_CHARACTERS = 4096, 1 << 22
"""Size of the chunks in which text formats are parsed. A chunk ends at whichever limit is reached first."""


def source_column(name: str) -> str:
    """Return the name of the extra column that contains the source text of the column ``name``."""
    return f"\0source:{name}"


class Records:
    """A file of records, which can be read several times.

    Attributes:
        name: Path of the file, for messages.
        schema: Columns and types of the batches.
        n_rows: Number of rows.
        metadata: Schema metadata of a Parquet file. It shows whether the file is itself an embedded file.
        resource: A temporary file, or anything else that must live as long as the records.
    """

    def __init__(
        self,
        name: str,
        schema: pa.Schema,
        n_rows: int,
        read: BatchReader,
        *,
        read_sources: SourceReader | None = None,
        metadata: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Create records from functions that read them.

        Args:
            name: Path of the file, for messages.
            schema: Columns and types of the batches.
            n_rows: Number of rows.
            read: Function that reads the rows from the beginning, in batches of about the given size.
            read_sources: The same for text formats, followed by one :func:`source_column` for each given name, so that a
                template embeds ``1.50`` where the file says ``1.50`` and the column contains the number 1.5.
            metadata: Schema metadata of a Parquet file.
        """
        self.name = name
        self.schema = schema
        self.n_rows = n_rows
        self.metadata = dict(metadata or {})
        self.resource: object = None
        self._read = read
        self._read_sources = read_sources

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of ``size``; only the last batch is smaller."""
        return _resize(self._read(size), self.schema, size)

    def with_texts(self, template: Template, size: int) -> Iterator[tuple[pa.RecordBatch, list[str]]]:
        """Yield batches like :meth:`batches`, each with the texts that a template makes of its rows.

        Raises:
            RecordError: Values of a column of the template are not text; the message names column and row.
        """
        template.check(self.schema.names)
        first_row = 1
        if self._read_sources is None:
            for batch in self.batches(size):
                yield batch, template.texts(batch, first_row=first_row, name=self.name)
                first_row += len(batch)
            return
        columns = list(dict.fromkeys(template.columns))
        schema = self.schema
        for name in columns:
            schema = schema.append(pa.field(source_column(name), pa.string()))
        for batch in _resize(self._read_sources(size, columns), schema, size):
            values = {name: batch.column(source_column(name)).to_pylist() for name in columns}
            yield batch.select(self.schema.names), template.join(values, len(batch))


def _resize(batches: Iterator[pa.RecordBatch], schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
    pending: list[pa.RecordBatch] = []
    n_pending = 0
    for batch in batches:
        pending.append(batch)
        n_pending += len(batch)
        if n_pending >= size:
            table = pa.Table.from_batches(pending, schema).combine_chunks()
            n_ready = n_pending - n_pending % size
            for start in range(0, n_ready, size):
                yield from table.slice(start, size).combine_chunks().to_batches()
            pending = table.slice(n_ready).to_batches()
            n_pending -= n_ready
    if n_pending:
        yield from pa.Table.from_batches(pending, schema).combine_chunks().to_batches()
