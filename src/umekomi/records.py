"""Files of records, read and written as streams of Arrow batches: CSV, JSON Lines, Parquet, a folder of texts, or ``-``.

Memory holds one batch at a time, whatever the size of the file. The types of a CSV file's columns are settled by a first
pass over the whole file: a column is a number only if every cell of it is one, and ``00123`` stays text.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import string
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from . import __version__
from .catalog import NOT_OPENAI
from .errors import RecordError
from .vector_columns import VectorType, column_of, column_type, matrix_of
from .vectors import FloatArray

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
ADDED = ("embedding", "n_tokens", "text")
_METADATA = b"umekomi"
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True, slots=True)
class Space:
    """The vector space that a file's or a store's vectors lie in. ``role`` is the side of a search, or empty."""

    model: str
    fingerprint: str
    dims: int
    role: str = ""


class Records:
    """A file of records: its schema, its number of rows where that is known, and its rows as batches."""

    def __init__(
        self, name: str, schema: pa.Schema, n_rows: int, batches: Callable[[int], Iterator[pa.RecordBatch]]
    ) -> None:
        self.name = name
        self.schema = schema
        self.n_rows = n_rows
        self._batches = batches

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """The rows, ``size`` at a time; only the last batch is smaller."""
        waiting: list[pa.RecordBatch] = []
        n_waiting = 0
        for batch in self._batches(size):
            waiting.append(batch)
            n_waiting += len(batch)
            if n_waiting >= size:
                table = pa.Table.from_batches(waiting, self.schema).combine_chunks()
                whole = n_waiting - n_waiting % size
                for start in range(0, whole, size):
                    yield from table.slice(start, size).combine_chunks().to_batches()
                waiting = table.slice(whole).to_batches()
                n_waiting -= whole
        if n_waiting:
            yield from pa.Table.from_batches(waiting, self.schema).combine_chunks().to_batches()


def open_records(source: str | Path, *, format: str | None = None, encoding: str = "utf-8") -> Records:  # noqa: A002
    """Open a file, a folder of texts, or ``-`` for standard input.

    Args:
        source: the path; a folder gives the columns ``path`` and ``text``.
        format: ``csv``, ``tsv``, ``jsonl`` or ``parquet``; by default what the file's name says.
        encoding: of a CSV file's characters.

    Raises:
        RecordError: the file is not there, is empty, or is not of its format.
    """
    if str(source) == "-":
        return _open_standard_input(format, encoding)
    path = Path(source)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise RecordError(f"There is no file {path}. Give a CSV, JSON Lines or Parquet file, a folder of texts, or -.")
    kind = format or FORMATS.get(path.suffix.lower())
    if kind not in _OPENERS:
        raise RecordError(f"{path} has no suffix that is known ({', '.join(FORMATS)}); say its format with --format.")
    if path.stat().st_size == 0:
        raise RecordError(f"{path} is empty.")
    return _OPENERS[kind](path, encoding)


def records_of(frame: object, *, name: str = "table") -> Records:
    """A table in memory as records: Arrow, pandas, Polars, or anything else that gives an Arrow stream.

    Raises:
        RecordError: it is none of these, or has no rows.
    """
    table = table_of(frame)
    if not len(table):
        raise RecordError(f"The {name} has no rows.")
    return Records(name, table.schema, len(table), lambda size: iter(table.to_batches(max_chunksize=size)))


def table_of(frame: object) -> pa.Table:
    """A table in memory as an Arrow table; the index of a pandas frame is left out.

    Raises:
        RecordError: it is no table, or holds what Arrow cannot.
    """
    try:
        if isinstance(frame, list | dict):
            table = pa.Table.from_pylist(frame) if isinstance(frame, list) else pa.table(frame)
        elif hasattr(frame, "__arrow_c_stream__") or isinstance(frame, pa.RecordBatch):
            table = pa.table(frame)
        else:
            raise RecordError(f"{type(frame).__name__} is not a table; give an Arrow, pandas or Polars table.")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, AttributeError) as error:
        raise RecordError(f"The table cannot be read: {str(error).splitlines()[0]}.") from error
    kept = [name for name in table.column_names if not name.startswith("__index_level_")]
    fields = [field.with_type(_plain_text(field.type)) for field in table.select(kept).schema]
    return table.select(kept).cast(pa.schema(fields))


def _plain_text(kind: pa.DataType) -> pa.DataType:
    """Of the kinds of text that Arrow has, the one that every room knows."""
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def _open_standard_input(kind: str | None, encoding: str) -> Records:
    # A first pass settles the columns' types, so that what comes through a pipe is kept in a file of no name.
    spool = tempfile.NamedTemporaryFile(suffix=".input")  # noqa: SIM115 - the records hold it open
    shutil.copyfileobj(sys.stdin.buffer, spool)
    spool.flush()
    head = Path(spool.name).read_bytes()[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise RecordError("Standard input is empty.")
    records = _OPENERS[kind or ("jsonl" if head.startswith(b"{") else "csv")](Path(spool.name), encoding)
    records.name = "standard input"
    records._spool = spool  # type: ignore[attr-defined]
    return records


def _open_folder(folder: Path) -> Records:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in TEXT_SUFFIXES and path.is_file())
    if not files:
        raise RecordError(f"{folder} holds no text files ({', '.join(TEXT_SUFFIXES)}).")
    schema = pa.schema([("path", pa.string()), ("text", pa.string())])

    def batches(size: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(files), size):
            some = files[start : start + size]
            texts = [path.read_text("utf-8", errors="replace") for path in some]
            names = [str(path.relative_to(folder)) for path in some]
            yield pa.record_batch([pa.array(names), pa.array(texts)], schema=schema)

    return Records(str(folder), schema, len(files), batches)


def _open_parquet(path: Path, encoding: str) -> Records:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path} is not a Parquet file: {error}.") from error
    return Records(
        str(path),
        file.schema_arrow.remove_metadata(),
        file.metadata.num_rows,
        lambda size: (
            batch.replace_schema_metadata(None) for batch in pq.ParquetFile(path).iter_batches(batch_size=size)
        ),
    )


def _open_csv(path: Path, encoding: str, delimiter: str = "") -> Records:
    names, delimiter = _header(path, encoding, delimiter)
    text_schema = pa.schema([(name, pa.string()) for name in names])

    def rows() -> Iterator[pa.RecordBatch]:
        try:
            yield from pa.csv.open_csv(
                path,
                read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1, encoding=encoding, block_size=1 << 22),
                parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, quote_char=quote),
                convert_options=pa.csv.ConvertOptions(column_types=text_schema, strings_can_be_null=False),
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeError) as error:
            reason = str(error).split(": ", 1)[-1].splitlines()[0]
            advice = " Say its encoding with --encoding, as cp932 or latin-1." if "UTF" in str(error) else ""
            raise RecordError(f"{path} is not a good CSV file: {reason}.{advice}") from error

    # A tab separated file that quotes nothing may hold lone quotation marks.
    quote: str | bool = '"'
    if delimiter == "\t" and not re.search(r'(^|\t)"[^\t\n]*"(\t|$)', _head(path, encoding), re.MULTILINE):
        quote = False
    kinds = dict.fromkeys(names, pa.int64())
    n_rows = 0
    for batch in rows():
        n_rows += len(batch)
        for name in names:
            kinds[name] = _narrowest(batch.column(name), kinds[name])
    schema = pa.schema([(name, kinds[name]) for name in names])

    def batches(size: int) -> Iterator[pa.RecordBatch]:
        for batch in rows():
            columns = [_convert(batch.column(name), kinds[name]) for name in names]
            yield pa.record_batch(columns, schema=schema)

    if n_rows == 0:
        raise RecordError(f"{path} has a header and no rows.")
    return Records(str(path), schema, n_rows, batches)


def _head(path: Path, encoding: str) -> str:
    with path.open(encoding=encoding, errors="replace") as stream:
        return stream.read(1 << 16)


def _header(path: Path, encoding: str, delimiter: str) -> tuple[list[str], str]:
    """The columns' names, unique and not empty, and the character between them."""
    try:
        with path.open(
            encoding="utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding, newline=""
        ) as stream:
            line = next(csv.reader([stream.readline()], delimiter="\t")) if not delimiter else []
            stream.seek(0)
            delimiter = delimiter or ("\t" if len(line) > 1 else ",")
            names = next(csv.reader(stream, delimiter=delimiter), [])
    except (UnicodeError, LookupError) as error:
        raise RecordError(f"{path} is not text in {encoding}. Say its encoding with --encoding, as cp932.") from error
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        plain = name.strip() or f"column_{place}"
        names[place] = plain if plain not in seen else f"{plain}_{seen[plain]}"
        seen[plain] = seen.get(plain, 0) + 1
    if not names:
        raise RecordError(f"{path} has no header line.")
    return names, delimiter


