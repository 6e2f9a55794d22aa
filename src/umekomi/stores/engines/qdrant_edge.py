"""Qdrant Edge: Qdrant's engine in this process, on a local folder. It is fast, but allows one process at a time.

The collection's folder holds the engine's files in ``shard`` and the metadata in ``umekomi.json``. A process that opens
a collection locks it. Another process waits for a short time and then raises an error. All stores of one process share
an open engine. A write is in the engine's log when the call returns, and survives a kill of the process. Only
:meth:`Store.optimize` and :meth:`Store.close` flush it to the disk.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import qdrant_edge as qdrant
from filelock import FileLock, Timeout

from ...data.embedded_file import Space
from ...encoders.sparse.bm25 import is_bm25
from ...errors import InputError, StoreError
from ...files.ownership import claim_folder, folder_content, remove_folder
from ...vectors.arithmetic import FloatArray
from ..base import ID, Hit, collection_not_found
from ..columns import ColumnType
from ..errors import Failure
from ..filters.attributes import hash_to_uuid
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address, Quantization, StoreOptions
from .base import batched
from .qdrant_points import (
    DEFAULT_EF,
    DEFAULT_M,
    INDEX_TYPES,
    OVERSAMPLING,
    SPARSE,
    SPARSE_NAME,
    PointStore,
    to_conditions,
    to_path,
)

_LOCK_FILE = ".open.lock"
_CONTENT = "a Qdrant Edge collection"
_ENGINE_FILES = ("shard/edge_config.json", "shard/segments", "shard/wal")
_METADATA_FILE = "umekomi.json"
_OWN_FILES = (*_ENGINE_FILES, _METADATA_FILE, f"{_METADATA_FILE}.*", _LOCK_FILE)
_BATCH_BYTES = 1 << 26
_LOCK_TIMEOUT_S = 5.0
"""How long to wait for another process that has the collection open, in seconds."""


class _EdgeShard:
    """An open engine, shared by all stores of this process on one folder.

    The engine's own lock is not sufficient: the engine changes files before it takes the lock, which damages the files
    of another process. The process that has the engine open therefore holds a lock of Umekomi.
    """

    def __init__(self, engine: Any, lock: FileLock) -> None:
        self.engine = engine
        self._lock = lock
        self._process = os.getpid()

    def __del__(self) -> None:
        # A forked process does not have the engine's threads, and closing would wait for them.
        if self._process == os.getpid():
            self.close()

    def close_engine(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()

    def close(self) -> None:
        self.close_engine()
        self._lock.release()


_open_shards: WeakValueDictionary[str, _EdgeShard] = WeakValueDictionary()
_lock = threading.RLock()


class QdrantEdgeStore(PointStore):
    """A shard of Qdrant in a local folder.

    Args:
        address: Address of the collection.
        folder: Folder of the collection.
        space: Space of a new collection. None opens an existing one.
    """

    engine = "Qdrant Edge"
    survives_fork = False

    def __init__(self, address: Address, folder: Path, space: Space | None) -> None:
        self._folder = folder
        self._shard: _EdgeShard | None = None
        super().__init__(address, space)

    @staticmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        # The engine raises Exception itself.
        return Failure.OTHER, str(error)

    def _read_metadata(self) -> CollectionMetadata | None:
        """Read the metadata, and open the engine."""
        with _lock:
            try:
                metadata = parse_metadata((self._folder / _METADATA_FILE).read_bytes(), self.url)
            except FileNotFoundError:
                return None
            key = str(self._folder)
            shard = _open_shards.get(key)
            if shard is None:
                _open_shards[key] = shard = _open_shard(self._folder, metadata, self.url)
            self._shard = shard
            return metadata

    def _engine(self) -> Any:
        if self._shard is None or self._shard.engine is None:
            raise StoreError(f"{self.url} is closed. Open it again.")
        return self._shard.engine

    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        with _lock:
            stored = self._read_metadata()
            if stored is not None:
                return stored
            claim_folder(self._folder, content=_CONTENT)
            # The metadata is written before the engine's files, so that a kill leaves an empty collection.
            temporary = self._folder / f"{_METADATA_FILE}.{os.getpid()}"
            temporary.write_text(metadata.to_json(), encoding="utf-8")
            temporary.replace(self._folder / _METADATA_FILE)
            return self._read_metadata()

    def _write(self, ids: list[str], vectors: FloatArray, rows: list[dict[str, Any]]) -> None:
        points = [
            qdrant.Point(hash_to_uuid(name), _to_vector(vector, payload), payload)
            for name, vector, payload in zip(ids, vectors, rows, strict=True)
        ]
        with self._translate_errors(), _lock:
            for batch in batched(points, max(1, _BATCH_BYTES // (4 * self.space.dims))):
                self._engine().update(qdrant.UpdateOperation.upsert_points(list(batch)))

    def _nearest(self, queries: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        compression = None
        if self._options.quantization in OVERSAMPLING:
            oversampling = OVERSAMPLING[self._options.quantization]
            compression = qdrant.QuantizationSearchParams(rescore=True, oversampling=oversampling)
        params = qdrant.SearchParams(
            hnsw_ef=self._ef_search(k), exact=exact or bool(self._options.exact), quantization=compression
        )
        hits = []
        with self._translate_errors():
            for query in queries.tolist():
                nearest = qdrant.Query.Nearest(query)
                request = qdrant.QueryRequest(
                    k, query=nearest, filter=_to_filter(where), with_payload=True, params=params
                )
                hits.append(self._to_hits(self._engine().query(request)))
        return hits

    def _match_sparse(self, query: Mapping[int, float], k: int, where: Where | None) -> list[Hit]:
        nearest = qdrant.Query.Nearest(_to_sparse(query), using=SPARSE_NAME)
        request = qdrant.QueryRequest(k, query=nearest, filter=_to_filter(where), with_payload=True)
        with self._translate_errors():
            return self._to_hits(self._engine().query(request))

    def _count_matches(self, where: Where | None) -> int:
        with self._translate_errors():
            return int(self._engine().count(qdrant.CountRequest(filter=_to_filter(where))))

    def _retrieve(self, ids: list[str], *, with_vectors: bool) -> list[Any]:
        with self._translate_errors():
            return list(self._engine().retrieve([hash_to_uuid(name) for name in ids], True, with_vectors))

    def _delete(self, ids: list[str]) -> None:
        with self._translate_errors():
            self._engine().update(qdrant.UpdateOperation.delete_points([hash_to_uuid(name) for name in ids]))

    def _scroll(self, size: int, where: Where | None, *, with_vectors: bool = False) -> Iterator[list[Any]]:
        offset: UUID | None = None
        while True:
            request = qdrant.ScrollRequest(
                offset=offset, limit=size, filter=_to_filter(where), with_payload=True, with_vector=with_vectors
            )
            with self._translate_errors():
                points, offset = self._engine().scroll(request)
            if points:
                yield points
            if offset is None:
                return

    def _optimize(self) -> None:
        """Merge the engine's segments, build the HNSW graph, and flush everything to the disk."""
        with self._translate_errors():
            if not self._options.exact:
                self._engine().optimize()
            self._engine().flush()

    def _details(self) -> dict[str, object]:
        if not self._exists:
            return {"index": "none yet"}
        with self._translate_errors():
            n_rows = self._engine().info().indexed_vectors_count
        return {
            "version": version("qdrant-edge-py"),
            "index": self._describe_index(n_rows),
            **self._options.to_dict(),
        }

    def _drop_collection(self) -> None:
        with self._translate_errors(), _lock:
            if self._shard is None or not (self._folder / _METADATA_FILE).exists():
                return
            self._shard.close_engine()
            _open_shards.pop(str(self._folder), None)
            if folder_content(self._folder) != _CONTENT:
                raise StoreError(
                    f"{self._folder} does not have the marker file of Umekomi, so it is not deleted. Delete it yourself."
                )
            # A folder without the metadata is not a collection, even if a kill leaves the other files.
            (self._folder / _METADATA_FILE).unlink(missing_ok=True)
            _remove_engine_files(self._folder)
            self._shard.close()
            remove_folder(self._folder, content=_CONTENT, names=_OWN_FILES)
        self._shard = None

    def _close(self) -> None:
        if self._shard is not None and self._shard.engine is not None:
            with self._translate_errors():
                self._shard.engine.flush()
        self._shard = None


