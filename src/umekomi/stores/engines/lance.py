"""LanceDB: vectors and records in one versioned table, in a local folder or an object store. The embedded default.

Several processes may read and write. A write creates a new version of the table atomically, and is durable when the
call returns. Every read uses the newest version. Writers of a local table take turns with a lock. Without it
(measured with LanceDB 0.40), two processes that create a table lose a batch, and two that upsert the same id store it
twice. Writers of a table in an object store have no lock.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout

from ...data.embedded_file import Space
from ...errors import InputError, StoreError, UmekomiError
from ...files.ownership import claim_folder, folder_content, remove_folder
from ...vectors.arithmetic import FloatArray, normalize
from ...vectors.arrow import from_column
from ..base import ID, VECTOR, Hit, collection_not_found
from ..columns import ARROW_TYPES, ColumnType
from ..errors import Failure, translate_errors
from ..event_loops import EventLoopPool
from ..filters.evaluate import sql_literal, to_sql
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import OPTION_NAMES, Address, Quantization
from .base import CollectionStore, batched
from .lance_import import Bitmap, BTree, HnswFlat, HnswSq, IvfRq, lancedb

T = TypeVar("T")

MIN_INDEX_ROWS = 50_000
"""Smaller tables have no index, because comparing every vector and filtering every row is fast enough."""

_DEFAULT_M, _DEFAULT_EF, _DEFAULT_EF_SEARCH = 20, 300, 200
_BITS_PER_DIM, _PARTITION_ROWS = 4, 4096
"""RaBitQ bits of each dimension in the index, and approximate size of a partition."""

_MIN_PROBES, _PARTITIONS_PER_PROBE = 16, 4
"""A search probes at least 16 partitions and at least a quarter of them, because queries are about as close to many
partitions.

The number is proportional to ``ef_search``. Filtered searches probe all partitions: matching rows may be in distant
ones."""

_MIN_REFINE_FACTOR, _MIN_CANDIDATES, _MIN_FILTERED_CANDIDATES = 2, 20, 60
"""Candidates of the index that are compared with their full vectors: at least per hit, in total, and in total under a
filter.

