"""Reading of Parquet files, with columns of every type that templates, filters and stores can process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import RecordError
from ..types import is_bytes, is_utf8, plain_batch, plain_column, plain_schema
from .base import Records


@contextmanager
def parquet_errors(name: str) -> Iterator[None]:
    """Turn Arrow's errors in the block into RecordError with one sentence about the file.

    Raises:
        RecordError: Arrow raised an error in the block, or the file could not be read.
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
        RecordError: The file is not a Parquet file, is damaged, has no rows, or has columns that cannot be processed.
    """
    with parquet_errors(str(path)):
        file = pq.ParquetFile(path)
        schema = plain_schema(file.schema_arrow.remove_metadata(), name=str(path))
        if not len(schema.names):
            raise RecordError(f"{path} has no columns.")
        fields = [
            field.with_type(pa.string()) if is_bytes(field.type) and _is_utf8(file, field.name) else field
            for field in schema
        ]
        schema = pa.schema(fields)

    def read(size: int) -> Iterator[pa.RecordBatch]:
        with parquet_errors(str(path)):
            for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
                yield plain_batch(batch, schema)

    return Records(str(path), schema, file.metadata.num_rows, read, metadata=file.schema_arrow.metadata)


def _is_utf8(file: pq.ParquetFile, column: str) -> bool:
    """Return whether every value of a column of bytes is UTF-8. Reads only this column."""
    batches = file.iter_batches(batch_size=4096, columns=[column])
    return all(is_utf8(plain_column(batch.column(0))) for batch in batches)
