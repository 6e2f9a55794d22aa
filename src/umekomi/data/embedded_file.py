"""Embedded files: Parquet files with the columns of the input, then ``embedding``, ``n_tokens`` and ``text``.

The schema metadata names the model that computed the vectors. No column of the input is lost: one that has the name of an added
column is kept as ``input_text``, for example, unless the new column has the same values or an earlier ``umekomi embed`` added it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .. import __version__
from ..catalog import NOT_OPENAI
from ..embedder import Embedder
from ..errors import RecordError
from ..files.outputs import PARQUET_SUFFIXES, atomic_write, require_suffix
from ..sparse_embedder import SparseEmbedder
from ..vectors.arithmetic import FloatArray
from ..vectors.arrow import VectorType, arrow_type, from_column, to_column
from ..vectors.sparse import COLUMN_TYPE, SparseVectors
from .readers.parquet import parquet_errors
from .types import find_duplicate, is_text, plain_column, plain_schema

ADDED_COLUMNS = ("embedding", "n_tokens", "text")
SPARSE_COLUMN = "sparse"
"""Column with sparse vectors, if the file has any. Its type is :data:`~umekomi.vectors.sparse.COLUMN_TYPE`."""
METADATA_KEY = b"umekomi"
"""Key of the schema metadata that describes the vectors."""
DEFAULT_TEMPLATE = "{text}"
WRITE_OPTIONS = {"compression": "zstd", "use_dictionary": False}
"""Arguments of ``pq.write_table`` and ``pq.ParquetWriter`` for embedded files."""

_READ_ROWS = 4096


class TooLong(StrEnum):
    """What to do with a text that has more tokens than the model accepts."""

    FAIL = "fail"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class SparseSpace:
    """What made the sparse vectors of a file or a store. Sparse vectors can be compared only if the fingerprints are equal."""

    model: str
    fingerprint: str
    dims: int


@dataclass(frozen=True, slots=True)
class Space:
    """The vector space of a file or a store. Vectors can be compared only within one space."""

    model: str
    fingerprint: str
    dims: int
    #: ``query`` or ``document`` for models that embed the two differently, else empty.
    role: str = ""
    #: The sparse vectors beside the others, if there are any. Other vectors can be compared without them.
    sparse: SparseSpace | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the space as JSON data, without ``sparse`` if there are no sparse vectors."""
        values = asdict(self)
        if self.sparse is None:
            del values["sparse"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Space:
        """Return the space that :meth:`to_dict` described. Other keys are ignored.

        Raises:
            KeyError: A key is missing.
            TypeError: ``sparse`` is not an object with the right keys.
        """
        sparse = values.get("sparse")
        return cls(
            values["model"],
            values["fingerprint"],
            values["dims"],
            values.get("role", ""),
            None if sparse is None else SparseSpace(**sparse),
        )


def build_space(embedder: Embedder, role: str | None = None, *, sparse: SparseEmbedder | None = None) -> Space:
    """Return the space of vectors that an embedder, and perhaps a sparse one, compute for a role."""
    return Space(
        embedder.model,
        embedder.fingerprint,
        embedder.dims,
        str(embedder.card.role or role or ""),
        None if sparse is None else SparseSpace(sparse.model, sparse.fingerprint, sparse.dims),
    )


@dataclass(frozen=True, slots=True)
class EmbeddedColumns:
    """The columns of an output and where they come from."""

    #: Schema of the output, with the metadata that describes the vectors.
    schema: pa.Schema
    #: Maps output columns to input columns, for the columns that are copied.
    inputs: Mapping[str, str]

    @property
    def renamed(self) -> dict[str, str]:
        """Map input columns to output columns, for the columns that are kept under another name."""
        return {source: name for name, source in self.inputs.items() if source != name}

    def table(
        self,
        rows: pa.Table,
        vectors: FloatArray,
        n_tokens: Sequence[int],
        texts: Sequence[str],
        *,
        dtype: VectorType,
        sparse: SparseVectors | None = None,
    ) -> pa.Table:
        """Join input rows with their vectors, token counts and texts. ``vectors`` is ``(len(rows), dims) float32``."""
        added = {
            "embedding": to_column(vectors, dtype),
            "n_tokens": pa.array(n_tokens, pa.int32()),
            "text": pa.array(texts, pa.string()),
            **({} if sparse is None else {SPARSE_COLUMN: sparse.to_column()}),
        }
        columns = [
            rows[self.inputs[field.name]] if field.name in self.inputs else added[field.name] for field in self.schema
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)


def plan_columns(
    schema: pa.Schema,
    space: Space,
    *,
    template: str | None,
    too_long: TooLong,
    vectors: VectorType,
    metadata: Mapping[bytes, bytes] | None = None,
) -> EmbeddedColumns:
    """Decide which columns an output has.

    Args:
        schema: Columns of the input.
        space: Vector space of the output.
        template: Template of the embedded texts; None stands for the column ``text``.
        too_long: Whether texts may be truncated.
        vectors: Type of the vectors.
        metadata: Schema metadata of the input. It shows whether the input is itself an embedded file.

    Raises:
        RecordError: Two columns of the input have the same name.
    """
    if duplicate := find_duplicate(schema.names):
        raise RecordError(f"The input has two columns named {duplicate!r}. Rename one of them.")
    replaced = _replaced_columns(metadata)
    copied = template in (None, DEFAULT_TEMPLATE) and too_long is TooLong.FAIL and is_text(schema.field("text").type)
    if copied:
        replaced.add("text")
    names = assign_names(schema.names, replaced, _list_added(space))
    fields = [schema.field(source).with_name(name) for source, name in names.items()]
    # Without a template in its metadata, the column text is data of the input, which no later run may replace.
    computed_from = None if copied else template or DEFAULT_TEMPLATE
    output = embedded_schema(pa.schema(fields), space, vectors=vectors, template=computed_from)
    return EmbeddedColumns(output, {name: source for source, name in names.items()})


def embedded_schema(
    schema: pa.Schema, space: Space, *, vectors: VectorType = VectorType.FLOAT32, template: str | None = None
) -> pa.Schema:
    """Return the schema of an embedded file: the input's columns, then ``embedding``, ``n_tokens`` and ``text``.

    ``template`` is the template of the texts, or None if the column ``text`` is data of the input.
    """
    types = {"embedding": arrow_type(vectors, space.dims), "n_tokens": pa.int32(), "text": pa.string()}
    added = [(name, types.get(name, COLUMN_TYPE)) for name in _list_added(space)]
    copied = [field for field in schema if field.name not in _list_added(space)]
    metadata = {METADATA_KEY: _describe(space, template)}
    return pa.schema([*copied, *(pa.field(*column) for column in added)]).with_metadata(metadata)


def _describe(space: Space, template: str | None = None) -> bytes:
    description = {**space.to_dict(), "umekomi": __version__, "note": NOT_OPENAI}
    if template is not None:
        description["template"] = template
    return json.dumps(description).encode()


def _list_added(space: Space) -> tuple[str, ...]:
    return ADDED_COLUMNS if space.sparse is None else (*ADDED_COLUMNS, SPARSE_COLUMN)


def assign_names(
    names: Iterable[str], replaced: Collection[str] = (), added: Sequence[str] = ADDED_COLUMNS
) -> dict[str, str]:
    """Map the columns of an input to their names in an embedded file, without the columns in ``replaced``.

    >>> assign_names(["id", "text", "n_tokens"], {"n_tokens"})
    {'id': 'id', 'text': 'input_text'}
    """
    copied = [name for name in names if name not in replaced]
    taken = {*copied, *added}
    result = {}
    for name in copied:
        new, number = name, 1
        while name in added and new in taken:
            new = f"input_{name}" if number == 1 else f"input_{name}_{number}"
            number += 1
        taken.add(new)
        result[name] = new
    return result


def _replaced_columns(metadata: Mapping[bytes, bytes] | None) -> set[str]:
    """Return the columns that an earlier ``umekomi embed`` added and that can be computed again from the others."""
    try:
        description = json.loads((metadata or {})[METADATA_KEY])
    except (KeyError, ValueError, RecursionError):
        return set()
    if not isinstance(description, dict) or "fingerprint" not in description:
        return set()
    replaced = {"embedding", "n_tokens"}
    return (
        replaced
        | ({"text"} if "template" in description else set())
        | ({SPARSE_COLUMN} if "sparse" in description else set())
    )


def describe_renamed(renamed: Mapping[str, str]) -> str:
    """Describe for the user which columns of the input are kept under other names.

    >>> describe_renamed({"text": "input_text"})
    "The input's column 'text' is kept as 'input_text', because 'text' contains the embedded texts."
    """
    contents = {"text": "the embedded texts", "n_tokens": "the token counts", "embedding": "the vectors"}
    contents[SPARSE_COLUMN] = "the sparse vectors"
    return " ".join(
        f"The input's column {source!r} is kept as {name!r}, because {source!r} contains {contents[source]}."
        for source, name in renamed.items()
    )


def read_space(path: str | Path) -> Space:
    """Return the space of an embedded file, after checking it against the column of vectors.

    Raises:
        RecordError: The file does not exist, was not written by ``umekomi embed``, or its metadata or vectors are malformed.
    """
    return _read_schema(path)[0]


def list_columns(path: str | Path) -> list[str]:
    """Return the columns of an embedded file except the vectors. Raises RecordError as :func:`read_space` does."""
    return [name for name in _read_schema(path)[1].names if name != "embedding"]


def require_columns(path: str | Path, names: Iterable[str | None]) -> None:
    """Check the columns of an embedded file without reading its rows. None is ignored.

    Raises:
        RecordError: There is no such column, or the file is malformed; see :func:`read_space`.
    """
    columns = list_columns(path)
    for name in names:
        if name is not None and name not in columns:
            raise RecordError(f"There is no column {name!r}; the columns are {', '.join(columns)}.")


def _read_schema(path: str | Path) -> tuple[Space, pa.Schema]:
    if Path(path).is_dir():
        raise RecordError(f"{path} is a folder. Give a file that `umekomi embed` wrote.")
    if not Path(path).is_file():
        raise RecordError(f"There is no file {path}. Create it with `umekomi embed INPUT -o {path}`.")
    with parquet_errors(str(path)):
        schema = pq.read_schema(path)
    metadata = schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise RecordError(f"{path} contains no embeddings. Create it with `umekomi embed INPUT -o OUT.parquet`.")
    space = _parse_space(metadata[METADATA_KEY], str(path))
    if schema.names.count("embedding") != 1:
        raise RecordError(
            f"{path} has no column 'embedding'. Embed its texts again with `umekomi embed INPUT -o OUT.parquet`."
        )
    if duplicate := find_duplicate(schema.names):
        raise RecordError(f"{path} has two columns named {duplicate!r}. Rename one of them.")
    if space.sparse is not None and (
        SPARSE_COLUMN not in schema.names or schema.field(SPARSE_COLUMN).type != COLUMN_TYPE
    ):
        raise RecordError(
            f"{path} has no column {SPARSE_COLUMN!r} with the sparse vectors that its metadata describes."
        )
    dtype = schema.field("embedding").type
    if not _holds_vectors(dtype, space.dims):
        raise RecordError(
            f"The column 'embedding' of {path} has the type {dtype}, which does not match the {space.dims} dimensions "
            "in the metadata of the file."
        )
    return space, schema


def _holds_vectors(dtype: pa.DataType, dims: int) -> bool:
    if pa.types.is_fixed_size_binary(dtype):
        return bool(8 * dtype.byte_width == dims)
    numbers = (pa.float32(), pa.float16(), pa.int8())
    return bool(pa.types.is_fixed_size_list(dtype) and dtype.list_size == dims and dtype.value_type in numbers)


def _parse_space(text: bytes, name: str) -> Space:
    try:
        values = json.loads(text)
        space = Space.from_dict(values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"The metadata 'umekomi' of {name} is damaged. Embed its texts again.") from error
    is_valid = (
        all(isinstance(value, str) for value in (space.model, space.fingerprint, space.role))
        and space.model
        and space.role in ("", "query", "document")
        and type(space.dims) is int
        and 0 < space.dims < 2**24
        and (space.sparse is None or _is_valid_sparse(space.sparse))
    )
    if not is_valid:
        raise RecordError(f"The metadata 'umekomi' of {name} does not describe vectors. Embed its texts again.")
    return space


def _is_valid_sparse(space: SparseSpace) -> bool:
    return (
        all(isinstance(value, str) and value for value in (space.model, space.fingerprint))
        and type(space.dims) is int
        and 0 < space.dims < 2**31
    )


def read_embedded(path: str | Path, *, size: int = _READ_ROWS) -> Iterator[tuple[FloatArray, pa.RecordBatch]]:
    """Yield an embedded file in batches: vectors ``(n, dims) float32``, and the other columns of these rows in plain types.

    Vectors that the file stores in another type are converted.

    Args:
        path: Path of the file.
        size: Maximum number of rows per batch.

    Raises:
        RecordError: The file is malformed, or a vector is null or not finite; the message names the row.
    """
    stored = _read_schema(path)[1].remove_metadata()
    schema = plain_schema(stored.remove(stored.get_field_index("embedding")), name=str(path))
    first_row = 1
    with parquet_errors(str(path)):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
            column = batch.column("embedding")
            if column.null_count:
                row = first_row + column.is_null().index(True).as_py()
                raise RecordError(f"Row {row} of {path} has no vector.")
            vectors = from_column(column)
            # The sum is finite if all values are, and faster to compute.
            if not np.isfinite(vectors.sum(dtype=np.float64)):
                finite = np.isfinite(vectors).all(axis=1)
                if not finite.all():
                    row = first_row + int(np.argmin(finite))
                    raise RecordError(f"Row {row} of {path} has a vector with values that are not finite numbers.")
            yield vectors, pa.record_batch([plain_column(batch.column(name)) for name in schema.names], schema=schema)
            first_row += len(batch)


def write_embedded(path: str | Path, vectors: FloatArray, records: pa.Table, space: Space) -> None:
    """Write an embedded file from a table in memory. ``n_tokens`` and ``text`` are written only if the table has them.

    Args:
        path: Path of the file.
        vectors: ``(n, dims) float32``.
        records: The ``n`` other rows; a column ``embedding`` is replaced.
        space: Space of the vectors.

    Raises:
        RecordError: The number of vectors differs from the number of records, or their length from the space's dimensions.
    """
    if vectors.shape != (len(records), space.dims):
        raise RecordError(
            f"There are {len(records)} records of {space.dims} dimensions and vectors of shape {vectors.shape}. The numbers "
            "must match."
        )
    others = records.drop_columns(["embedding"]) if "embedding" in records.column_names else records
    table = others.append_column("embedding", to_column(vectors, VectorType.FLOAT32))
    table = table.replace_schema_metadata({METADATA_KEY: _describe(space)})
    require_suffix(path, PARQUET_SUFFIXES)
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, **WRITE_OPTIONS)
