"""Embedded tables in memory: the vectors, their records, and their vector space.

>>> import pyarrow as pa
>>> from umekomi import Embedder
>>> table = embed_table(pa.table({"name": ["bean", "dog"], "n": [1, 2]}), Embedder("umekomi-fake"), template="{name}")
>>> table.vectors.shape, table.column("n")
((2, 64), [1, 2])
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..catalog import Role
from ..embedder import Embedder
from ..errors import InputError, RecordError
from ..progress import Progress
from ..vectors.arithmetic import DoubleArray, FloatArray, parse_vector, require_nonzero
from ..vectors.arrow import VectorType
from .embedded_file import Space, TooLong, build_space, plan_columns, read_embedded, read_space, write_embedded
from .readers.base import Records
from .readers.opening import open_records
from .templates import resolve_template
from .types import decode_utf8, is_bytes, plain_column, plain_schema


@dataclass(frozen=True, slots=True)
class EmbeddedTable:
    """Vectors and the records that they belong to."""

    #: ``(n, dims) float32``.
    vectors: FloatArray
    #: The ``n`` records.
    records: pa.Table
    #: Vector space of the vectors.
    space: Space

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        names = ", ".join(self.records.column_names)
        return f"EmbeddedTable({len(self)} rows, {self.space.dims} dims, model {self.space.model!r}, columns {names})"

    def column(self, name: str) -> list[Any]:
        """Return the values of a column.

        Raises:
            RecordError: There is no such column; the message lists the columns.
        """
        if name not in self.records.column_names:
            raise RecordError(f"There is no column {name!r}; the columns are {', '.join(self.records.column_names)}.")
        values: list[Any] = self.records.column(name).to_pylist()
        return values

    def numbers(self, name: str) -> DoubleArray:
        """Return the values of a column of numbers, ``(n,) float64``.

        Raises:
            RecordError: There is no such column, or a value is null or not a finite number.
        """
        values = self.column(name)
        for row, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise RecordError(f"The column {name!r} holds {value!r} in row {row}, which is not a number.")
        return np.array(values, dtype=np.float64)

    def texts(self) -> list[str]:
        """Return the embedded texts: the column ``text``."""
        return [str(value) for value in self.column("text")]

    def save(self, path: str | Path) -> None:
        """Write the table as ``umekomi embed`` would."""
        write_embedded(path, self.vectors, self.records, self.space)


def to_arrow_table(frame: object) -> pa.Table:
    """Convert a table in memory to an Arrow table with plain types. The index of a pandas frame is left out.

    Args:
        frame: Arrow, pandas or Polars table, any other object with ``__arrow_c_stream__``, a list of dicts, or a dict of columns.

    Raises:
        RecordError: ``frame`` is not a table, or contains values that Arrow does not support.
    """
    try:
        if isinstance(frame, list | dict):
            table = pa.Table.from_pylist(frame) if isinstance(frame, list) else pa.table(frame)
        elif hasattr(frame, "__arrow_c_stream__") or isinstance(frame, pa.RecordBatch):
            table = pa.table(frame)
        else:
            raise RecordError(f"{type(frame).__name__} is not a table; give an Arrow, pandas or Polars table.")
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError, AttributeError) as error:
        raise RecordError(f"The table cannot be read: {str(error).splitlines()[0]}.") from error
    table = table.select([name for name in table.column_names if not name.startswith("__index_level_")])
    schema = plain_schema(table.schema.remove_metadata(), name="the table")
    columns = []
    for field, column in zip(schema, table.columns, strict=True):
        plain = pa.chunked_array([plain_column(chunk) for chunk in column.chunks], field.type)
        if is_bytes(field.type):
            # Other bytes stay bytes. Only a template that uses the column requires text.
            with suppress(RecordError):
                plain = decode_utf8(plain, field.name, first_row=1, name="the table")
        columns.append(plain)
    return pa.table(columns, names=schema.names) if columns else table


def records_from_table(frame: object, *, name: str = "table") -> Records:
    """Return a table in memory as records; see :func:`to_arrow_table`.

    Raises:
        RecordError: ``frame`` is not a table, or has no rows.
    """
    table = to_arrow_table(frame)
    if not len(table):
        raise RecordError(f"The {name} has no rows.")
    return Records(name, table.schema, len(table), lambda size: iter(table.to_batches(max_chunksize=size)))


def read_table(path: str | Path) -> EmbeddedTable:
    """Read an embedded file into memory.

    Raises:
        RecordError: The file does not exist, contains no embeddings, or one of them is all zeros or not finite.
    """
    space = read_space(path)
    pieces = list(read_embedded(path))
    if not pieces:
        raise RecordError(f"{path} holds no rows.")
    try:
        vectors = require_nonzero(np.concatenate([vectors for vectors, _ in pieces]))
    except InputError as error:
        raise RecordError(f"{path}: {error}") from error
    return EmbeddedTable(vectors, pa.Table.from_batches([batch for _, batch in pieces]), space)


def read_csv_vectors(path: str | Path, *, column: str | None = None, model: str = "unknown") -> EmbeddedTable:
    """Read a CSV file with vectors written as text, as OpenAI's guide saves them.

    The cells are parsed as lists of finite numbers; code in them is never executed. The name of a model does not identify a
    vector space, so the table gets a space ``written:MODEL`` of its own, which differs from that of every model in the catalog.

    Args:
        path: Path of the file.
        column: Column with the vectors; by default the first one whose first cell begins with ``[``.
        model: Name of the model that computed the vectors.

    Raises:
        RecordError: There is no such column, or a cell is not a vector of the same length as the first.
    """
    records = open_records(path)
    table = pa.Table.from_batches(records.batches(4096), records.schema)
    names = ", ".join(table.column_names)
    if column is None:
        texts = [field.name for field in table.schema if field.type == pa.string()]
        column = next((name for name in texts if table[name][0].as_py().startswith("[")), None)
        if column is None:
            raise RecordError(f"{path} has no column of vectors written as [0.1, …]; the columns are {names}.")
    if column not in table.column_names:
        raise RecordError(f"There is no column {column!r}; the columns are {names}.")
    rows: list[FloatArray] = []
    for row, cell in enumerate(table[column].to_pylist(), start=1):
        try:
            rows.append(parse_vector(str(cell)))
        except InputError as error:
            raise RecordError(f"Row {row} of {path}, column {column!r}: {error}") from error
        if len(rows[-1]) != len(rows[0]):
            raise RecordError(f"Row {row} of {path} has a vector of {len(rows[-1])} numbers; row 1 has {len(rows[0])}.")
    vectors = require_nonzero(rows)
    dims = vectors.shape[1]
    fingerprint = hashlib.blake2b(f"written:{model}:{dims}".encode(), digest_size=8).hexdigest()
    return EmbeddedTable(vectors, table.drop_columns([column]), Space(f"written:{model}", fingerprint, dims))


def embed_table(
    frame: object,
    embedder: Embedder,
    *,
    template: str | None = None,
    role: Role | str | None = None,
    progress: Progress | None = None,
) -> EmbeddedTable:
    """Embed every row of a table in memory. For larger tables, see :mod:`umekomi.pipeline.single_file`.

    Columns named ``text``, ``n_tokens`` or ``embedding`` are kept as ``input_text`` and so on, unless the new column has the
    same values or an earlier embedding added them.

    Args:
        frame: Arrow, pandas or Polars table; see :func:`to_arrow_table`.
        embedder: Embedder that computes the vectors.
        template: Template of the texts, such as ``'Title: {Summary}; Content: {Text}'``; by default the column ``text``.
        role: Whether the texts are queries or documents, for models that embed the two differently.
        progress: Callback that receives the number of rows finished since the last call.

    Raises:
        RecordError: A column is missing, or there are no rows.
        InputError: A text is empty or too long.
    """
    records = to_arrow_table(frame)
    if not len(records):
        raise RecordError("The table has no rows.")
    prepared = embedder.prepare(resolve_template(records.column_names, template).texts(records))
    vectors = embedder.embed_texts(prepared.texts, role=role, progress=progress)
    space = build_space(embedder, role)
    columns = plan_columns(
        records.schema, space, template=template, too_long=TooLong.FAIL, vectors=VectorType.FLOAT32,
        metadata=frame.schema.metadata if isinstance(frame, pa.Table) else None,
    )  # fmt: skip
    copied = records.select(list(columns.inputs.values())).rename_columns(list(columns.inputs))
    copied = copied.append_column("n_tokens", pa.array(prepared.n_tokens, pa.int32()))
    copied = copied.append_column("text", pa.array(prepared.texts, pa.string()))
    return EmbeddedTable(vectors, copied, space)
