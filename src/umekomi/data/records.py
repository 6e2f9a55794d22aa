"""Files of records, read and written as streams of Arrow batches: CSV, JSON Lines, Parquet, a folder of texts, or ``-``.

Memory holds one batch at a time, whatever the size of the file.
The readers are in :mod:`umekomi.data.readers`, one module per format.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .. import __version__
from ..catalog import NOT_OPENAI
from ..errors import RecordError
from ..files.outputs import atomic_write, require_suffix
from ..vectors.arithmetic import FloatArray
from ..vectors.arrow import VectorType, arrow_type, from_column, to_column
from .readers.base import Records
from .readers.columns import decode_utf8, is_bytes, plain_column, plain_schema
from .readers.csv_file import open_csv
from .readers.jsonl import open_jsonl
from .readers.parquet import open_parquet, parquet_errors
from .readers.templates import Template, template_for
from .readers.text_file import check_encoding

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
TEXT_SUFFIXES = (".txt", ".md", ".rst")
PARQUET_SUFFIXES = (".parquet", ".pq")
ADDED = ("embedding", "n_tokens", "text")
METADATA_KEY = b"umekomi"


@dataclass(frozen=True, slots=True)
class Space:
    """The vector space that a file's or a store's vectors lie in. ``role`` is the side of a search, or empty."""

    model: str
    fingerprint: str
    dims: int
    role: str = ""


def open_records(source: str | Path, *, format: str | None = None, encoding: str = "utf-8") -> Records:  # noqa: A002
    """Open a file, a pipe, a folder of texts, or ``-`` for standard input.

    Args:
        source: Path; a folder gives the columns ``path`` and ``text``.
        format: ``csv``, ``tsv``, ``jsonl`` or ``parquet``; by default what the file's name (or the content of a pipe) says.
        encoding: Encoding of a CSV file.

    Raises:
        RecordError: The file does not exist, is empty, or is not of its format.
    """
    check_encoding(encoding)
    if str(source) == "-":
        if sys.stdin is None:
            raise RecordError("Standard input is closed; name a file.")
        return _open_stream(sys.stdin.buffer, "standard input", format, encoding)
    path = Path(source)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise RecordError(f"There is no file {path}. Give a CSV, JSON Lines or Parquet file, a folder of texts, or -.")
    if not path.is_file():
        _require_finite(path)
        with path.open("rb") as stream:
            return _open_stream(stream, str(path), format or FORMATS.get(path.suffix.lower()), encoding)
    kind = format or FORMATS.get(path.suffix.lower())
    if kind is None and str(path).startswith(("/dev/", "/proc/")):
        # Standard input that is a file, which has no suffix here.
        with path.open("rb") as stream:
            return _open_stream(stream, str(path), None, encoding)
    if kind not in _OPENERS:
        raise RecordError(f"{path} has no known suffix ({', '.join(FORMATS)}); name its format with --format.")
    if path.stat().st_size == 0:
        raise RecordError(f"{path} is empty.")
    return _OPENERS[kind](path, encoding)


def records_of(frame: object, *, name: str = "table") -> Records:
    """A table in memory as records: Arrow, pandas, Polars, or anything else that gives an Arrow stream.

    Raises:
        RecordError: It is none of these, or has no rows.
    """
    table = table_of(frame)
    if not len(table):
        raise RecordError(f"The {name} has no rows.")
    return Records(name, table.schema, len(table), lambda size: iter(table.to_batches(max_chunksize=size)))


def table_of(frame: object) -> pa.Table:
    """A table in memory as an Arrow table of plain types; the index of a pandas frame is left out.

    Raises:
        RecordError: It is no table, or holds what Arrow cannot.
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
            # Other bytes are carried along; only a template that names them needs text.
            with suppress(RecordError):
                plain = decode_utf8(plain, field.name, first_row=1, name="the table")
        columns.append(plain)
    if not columns:
        return table
    return pa.table(columns, names=schema.names)


