"""An embedded table in memory: vectors, the records they are of, and their space. What most use cases take.

>>> import pyarrow as pa
>>> from umekomi import Embedder
>>> table = embed_table(pa.table({"name": ["bean", "dog"], "n": [1, 2]}), Embedder("umekomi-fake"), template="{name}")
>>> table.vectors.shape, table.column("n")
((2, 64), [1, 2])
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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
from .embedded_columns import TooLong, plan_columns
from .records import Space, open_records, read_embedded, read_space, table_of, template_for, write_embedded


@dataclass(frozen=True, slots=True)
class EmbeddedTable:
    """``vectors`` is ``(n, dims) float32``; ``records`` has ``n`` rows."""

    vectors: FloatArray
    records: pa.Table
    space: Space

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        names = ", ".join(self.records.column_names)
        return f"EmbeddedTable({len(self)} rows, {self.space.dims} dims, model {self.space.model!r}, columns {names})"

    def column(self, name: str) -> list[Any]:
        """The values of a column.

        Raises:
            RecordError: there is no such column; those that are there are named.
        """
        if name not in self.records.column_names:
            raise RecordError(f"There is no column {name!r}; the columns are {', '.join(self.records.column_names)}.")
        values: list[Any] = self.records.column(name).to_pylist()
        return values

    def numbers(self, name: str) -> DoubleArray:
        """The values of a column of numbers, ``(n,) float64``.

        Raises:
            RecordError: there is no such column, or it holds something else than finite numbers, or none.
        """
        values = self.column(name)
        for row, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise RecordError(f"The column {name!r} holds {value!r} in row {row}, which is not a number.")
        return np.array(values, dtype=np.float64)

    def texts(self) -> list[str]:
        """What was embedded: the column ``text``."""
        return [str(value) for value in self.column("text")]

    def save(self, path: str | Path) -> None:
        """Write the table as ``umekomi embed`` would."""
        write_embedded(path, self.vectors, self.records, self.space)


def read_table(path: str | Path) -> EmbeddedTable:
    """An embedded file, read whole.

    Raises:
        RecordError: it is not there, holds no embeddings, or one of them is all zeros or not finite.
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


def read_written(path: str | Path, *, column: str | None = None, model: str = "unknown") -> EmbeddedTable:
    """A CSV file whose vectors are written as text, as OpenAI's guide saves them.

    The cells are parsed as lists of finite numbers and nothing else; no code in them is run. A name says little of a vector
    space, so the space is the file's own name for it, and never that of a model of this catalogue.

    Args:
        path: the file.
        column: the one with the vectors; by default the first whose first cell begins with ``[``.
        model: what made the vectors, as far as it is known.

    Raises:
        RecordError: there is no such column, or a cell is not a vector as long as the first.
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
    fingerprint = hashlib.blake2b(f"written:{model}:{vectors.shape[1]}".encode(), digest_size=8).hexdigest()
    return EmbeddedTable(
        vectors, table.drop_columns([column]), Space(f"written:{model}", fingerprint, vectors.shape[1])
    )


def embed_table(
    frame: object,
    embedder: Embedder,
    *,
    template: str | None = None,
    role: Role | None = None,
    progress: Progress | None = None,
) -> EmbeddedTable:
    """Embed each row of a table in memory: Arrow, pandas or Polars.

    For tables that do not fit into memory, see :mod:`umekomi.pipeline.single_file`.

    Columns named ``text``, ``n_tokens`` or ``embedding`` are kept as ``input_text`` and so on, unless their values are the same
    or an earlier embedding made them.

    Args:
        frame: the table.
        embedder: the model.
        template: what to embed, as ``'Title: {Summary}; Content: {Text}'``; by default the column ``text``.
        role: the side of a search, if the texts have one.
        progress: called with the number of rows that have just been finished.

    Raises:
        RecordError: a column is missing, or there are no rows.
        InputError: a text is empty or too long.
    """
    records = table_of(frame)
    if not len(records):
        raise RecordError("The table has no rows.")
    filler = template_for(records.column_names, template)
    prepared = embedder.prepare(filler.texts(records))
    vectors = embedder.embed_texts(prepared.texts, role=role, progress=progress)
    space = Space(embedder.model, embedder.fingerprint, embedder.dims, embedder.card.role or role or "")
    columns = plan_columns(
        records.schema, space, template=template, too_long=TooLong.FAIL, vectors=VectorType.FLOAT32,
        metadata=frame.schema.metadata if isinstance(frame, pa.Table) else None,
    )  # fmt: skip
    kept = records.select(list(columns.inputs.values())).rename_columns(list(columns.inputs))
    kept = kept.append_column("n_tokens", pa.array(prepared.n_tokens, pa.int32()))
    kept = kept.append_column("text", pa.array(prepared.texts, pa.string()))
    return EmbeddedTable(vectors, kept, space)


def texts_of(values: object) -> list[str]:
    """Texts out of a list, a numpy array, an Arrow array, or a pandas or Polars column.

    Raises:
        InputError: it is one text, a table, or holds something else than text.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError("Give a column or a list of texts.")
    if len(getattr(values, "shape", (0,))) > 1:
        raise InputError("Give one column of texts, not a table.")
    items: Sequence[object] = values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)
    texts = []
    for row, item in enumerate(items):
        if not isinstance(item, str):
            raise InputError(f"Row {row} holds {item!r}, which is not text.")
        texts.append(str(item))
    return texts
