"""A folder of shards, as ``umekomi embed IN -o FOLDER/`` makes it, into a store: streamed, resumable, checked afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, RecordError, StoreError
from ..files.filesystem import open_filesystem, read_json
from ..pipeline.sharded import ShardedDataset
from ..pipeline.shards import MANIFEST, ShardResult
from ..progress import Progress, no_progress
from ..vectors.arrow import from_column
from .base import Store
from .columns import ColumnType, cast_to_text, convert_records, find_text_columns, get_column_type, get_column_types
from .copying import SAMPLE, Copied, Piece, compare_row, rows_at_once, write_rows
from .loaded_ids import LoadedIds


def load_shards(
    dataset: ShardedDataset,
    target: Store,
    *,
    id_column: str | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Copied:
    """Write every finished shard, remove rows that are no longer in the shards, then compare a sample of the rows.

    Rows that an earlier load of the same folder wrote and that the shards do not contain any more, because their input was
    changed or removed, are deleted. Without ``id_column`` their ids follow from the names of the shards. With it, the folder
    keeps the ids that were loaded into each store, in ``_loaded``.

    Args:
        dataset: the folder.
        target: where to; whatever it has of the same ids is replaced.
        id_column: the column that names each row; by default a row is named by its shard and its place in it, as
            ``part-1f0c5b2e91aa-000000000000:17``, which is the same whenever the folder is made again.
        resume: leave out rows that the target has already, with the same vector and the same record.
        progress: is told how many rows have been done, after each piece.

    Raises:
        SpaceMismatchError: the target holds vectors of another space.
        RecordError: a shard is not there, or has no such column or rows without a name in it.
        StoreError: the target does not hold what was written.
    """
    target.require_space(dataset.space)
    loaded = LoadedIds(dataset, target) if id_column is not None else None
    if loaded is not None:
        loaded.add(_all_ids(dataset, id_column))
    text = shards_as_text(dataset, target)
    n_written = 0
    for shard in dataset.shards:
        with _ShardFile(dataset, shard, id_column, text) as file:
            n_written += write_rows(target, file.pieces(rows_at_once(target)), resume=resume, progress=progress)
    if loaded is not None:
        n_removed = _remove(target, loaded.stale())
        loaded.finish()
    else:
        n_removed = _remove(target, _stale_ids(dataset)) if target.count() > dataset.rows else 0
    target.optimize()
    n_there = target.count()
    if n_there < dataset.rows:
        why = f"If values of {id_column!r} come more than once, leave --id out; else run" if id_column else "Run"
        raise StoreError(
            f"{target.url} has {n_there:,} rows after {dataset.rows:,} were loaded. {why} the same command again."
        )
    return Copied(dataset.rows, n_written, _compare_sample(dataset, target, id_column, text), n_removed)


def _all_ids(dataset: ShardedDataset, id_column: str | None) -> list[str]:
    ids: list[str] = []
    for shard in dataset.shards:
        with _ShardFile(dataset, shard, id_column, []) as file:
            ids += file.ids()
    return ids


def _stale_ids(dataset: ShardedDataset) -> Iterator[list[str]]:
    """Ids that rows of removed shards, or of shards that had more rows before, may have."""
    system, folder = open_filesystem(dataset.url)
    most = int((read_json(system, f"{folder}/{MANIFEST}") or {}).get("shard_rows", 0))
    known = {shard.name: shard.rows for shard in dataset.shards}
    for name, first in {**known, **dict.fromkeys(dataset.removed, 0)}.items():
        if first < most:
            yield [f"{name}:{row}" for row in range(first, most)]


def _remove(target: Store, stale: Iterable[list[str]]) -> int:
    n_removed = 0
    for ids in stale:
        gone = [hit.id for hit in target.get(ids)]
        target.delete(gone)
        n_removed += len(gone)
    return n_removed


def shards_as_text(dataset: ShardedDataset, target: Store) -> list[str]:
    """The columns whose numbers a store cannot hold exactly in some of the shards, so that they are kept as text in all."""
    found: dict[str, None] = {}
    for shard in dataset.shards:
        with _ShardFile(dataset, shard, None, []) as file:
            found.update(dict.fromkeys(file.find_text_columns(supports_unsigned=target.supports_unsigned)))
    return list(found)


def dropped_columns(dataset: ShardedDataset) -> list[str]:
    """The columns of the shards that a record cannot hold."""
    with _ShardFile(dataset, dataset.shards[0], None, []) as file:
        return file.dropped


def _compare_sample(dataset: ShardedDataset, target: Store, id_column: str | None, text: list[str]) -> int:
    """Compare rows that chance picks, from all shards alike; how many."""
    chance = random.Random(0)  # noqa: S311 - of which rows are compared
    picked = sorted(chance.sample(range(dataset.rows), min(SAMPLE, dataset.rows)))
    ends = list(accumulate(shard.rows for shard in dataset.shards))
    columns = get_column_types(target.schema())
    for shard, end in zip(dataset.shards, ends, strict=True):
        places = [row - (end - shard.rows) for row in picked if end - shard.rows <= row < end]
        if not places:
            continue
        with _ShardFile(dataset, shard, id_column, text) as file:
            for names, vectors, records in file.rows(places):
                plain = convert_records(records, columns, supports_unsigned=target.supports_unsigned)
                missing = {name: None for name in columns if name not in plain.column_names}
                compare_row(target, names[0], vectors[0], plain.to_pylist()[0] | missing)
    return len(picked)


class _ShardFile:
    """One shard that is open for reading."""

    def __init__(self, dataset: ShardedDataset, shard: ShardResult, id_column: str | None, text: list[str]) -> None:
        self._name, self._column, self._text = shard.name, id_column, text
        url = f"{dataset.url}/{self._name}.parquet"
        system, path = open_filesystem(url)
        try:
            self._stream = system.open_input_file(path)
            self._file = pq.ParquetFile(self._stream)
        except (pa.ArrowInvalid, OSError) as error:
            raise RecordError(f"The shard {url} cannot be read: {error}.") from error
        schema = self._file.schema_arrow
        self.dropped = [
            field.name for field in schema if field.name != "embedding" and get_column_type(field.type) is None
        ]
        if self._file.metadata.num_rows != shard.rows:
            raise RecordError(f"The shard {url} has not the {shard.rows:,} rows that its manifest entry says.")
        if id_column is not None and (
            id_column not in schema.names
            or get_column_type(schema.field(id_column).type) not in (ColumnType.TEXT, ColumnType.INTEGER)
        ):
            raise InputError(
                f"{id_column!r} names no column of texts or whole numbers; the columns are {', '.join(schema.names)}."
            )

    def __enter__(self) -> _ShardFile:
        return self

    def __exit__(self, *unused: object) -> None:
        self._stream.close()

    def ids(self) -> list[str]:
        """The name of every row; no vector is read."""
        if self._column is None:
            return [f"{self._name}:{row}" for row in range(self._file.metadata.num_rows)]
        return self._named(self._file.read(columns=[self._column])[self._column])

    def find_text_columns(self, *, supports_unsigned: bool) -> list[str]:
        """The columns whose numbers a store cannot hold exactly."""
        return find_text_columns(self._file, supports_unsigned=supports_unsigned)

    def pieces(self, size: int) -> Iterator[Piece]:
        """Every row, at most ``size`` at a time."""
        start = 0
        for batch in self._file.iter_batches(batch_size=size):
            yield self._piece(batch, start)
            start += len(batch)

    def rows(self, places: list[int]) -> Iterator[Piece]:
        """Some rows, one at a time; of the file only the row groups that hold them are read."""
        start = 0
        for number in range(self._file.num_row_groups):
            n_rows = self._file.metadata.row_group(number).num_rows
            wanted = [place - start for place in places if start <= place < start + n_rows]
            if wanted:
                batch = self._file.read_row_group(number).combine_chunks().to_batches()[0]
                for place in wanted:
                    yield self._piece(batch.slice(place, 1), start + place)
            start += n_rows

    def _piece(self, batch: pa.RecordBatch, start: int) -> Piece:
        if self._column is None:
            ids = [f"{self._name}:{row}" for row in range(start, start + len(batch))]
        else:
            ids = self._named(batch.column(self._column))
        records = pa.Table.from_batches([cast_to_text(batch, self._text)]).drop_columns(["embedding", *self.dropped])
        return ids, from_column(batch.column("embedding")), records.replace_schema_metadata(None)

    def _named(self, column: pa.Array | pa.ChunkedArray) -> list[str]:
        values = column.to_pylist()
        if None in values:
            raise RecordError(f"A row of {self._name} has no {self._column!r}; leave --id out, or give every row one.")
        return [str(value) for value in values]
