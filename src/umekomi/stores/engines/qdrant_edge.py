"""Qdrant Edge: Qdrant's own engine in this process, on a folder. Fast; one process at a time.

The folder ``name`` holds the engine's files in ``shard`` and the note in ``umekomi.json``. The engine locks it: whoever comes
second waits a little and is told so in a sentence. Within one process all share one open engine. A write is in the engine's log
when it returns and outlives a kill of the process; :meth:`optimize` and :meth:`close` also bring it to the disk itself.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa
import qdrant_edge as qdrant
from filelock import FileLock, Timeout

from ...data.embedded_file import Space
from ...errors import InputError, StoreError, UmekomiError
from ...files.ownership import claim_folder, folder_content, remove_folder
from ...vectors.arithmetic import FloatArray, normalize
from ..base import ID, Hit, Store, collection_not_found
from ..columns import ColumnType, get_column_types, rows_to_records, rows_to_table, to_json_rows
from ..errors import summarize_error
from ..filters.approximate import filter_hits, search_candidates
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address, Options, Quantization
from .qdrant_points import INDEXES, conditions, loosened, path, payload_of, point_id, row_of

_LOCK = ".open.lock"
_M, _EF, _EF_SEARCH = 16, 200, 128
_MAX_DIMS = 65_536
_CONTENT = "a Qdrant Edge collection"
_ENGINE_FILES = ("shard/edge_config.json", "shard/segments", "shard/wal")
_NOTE = "umekomi.json"
_OWN_FILES = (*_ENGINE_FILES, _NOTE, f"{_NOTE}.*", _LOCK)
_BYTES_AT_ONCE = 1 << 26
_WAIT_S = 5.0
"""For how long an engine that another process has open is asked for, in seconds."""


class _Shard:
    """An open engine, shared by all stores of this process on one folder.

    The engine's own lock is not enough: it touches the files before it takes it, and leaves those of another process damaged. So
    the process that has the engine open holds a lock of ours.
    """

    def __init__(self, engine: Any, lock: FileLock) -> None:
        self.engine = engine
        self._lock = lock
        self._process = os.getpid()

    def __del__(self) -> None:
        # In a forked process the engine's threads are missing, and closing would wait for them.
        if self._process == os.getpid():
            self.close()

    def close_engine(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.close()

    def close(self) -> None:
        self.close_engine()
        self._lock.release()


_OPEN: WeakValueDictionary[str, _Shard] = WeakValueDictionary()
_TURN = threading.RLock()


class QdrantEdgeStore(Store):
    """A shard of Qdrant in a folder.

    Args:
        address: its URL.
        folder: the collection's own folder.
        space: the space of a new collection; None opens one that is there.
    """

    engine = "Qdrant Edge"
    survives_fork = False

    def __init__(self, address: Address, folder: Path, space: Space | None) -> None:
        self.url = address.url
        self._address, self._folder = address, folder
        self._options = address.options
        self._note: CollectionMetadata | None = None
        self._shard: _Shard | None = None
        with self._speaking(), _TURN:
            self._look()
        if self._note is None and space is None:
            raise collection_not_found(self.url)
        if self._note is None and space is not None:
            self.space = space
            if space.dims > _MAX_DIMS:
                raise InputError(f"The vectors have {space.dims:,} dimensions; Qdrant takes at most {_MAX_DIMS:,}.")
        if space is not None:
            self.require_space(space)

    def _look(self) -> None:
        """Open what is there."""
        try:
            note = parse_metadata((self._folder / _NOTE).read_bytes(), self.url)
        except FileNotFoundError:
            return
        options = self._address.options.merge_over(note.options, self.url)
        key = str(self._folder)
        shard = _OPEN.get(key)
        if shard is None:
            _OPEN[key] = shard = _opened(self._folder, note, self.url)
        self._note, self._options, self._shard = note, options, shard
        self.space = note.space

    @property
    def _columns(self) -> Mapping[str, ColumnType]:
        return {} if self._note is None else self._note.columns

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        self._check_process()
        try:
            yield
        except UmekomiError:
            raise
        except Exception as error:  # the engine raises Exception itself
            raise StoreError(f"{self.url} cannot be used: {summarize_error(error, self._address)}.") from error

    def _engine(self) -> Any:
        if self._shard is None or self._shard.engine is None:
            raise StoreError(f"{self.url} is closed; open it again.")
        return self._shard.engine

    def schema(self) -> pa.Schema:
        return CollectionMetadata(self.space).schema() if self._note is None else self._note.schema()

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        with self._speaking(), _TURN:
            if self._note is None:
                self._make(CollectionMetadata(self.space, get_column_types(records.schema), self._options))
            strange = [name for name in records.column_names if name not in self._columns]
            if strange:
                raise InputError(f"{self.url} has been made with other columns meanwhile; open it again.")
            unit, rows = normalize(vectors), to_json_rows(records, self._columns)
            step = max(1, _BYTES_AT_ONCE // (4 * self.space.dims))
            for start in range(0, len(ids), step):
                some = slice(start, start + step)
                points = [
                    qdrant.Point(point_id(name), vector, payload_of(name, row))
                    for name, vector, row in zip(ids[some], unit[some], rows[some], strict=True)
                ]
                self._engine().update(qdrant.UpdateOperation.upsert_points(points))

    def _make(self, note: CollectionMetadata) -> None:
        """Make the folder: the note stands in it before the engine, so that a kill between the two does no harm."""
        wanted = note.space
        self._look()
        if self._note is None:
            claim_folder(self._folder, content=_CONTENT)
            new = self._folder / f"{_NOTE}.{os.getpid()}"
            new.write_text(note.to_json(), encoding="utf-8")
            new.replace(self._folder / _NOTE)
            self._look()
        self.require_space(wanted)

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if self._note is None:
            return [[] for _ in vectors]
        with self._speaking():
            return [self._nearest(vector, k, where, exact=exact) for vector in normalize(vectors)]

    def _nearest(self, vector: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[Hit]:
        loose = None if where is None else loosened(where, self._columns)
        kept = None if loose is None else _filter(conditions(loose.looser))

        def nearest(n: int) -> list[Hit]:
            request = qdrant.QueryRequest(
                n,
                query=qdrant.Query.Nearest(vector.tolist()),
                filter=kept,
                with_payload=True,
                params=self._params(n, exact=exact),
            )
            return self._hits([(point.payload, point.score) for point in self._engine().query(request)])

        if loose is None or where is None or loose.is_exact:
            return nearest(k)
        return search_candidates(nearest, k, where, self._columns)

    def _params(self, k: int, *, exact: bool) -> Any:
        rescore = None
        if self._options.quantization in (Quantization.INT8, Quantization.BINARY):
            rescore = qdrant.QuantizationSearchParams(
                rescore=True, oversampling=_OVERSAMPLING[self._options.quantization]
            )
        ef = max(self._options.ef_search or _EF_SEARCH, 2 * k)
        return qdrant.SearchParams(hnsw_ef=ef, exact=exact or bool(self._options.exact), quantization=rescore)

    def _hits(self, points: list[tuple[dict[str, Any], float]]) -> list[Hit]:
        records = rows_to_records([row_of(payload, self._columns) for payload, _ in points], self._columns)
        return [Hit(payload[ID], score, record) for (payload, score), record in zip(points, records, strict=True)]

    def _count(self, where: Where | None) -> int:
        if self._note is None:
            return 0
        with self._speaking():
            if where is None:
                return self._counted(None)
            loose = loosened(where, self._columns)
            outer = self._counted(loose.looser)
            if loose.is_exact or outer == self._counted(loose.stricter):
                return outer
            return len(filter_hits(self._some(loose.looser), where, self._columns))

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        if self._note is None:
            return 0
        with self._speaking():
            return self._counted(None if where is None else loosened(where, self._columns).looser)

    def _counted(self, where: Where | None) -> int:
        kept = None if where is None else _filter(conditions(where))
        return int(self._engine().count(qdrant.CountRequest(filter=kept)))

    def _some(self, where: Where) -> list[Hit]:
        kept = _filter(conditions(where))
        return self._hits([(point.payload, 1.0) for points in self._scroll(1024, kept) for point in points])

    def _get(self, ids: list[str]) -> list[Hit]:
        if self._note is None:
            return []
        with self._speaking():
            points = self._engine().retrieve([point_id(name) for name in ids], True, False)
            return self._hits([(point.payload, 1.0) for point in points])

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        if self._note is None:
            return {}
        with self._speaking():
            points = self._engine().retrieve([point_id(name) for name in ids], True, True)
        return {point.payload[ID]: normalize(np.array([point.vector], np.float32))[0] for point in points}

    def _delete(self, ids: list[str]) -> None:
        if self._note is not None:
            with self._speaking():
                self._engine().update(qdrant.UpdateOperation.delete_points([point_id(name) for name in ids]))

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        if self._note is None:
            return
        with self._speaking():
            for points in self._scroll(size, None, with_vector=True):
                payloads = [point.payload for point in points]
                matrix = normalize(np.array([point.vector for point in points], dtype=np.float32))
                rows = [row_of(payload, self._columns) for payload in payloads]
                yield [payload[ID] for payload in payloads], matrix, rows_to_table(rows, self._columns)

    def _scroll(self, size: int, kept: Any, *, with_vector: bool = False) -> Iterator[list[Any]]:
        offset: UUID | None = None
        while True:
            request = qdrant.ScrollRequest(
                offset=offset, limit=size, filter=kept, with_payload=True, with_vector=with_vector
            )
            points, offset = self._engine().scroll(request)
            if points:
                yield points
            if offset is None:
                return

    def optimize(self) -> None:
        """Join the engine's pieces, build its HNSW graph, and bring all to the disk itself."""
        if self._note is not None:
            with self._speaking():
                if not self._options.exact:
                    self._engine().optimize()
                self._engine().flush()

    def _details(self) -> dict[str, object]:
        if self._note is None:
            return {"index": "none yet"}
        with self._speaking():
            about = self._engine().info()
        kind = (
            "none: every vector is compared"
            if self._options.exact
            else f"HNSW over {about.indexed_vectors_count:,} rows"
        )
        return {"version": version("qdrant-edge-py"), "index": kind, **self._options.to_dict()}

    def drop(self) -> None:
        with self._speaking(), _TURN:
            if self._note is None or self._shard is None:
                return
            self._shard.close_engine()
            _OPEN.pop(str(self._folder), None)
            if folder_content(self._folder) != _CONTENT:
                raise StoreError(f"{self._folder} has no marker of Umekomi, so it is not deleted. Delete it yourself.")
            # Without its note it is no collection any more, even if a kill leaves the rest.
            (self._folder / _NOTE).unlink(missing_ok=True)
            _remove_engine(self._folder)
            self._shard.close()
            remove_folder(self._folder, content=_CONTENT, names=_OWN_FILES)
        self._note, self._shard = None, None

    def close(self) -> None:
        if self._shard is not None and self._shard.engine is not None and self._process == os.getpid():
            with self._speaking():
                self._shard.engine.flush()
        self._shard = None


