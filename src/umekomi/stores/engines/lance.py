"""LanceDB: vectors and records in one versioned table on disk or object storage; the embedded default.

Several processes may read and write. A write is safe when it returns: it is a new version of the table, put in place whole,
and every read looks for the newest version first. Writers of a table on disk queue behind a lock: measured with LanceDB 0.40,
two that make one table lose a batch, and two that upsert one id keep it twice. (On object storage nothing holds them back.)
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import lancedb
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout
from lancedb.index import Bitmap, BTree, HnswFlat, HnswSq, IvfRq
from lancedb.table import AsyncTable

from ...data.embedded_file import Space
from ...errors import InputError, StoreError, UmekomiError
from ...files.ownership import claim_folder, folder_content, remove_folder
from ...vectors.arithmetic import FloatArray, normalize
from ...vectors.arrow import from_column
from ..base import ID, VECTOR, Hit, Store, collection_not_found
from ..columns import get_column_types
from ..event_loops import EventLoopPool
from ..filters.evaluate import sql_literal, to_sql
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import OPTION_NAMES, Address, Quantization

T = TypeVar("T")

MIN_INDEX_ROWS = 50_000
"""Below this, comparing every vector is fast enough and exact, and so is looking at every row of a filter."""

_M, _EF, _EF_SEARCH = 20, 300, 200
_BITS, _CELL_ROWS = 4, 4096
"""The index keeps so many bits of each dimension (RaBitQ), in cells of about so many rows."""

_LEAST_CELLS, _SHARE_OF_CELLS = 16, 4
"""A search without a filter looks into so many cells at least, and into one of so many: questions are near to many cells alike.
With ``ef_search`` in proportion. A filter may leave rows in distant cells only, so a filtered search looks into all of them."""

_REFINE, _LEAST_CANDIDATES = 2, 20
"""How many that the index finds are measured again: so many for each hit, and so many at least."""

_FILTERED_CANDIDATES = 60
"""The same under a filter: the matching rows may be far from the query and at almost the same distance from it."""

_ALL_CELLS = 1 << 20
"""More than any table has."""

_HITS_OF_ALL_CELLS = 200
"""For more hits than this a search looks into all cells: the nearest rows of a query are spread over many of them."""

_AT_ONCE = 4
"""Of several queries, so many run side by side."""

_SHORT_TEXT = 64
"""Texts that are longer than this on the average, in bytes, get no index: it would hold them all once more."""

_FEW_DIMS = 256
"""From so many dimensions on, a few bits of each find the candidates: HNSW's recall, far sooner built (BENCHMARKS.md)."""

_METADATA = b"umekomi"
_CONTENT = "a LanceDB table"
_OWN_FILES = ("data", "_versions", "_transactions", "_indices", "_deletions", "_refs", "_latest.manifest")
_IDS_AT_ONCE = 200
_WAIT_S = 600.0
"""How long a writer waits for another, in seconds."""

_OLD_VERSIONS = timedelta(hours=1)
"""How long a reader may go on with a version that is no longer the newest."""