Under a filter, the matching rows may be far from the query, at almost the same distance."""

_ALL_PARTITIONS = 1 << 20
_MAX_PROBED_HITS = 200
"""Searches for more hits probe all partitions, because the nearest rows are spread over many of them."""

_CONCURRENT_QUERIES = 4
_MAX_INDEXED_TEXT_BYTES = 64
"""Text columns with a larger mean length get no index, because the index would store all of the text again."""

_MIN_RABITQ_DIMS = 256
"""From this many dimensions on, RaBitQ reaches the recall of HNSW and is built much faster (BENCHMARKS.md)."""

_METADATA_KEY = b"umekomi"
_CONTENT = "a LanceDB table"
_OWN_FILES = ("data", "_versions", "_transactions", "_indices", "_deletions", "_refs", "_latest.manifest")
_BATCH_IDS = 200
_LOCK_TIMEOUT_S = 600.0
"""How long a writer waits for another writer, in seconds."""

_MAX_VERSION_AGE = timedelta(hours=1)
"""How long a reader may continue to use a version that is not the newest."""

_Index = IvfRq | HnswFlat | HnswSq | BTree | Bitmap


class LanceStore(CollectionStore):
    """A table of LanceDB.

    Args:
        address: Address of the collection.
        folder: The database: a local folder, or the URL of an object store.
        space: Space of a new collection. None opens an existing one.
    """

    engine = "LanceDB"
    survives_fork = False
    max_exact_rows = 2_000
    max_dims = 1 << 30
    # Indexes are built on request, so that their options may change until then.
    mutable_options = OPTION_NAMES

    def __init__(self, address: Address, folder: str, space: Space | None) -> None:
        self._name = address.name
        self._loops = EventLoopPool()
        self._table: Any = None  # an AsyncTable; the base class checks that the collection exists
        self._path = None if "://" in folder else Path(folder, f"{self._name}.lance")
        self._lock = FileLock(Path(folder, f".{self._name}.lock"), timeout=_LOCK_TIMEOUT_S)
        with translate_errors(address, LanceStore._classify_error):
            self._database = self._run(lancedb.connect_async(folder, read_consistency_interval=timedelta(0)))
        super().__init__(address, space)

    @staticmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        if not isinstance(error, (RuntimeError, ValueError, OSError, pa.ArrowException)):
            return None
        # LanceDB appends positions in its source code to its messages.
        return Failure.OTHER, re.sub(r",? /\S+\.rs:\d+.*", "", str(error).partition("\n")[0])

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            self._check_process()
        except UmekomiError:
            coroutine.close()
            raise
        return self._loops.run(coroutine)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Return a context in which no other process writes to a local table."""
        with self._translate_errors():
            if self._path is None:
                yield
                return
            try:
                self._lock.acquire()
            except Timeout as error:
                raise StoreError(
                    f"Another process has been writing to {self.url} for {_LOCK_TIMEOUT_S:.0f} s. Try again later."
                ) from error
            try:
                yield
            finally:
                self._lock.release()

    def _read_metadata(self) -> CollectionMetadata | None:
        try:
            table = self._run(self._database.open_table(self._name))
            schema = self._run(table.schema())
            n_rows = self._run(table.count_rows())
        except ValueError as error:
            # A kill during the first write leaves a folder without a version.
            if "not found" in str(error):
                return None
            raise
        metadata = parse_metadata((schema.metadata or {}).get(_METADATA_KEY), self.url)
        self._table, self._schema, self._n_probes = table, schema, _count_probes(n_rows)
        return metadata

    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        with self._exclusive():
            stored = self._read_metadata()
            if stored is not None:
                return stored
            if self._path is not None:
                claim_folder(self._path, content=_CONTENT)
            fields = [(ID, pa.string()), (VECTOR, pa.list_(pa.float32(), metadata.space.dims))]
            fields += [
                (_to_field(column), ARROW_TYPES[column_type]) for column, column_type in metadata.columns.items()
            ]
            schema = pa.schema(fields, {_METADATA_KEY: metadata.to_json().encode()})
            self._run(self._database.create_table(self._name, schema=schema))
            return self._read_metadata()

    def _encode(self, ids: list[str], records: pa.Table, columns: Mapping[str, ColumnType]) -> dict[str, Any]:
        names = records.column_names
        return {
            _to_field(column): records[column] if column in names else pa.nulls(len(ids), ARROW_TYPES[column_type])
            for column, column_type in columns.items()
        }

    def _write(self, ids: list[str], vectors: FloatArray, rows: dict[str, Any]) -> None:
        values = pa.array(vectors.reshape(-1), pa.float32())
        matrix = pa.FixedSizeListArray.from_arrays(values, self.space.dims)
        table = pa.table({ID: pa.array(ids, pa.string()), VECTOR: matrix, **rows})
        merge = self._table.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
        with self._exclusive():
            self._run(merge.execute(table.select(self._schema.names).cast(self._schema)))

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        exact = exact or bool(self._options.exact)
        with self._translate_errors():
            return self._run(self._search_all(normalize(vectors), k, where, exact=exact))

    async def _search_all(self, queries: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if len(queries) == 1:
            return [await self._search_one(queries[0], k, where, exact=exact)]
        semaphore = asyncio.Semaphore(_CONCURRENT_QUERIES)

        async def search(query: FloatArray) -> list[Hit]:
            async with semaphore:
                return await self._search_one(query, k, where, exact=exact)

        # Wait for all queries even if one fails, because the loop stops running afterwards.
        results = await asyncio.gather(*map(search, queries), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return cast(list[list[Hit]], results)

    async def _search_one(self, query: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[Hit]:
        # Candidates of the index are compared with their full vectors, because the index returns the distances of
        # compressed vectors, which are not even cosines. This costs nothing without an index.
        request = self._table.vector_search(query).column(VECTOR).distance_type("cosine").limit(k)
        if exact:
            request = request.bypass_vector_index()
        else:
            # Each type of index uses its own parameters. HNSW needs twenty candidates per hit for a high recall.
            ef_search = self._options.ef_search or _DEFAULT_EF_SEARCH
            n_candidates = _MIN_CANDIDATES if where is None else _MIN_FILTERED_CANDIDATES
            request = request.ef(max(ef_search, 20 * k)).refine_factor(max(_MIN_REFINE_FACTOR, -(-n_candidates // k)))
            n_probes = max(1, round(self._n_probes * ef_search / _DEFAULT_EF_SEARCH))
            if where is not None or k > _MAX_PROBED_HITS:
                n_probes = _ALL_PARTITIONS
            # The maximum of 0 lets the engine probe more partitions while it has fewer than k rows.
            request = request.maximum_nprobes(0).minimum_nprobes(n_probes)
        if where is not None:
            request = request.where(_to_sql(where))
        rows = await request.select([*self._record_fields(), "_distance"]).to_arrow()
        return [Hit(row.pop(ID), 1.0 - row.pop("_distance"), _to_record(row)) for row in rows.to_pylist()]

    def _record_fields(self) -> list[str]:
        return [name for name in self._schema.names if name != VECTOR]

    def _count(self, where: Where | None) -> int:
        with self._translate_errors():
            return int(self._run(self._table.count_rows(None if where is None else _to_sql(where))))

    def _fetch(self, ids: list[str], fields: list[str]) -> Iterator[pa.Table]:
        for batch in batched(ids, _BATCH_IDS):
            with self._translate_errors():
                query = self._table.query().where(_in_ids(batch)).select(fields).limit(len(batch))
                yield self._run(query.to_arrow())

    def _get(self, ids: list[str]) -> list[Hit]:
        tables = self._fetch(ids, self._record_fields())
        return [Hit(row.pop(ID), 1.0, _to_record(row)) for table in tables for row in table.to_pylist()]

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        vectors: dict[str, FloatArray] = {}
        for table in self._fetch(ids, [ID, VECTOR]):
            vectors |= zip(table[ID].to_pylist(), from_column(table[VECTOR].combine_chunks()), strict=True)
        return vectors

    def _delete(self, ids: list[str]) -> None:
        with self._exclusive():
            for batch in batched(ids, _BATCH_IDS):
                self._run(self._table.delete(_in_ids(batch)))

    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        with self._translate_errors():
            batches = self._run(self._table.query().to_batches(max_batch_length=size))
            while (batch := self._run(anext(batches, None))) is not None:
                # The engine may return more rows than requested.
                for start in range(0, len(batch), size):
                    piece = batch.slice(start, size)
                    records = pa.Table.from_batches([piece.drop_columns([ID, VECTOR])])
                    columns = list(map(_to_column, records.column_names))
                    yield piece[ID].to_pylist(), from_column(piece[VECTOR]), records.rename_columns(columns)

    def _optimize(self) -> None:
        """Merge small fragments. In large tables, index the vectors, the ids and the columns that filters may use."""
        with self._exclusive():
            self._run(self._table.optimize(cleanup_older_than=_MAX_VERSION_AGE))
            n_rows = self._run(self._table.count_rows())
            self._n_probes = _count_probes(n_rows)
            if n_rows < MIN_INDEX_ROWS:
                return
            indexed = self._read_index_types()
            for name, index in self._choose_indexes().items():
                if name not in indexed:
                    self._run(self._table.create_index(name, config=index))

    def _read_index_types(self) -> dict[str, str]:
        """Return the type of the index of each indexed field."""
        indexes = self._run(self._table.list_indices())
        # LanceDB quotes names with other characters than letters and digits.
        return {name.strip("`"): index.index_type for index in indexes for name in index.columns}

    def _choose_indexes(self) -> dict[str, _Index]:
        """Return the index that each field should have."""
        indexes: dict[str, _Index] = {ID: BTree()}
        if not self._options.exact:
            indexes[VECTOR] = self._choose_vector_index()
        fields = [field for field in self._schema if field.name not in (ID, VECTOR)]
        texts = [field.name for field in fields if pa.types.is_string(field.type)]
        sample = self._run(self._table.query().select([ID, *texts]).limit(1000).to_arrow())
        for field in fields:
            if field.name not in texts:
                indexes[field.name] = Bitmap() if pa.types.is_boolean(field.type) else BTree()
            elif (pc.mean(pc.binary_length(sample[field.name])).as_py() or 0) <= _MAX_INDEXED_TEXT_BYTES:
                indexes[field.name] = BTree()
        return indexes

    def _choose_vector_index(self) -> IvfRq | HnswFlat | HnswSq:
        options, dims = self._options, self.space.dims
        if not options.to_dict().keys() - {"ef_search"} and dims >= _MIN_RABITQ_DIMS and dims % 8 == 0:
            return IvfRq(distance_type="cosine", num_bits=_BITS_PER_DIM, target_partition_size=_PARTITION_ROWS)
        index_type = HnswFlat if options.quantization is Quantization.NONE else HnswSq
        m, ef = options.m or _DEFAULT_M, options.ef or _DEFAULT_EF
        return index_type(distance_type="cosine", num_partitions=1, m=m, ef_construction=ef)

    def _details(self) -> dict[str, object]:
        about: dict[str, object] = {"version": lancedb.__version__, "index": "none: every vector is compared"}
        if self._exists:
            with self._translate_errors():
                about["bytes"] = cast(dict[str, object], self._run(self._table.stats()))["total_bytes"]
                index_types = self._read_index_types()
            about["index"] = index_types.get(VECTOR, about["index"])
            indexed = sorted(_to_column(name) for name in index_types if name not in (ID, VECTOR))
            if indexed:
                about["indexed columns"] = indexed
        return about

    def _drop_collection(self) -> None:
        with self._exclusive():
            if self._path is None:
                self._run(self._database.drop_table(self._name))
            elif self._path.exists():
                self._remove_files(self._path)

    def _remove_files(self, path: Path) -> None:
        """Delete the files of the table, and leave files of other programs in its folder."""
        if folder_content(path) is not None:
            remove_folder(path, content=_CONTENT, names=_OWN_FILES)
            return
        # This is a copy without the hidden marker file. The metadata shows that Umekomi created the table.
        foreign = sorted({entry.name for entry in path.iterdir()} - set(_OWN_FILES))
        if foreign:
            raise StoreError(
                f"{path} also contains {foreign[0]!r}, which Umekomi did not create. Move it, or delete {path} yourself."
            )
        shutil.rmtree(path)

    def _close(self) -> None:
        self._table = None
        self._loops.close()


def _count_probes(n_rows: int) -> int:
    return max(_MIN_PROBES, n_rows // _PARTITION_ROWS // _PARTITIONS_PER_PROBE)


def _to_field(column: str) -> str:
    """Return the field of a column. LanceDB does not allow dots, backticks and empty names, and reserves ``_…``."""
    return re.sub(r"^_|^$|[.`%]", lambda match: f"%{ord(match.group() or chr(0)):02X}", column)


def _to_column(field: str) -> str:
    """Return the column of a field that :func:`_to_field` returned."""
    return re.sub(r"%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)).replace("\0", ""), field)


def _to_record(row: dict[str, object]) -> dict[str, object]:
    return {_to_column(field): value for field, value in row.items()}


def _to_sql(where: Where) -> str:
    return to_sql(where, lambda column: f"`{ID if column == ID else _to_field(column)}`")


def _in_ids(ids: Iterable[str]) -> str:
    return f"`{ID}` IN ({', '.join(map(sql_literal, ids))})"


def open_collection(address: Address, space: Space | None) -> LanceStore:
    """Open ``lance:///folder/name``, or ``lance://folder/name`` below the current folder."""
    folder = address.location.rstrip("/").rpartition("/")[0]
    if address.name and not folder and not address.location.startswith("/"):
        raise InputError(f"{address.url} names no collection. Write the URL as lance:///folder/name.")
    folder = _to_absolute(folder or "/")
    if space is None and "://" not in folder and not Path(folder, f"{address.name}.lance").is_dir():
        # LanceDB would create the folder, even for a mistyped name.
        raise collection_not_found(address.url)
    return LanceStore(address, folder, space)


def list_collections(address: Address) -> list[str]:
    """Return the URLs of a folder's collections, or an empty list if the folder does not exist."""
    folder = _to_absolute(address.location.rstrip("/") or "/")
    if "://" not in folder and not Path(folder).is_dir():
        return []
    names: list[str] = []
    with translate_errors(address, LanceStore._classify_error):
        database = lancedb.connect(folder)
        page = database.list_tables()
        names.extend(page.tables)
        while page.page_token:
            page = database.list_tables(page_token=page.page_token)
            names.extend(page.tables)
    return [address.sibling(name).url for name in sorted(names)]


def _to_absolute(folder: str) -> str:
    # LanceDB would interpret a bare name as one of its hosted databases.
    return folder if "://" in folder else str(Path(folder).expanduser().absolute())