def _open_shard(folder: Path, metadata: CollectionMetadata, url: str) -> _EdgeShard:
    """Open the engine of a collection. Wait for a short time if another process has it open."""
    engine_folder = folder / "shard"
    # Another thread than the one that opened the engine may release the lock.
    lock = FileLock(folder / _LOCK_FILE, thread_local=False)
    try:
        lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except Timeout as error:
        raise StoreError(
            f"{url} is open in another process, and Qdrant Edge allows one process at a time. Close the other process, or "
            "copy the rows to lance://, which several processes can use."
        ) from error
    try:
        if not (folder / _METADATA_FILE).exists():
            raise collection_not_found(url)  # Another process dropped the collection while this one waited.
        if engine_folder.is_dir() and not (engine_folder / "edge_config.json").exists():
            # A kill during the creation leaves these files. No write to them was acknowledged.
            _remove_engine_files(folder)
        is_new = not engine_folder.is_dir()
        engine = _create_engine(engine_folder, metadata) if is_new else qdrant.EdgeShard.load(str(engine_folder))
        return _EdgeShard(engine, lock)
    except BaseException:
        lock.release()
        raise


def _remove_engine_files(folder: Path) -> None:
    """Delete the files of the engine, and leave other files in the folder."""
    for name in _ENGINE_FILES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / "shard").rmdir()


