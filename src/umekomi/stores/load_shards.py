"""Loads of folders of shards, as written by ``umekomi embed IN -o FOLDER/``, into stores: resumable, and verified by a sample."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ..errors import InputError, RecordError, StoreError
from ..files.filesystem import atomic_stream, open_filesystem, read_json
from ..pipeline.sharded import ShardedDataset
from ..pipeline.shards import MANIFEST, ShardResult
from ..progress import Progress, no_progress
from ..vectors.arrow import from_column
from .base import Store
from .columns import cast_to_text, convert_records, find_text_columns, get_column_type, get_column_types
from .copying import SAMPLE_SIZE, CopyResult, RowBatch, batch_size, verify_row, write_batches
from .parquet_files import ID_TYPES, list_unsupported_columns

_ID_BATCH_SIZE = 4096


def load_shards(
    dataset: ShardedDataset,
    target: Store,
    *,
    id_column: str | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> CopyResult:
    """Write every finished shard, remove rows that are no longer in the shards, then compare a sample of the rows.

    Rows that an earlier load of the same folder wrote and that the shards no longer contain, because their input was changed or
    removed, are deleted. Without ``id_column``, their ids follow from the names of the shards. With it, the folder of shards
    records the ids that were loaded into each store, in ``_loaded``.

    Args:
        dataset: The folder of shards.
        target: The store to write. Rows with the same ids are replaced.
        id_column: Column with the ids. By default the id of a row consists of the name of its shard and its index in it, such as
            ``part-1f0c5b2e91aa-000000000000:17``, which stays the same when the folder is written again.
        resume: Skip rows that the target already contains with the same vector and the same record.
        progress: Called with the number of rows after each batch.

    Raises:
        SpaceMismatchError: The target holds vectors of another space.
        InputError: There is no such column, or it contains neither text nor integers.
        RecordError: A shard is missing or damaged, or a row has no id.
        StoreError: The target does not contain the rows that were written.
    """
    target.require_space(dataset.space)
    loaded = LoadedIds(dataset, target) if id_column is not None else None
    if loaded is not None:
        loaded.add(_read_ids(dataset, id_column))
    text = list_shard_text_columns(dataset, target)
    n_written = 0
    for shard in dataset.shards:
        with _ShardFile(dataset, shard, id_column, text) as file:
            n_written += write_batches(target, file.read(batch_size(target)), resume=resume, progress=progress)
    if loaded is not None:
        n_removed = _delete_existing(target, loaded.iterate_stale())
        loaded.finish()
    else:
        n_removed = _delete_existing(target, _iterate_stale_ids(dataset)) if target.count() > dataset.rows else 0
    target.optimize()
    n_stored = target.count()
    if n_stored < dataset.rows:
        advice = f"If values of {id_column!r} occur more than once, omit --id; otherwise run" if id_column else "Run"
        raise StoreError(
            f"{target.url} has {n_stored:,} rows after {dataset.rows:,} were loaded. {advice} the same command again."
        )
    return CopyResult(dataset.rows, n_written, _verify_sample(dataset, target, id_column, text), n_removed)


def list_shard_text_columns(dataset: ShardedDataset, target: Store) -> list[str]:
    """Return the numeric columns that a store must hold as text, because their values in some shard are not exact otherwise."""
    columns: dict[str, None] = {}
    for shard in dataset.shards:
        with _ShardFile(dataset, shard) as file:
            columns |= dict.fromkeys(file.find_text_columns(supports_unsigned=target.supports_unsigned))
    return list(columns)


def list_unsupported_shard_columns(dataset: ShardedDataset) -> list[str]:
    """Return the columns of the shards that records cannot hold."""
    with _ShardFile(dataset, dataset.shards[0]) as file:
        return file.unsupported_columns


def _read_ids(dataset: ShardedDataset, id_column: str | None) -> list[str]:
    ids: list[str] = []
    for shard in dataset.shards:
        with _ShardFile(dataset, shard, id_column) as file:
            ids += file.read_ids()
    return ids


def _iterate_stale_ids(dataset: ShardedDataset) -> Iterator[list[str]]:
    """Yield the ids that rows of removed shards, or of shards that had more rows in the past, may have."""
    system, folder = open_filesystem(dataset.url)
    max_rows = int((read_json(system, f"{folder}/{MANIFEST}") or {}).get("shard_rows", 0))
    n_rows = {shard.name: shard.rows for shard in dataset.shards} | dict.fromkeys(dataset.removed, 0)
    for name, start in n_rows.items():
        if start < max_rows:
            yield [f"{name}:{row}" for row in range(start, max_rows)]


def _delete_existing(target: Store, id_batches: Iterable[list[str]]) -> int:
    """Delete the rows that exist and return their number."""
    n_removed = 0
    for ids in id_batches:
        existing = [hit.id for hit in target.get(ids)]
        target.delete(existing)
        n_removed += len(existing)
    return n_removed


def _verify_sample(dataset: ShardedDataset, target: Store, id_column: str | None, text: list[str]) -> int:
    """Compare a random sample of the rows of all shards with the store and return its size."""
    rng = random.Random(0)  # noqa: S311 - not used for security
    sample = sorted(rng.sample(range(dataset.rows), min(SAMPLE_SIZE, dataset.rows)))
    ends = accumulate(shard.rows for shard in dataset.shards)
    columns = get_column_types(target.schema())
    for shard, end in zip(dataset.shards, ends, strict=True):
        start = end - shard.rows
        indices = [row - start for row in sample if start <= row < end]
        if not indices:
            continue
        with _ShardFile(dataset, shard, id_column, text) as file:
            for ids, vectors, records in file.read_rows(indices):
                converted = convert_records(records, columns, supports_unsigned=target.supports_unsigned)
                missing = dict.fromkeys(name for name in columns if name not in converted.column_names)
                verify_row(target, ids[0], vectors[0], converted.to_pylist()[0] | missing)
    return len(sample)


class _ShardFile:
    """A shard that is open for reading."""

    def __init__(
        self, dataset: ShardedDataset, shard: ShardResult, id_column: str | None = None, text: Iterable[str] = ()
    ) -> None:
        self._name, self._id_column, self._text = shard.name, id_column, list(text)
        url = f"{dataset.url}/{self._name}.parquet"
        system, path = open_filesystem(url)
        try:
            self._stream = system.open_input_file(path)
            self._file = pq.ParquetFile(self._stream)
        except (pa.ArrowInvalid, OSError) as error:
            raise RecordError(f"The shard {url} cannot be read: {error}.") from error
        schema = self._file.schema_arrow
        self.unsupported_columns = list_unsupported_columns(schema)
        if self._file.metadata.num_rows != shard.rows:
            raise RecordError(f"The shard {url} does not have the {shard.rows:,} rows of its manifest entry.")
        if id_column is not None and (
            id_column not in schema.names or get_column_type(schema.field(id_column).type) not in ID_TYPES
        ):
            raise InputError(
                f"There is no column {id_column!r} of texts or integers. The columns are {', '.join(schema.names)}."
            )

    def __enter__(self) -> _ShardFile:
        return self

    def __exit__(self, *unused: object) -> None:
        self._stream.close()

    def find_text_columns(self, *, supports_unsigned: bool) -> list[str]:
        """Return the numeric columns that a store must hold as text to stay exact."""
        return find_text_columns(self._file, supports_unsigned=supports_unsigned)

    def read_ids(self) -> list[str]:
        """Return the id of every row, without reading the vectors."""
        column = None if self._id_column is None else self._file.read(columns=[self._id_column])[self._id_column]
        return self._make_ids(column, range(self._file.metadata.num_rows))

    def read(self, size: int) -> Iterator[RowBatch]:
        """Yield all rows, at most ``size`` at a time."""
        start = 0
        for batch in self._file.iter_batches(batch_size=size):
            yield self._convert(batch, start)
            start += len(batch)

    def read_rows(self, indices: list[int]) -> Iterator[RowBatch]:
        """Yield some rows, one at a time, reading only their row groups. ``indices`` are sorted."""
        start = 0
        for group in range(self._file.num_row_groups):
            end = start + self._file.metadata.row_group(group).num_rows
            selected = [index for index in indices if start <= index < end]
            if selected:
                batch = self._file.read_row_group(group).combine_chunks().to_batches()[0]
                for index in selected:
                    yield self._convert(batch.slice(index - start, 1), index)
            start = end

    def _convert(self, batch: pa.RecordBatch, start: int) -> RowBatch:
        column = None if self._id_column is None else batch.column(self._id_column)
        ids = self._make_ids(column, range(start, start + len(batch)))
        records = pa.Table.from_batches([cast_to_text(batch, self._text)])
        records = records.drop_columns(["embedding", *self.unsupported_columns]).replace_schema_metadata(None)
        return ids, from_column(batch.column("embedding")), records

    def _make_ids(self, column: pa.Array | pa.ChunkedArray | None, indices: range) -> list[str]:
        if column is None:
            return [f"{self._name}:{index}" for index in indices]
        values = column.to_pylist()
        if None in values:
            raise RecordError(
                f"A row of {self._name} has no {self._id_column!r}. Omit --id, or add the missing values to the input."
            )
        return [str(value) for value in values]


class LoadedIds:
    """The ids that were loaded from a folder of shards into a store, so that a later load can remove rows that are gone.

    They are stored in the folder of shards as ``_loaded/HASH.parquet``, one file per store.

    Args:
        dataset: The folder of shards.
        target: The store. If it is empty, the ids of earlier loads are ignored, because they belong to a deleted collection.
    """

    def __init__(self, dataset: ShardedDataset, target: Store) -> None:
        url = target.url
        scheme, _, rest = url.partition("://")
        if scheme in ("lance", "qdrant-edge") and "://" not in rest:
            url = f"{scheme}://{Path(rest).expanduser().absolute()}"
        self._dataset_url = dataset.url
        self._system, folder = open_filesystem(dataset.url)
        self._folder = f"{folder}/_loaded"
        self._path = f"{self._folder}/{sha256(url.encode()).hexdigest()[:32]}.parquet"
        self._previous = self._read() if target.count() else pa.chunked_array([], pa.string())
        self._current = pa.chunked_array([], pa.string())

    def add(self, ids: list[str]) -> None:
        """Record the ids of the shards before they are loaded, in addition to those of earlier loads.

        If the process is killed, the next load can still remove rows of both.
        """
        self._current = pa.chunked_array([ids], pa.string())
        self._write(pa.chunked_array([*self._previous.chunks, *self._current.chunks], pa.string()))

    def iterate_stale(self) -> Iterator[list[str]]:
        """Yield the ids of earlier loads that the shards no longer contain."""
        stale = self._previous.filter(pc.invert(pc.is_in(self._previous, value_set=self._current)))
        for start in range(0, len(stale), _ID_BATCH_SIZE):
            yield stale.slice(start, _ID_BATCH_SIZE).to_pylist()

    def finish(self) -> None:
        """Record only the ids of the shards, after the load."""
        self._write(self._current)

    def _read(self) -> pa.ChunkedArray:
        if self._system.get_file_info(self._path).type is not pafs.FileType.File:
            return pa.chunked_array([], pa.string())
        with suppress(pa.ArrowInvalid, KeyError), self._system.open_input_file(self._path) as stream:
            return pq.read_table(stream)["id"]
        raise StoreError(f"{self._path} is damaged. Delete it, and load into a new collection.")

    def _write(self, ids: pa.ChunkedArray) -> None:
        try:
            self._system.create_dir(self._folder, recursive=True)
            with atomic_stream(self._system, self._path) as stream:
                pq.write_table(pa.table({"id": ids.unique()}), stream, compression="zstd")
        except OSError as error:
            raise StoreError(
                f"Cannot write to {self._dataset_url} ({error}). A load with --id records the ids in this folder, so that the "
                "next load can remove rows that are gone. Omit --id, or load from a copy of the folder."
            ) from error