_OVERSAMPLING = {Quantization.INT8: 2.0, Quantization.BINARY: 6.0}


def _opened(folder: Path, note: CollectionMetadata, url: str) -> _Shard:
    """The engine of a collection's folder, waiting a little for another process that has it open."""
    engine = folder / "shard"
    # It may be released by another thread than the one that opened the engine.
    lock = FileLock(folder / _LOCK, thread_local=False)
    try:
        lock.acquire(timeout=_WAIT_S)
    except Timeout as error:
        raise StoreError(
            f"{url} is open in another process, and Qdrant Edge lets in one at a time; close that one, or copy the rows to "
            "lance://, which several can use."
        ) from error
    try:
        if not (folder / _NOTE).exists():
            raise collection_not_found(url)  # dropped meanwhile
        if engine.is_dir() and not (engine / "edge_config.json").exists():
            # What a kill leaves in the middle of making it: nothing was acknowledged.
            _remove_engine(folder)
        return _Shard(qdrant.EdgeShard.load(str(engine)) if engine.is_dir() else _created(engine, note), lock)
    except BaseException:
        lock.release()
        raise


def _remove_engine(folder: Path) -> None:
    """Delete the engine's files; what others put beside them stays."""
    for name in _ENGINE_FILES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / "shard").rmdir()