def _require_finite(path: Path) -> None:
    """Refuse devices that never end, like /dev/zero. Standard input's own terminal or device is read to its end."""
    mode = path.stat().st_mode
    is_standard_input = False
    if sys.stdin is not None:
        with suppress(OSError, ValueError):
            is_standard_input = os.path.samestat(path.stat(), os.fstat(sys.stdin.fileno()))
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or is_standard_input or str(path) == os.devnull):
        raise RecordError(f"{path} is a device, not a file or a pipe.")


def _open_stream(stream: BinaryIO, name: str, kind: str | None, encoding: str) -> Records:
    # The readers read more than once, so that what comes through a pipe is copied to a temporary file.
    spool = tempfile.NamedTemporaryFile(suffix=".input")  # noqa: SIM115 - the records hold it open
    shutil.copyfileobj(stream, spool)
    spool.flush()
    path = Path(spool.name)
    with path.open("rb") as start:
        head = start.read(4096)
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n"):
        raise RecordError(f"{name[0].upper()}{name[1:]} is empty.")
    try:
        records = _OPENERS[kind or _sniff(head)](path, encoding)
    except RecordError as error:
        raise RecordError(str(error).replace(str(path), name)) from error
    records.name = name
    records.resource = spool
    return records


def _sniff(head: bytes) -> str:
    """The format of a stream by its first bytes."""
    if head.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def _open_folder(folder: Path) -> Records:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in TEXT_SUFFIXES and path.is_file())
    if not files:
        raise RecordError(f"{folder} holds no text files ({', '.join(TEXT_SUFFIXES)}).")
    schema = pa.schema([("path", pa.string()), ("text", pa.string())])

    def batches(size: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(files), size):
            some = files[start : start + size]
            texts = [path.read_text("utf-8", errors="replace") for path in some]
            # A name that is not UTF-8 is shown with U+FFFD.
            names = [os.fsencode(path.relative_to(folder)).decode("utf-8", "replace") for path in some]
            yield pa.record_batch([pa.array(names), pa.array(texts)], schema=schema)

    return Records(str(folder), schema, len(files), batches)


_OPENERS: dict[str, Callable[[Path, str], Records]] = {
    "csv": open_csv,
    "tsv": lambda path, encoding: open_csv(path, encoding, "\t"),
    "jsonl": open_jsonl,
    "parquet": open_parquet,
}


def embedded_schema(
    schema: pa.Schema, space: Space, *, vectors: VectorType = VectorType.FLOAT32, template: str | None = None
) -> pa.Schema:
    """The schema of an embedded file: the input's columns, then ``embedding``, ``n_tokens`` and ``text``.

    ``template`` is what the texts are made with; None if the column ``text`` is data of the input.
    """
    added = [("embedding", arrow_type(vectors, space.dims)), ("n_tokens", pa.int32()), ("text", pa.string())]
    kept = [field for field in schema if field.name not in ADDED]
    return pa.schema([*kept, *(pa.field(*column) for column in added)]).with_metadata(
        {METADATA_KEY: _note(space, template)}
    )


def read_space(path: str | Path) -> Space:
    """The space of an embedded file, checked against its column of vectors.

    Raises:
        RecordError: The file does not exist, was not written by ``umekomi embed``, or its metadata or vectors are malformed.
    """
    if Path(path).is_dir():
        raise RecordError(f"{path} is a folder. Give a file made by `umekomi embed INPUT -o OUT.parquet`.")
    if not Path(path).is_file():
        raise RecordError(f"There is no file {path}. Make it with `umekomi embed INPUT -o {path}`.")
    with parquet_errors(str(path)):
        schema = pq.read_schema(path)
    metadata = schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise RecordError(f"{path} holds no embeddings. Make it with `umekomi embed INPUT -o OUT.parquet`.")
    space = _parse_space(metadata[METADATA_KEY], str(path))
    if schema.names.count("embedding") != 1:
        raise RecordError(f"{path} has no column 'embedding'. Make it again with `umekomi embed INPUT -o OUT.parquet`.")
    repeated = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if repeated is not None:
        raise RecordError(f"{path} has two columns named {repeated!r}; rename one.")
    kind = schema.field("embedding").type
    if not _holds_vectors(kind, space.dims):
        raise RecordError(
            f"The column 'embedding' of {path} has the type {kind}, which does not hold vectors of {space.dims} dimensions, "
            "as the file's metadata says."
        )
    return space


