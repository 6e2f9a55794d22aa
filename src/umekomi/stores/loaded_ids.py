"""The ids that were loaded from a folder of shards into a store, so that a later load can remove those that are gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ..errors import StoreError
from ..files.filesystem import atomic_stream, open_filesystem
from ..pipeline.sharded import ShardedDataset
from .base import Store

_IDS_AT_ONCE = 4096


class LoadedIds:
    """A Parquet file ``_loaded/HASH.parquet`` in the folder of shards, one for each store that it was loaded into.

    Args:
        dataset: The folder.
        target: The store. If it is empty, what was loaded into an earlier collection of that URL is forgotten.
    """

    def __init__(self, dataset: ShardedDataset, target: Store) -> None:
        url = target.url
        scheme, _, rest = url.partition("://")
        if scheme in ("lance", "qdrant-edge") and "://" not in rest:
            url = f"{scheme}://{Path(rest).expanduser().absolute()}"
        self._place = dataset.url
        self._system, folder = open_filesystem(dataset.url)
        self._folder = f"{folder}/_loaded"
        self._path = f"{self._folder}/{sha256(url.encode()).hexdigest()[:32]}.parquet"
        self._before = self._read() if target.count() else pa.chunked_array([], pa.string())
        self._now = pa.chunked_array([], pa.string())

    def add(self, ids: list[str]) -> None:
        """Record the ids of the shards before they are loaded, beside those of earlier loads, which a kill must not lose."""
        self._now = pa.chunked_array([ids], pa.string())
        self._write(pa.chunked_array([*self._before.chunks, *self._now.chunks], pa.string()))

    def stale(self) -> Iterator[list[str]]:
        """Ids of earlier loads that are not in the shards any more."""
        gone = self._before.filter(pc.invert(pc.is_in(self._before, value_set=self._now)))
        for start in range(0, len(gone), _IDS_AT_ONCE):
            yield gone.slice(start, _IDS_AT_ONCE).to_pylist()

    def finish(self) -> None:
        """Record the ids of the shards alone, after the load."""
        self._write(self._now)

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
                f"{self._place} cannot be written ({error}). Loading with --id keeps the loaded ids there, to remove rows that "
                "are gone by the next load. Leave --id out, or load from a copy of the folder."
            ) from error
