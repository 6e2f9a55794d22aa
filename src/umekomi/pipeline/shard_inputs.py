"""The inputs of a sharded run: finding Parquet files, unifying their columns, dividing them into shards, and reading those."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ..data.types import plain_batch, plain_schema
from ..errors import InputError, RecordError
from ..files.filesystem import canonical_url, is_local, local_path, open_filesystem
from ..files.outputs import PARQUET_SUFFIXES
from ..files.ownership import MARKER
from .row_digest import RowDigest

BATCH_ROWS, BATCH_BYTES = 512, 32 * 2**20
"""Maximum number of rows, and of bytes, that are read and embedded at a time."""

_MAX_FOOTERS = 256


@dataclass(frozen=True, slots=True)
class Shard:
    """A range of rows of one input, which becomes one file of the output."""

    #: Canonical path or URL of the input.
    source: str
    #: Size and modification time of the input.
    identity: str
    #: Index of the first row in the input.
    first_row: int
    n_rows: int

    @property
    def name(self) -> str:
        """Name of the shard without its suffix. It depends only on the path of the input and the first row."""
        digest = hashlib.sha256(self.source.encode("utf-8", "surrogateescape")).hexdigest()
        return f"part-{digest[:12]}-{self.first_row:012d}"


@dataclass(frozen=True, slots=True)
class ShardedInputs:
    """The inputs of a run."""

    shards: list[Shard]
    #: Columns that every input can be cast to.
    schema: pa.Schema
    #: Maps inputs to the metadata of their schema.
    metadata: dict[str, dict[bytes, bytes]]


def find_inputs(sources: Sequence[str], *, output: str | None = None) -> list[str]:
    """Return the canonical names of the Parquet files in paths, folders, patterns and URLs, sorted and without duplicates.

    Names in folders that start with ``_`` or ``.``, the output, and folders that Umekomi created are skipped. The name of an
    existing file or folder is taken literally, even if it contains characters of patterns.

    Raises:
        RecordError: There is no Parquet file at a source, or a folder cannot be read.
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
        path = Path(folder)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(("_", "."))
            and not (path / name / MARKER).exists()
            and (excluded is None or Path(os.path.realpath(path / name)) != excluded)
        ]
        yield from (path / name for name in files if _is_parquet(name))


def _remote_files(source: str, output: str | None) -> list[str]:
    system, path = open_filesystem(source)
    if system.get_file_info(path).type is pafs.FileType.File:
        return [source]
    first = re.search(r"[*?\[]", source)
    pattern = None
    if first and system.get_file_info(path).type is pafs.FileType.NotFound:
        pattern = re.compile(_pattern_to_regex(path))
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


def _pattern_to_regex(path: str) -> str:
    """Convert a pattern to a regular expression. As in glob, ``*`` and ``?`` do not match a slash, and ``**`` does."""
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


class InputReader:
    """Reads the inputs of one run. The footer of a file is read once, although many shards may come from that file."""

    def __init__(self) -> None:
        self._footers: OrderedDict[tuple[str, str], pq.FileMetaData] = OrderedDict()

    @contextmanager
    def open(self, source: str) -> Iterator[tuple[pq.ParquetFile, str]]:
        """Open an input. The context is the file and its identity: its size and modification time.

        Raises:
            pa.ArrowInvalid: The input is not a Parquet file.
            OSError: The input cannot be read.
        """
        system, path = open_filesystem(source)
        info = system.get_file_info(path)
        identity = f"{info.size}-{info.mtime_ns}"
        footer = self._footers.get((source, identity))
        with system.open_input_file(path) as stream:
            file = pq.ParquetFile(stream, metadata=footer, pre_buffer=False, buffer_size=1 << 20)
            self._footers[source, identity] = file.metadata
            if len(self._footers) > _MAX_FOOTERS:
                self._footers.popitem(last=False)
            yield file, identity

    def read(self, shard: Shard, schema: pa.Schema) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows of a shard as batches of a schema, each with the index of its first row in the file.

        Only the required pages of a row group are read.

        Raises:
            RecordError: A value does not fit its column, or the file has changed since the shard was planned.
        """
        end, n_read = shard.first_row + shard.n_rows, 0
        with self.open(shard.source) as (file, _):
            group_start = 0
            for group in range(file.num_row_groups):
                n_rows = file.metadata.row_group(group).num_rows
                if group_start + n_rows > shard.first_row and group_start < end:
                    position = group_start
                    row_bytes = file.metadata.row_group(group).total_byte_size // max(n_rows, 1)
                    size = max(1, min(BATCH_ROWS, BATCH_BYTES // max(row_bytes, 1)))
                    for batch in file.iter_batches(batch_size=size, row_groups=[group]):
                        left, right = max(shard.first_row - position, 0), min(end - position, len(batch))
                        if left < right:
                            n_read += right - left
                            yield position + left, _cast(batch.slice(left, right - left), schema, shard)
                        position += len(batch)
                        if position >= end:
                            break
                group_start += n_rows
        if n_read != shard.n_rows:
            raise RecordError(f"{shard.source} has changed while it was read. Run the same command again.")

    def digest(self, shard: Shard, schema: pa.Schema) -> str | None:
        """Return the digest of a shard's rows as they are now, or None if they cannot be read as planned."""
        digest = RowDigest()
        try:
            for _, batch in self.read(shard, schema):
                digest.update(batch)
        except (InputError, OSError, pa.ArrowException):
            return None
        return digest.hexdigest()