def _holds_vectors(kind: pa.DataType, dims: int) -> bool:
    if pa.types.is_fixed_size_binary(kind):
        return bool(8 * kind.byte_width == dims)
    numbers = (pa.float32(), pa.float16(), pa.int8())
    return bool(pa.types.is_fixed_size_list(kind) and kind.list_size == dims and kind.value_type in numbers)


def _parse_space(text: bytes, name: str) -> Space:
    try:
        known = json.loads(text)
        space = Space(known["model"], known["fingerprint"], known["dims"], known.get("role", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"The metadata 'umekomi' of {name} is damaged. Embed its texts again.") from error
    is_good = (
        all(isinstance(value, str) for value in (space.model, space.fingerprint, space.role))
        and space.model
        and space.role in ("", "query", "document")
        and type(space.dims) is int
        and 0 < space.dims < 2**24
    )
    if not is_good:
        raise RecordError(f"The metadata 'umekomi' of {name} does not describe vectors. Embed its texts again.")
    return space


def write_embedded(path: str | Path, vectors: FloatArray, records: pa.Table, space: Space) -> None:
    """Write an embedded file from what is in memory; the same as ``umekomi embed`` writes, but for columns that are not there.

    Raises:
        RecordError: there are not as many vectors as records, or they are not of the space's dimensions.
    """
    if vectors.shape != (len(records), space.dims):
        raise RecordError(
            f"There are {len(records)} records of {space.dims} dimensions and vectors of shape {vectors.shape}; they must agree."
        )
    kept = records.drop_columns(["embedding"]) if "embedding" in records.column_names else records
    table = kept.append_column("embedding", to_column(vectors, VectorType.FLOAT32))
    table = table.replace_schema_metadata({METADATA_KEY: _note(space)})
    require_suffix(path, PARQUET_SUFFIXES)
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False)


def _note(space: Space, template: str | None = None) -> bytes:
    facts = {**asdict(space), "umekomi": __version__, "note": NOT_OPENAI}
    return json.dumps(facts if template is None else {**facts, "template": template}).encode()


def read_embedded(path: str | Path, *, size: int = 4096) -> Iterator[tuple[FloatArray, pa.RecordBatch]]:
    """An embedded file in pieces: vectors ``(n, dims) float32``, and the other columns of the same rows in plain types.

    The type in which the file keeps its vectors makes no difference here.

    Raises:
        RecordError: The file is malformed, or a vector is null or not finite; the message names the row.
    """
    read_space(path)
    first_row = 1
    with parquet_errors(str(path)):
        stored = pq.read_schema(path).remove_metadata()
        schema = plain_schema(stored.remove(stored.get_field_index("embedding")), name=str(path))
        for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
            column = batch.column("embedding")
            if column.null_count:
                row = first_row + column.is_null().index(True).as_py()
                raise RecordError(f"Row {row} of {path} has no vector.")
            vectors = from_column(column)
            if not math.isfinite(float(vectors.sum(dtype=np.float64))):
                finite = np.isfinite(vectors).all(axis=1)
                if not finite.all():
                    row = first_row + int(np.argmin(finite))
                    raise RecordError(f"Row {row} of {path} has a vector with values that are not finite numbers.")
            yield vectors, pa.record_batch([plain_column(batch.column(name)) for name in schema.names], schema=schema)
            first_row += len(batch)


__all__ = [
    "ADDED",
    "FORMATS",
    "METADATA_KEY",
    "PARQUET_SUFFIXES",
    "TEXT_SUFFIXES",
    "Records",
    "Space",
    "Template",
    "embedded_schema",
    "open_records",
    "read_embedded",
    "read_space",
    "records_of",
    "table_of",
    "template_for",
    "write_embedded",
]
