"""The inputs of a run over many Parquet files: finding them, agreeing on their columns, and cutting them into shards."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ..data.readers.parquet import PARQUET_SUFFIXES
from ..data.types import plain_batch, plain_schema
from ..errors import InputError, RecordError
from ..files.filesystem import canonical_url, is_local, local_path, open_filesystem
from ..files.ownership import MARKER
from .row_digest import RowDigest

BATCH_ROWS, BATCH_BYTES = 512, 32 * 2**20
"""Most rows and bytes that are read and embedded at once."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows of one input, which become one shard. ``identity`` is the size and the modification time of the input."""

    source: str
    identity: str
    first_row: int
    n_rows: int

    @property
    def name(self) -> str:
        """The shard's name without its suffix: the same for the same rows of the same path, whatever the other inputs are."""
        digest = hashlib.sha256(self.source.encode("utf-8", "surrogateescape")).hexdigest()
        return f"part-{digest[:12]}-{self.first_row:012d}"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a run: their shards, the columns that all of them can be cast to, and the metadata of each file."""

    shards: list[Shard]
    schema: pa.Schema
    metadata: dict[str, dict[bytes, bytes]]


def find_inputs(sources: Sequence[str], *, output: str | None = None) -> list[str]:
    """Return the Parquet files that paths, folders, patterns and URLs name, sorted, each by one canonical name.

    In folders, these are left out: names that start with ``_`` or ``.``, the output, and every folder that Umekomi created.
    A name that exists is taken as it is, even if it contains characters of patterns.

    Raises:
        RecordError: A source names no file, or a folder cannot be read.
    """
    result: dict[str, None] = {}
    for source in sources:
        names = _local_files(source, output) if is_local(source) else _remote_files(source, output)
        if not names:
            raise RecordError(
                f"There is no Parquet file at {source}. Name files, a folder of them, or a pattern like 'in/*.parquet'."
            )
        result.update(dict.fromkeys(names))
    return sorted(result)


def _local_files(source: str, output: str | None) -> list[str]:
    path = local_path(source)
    excluded = Path(os.path.realpath(local_path(output))) if output is not None and is_local(output) else None
    if path.is_file() or path.is_dir():
        starts = [path]
    else:
        matches = (Path(name) for name in glob.glob(str(path), recursive=True))
        starts = [match for match in matches if match.is_dir() or _is_parquet(match.name)]
    files = [file for start in starts for file in ([start] if start.is_file() else _walk(start, excluded))]
    names = [canonical_url(str(file)) for file in files]
    return [name for name in names if excluded is None or excluded not in Path(name).parents]


def _walk(start: Path, excluded: Path | None) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise RecordError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error

    for folder, folders, files in os.walk(start, onerror=fail):
        here = Path(folder)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(("_", "."))
            and not (here / name / MARKER).exists()
            and (excluded is None or Path(os.path.realpath(here / name)) != excluded)
        ]
        yield from (here / name for name in files if _is_parquet(name))


def _remote_files(source: str, output: str | None) -> list[str]:
    system, path = open_filesystem(source)
    if system.get_file_info(path).type is pafs.FileType.File:
        return [source]
    first = re.search(r"[*?\[]", source)
    pattern = None
    if first and system.get_file_info(path).type is pafs.FileType.NotFound:
        pattern = re.compile(_pattern(path))
        path = open_filesystem(source[: first.start()].rpartition("/")[0])[1]
    prefix = source[: source.index("://") + 3]
    excluded = open_filesystem(output)[1].rstrip("/") if output is not None and output.startswith(prefix) else None
    rows = system.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    created = [str(PurePosixPath(row.path).parent) for row in rows if PurePosixPath(row.path).name == MARKER]
    skipped = [folder for folder in (*created, *([excluded] if excluded else [])) if folder != path.rstrip("/")]
    return [
        prefix + row.path
        for row in rows
        if row.is_file
        and _is_parquet(row.path)
        and not any(part.startswith(("_", ".")) for part in row.path[len(path) :].split("/"))
        and not any(row.path.startswith(f"{folder}/") for folder in skipped)
        and (excluded is None or not row.path.startswith(f"{excluded}/"))
        and (pattern is None or pattern.fullmatch(row.path))
    ]


def _pattern(path: str) -> str:
    """A pattern as a regular expression: like glob, ``*`` and ``?`` do not match a slash, and ``**`` does."""
    pieces = []
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", path, re.DOTALL):
        special = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(token)
        if special is None and len(token) > 1:
            special = f"[{re.sub(r'^!', '^', token[1:-1])}]"
        pieces.append(special or re.escape(token))
    return "".join(pieces)


def _is_parquet(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in PARQUET_SUFFIXES and not path.name.startswith(("_", "."))


def plan_shards(inputs: Sequence[str], *, shard_rows: int, existing: tuple[str, pa.Schema] | None = None) -> Inputs:
    """Cut inputs into shards, and find the columns that they share. Only the files' footers are read.

    The order of columns and the widths of integers may differ between inputs: columns are taken in the order of the first
    file, and integers become int64 (unsigned 64-bit integers stay as they are).

    Args:
        inputs: Names that :func:`find_inputs` returned.
        shard_rows: Most rows of a shard.
        existing: Name of the output and the columns of the inputs of its existing shards, which new inputs must fit.

    Raises:
        RecordError: An input is not a Parquet file, or its columns do not fit those of the others; both are named.
    """
    shards: list[Shard] = []
    metadata = {}
    first, schema = existing or ("", None)
    for source in inputs:
        system, path = open_filesystem(source)
        try:
            with system.open_input_file(path) as stream:
                file = pq.ParquetFile(stream)
                n_rows, raw = file.metadata.num_rows, file.schema_arrow
        except (pa.ArrowInvalid, OSError) as error:
            raise RecordError(
                f"{source} cannot be read as a Parquet file, which is what a folder of shards is made of: {error}. Other "
                "formats are embedded to one file, with -o OUT.parquet."
            ) from error
        plain = plain_schema(raw.remove_metadata(), name=source)
        metadata[source] = raw.metadata or {}
        wide = pa.schema([pa.field(field.name, _wide(field.type)) for field in plain])
        empty = {field.name for field in raw if pa.types.is_null(field.type)}
        schema = wide if schema is None else _unify(schema, wide, empty, first, source, may_grow=existing is None)
        first = first or source
        info = system.get_file_info(path)
        identity = f"{info.size}-{info.mtime_ns}"
        shards += [
            Shard(source, identity, start, min(shard_rows, n_rows - start)) for start in range(0, n_rows, shard_rows)
        ]
    return Inputs(shards, schema if schema is not None else pa.schema([]), metadata)


def _wide(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_integer(kind) and kind != pa.uint64() else kind


def _unify(schema: pa.Schema, new: pa.Schema, empty: set[str], first: str, source: str, *, may_grow: bool) -> pa.Schema:
    """The columns that both can be cast to. Columns in ``empty`` hold nothing but nulls and fit every type."""
    for one, other, there, here in ((schema, new, first, source), (new, schema, source, first)):
        missing = next((name for name in one.names if name not in other.names), None)
        if missing is not None:
            raise RecordError(
                f"{there} has a column {missing!r}, which {here} does not have. Embed them to two folders."
            )
    fields = []
    for field in schema:
        old, kind = field.type, new.field(field.name).type
        together = old if field.name in empty else _common_type(old, kind)
        if together is None or (together != old and not may_grow):
            raise RecordError(
                f"The column {field.name!r} is {kind} in {source} and {old} in {first}. Convert one of them, or embed them to "
                "two folders."
            )
        fields.append(pa.field(field.name, together))
    return pa.schema(fields)


def _common_type(one: pa.DataType, two: pa.DataType) -> pa.DataType | None:
    if one == two:
        return one
    if pa.types.is_floating(one) and pa.types.is_floating(two):
        return max(one, two, key=lambda kind: int(kind.bit_width))
    return pa.binary() if {one, two} == {pa.string(), pa.binary()} else None


def read_rows(shard: Shard, schema: pa.Schema) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield a shard's rows as batches of a schema, each with the number of its first row in the file.

    Pages are read as needed, never a whole row group.

    Raises:
        RecordError: A value does not fit its column, or the file has changed since the shard was planned.
    """
    system, path = open_filesystem(shard.source)
    last, n_read = shard.first_row + shard.n_rows, 0
    with system.open_input_file(path) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)
        start = 0
        for group in range(file.num_row_groups):
            n_rows = file.metadata.row_group(group).num_rows
            if start + n_rows > shard.first_row and start < last:
                at = start
                row_bytes = file.metadata.row_group(group).total_byte_size // max(n_rows, 1)
                size = max(1, min(BATCH_ROWS, BATCH_BYTES // max(row_bytes, 1)))
                for batch in file.iter_batches(batch_size=size, row_groups=[group]):
                    left, right = max(shard.first_row - at, 0), min(last - at, len(batch))
                    if left < right:
                        n_read += right - left
                        yield at + left, _cast(batch.slice(left, right - left), schema, shard)
                    at += len(batch)
                    if at >= last:
                        break
            start += n_rows
    if n_read != shard.n_rows:
        raise RecordError(f"{shard.source} has changed while it was read. Run the same command again.")


def _cast(batch: pa.RecordBatch, schema: pa.Schema, shard: Shard) -> pa.RecordBatch:
    try:
        return plain_batch(batch, schema)
    except (pa.ArrowInvalid, KeyError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise RecordError(f"{shard.source} does not have the columns of the other inputs: {reason}.") from error


def digest_rows(shard: Shard, schema: pa.Schema) -> str | None:
    """Return the digest of a shard's rows as they are now, or None if they cannot be read as planned."""
    digest = RowDigest()
    try:
        for _, batch in read_rows(shard, schema):
            digest.update(batch)
    except (InputError, OSError, pa.ArrowException):
        return None
    return digest.hexdigest()