def _narrowest(column: pa.Array, kind: pa.DataType) -> pa.DataType:
    """The narrowest of int64, float64 and text that holds the column and what was seen before it."""
    filled = column.filter(pc.not_equal(column, ""))
    for candidate, pattern in ((pa.int64(), _INTEGER), (pa.float64(), _NUMBER)):
        if kind in (pa.string(), pa.float64()) and candidate == pa.int64():
            continue
        if kind == pa.string():
            break
        if pc.all(pc.match_substring_regex(filled, pattern)).as_py() is not False:
            return candidate
    return pa.string()


def _convert(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        return column
    return pc.if_else(pc.equal(column, ""), None, column).cast(kind)


def _open_jsonl(path: Path, encoding: str) -> Records:
    def rows(size: int) -> Iterator[list[dict[str, Any]]]:
        some: list[dict[str, Any]] = []
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(_lines(stream, path), start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise RecordError(f"Line {number} of {path} is not JSON: {error}.") from error
                if not isinstance(row, dict):
                    raise RecordError(f'Line {number} of {path} is not a JSON object, as {{"text": "…"}}.')
                some.append(row)
                if len(some) == size:
                    yield some
                    some = []
        if some:
            yield some

    schema = pa.schema([])
    n_rows = 0
    mixed: set[str] = set()
    for some in rows(4096):
        n_rows += len(some)
        for name in dict.fromkeys(key for row in some for key in row):
            try:
                field = pa.field(name, pa.array([row.get(name) for row in some]).type)
                schema = pa.unify_schemas([schema, pa.schema([field])], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                mixed.add(name)
    if n_rows == 0:
        raise RecordError(f"{path} has no rows.")
    # A column of several types is kept as JSON text; one of nothing but nulls as text.
    names = dict.fromkeys([*schema.names, *mixed])
    schema = pa.schema(
        [
            (n, pa.string() if n in mixed or pa.types.is_null(schema.field(n).type) else schema.field(n).type)
            for n in names
        ]
    )

    def batches(size: int) -> Iterator[pa.RecordBatch]:
        for some in rows(size):
            for row in some:
                row.update(
                    {
                        n: json.dumps(row[n], ensure_ascii=False)
                        for n in mixed
                        if not isinstance(row.get(n), str) and row.get(n) is not None
                    }
                )
            yield pa.RecordBatch.from_pylist(some, schema=schema)

    return Records(str(path), schema, n_rows, batches)


def _lines(stream: Iterable[str], path: Path) -> Iterator[str]:
    try:
        yield from stream
    except UnicodeDecodeError as error:
        raise RecordError(f"{path} is not UTF-8: {error.reason}. JSON Lines must be UTF-8.") from error


_OPENERS: dict[str, Callable[[Path, str], Records]] = {
    "csv": _open_csv,
    "tsv": lambda path, encoding: _open_csv(path, encoding, "\t"),
    "jsonl": _open_jsonl,
    "parquet": _open_parquet,
}


class Template:
    """Makes one text of a record, as ``'Title: {Summary}; Content: {Text}'``. A field is a column's name, nothing else.

    >>> Template("{a} and {b}").fill({"a": 1, "b": None})
    '1 and '
    """

    def __init__(self, pattern: str) -> None:
        try:
            self._pieces = [(literal, name) for literal, name, _, _ in string.Formatter().parse(pattern)]
        except ValueError as error:
            raise RecordError(f"The template {pattern!r} is wrong: {error}. Write {{{{ for a brace.") from error
        self.columns = [name for _, name in self._pieces if name is not None]
        if not self.columns:
            raise RecordError(f"The template {pattern!r} names no column; write it like 'Title: {{Summary}}'.")

    def check(self, columns: Iterable[str]) -> None:
        """Raise RecordError unless every column that the template names is there."""
        there = list(columns)
        for name in self.columns:
            if name not in there:
                raise RecordError(f"There is no column {name!r}; the columns are {', '.join(there)}.")

    def fill(self, record: dict[str, Any]) -> str:
        """The text of one record; a null is an empty string."""
        return "".join(
            literal + ("" if name is None or record[name] is None else str(record[name]))
            for literal, name in self._pieces
        )


def template_for(columns: Iterable[str], pattern: str | None) -> Template:
    """The template that was asked for, or the column ``text``.

    Raises:
        RecordError: a column is not there, or there is neither a template nor a column ``text``.
    """
    there = list(columns)
    if pattern is None and "text" not in there:
        shown = next((name for name in there if not name.startswith("column_")), there[0])
        raise RecordError(
            f"Say what to embed: -t '{{{shown}}}', for example. There is no column 'text'; the columns are {', '.join(there)}."
        )
    template = Template("{text}" if pattern is None else pattern)
    template.check(there)
    return template


def embedded_schema(schema: pa.Schema, space: Space, *, vectors: VectorType = VectorType.FLOAT32) -> pa.Schema:
    """The schema of an embedded file: the input's columns, then ``embedding``, ``n_tokens`` and ``text``."""
    added = [("embedding", column_type(vectors, space.dims)), ("n_tokens", pa.int32()), ("text", pa.string())]
    kept = [field for field in schema if field.name not in ADDED]
    return pa.schema([*kept, *(pa.field(*column) for column in added)]).with_metadata({_METADATA: _note(space)})


def read_space(path: str | Path) -> Space:
    """The space of an embedded file.

    Raises:
        RecordError: the file is not there, or was not written by ``umekomi embed``.
    """
    if not Path(path).is_file():
        raise RecordError(f"There is no file {path}. Make it with `umekomi embed INPUT -o {path}`.")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path} is not a Parquet file: {error}.") from error
    if _METADATA not in metadata:
        raise RecordError(f"{path} holds no embeddings. Make it with `umekomi embed INPUT -o OUT.parquet`.")
    known = json.loads(metadata[_METADATA])
    return Space(known["model"], known["fingerprint"], known["dims"], known.get("role", ""))


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
    table = kept.append_column("embedding", column_of(vectors, VectorType.FLOAT32))
    table = table.replace_schema_metadata({_METADATA: _note(space)})
    try:
        pq.write_table(table, path, compression="zstd", use_dictionary=False)
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}.") from error


def _note(space: Space) -> bytes:
    return json.dumps({**asdict(space), "umekomi": __version__, "note": NOT_OPENAI}).encode()


def read_embedded(path: str | Path, *, size: int = 4096) -> Iterator[tuple[FloatArray, pa.RecordBatch]]:
    """An embedded file in pieces: vectors ``(n, dims) float32``, and the other columns of the same rows.

    What the file keeps its vectors as makes no difference here.
    """
    read_space(path)
    for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
        yield matrix_of(batch.column("embedding")), batch.drop_columns(["embedding"])