def _cast(batch: pa.RecordBatch, schema: pa.Schema, shard: Shard) -> pa.RecordBatch:
    try:
        return plain_batch(batch, schema)
    except (pa.ArrowInvalid, KeyError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise RecordError(f"{shard.source} does not have the columns of the other inputs: {reason}.") from error


def plan_shards(
    inputs: Sequence[str],
    *,
    shard_rows: int,
    existing: tuple[str, pa.Schema] | None = None,
    reader: InputReader | None = None,
) -> ShardedInputs:
    """Divide inputs into shards, and find the columns that they share. Only the footers of the files are read.

    The order of columns and the widths of integers may differ between inputs. The order is that of the first file, and
    integers become int64 (unsigned 64-bit integers stay as they are).

    Args:
        inputs: Names that :func:`find_inputs` returned.
        shard_rows: Maximum number of rows per shard.
        existing: Name of the output and input schema of its existing shards, which new inputs must fit.
        reader: Reader that keeps the footers for later.

    Raises:
        RecordError: An input is not a Parquet file, or its columns do not fit those of the others; both are named.
    """
    reader = reader or InputReader()
    shards: list[Shard] = []
    metadata = {}
    first, schema = existing or ("", None)
    for source in inputs:
        try:
            with reader.open(source) as (file, identity):
                n_rows, file_schema = file.metadata.num_rows, file.schema_arrow
        except (pa.ArrowInvalid, OSError) as error:
            raise RecordError(
                f"{source} cannot be read as a Parquet file, the only format for an output folder: {error}. Embed files of "
                "other formats to a single file, with -o OUT.parquet."
            ) from error
        metadata[source] = file_schema.metadata or {}
        plain = plain_schema(file_schema.remove_metadata(), name=source)
        wide = pa.schema([pa.field(field.name, _widen(field.type)) for field in plain])
        empty = {field.name for field in file_schema if pa.types.is_null(field.type)}
        schema = wide if schema is None else _unify(schema, wide, empty, first, source, may_grow=existing is None)
        first = first or source
        starts = range(0, n_rows, shard_rows)
        shards += [Shard(source, identity, start, min(shard_rows, n_rows - start)) for start in starts]
    return ShardedInputs(shards, schema if schema is not None else pa.schema([]), metadata)


def _widen(dtype: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_integer(dtype) and dtype != pa.uint64() else dtype


def _unify(schema: pa.Schema, new: pa.Schema, empty: set[str], first: str, source: str, *, may_grow: bool) -> pa.Schema:
    """Return the columns that both schemas can be cast to. Columns in ``empty`` contain only nulls and fit every type."""
    for left, right, left_name, right_name in ((schema, new, first, source), (new, schema, source, first)):
        missing = next((name for name in left.names if name not in right.names), None)
        if missing is not None:
            raise RecordError(
                f"{left_name} has a column {missing!r}, which {right_name} does not have. Embed them to two folders."
            )
    fields = []
    for field in schema:
        old_type, new_type = field.type, new.field(field.name).type
        common = old_type if field.name in empty else _common_type(old_type, new_type)
        if common is None or (common != old_type and not may_grow):
            raise RecordError(
                f"The column {field.name!r} is {new_type} in {source} and {old_type} in {first}. Convert one of them, or embed "
                "them to two folders."
            )
        fields.append(pa.field(field.name, common))
    return pa.schema(fields)


def _common_type(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    if left == right:
        return left
    if pa.types.is_floating(left) and pa.types.is_floating(right):
        return max(left, right, key=lambda dtype: int(dtype.bit_width))
    return pa.binary() if {left, right} == {pa.string(), pa.binary()} else None