class LanceStore(Store):
    """A table of LanceDB.

    Args:
        address: for messages, and how a new collection is made.
        folder: the database: a folder, or an address of object storage.
        name: the table.
        space: the space of a new collection; None opens one that is there.
    """

    engine = "LanceDB"
    survives_fork = False
    max_exact_rows = 2_000

    def __init__(self, address: Address, folder: str, name: str, space: Space | None) -> None:
        self.url = url = address.url
        self._address = address
        self._options = address.options
        self._name = name
        self._loops = EventLoopPool()
        self._columns = pa.schema([])
        self._cells = _LEAST_CELLS
        with _speaking_for(url):
            self._database = self._run(lancedb.connect_async(folder, read_consistency_interval=timedelta(0)))
            self._table = self._open()
        self._turn: AbstractContextManager[object] = nullcontext()
        self._path: Path | None = None
        if "://" not in folder:
            self._path = Path(folder, f"{name}.lance")
            self._turn = FileLock(Path(folder, f".{name}.lock"), timeout=_WAIT_S)
        if self._table is None and space is None:
            raise collection_not_found(url)
        if self._table is None and space is not None:
            self.space = space
        if space is not None:
            self.require_space(space)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            self._check_process()
        except UmekomiError:
            coroutine.close()
            raise
        return self._loops.run(coroutine)

    def _open(self) -> AsyncTable | None:
        try:
            table = self._run(self._database.open_table(self._name))
            self._columns = self._run(table.schema())
            self._cells = _cells(self._run(table.count_rows()))
        except ValueError as error:
            # A folder without a version is what a kill in the very first write leaves.
            if "not found" in str(error):
                return None
            raise
        note = parse_metadata((self._columns.metadata or {}).get(_METADATA), self.url)
        self.space = note.space
        # An index is built when it is asked for, so that what it is made of may change until then.
        self._options = self._options.merge_over(note.options, self.url, mutable=OPTION_NAMES)
        return table

    def _without_vector(self) -> list[str]:
        return [name for name in self._columns.names if name != VECTOR]

    def schema(self) -> pa.Schema:
        fields = [field for field in self._columns if field.name not in (ID, VECTOR)]
        return pa.schema([field.with_name(_column(field.name)) for field in fields])

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        flat = pa.array(normalize(vectors).reshape(-1), pa.float32())
        columns = {ID: pa.array(ids, pa.string()), VECTOR: pa.FixedSizeListArray.from_arrays(flat, self.space.dims)}
        columns |= {_field(name): records[name] for name in records.column_names}
        data = pa.table(columns)
        with _speaking_for(self.url), self._turn:
            if self._table is None:
                wanted = self.space
                self._table = self._open()
                self.require_space(wanted)
            if self._table is None:
                note = CollectionMetadata(self.space, get_column_types(records.schema), self._options)
                data = data.replace_schema_metadata({_METADATA: note.to_json().encode()})
                if self._path is not None:
                    claim_folder(self._path, content=_CONTENT)
                self._table = self._run(self._database.create_table(self._name, data))
                self._columns = self._run(self._table.schema())
                return
            schema = self._columns
            missing = {field.name: pa.nulls(len(ids), field.type) for field in schema if field.name not in columns}
            if len(columns) + len(missing) > len(schema):
                raise InputError(f"{self.url} has been made with other columns by another process; open it again.")
            data = pa.table({**columns, **missing}).select(schema.names).cast(schema)
            merging = self._table.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all()
            self._run(merging.execute(data))

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if self._table is None:
            return [[] for _ in vectors]
        exact = exact or bool(self._options.exact)
        with _speaking_for(self.url):
            return self._run(self._all_nearest(self._table, normalize(vectors), k, where, exact=exact))

    async def _all_nearest(
        self, table: AsyncTable, vectors: FloatArray, k: int, where: Where | None, *, exact: bool
    ) -> list[list[Hit]]:
        if len(vectors) == 1:
            return [await self._nearest(table, vectors[0], k, where, exact=exact)]
        turns = asyncio.Semaphore(_AT_ONCE)

        async def nearest(vector: FloatArray) -> list[Hit]:
            async with turns:
                return await self._nearest(table, vector, k, where, exact=exact)

        # All of them end, whatever becomes of one: none is left behind in a loop that stands still.
        found = await asyncio.gather(*map(nearest, vectors), return_exceptions=True)
        failed = [hits for hits in found if isinstance(hits, BaseException)]
        if failed:
            raise failed[0]
        return [hits for hits in found if not isinstance(hits, BaseException)]

    async def _nearest(
        self, table: AsyncTable, vector: FloatArray, k: int, where: Where | None, *, exact: bool
    ) -> list[Hit]:
        # What the index finds is measured again on the vectors themselves: the index's own distances are those of shortened
        # vectors, and not even cosines. Without an index all this costs nothing.
        query = table.vector_search(vector).column(VECTOR).distance_type("cosine").limit(k)
        if exact:
            query = query.bypass_vector_index()
        else:
            # Twenty candidates a hit keep HNSW's recall high; each index takes of this what it knows.
            ef_search = self._options.ef_search or _EF_SEARCH
            candidates = _LEAST_CANDIDATES if where is None else _FILTERED_CANDIDATES
            query = query.ef(max(ef_search, 20 * k)).refine_factor(max(_REFINE, -(-candidates // k)))
            cells = max(1, round(self._cells * ef_search / _EF_SEARCH))
            if where is not None or k > _HITS_OF_ALL_CELLS:
                cells = _ALL_CELLS
            # The engine searches further cells, without limit (0), only while it has fewer than k rows.
            query = query.maximum_nprobes(0).minimum_nprobes(cells)
        if where is not None:
            query = query.where(_sql(where))
        rows = await query.select([*self._without_vector(), "_distance"]).to_arrow()
        return [Hit(row.pop(ID), 1.0 - row.pop("_distance"), _record(row)) for row in rows.to_pylist()]

    def _count(self, where: Where | None) -> int:
        if self._table is None:
            return 0
        with _speaking_for(self.url):
            return self._run(self._table.count_rows(None if where is None else _sql(where)))

    def _get(self, ids: list[str]) -> list[Hit]:
        found: list[Hit] = []
        if self._table is not None:
            with _speaking_for(self.url):
                for some in _pieces(ids):
                    rows = self._run(
                        self._table.query().where(_ids(some)).select(self._without_vector()).limit(len(some)).to_arrow()
                    )
                    found.extend(Hit(row.pop(ID), 1.0, _record(row)) for row in rows.to_pylist())
        return found

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        if self._table is not None:
            with _speaking_for(self.url):
                for some in _pieces(ids):
                    query = self._table.query().where(_ids(some)).select([ID, VECTOR]).limit(len(some))
                    rows = self._run(query.to_arrow())
                    matrix = from_column(rows[VECTOR].combine_chunks())
                    found |= dict(zip(rows[ID].to_pylist(), matrix, strict=True))
        return found

    def _delete(self, ids: list[str]) -> None:
        if self._table is not None:
            with _speaking_for(self.url), self._turn:
                for some in _pieces(ids):
                    self._run(self._table.delete(_ids(some)))

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        if self._table is None:
            return
        with _speaking_for(self.url):
            batches = self._run(self._table.query().to_batches(max_batch_length=size))
            while (batch := self._run(anext(batches, None))) is not None:
                # Asked for `size` rows, the engine may give more.
                for start in range(0, len(batch), size):
                    piece = batch.slice(start, size)
                    records = pa.Table.from_batches([piece.drop_columns([ID, VECTOR])])
                    names = [_column(name) for name in records.column_names]
                    yield piece[ID].to_pylist(), from_column(piece[VECTOR]), records.rename_columns(names)

    def optimize(self) -> None:
        """Join small pieces, and build indexes where there are many rows: of the vectors, the ids and what filters ask for."""
        if self._table is None:
            return
        with _speaking_for(self.url), self._turn:
            self._run(self._table.optimize(cleanup_older_than=_OLD_VERSIONS))
            rows = self._run(self._table.count_rows())
            self._cells = _cells(rows)
            if rows < MIN_INDEX_ROWS:
                return
            there = self._indexed(self._table)
            for name, index in self._indexes(self._table).items():
                if name not in there:
                    self._run(self._table.create_index(name, config=index))

    def _indexed(self, table: AsyncTable) -> dict[str, str]:
        """The columns that have an index, each with what kind it is."""
        # LanceDB quotes a name that is not of letters and digits.
        found = self._run(table.list_indices())
        return {name.strip("`"): index.index_type for index in found for name in index.columns}

    def _indexes(self, table: AsyncTable) -> Mapping[str, IvfRq | HnswFlat | HnswSq | BTree | Bitmap]:
        wanted: dict[str, IvfRq | HnswFlat | HnswSq | BTree | Bitmap] = {ID: BTree()}
        if not self._options.exact:
            wanted[VECTOR] = self._index()
        columns = [field for field in self._columns if field.name not in (ID, VECTOR)]
        texts = [field.name for field in columns if pa.types.is_string(field.type)]
        sample = self._run(table.query().select([ID, *texts]).limit(1000).to_arrow())
        for field in columns:
            if field.name in texts:
                if (pc.mean(pc.binary_length(sample[field.name])).as_py() or 0) <= _SHORT_TEXT:
                    wanted[field.name] = BTree()
            else:
                wanted[field.name] = Bitmap() if pa.types.is_boolean(field.type) else BTree()
        return wanted

    def _index(self) -> IvfRq | HnswFlat | HnswSq:
        options, dims = self._options, self.space.dims
        if not options.to_dict().keys() - {"ef_search"} and dims >= _FEW_DIMS and dims % 8 == 0:
            return IvfRq(distance_type="cosine", num_bits=_BITS, target_partition_size=_CELL_ROWS)
        kind = HnswFlat if options.quantization is Quantization.NONE else HnswSq
        m, ef = options.m or _M, options.ef or _EF
        return kind(distance_type="cosine", num_partitions=1, m=m, ef_construction=ef)

    def _details(self) -> dict[str, object]:
        about: dict[str, object] = {"version": lancedb.__version__, "index": "none: every vector is compared"}
        if self._table is not None:
            with _speaking_for(self.url):
                about["bytes"] = cast(dict[str, object], self._run(self._table.stats()))["total_bytes"]
                indexes = self._indexed(self._table)
            about["index"] = indexes.get(VECTOR, about["index"])
            filters = sorted(_column(name) for name in indexes if name not in (ID, VECTOR))
            if filters:
                about["indexed columns"] = filters
        return about

    def drop(self) -> None:
        if self._table is not None:
            with _speaking_for(self.url), self._turn:
                if self._path is None:
                    self._run(self._database.drop_table(self._name))
                else:
                    self._remove(self._path)
            self._table = None
            self._columns = pa.schema([])

    def _remove(self, path: Path) -> None:
        """Delete the files of the table; what others put into its folder stays."""
        if folder_content(path) is None:
            # A copy without the hidden marker. The table itself says that Umekomi made it.
            strange = sorted({entry.name for entry in path.iterdir()} - set(_OWN_FILES))
            if strange:
                raise StoreError(
                    f"{path} also has {strange[0]!r}, which Umekomi did not create. Move it, or delete {path} yourself."
                )
            shutil.rmtree(path)
            return
        remove_folder(path, content=_CONTENT, names=_OWN_FILES)

    def close(self) -> None:
        self._table = None
        if self._process == os.getpid():
            self._loops.close()


@contextmanager
def _speaking_for(url: str) -> Iterator[None]:
    """The engine's own errors as one sentence."""
    try:
        yield
    except UmekomiError:
        raise
    except Timeout as error:
        raise StoreError(f"Another process has been writing to {url} for {_WAIT_S:.0f} s; try again later.") from error
    except (RuntimeError, ValueError, OSError, pa.ArrowException) as error:
        raise StoreError(f"{url} cannot be used: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    # LanceDB ends its messages with a place in its own source.
    return re.sub(r",? /\S+\.rs:\d+.*", "", str(error).splitlines()[0]).rstrip(". ")[:300] or type(error).__name__


def _cells(rows: int) -> int:
    return max(_LEAST_CELLS, rows // _CELL_ROWS // _SHARE_OF_CELLS)


def _field(column: str) -> str:
    """A record's column as a field of the table: LanceDB takes no dot, no backtick, no empty name, and keeps ``_…``."""
    return re.sub(r"^_|^$|[.`%]", lambda match: f"%{ord(match.group() or chr(0)):02X}", column)


def _column(field: str) -> str:
    """The reverse of :func:`_field`."""
    return re.sub(r"%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)).replace("\0", ""), field)


def _record(row: dict[str, object]) -> dict[str, object]:
    return {_column(name): value for name, value in row.items()}


def _sql(where: Where) -> str:
    return to_sql(where, lambda column: f"`{ID if column == ID else _field(column)}`")


def _pieces(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE))


def _ids(ids: Sequence[str]) -> str:
    return f"`{ID}` IN ({', '.join(map(sql_literal, ids))})"


def open_collection(address: Address, space: Space | None) -> LanceStore:
    """``lance:///folder/name``, or ``lance://folder/name`` below the current folder."""
    url, name = address.url, address.name
    folder = address.location.rstrip("/").rpartition("/")[0]
    if not folder and not address.location.startswith("/"):
        raise InputError(f"{url} names no collection; write it like lance:///folder/name.")
    folder = _local(folder or "/")
    if space is None and "://" not in folder and not Path(folder, f"{name}.lance").is_dir():
        # LanceDB would make the folder, for a name that was only mistyped.
        raise collection_not_found(url)
    return LanceStore(address, folder, name, space)


def list_collections(address: Address) -> list[str]:
    """The addresses of a folder's collections; none where there is no such folder."""
    url = address.url
    folder = _local(address.location.rstrip("/") or "/")
    if "://" not in folder and not Path(folder).is_dir():
        return []
    names: list[str] = []
    with _speaking_for(url):
        database = lancedb.connect(folder)
        page = database.list_tables()
        names.extend(page.tables)
        while page.page_token:
            page = database.list_tables(page_token=page.page_token)
            names.extend(page.tables)
    return [f"{url.rstrip('/')}/{name}" for name in sorted(names)]


def _local(folder: str) -> str:
    # Absolute, because a bare name could be one of LanceDB's hosted databases.
    return folder if "://" in folder else str(Path(folder).expanduser().absolute())
