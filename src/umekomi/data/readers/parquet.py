"""Parquet files, with columns of every type that templates, filters and stores can process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import RecordError
from .base import Records
from .columns import is_bytes, plain_column, plain_schema


@contextmanager
def parquet_errors(name: str) -> Iterator[None]:
    """Turn every error of Arrow in the block into one sentence about the file.

    Raises:
        RecordError: The block raised an error of Arrow, or the file could not be read.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, RecordError | FileNotFoundError | PermissionError):
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        raise RecordError(f"{name} is not a Parquet file, or is damaged: {lines[0].rstrip('. ')}.") from error


def open_parquet(path: Path, encoding: str) -> Records:
    """Open a Parquet file. Columns of bytes that are all UTF-8 become text; ``encoding`` is not used.

    Raises:
        RecordError: It is not a Parquet file, is damaged, has no rows, or has columns that cannot be processed.
    """
    with parquet_errors(str(path)):
        file = pq.ParquetFile(path)
        schema = plain_schema(file.schema_arrow.remove_metadata(), name=str(path))
        if not len(schema.names):
            raise RecordError(f"{path} has no columns.")
        fields = [
            field.with_type(pa.string()) if is_bytes(field.type) and _is_text(file, field.name) else field
            for field in schema
        ]
        schema = pa.schema(fields)

    def batches(size: int) -> Iterator[pa.RecordBatch]:
        with parquet_errors(str(path)):
            for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
                yield plain_batch(batch, schema)

    records = Records(str(path), schema, file.metadata.num_rows, batches)
    records.metadata = file.schema_arrow.metadata or {}
    return records


def plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the columns of a plain schema."""
    arrays = []
    for field in schema:
        column = plain_column(batch.column(field.name))
        if column.type != field.type:
            column = (column.cast(pa.binary()) if pa.types.is_fixed_size_binary(column.type) else column).cast(
                field.type
            )
        arrays.append(column)
    return pa.record_batch(arrays, schema=schema)


def _is_text(file: pq.ParquetFile, column: str) -> bool:
    """Whether every value of a column of bytes is UTF-8. Reads only this column."""
    for batch in file.iter_batches(batch_size=4096, columns=[column]):
        values = plain_column(batch.column(0))
        if pa.types.is_fixed_size_binary(values.type):
            values = values.cast(pa.binary())
        try:
            values.cast(pa.string())
        except pa.ArrowInvalid:
            return False
    return True