def _created(folder: Path, note: CollectionMetadata) -> Any:
    options = note.options
    half = options.quantization is Quantization.FLOAT16
    vectors = qdrant.EdgeVectorParams(
        size=note.space.dims,
        distance=qdrant.Distance.Cosine,
        datatype=qdrant.VectorStorageDatatype.Float16 if half else qdrant.VectorStorageDatatype.Float32,
    )
    config = qdrant.EdgeConfig(
        vectors=vectors,
        hnsw_config=qdrant.HnswIndexConfig(options.m or _M, options.ef or _EF, 1000),
        quantization_config=_quantization(options),
        optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1),
    )
    shard = qdrant.EdgeShard.create(str(folder), config)
    for column, kind in {ID: ColumnType.TEXT, **note.columns}.items():
        shard.update(qdrant.UpdateOperation.create_field_index(path(column), _INDEX_KINDS[INDEXES[kind]]))
    return shard


_INDEX_KINDS = {
    "keyword": qdrant.PayloadSchemaType.Keyword,
    "integer": qdrant.PayloadSchemaType.Integer,
    "float": qdrant.PayloadSchemaType.Float,
}


def _quantization(options: Options) -> Any:
    match options.quantization:
        case Quantization.INT8:
            return qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8)
        case Quantization.BINARY:
            return qdrant.BinaryQuantizationConfig()
        case _:
            return None