def _create_engine(folder: Path, metadata: CollectionMetadata) -> Any:
    options = metadata.options
    sparse = {}
    if metadata.space.sparse is not None:
        modifier = qdrant.Modifier.Idf if is_bm25(metadata.space.sparse.model) else None
        sparse[SPARSE_NAME] = qdrant.EdgeSparseVectorParams(modifier=modifier)
    is_float16 = options.quantization is Quantization.FLOAT16
    config = qdrant.EdgeConfig(
        vectors=qdrant.EdgeVectorParams(
            size=metadata.space.dims,
            distance=qdrant.Distance.Cosine,
            datatype=qdrant.VectorStorageDatatype.Float16 if is_float16 else qdrant.VectorStorageDatatype.Float32,
        ),
        sparse_vectors=sparse,
        hnsw_config=qdrant.HnswIndexConfig(options.m or DEFAULT_M, options.ef or DEFAULT_EF, 1000),
        quantization_config=_to_quantization_config(options),
        optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1),
    )
    engine = qdrant.EdgeShard.create(str(folder), config)
    for column, column_type in {ID: ColumnType.TEXT, **metadata.columns}.items():
        index_type = getattr(qdrant.PayloadSchemaType, INDEX_TYPES[column_type].capitalize())
        engine.update(qdrant.UpdateOperation.create_field_index(to_path(column), index_type))
    return engine


def _to_quantization_config(options: StoreOptions) -> Any:
    match options.quantization:
        case Quantization.INT8:
            return qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8)
        case Quantization.BINARY:
            return qdrant.BinaryQuantizationConfig()
        case _:
            return None


def _to_sparse(row: Mapping[int, float]) -> Any:
    return qdrant.SparseVector(list(row), list(row.values()))


def _to_vector(vector: FloatArray, payload: dict[str, Any]) -> Any:
    """Return the vectors of a point, and remove the sparse one from its payload."""
    sparse = payload.pop(SPARSE, None)
    return vector if sparse is None else {"": vector, SPARSE_NAME: _to_sparse(sparse)}


def _to_filter(where: Where | None) -> Any:
    return None if where is None else _build_filter(to_conditions(where))


def _build_filter(conditions: Mapping[str, Any]) -> Any:
    """Convert a filter of Qdrant's HTTP API to the engine's own classes."""
    parts = {name: [_build_condition(part) for part in group] for name, group in conditions.items()}
    return qdrant.Filter(parts.get("must"), parts.get("should"), parts.get("must_not"))


def _build_condition(condition: Mapping[str, Any]) -> Any:
    if "is_empty" in condition:
        return qdrant.IsEmptyCondition(condition["is_empty"]["key"])
    if "range" in condition:
        return qdrant.FieldCondition(condition["key"], range=qdrant.RangeFloat(**condition["range"]))
    if "match" in condition:
        values = condition["match"]
        match = qdrant.MatchAny(values["any"]) if "any" in values else qdrant.MatchValue(values["value"])
        return qdrant.FieldCondition(condition["key"], match=match)
    return _build_filter(condition)


def open_collection(address: Address, space: Space | None) -> QdrantEdgeStore:
    """Open ``qdrant-edge:///folder/name``, or ``qdrant-edge://folder/name`` below the current folder."""
    folder, _, name = address.location.rstrip("/").rpartition("/")
    if not name or (not folder and not address.location.startswith("/")):
        raise InputError(f"{address.url} names no collection. Write the URL as qdrant-edge:///folder/name.")
    return QdrantEdgeStore(address, Path(folder or "/").expanduser().absolute() / address.name, space)


def list_collections(address: Address) -> list[str]:
    """Return the URLs of a folder's collections, or an empty list if the folder does not exist."""
    folder = Path(address.location or "/").expanduser()
    return [address.sibling(file.parent.name).url for file in sorted(folder.glob(f"*/{_METADATA_FILE}"))]
