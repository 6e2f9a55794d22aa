"""LanceDB: vectors and records in one versioned table on disk or object storage; the embedded default.

Several processes may read and write. A write is safe when it returns: it is a new version of the table, put in place whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.query import LanceVectorQueryBuilder

from ..errors import CollectionNotFoundError, InputError
from ..records import Space, matrix_of
from ..vectors import FloatArray, normalize
from .base import Hit, Store
from .where import Where, to_sql

ID, VECTOR = "_id", "_vector"
INDEX_FROM_ROWS = 50_000
"""Below this, comparing every vector is fast enough and exact."""

_METADATA = b"umekomi"


class LanceStore(Store):
    """A table of LanceDB.

    Args:
        url: for messages.
        folder: the database: a folder, or an address of object storage.
        name: the table.
        space: the space of a new collection; None opens one that is there.
    """

    def __init__(self, url: str, folder: str, name: str, space: Space | None) -> None:
        self.url = url
        self._name = name
        self._database = lancedb.connect(folder)
        self._table = self._database.open_table(name) if name in table_names(folder) else None
        if self._table is not None:
            self.space = _space(self._table.schema, url)
        elif space is None:
            raise CollectionNotFoundError(
                f"There is no collection {url}. Make it with `umekomi store load EMBEDDED.parquet {url}`."
            )
        else:
            self.space = space
        if space is not None:
            self.require_space(space)

    def schema(self) -> pa.Schema:
        if self._table is None:
            return pa.schema([])
        return pa.schema([field for field in self._table.schema if field.name not in (ID, VECTOR)])

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        taken = {ID, VECTOR} & set(records.column_names)
        if taken:
            raise InputError(f"The column name {taken.pop()!r} is taken by the store; rename it.")
        flat = pa.array(normalize(vectors).reshape(-1), pa.float32())
        columns = {ID: pa.array(ids, pa.string()), VECTOR: pa.FixedSizeListArray.from_arrays(flat, self.space.dims)}
        columns |= {name: records[name] for name in records.column_names}
        data = pa.table(columns)
        if self._table is None:
            note = {_METADATA: json.dumps(asdict(self.space)).encode()}
            self._table = self._database.create_table(self._name, data.replace_schema_metadata(note))
            return
        schema = self._table.schema
        missing = {field.name: pa.nulls(len(ids), field.type) for field in schema if field.name not in columns}
        data = pa.table({**columns, **missing}).select(schema.names).cast(schema)
        self._table.merge_insert(ID).when_matched_update_all().when_not_matched_insert_all().execute(data)

    def _search(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        if self._table is None:
            return [[] for _ in vectors]
        return [self._nearest(vector, k, where) for vector in normalize(vectors)]

    def _nearest(self, vector: FloatArray, k: int, where: Where | None) -> list[Hit]:
        assert self._table is not None  # noqa: S101 - narrows the type
        query = cast(LanceVectorQueryBuilder, self._table.search(vector, vector_column_name=VECTOR))
        query = query.distance_type("cosine").limit(k)
        # Twenty candidates a hit at least keep recall high; without an index they cost nothing.
        query = query.ef(max(200, 20 * k)).nprobes(20)
        if where is not None:
            query = query.where(to_sql(where, self.schema()), prefilter=True)
        rows = query.to_arrow().drop_columns([VECTOR]).to_pylist()
        return [Hit(row.pop(ID), 1.0 - row.pop("_distance"), row) for row in rows]

    def _count(self, where: Where | None) -> int:
        if self._table is None:
            return 0
        counted: int = self._table.count_rows(None if where is None else to_sql(where, self.schema()))
        return counted

    def get(self, ids: Sequence[str]) -> list[Hit]:
        if self._table is None or not ids:
            return []
        rows = self._table.search().where(f"{ID} IN ({_texts(ids)})").limit(len(ids)).to_arrow()
        return [Hit(row.pop(ID), 1.0, row) for row in rows.drop_columns([VECTOR]).to_pylist()]

    def delete(self, ids: Sequence[str]) -> None:
        if self._table is not None and ids:
            self._table.delete(f"{ID} IN ({_texts(ids)})")

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        if self._table is None:
            return
        for start in range(0, self._table.count_rows(), size):
            piece = self._table.search().limit(size).offset(start).to_arrow()
            vectors = np.concatenate([matrix_of(chunk) for chunk in piece[VECTOR].chunks])
            yield piece[ID].to_pylist(), vectors, piece.drop_columns([ID, VECTOR])

    def optimize(self) -> None:
        """Join small pieces, and build an HNSW index where there are many rows."""
        if self._table is None:
            return
        if self._table.count_rows() >= INDEX_FROM_ROWS:
            self._table.create_index(
                metric="cosine", vector_column_name=VECTOR, index_type="IVF_HNSW_SQ", num_partitions=1, replace=True
            )
        self._table.optimize()

    def drop(self) -> None:
        if self._table is not None:
            self._database.drop_table(self._name)
            self._table = None


def table_names(folder: str) -> list[str]:
    """The collections of a database; none where there is no such folder."""
    if "://" not in folder and not Path(folder).is_dir():
        return []
    return list(lancedb.connect(folder).list_tables().tables)


def _space(schema: pa.Schema, url: str) -> Space:
    metadata = schema.metadata or {}
    if _METADATA not in metadata:
        raise CollectionNotFoundError(f"{url} was not made by Umekomi: it does not say which model its vectors are of.")
    return Space(**json.loads(metadata[_METADATA]))


def _texts(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def open_collection(url: str, address: str, space: Space | None) -> LanceStore:
    """``lance:///folder/name``, or ``lance://folder/name`` below the current folder."""
    folder, _, name = address.rstrip("/").rpartition("/")
    if not name or not folder:
        raise InputError(f"{url} names no collection; write it like lance:///folder/name.")
    return LanceStore(url, folder, name, space)


def list_collections(url: str, address: str) -> list[str]:
    """The addresses of a folder's collections."""
    return [f"{url.rstrip('/')}/{name}" for name in table_names(address.rstrip("/"))]