def _filter(data: Mapping[str, Any]) -> Any:
    """A filter of the HTTP API's form as the engine's own."""
    made = {name: [_condition(part) for part in parts] for name, parts in data.items()}
    return qdrant.Filter(made.get("must"), made.get("should"), made.get("must_not"))


def _condition(data: Mapping[str, Any]) -> Any:
    if "is_empty" in data:
        return qdrant.IsEmptyCondition(data["is_empty"]["key"])
    if "range" in data:
        return qdrant.FieldCondition(data["key"], range=qdrant.RangeFloat(**data["range"]))
    if "match" in data:
        match = data["match"]
        wanted = qdrant.MatchAny(match["any"]) if "any" in match else qdrant.MatchValue(match["value"])
        return qdrant.FieldCondition(data["key"], match=wanted)
    return _filter(data)


def open_collection(address: Address, space: Space | None) -> QdrantEdgeStore:
    """``qdrant-edge:///folder/name``, or ``qdrant-edge://folder/name`` below the current folder."""
    parent, name = _parent(address), address.name
    return QdrantEdgeStore(address, parent / name, space)


def _parent(address: Address) -> Path:
    folder, _, name = address.location.rstrip("/").rpartition("/")
    if not name or (not folder and not address.location.startswith("/")):
        raise InputError(f"{address.url} names no collection; write it like qdrant-edge:///folder/name.")
    return Path(folder or "/").expanduser().absolute()


def list_collections(address: Address) -> list[str]:
    """The URLs of a folder's collections; none where there is no such folder."""
    folder = Path(address.location or "/").expanduser()
    return [address.sibling(note.parent.name).url for note in sorted(folder.glob("*/umekomi.json"))]
