"""Base class of all vector stores: a collection of vectors and records in one embedding space.

The base class validates all arguments, repeats requests while the engine does not respond, and handles collections that
do not exist yet. Engines implement the methods with an underscore, and can rely on valid arguments and an existing
collection.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import pyarrow as pa

from ..data.embedded_file import SPARSE_COLUMN, Space
from ..errors import (
    CollectionNotFoundError,
    InputError,
    SpaceMismatchError,
    StoreError,
)
from ..settings import current
from ..vectors.arithmetic import FloatArray, as_matrix, normalize, require_nonzero
from ..vectors.sparse import SparseVectors
from .columns import ColumnType, convert_records, get_column_types
from .filters.evaluate import evaluate
from .filters.language import Where, bind_where, parse_where
from .hits import FUSED_HITS, fuse_hits, sort_hits
from .hits import Hit as Hit
from .retries import retry_until as retry_until
from .url import Address

T = TypeVar("T")
ID, VECTOR = "_id", "_vector"
"""Reserved column names. A filter may use the first one: ``_id in ('a', 'b')``."""

MAX_ID_BYTES = 65_535
"""Maximum length of an id in UTF-8. Every engine accepts keys of this length."""

_MIN_HITS_TO_COUNT = 1000
"""Searches for more hits than this count the matching rows first, as filtered searches do."""

_first_process: dict[str, int] = {}
"""Process in which each engine was first used, for engines that do not survive a fork."""


class Store(ABC):
    """A collection of rows. Each row has an id, a vector and a record. All vectors are in one embedding space.

    Ids are texts of at most 65,535 bytes. A record is a flat dictionary of text, integers, floating-point numbers,
    booleans, times and None. Times are stored in UTC with microsecond precision. All records of a collection have the
    columns of the first batch.
    """

    engine: ClassVar[str]
    max_exact_rows: ClassVar[int] = 10_000
    """Maximum number of matching rows for which a search compares every row. An approximate index misses rows under a
    filter that few rows match, or whose matches are all far from the query. Up to this size, comparing every row is
    about as fast as using the index."""
    survives_fork: ClassVar[bool] = True
    """Whether a process that was forked after the engine was used can open its own stores. Stores are never shared."""
    url: str
    space: Space
    timeout_s: float = 0.0
    """How long to repeat requests while the engine does not respond, in seconds."""
    supports_unsigned: bool = False
    """Whether integers above 2^63 - 1 are stored as numbers. Otherwise their column becomes text."""
    has_idf: ClassVar[bool] = True
    """Whether the engine multiplies the weights of BM25's queries by the inverse document frequencies of their terms. Otherwise
    a load multiplies those of the documents."""
    has_numbered_rows: bool = False
    """Whether the ids are row numbers. Row numbers do not identify rows across sources."""
    _address: Address
    _process: int = 0

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        store = super().__new__(cls)
        store._process = os.getpid()
        if not cls.survives_fork and _first_process.setdefault(cls.engine, store._process) != store._process:
            raise StoreError(
                f"{cls.engine} was used in process {_first_process[cls.engine]} before it was forked into this process, "
                "and does not work here. Start processes with multiprocessing's 'spawn' or 'forkserver' method, or open "
                "stores only after the fork."
            )
        return store

    @property
    def _exists(self) -> bool:
        """Whether the engine has the collection. The first upsert creates a new collection."""
        return True

    def upsert(
        self, ids: Sequence[str], vectors: FloatArray, records: pa.Table | Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Insert rows, or replace rows with the same ids. The rows are durable when the method returns.

        Args:
            ids: One unique id per row.
            vectors: ``(n, dims) float32`` without all-zero rows.
            records: A table with ``n`` rows, or ``n`` dictionaries. Columns that they lack are null. If the collection has
                sparse vectors, a table with the column ``sparse`` (see :meth:`~umekomi.SparseVectors.to_column`).

        Raises:
            InputError: The ids, vectors or records are invalid, or do not fit the collection. Nothing was written.
            StoreError: The engine could not write the rows.
        """
        matrix = as_matrix(vectors) if len(vectors) else np.empty((0, self.space.dims), np.float32)
        self._check_dims(matrix)
        n_records = len(ids) if records is None else len(records)
        if not len(ids) == len(matrix) == n_records:
            raise InputError(
                f"There are {len(ids)} ids, {len(matrix)} vectors and {n_records} records. Their numbers must be equal."
            )
        if not len(ids):
            return
        _check_ids(ids)
        require_nonzero(matrix, min_rows=0)
        columns = get_column_types(self.schema())
        table = pa.table({})
        sparse = None
        if self.space.sparse is not None:
            records, sparse = self._split_sparse(records)
        if records is not None:
            table = convert_records(records, columns, supports_unsigned=self.supports_unsigned)
        self._check_columns(table.column_names, columns)
        if sparse is None:
            self._retry(lambda: self._upsert(list(ids), matrix, table))
        else:
            self._retry(lambda: self._upsert_sparse(list(ids), matrix, table, sparse))

    def _split_sparse(self, records: pa.Table | Sequence[Mapping[str, Any]] | None) -> tuple[pa.Table, SparseVectors]:
        """Separate the column of sparse vectors from the other columns."""
        assert self.space.sparse is not None  # noqa: S101 - checked by the caller
        if not isinstance(records, pa.Table) or SPARSE_COLUMN not in records.column_names:
            raise InputError(
                f"{self.url} holds sparse vectors of {self.space.sparse.model}. Give a table with the column {SPARSE_COLUMN!r}, "
                "or load the rows into a new collection without sparse vectors."
            )
        sparse = SparseVectors.from_column(records[SPARSE_COLUMN], dims=self.space.sparse.dims)
        return records.drop_columns([SPARSE_COLUMN]), sparse

    def search(
        self,
        vectors: FloatArray,
        *,
        k: int = 10,
        where: str | Where | None = None,
        sparse: SparseVectors | None = None,
    ) -> list[list[Hit]]:
        """Return the nearest rows of each query vector, nearest first. Ties are ordered by id.

        With sparse vectors, the search is hybrid: rows are also ordered by the dot product of their sparse vectors, and the ranks
        of both orders are combined (reciprocal rank fusion: Cormack et al. 2009, doi:10.1145/1571941.1572114).

        Args:
            vectors: Query vectors, ``(q, dims) float32``.
            k: Maximum number of hits per query.
            where: Filter expression. Only matching rows are returned.
            sparse: Sparse vectors of the queries, for collections that have sparse vectors.

        Returns:
            A list of hits for each query.

        Raises:
            InputError: A vector is all zeros or has the wrong number of dimensions, ``k`` is less than 1, or there are sparse
                vectors for another number of queries or for a collection that has none.
            FilterError: The filter is invalid for the columns of the collection.
            StoreError: The engine could not answer.
        """
        matrix = as_matrix(vectors)
        self._check_dims(matrix)
        if k < 1:
            raise InputError(f"The number of hits is {k}. It must be at least 1.")
        require_nonzero(matrix, min_rows=0)
        if sparse is not None:
            self._check_sparse(sparse, len(matrix))
        bound = self._bind(where)
        if not self._exists:
            return [[] for _ in matrix]
        if sparse is None:
            return list(map(sort_hits, self._retry(lambda: self._search_complete(matrix, k, bound))))
        n_candidates = max(k, FUSED_HITS)
        dense = self._retry(lambda: self._search_complete(matrix, n_candidates, bound))
        matches = self._retry(lambda: self._search_sparse(sparse, n_candidates, bound))
        return [fuse_hits(lists, k) for lists in zip(dense, matches, strict=True)]

    def _check_sparse(self, sparse: SparseVectors, n_queries: int) -> None:
        if self.space.sparse is None:
            raise InputError(
                f"{self.url} has no sparse vectors. Embed the texts with `umekomi embed --sparse bm25`, and load the file into a "
                "store that supports them: memory, milvus, qdrant or qdrant-edge."
            )
        if len(sparse) != n_queries or sparse.dims != self.space.sparse.dims:
            raise InputError(
                f"There are {len(sparse)} sparse vectors of {sparse.dims:,} dimensions; {n_queries} of "
                f"{self.space.sparse.dims:,} are needed."
            )

    def _search_complete(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        """Search with the index where it is reliable, and compare every matching row otherwise.

        Every result has ``min(k, matching rows)`` hits.
        """
        if where is not None or k > _MIN_HITS_TO_COUNT:
            n_rows = self._count_up_to(where, 1 + max(self.max_exact_rows, 2 * k))
            if not n_rows:
                return [[] for _ in vectors]
            k = min(k, n_rows)
            if self._prefers_exact(k, n_rows):
                return self._search(vectors, k, where, exact=True)
        hits = self._search(vectors, k, where, exact=False)
        if min(map(len, hits)) < k:
            k = min(k, self._count(where))
            if min(map(len, hits)) < k:
                return self._search(vectors, k, where, exact=True)
        return hits

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        """Return whether to compare all of the ``n_rows`` matching rows instead of searching the index."""
        # Retrieving half of the rows or more from the index is slower than comparing all of them.
        return n_rows <= max(self.max_exact_rows, 2 * k)

    def _search_by_scanning(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        """Compare every matching row in this process. Engines that cannot compare all rows use this method."""
        queries = normalize(vectors)
        nearest = [(np.empty(0, np.float32), np.empty(0, object)) for _ in queries]
        for ids, matrix in self._iterate_matches(where):
            for query, scores in enumerate(queries @ normalize(matrix).T):
                scores = np.concatenate([nearest[query][0], scores])
                names = np.concatenate([nearest[query][1], np.array(ids, dtype=object)])
                order = np.argsort(-scores, kind="stable")[:k]
                nearest[query] = scores[order], names[order]
        return [self._get_hits(dict(zip(names, scores.tolist(), strict=True))) for scores, names in nearest]

    def _iterate_matches(self, where: Where | None) -> Iterator[tuple[list[str], FloatArray]]:
        """Yield ids and vectors ``(n, dims) float32`` of the matching rows."""
        for ids, matrix, records in self._iterate(1024):
            if where is not None:
                table = records.append_column(ID, pa.array(ids, pa.string()))
                mask = evaluate(where, table).fill_null(False).to_numpy()
                ids, matrix = [name for name, matches in zip(ids, mask, strict=True) if matches], matrix[mask]
            if ids:
                yield ids, matrix

    def _get_hits(self, scores: Mapping[str, float]) -> list[Hit]:
        """Look up the rows of a mapping from ids to scores."""
        return [Hit(hit.id, scores[hit.id], hit.record) for hit in self._get(list(scores))] if scores else []

    def check_where(self, where: str | Where | None) -> None:
        """Raise FilterError unless the filter is valid for the columns of the collection."""
        self._bind(where)

    def count(self, where: str | Where | None = None) -> int:
        """Return the number of rows, or of the rows that match a filter."""
        bound = self._bind(where)
        return self._retry(lambda: self._count(bound)) if self._exists else 0

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """Return the rows with these ids, in any order. Their score is 1. Ids without a row are ignored."""
        unique = list(dict.fromkeys(ids))
        return self._retry(lambda: self._get(unique)) if unique and self._exists else []

    def get_vectors(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """Return the unit vectors ``(dims,) float32`` of the rows with these ids. Ids without a row are ignored."""
        unique = list(dict.fromkeys(ids))
        return self._retry(lambda: self._get_vectors(unique)) if unique and self._exists else {}

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the rows with these ids. Ids without a row are ignored."""
        unique = list(dict.fromkeys(ids))
        if unique and self._exists:
            self._retry(lambda: self._delete(unique))

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        """Iterate over all rows: ids, vectors ``(n, dims) float32`` and records, at most ``size`` rows at a time."""
        return self._iterate(size) if self._exists else iter(())

    def optimize(self) -> None:
        """Build indexes. Call it after many rows were written."""
        if self._exists:
            self._optimize()

    def drop(self) -> None:
        """Delete the collection."""
        if self._exists:
            self._drop()

    def close(self) -> None:
        """Release the connections and files of the store."""
        # A forked process shares the connections of its parent. Closing them would end the parent's sessions.
        if self._process == os.getpid():
            self._close()

    def info(self) -> dict[str, object]:
        """Describe the collection: engine, embedding space, number of rows, columns and engine details."""
        columns = {name: str(column_type) for name, column_type in get_column_types(self.schema()).items()}
        about = {"url": self.url, "engine": self.engine, "rows": self.count(), **self.space.to_dict()}
        return {**about, "columns": columns, **self._details()}

    def require_space(self, space: Space) -> None:
        """Raise SpaceMismatchError unless vectors of this space can be searched and stored in the collection."""
        if space.fingerprint != self.space.fingerprint:
            raise SpaceMismatchError(
                f"{self.url} holds vectors of {self.space.model} ({self.space.fingerprint}); these are of "
                f"{space.model} ({space.fingerprint}). Use the model {self.space.model}, or embed the texts again."
            )
        ours, theirs = self.space.sparse, space.sparse
        if ours is not None and theirs is not None and ours.fingerprint != theirs.fingerprint:
            raise SpaceMismatchError(
                f"{self.url} holds sparse vectors of {ours.model} ({ours.fingerprint}); these are of {theirs.model} "
                f"({theirs.fingerprint}). Load them into another collection."
            )
        if space.role and self.space.role and space.role != self.space.role:
            raise SpaceMismatchError(
                f"{self.url} holds vectors of the role {self.space.role} ({self.space.model}); these have the role "
                f"{space.role} ({space.model}). Load them into another collection."
            )

    def _bind(self, where: str | Where | None) -> Where | None:
        """Parse a filter and bind it to the columns of the collection."""
        if where is None:
            return None
        tree = parse_where(where) if isinstance(where, str) else where
        return bind_where(tree, {**self._filter_columns(), ID: ColumnType.TEXT})

    def _filter_columns(self) -> dict[str, ColumnType]:
        return get_column_types(self.schema())

    def _check_dims(self, matrix: FloatArray) -> None:
        if matrix.shape[1] != self.space.dims:
            raise InputError(f"The vectors have {matrix.shape[1]} dimensions; {self.url} holds {self.space.dims}.")

    def _check_columns(self, names: Sequence[str], columns: Mapping[str, ColumnType]) -> None:
        reserved = [name for name in names if name in (ID, VECTOR)]
        if reserved:
            raise InputError(f"The column name {reserved[0]!r} is reserved. Rename the column.")
        unknown = [name for name in names if name not in columns]
        if unknown and (columns or self.count()):
            raise InputError(
                f"{self.url} has no column {', '.join(map(repr, unknown))}; its columns are "
                f"{', '.join(columns) or 'none'}. Leave the new columns out, or load all rows into a new collection."
            )

    def _check_process(self) -> None:
        """Raise StoreError in a process that was forked after the store was opened. Connections cannot be shared."""
        if self._process != os.getpid():
            raise StoreError(
                f"{self.url} was opened in process {self._process} before it was forked into this process. "
                "Open it again here."
            )

    def _retry(self, call: Callable[[], T]) -> T:
        return retry_until(call, self.timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickling keeps the address without the secret. Unpickling opens the store again.
        return _reopen, (type(self).__module__, self._address.without_secret(), self.space)

    def __copy__(self) -> Store:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: object) -> Store:
        return _open(type(self).__module__, self._address, self.space)

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Return the columns of the records. There are none before the first upsert."""

    @abstractmethod
    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None: ...

    def _upsert_sparse(self, ids: list[str], vectors: FloatArray, records: pa.Table, sparse: SparseVectors) -> None:
        """Write rows with sparse vectors. Engines of which ``EngineSpec.has_sparse`` is True implement it."""
        raise NotImplementedError

    def _search_sparse(self, sparse: SparseVectors, k: int, where: Where | None) -> list[list[Hit]]:
        """Return the rows with the largest dot products above 0 for each query, for engines with sparse vectors."""
        raise NotImplementedError

    @abstractmethod
    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        """Return the nearest rows of each query. With ``exact``, compare every matching row."""

    @abstractmethod
    def _count(self, where: Where | None) -> int: ...

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        """Return an upper bound of the number of matching rows.

        ``limit`` stands for any larger number, and for a number that is expensive to compute.
        """
        return self._count(where)

    @abstractmethod
    def _get(self, ids: list[str]) -> list[Hit]: ...

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        # This works for every engine but scans the collection. Engines that can look up vectors by id override it.
        requested = set(ids)
        return {
            name: vector
            for names, matrix, _ in self._iterate(1024)
            for name, vector in zip(names, matrix, strict=True)
            if name in requested
        }

    @abstractmethod
    def _delete(self, ids: list[str]) -> None: ...

    @abstractmethod
    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]: ...

    def _optimize(self) -> None:  # noqa: B027 - most engines need no optimization
        """Build indexes."""

    @abstractmethod
    def _drop(self) -> None: ...

    def _close(self) -> None:  # noqa: B027 - an engine in memory has nothing to release
        """Release connections and files."""

    def _details(self) -> dict[str, object]:
        """Return what :meth:`info` adds for this engine."""
        return {}


def _open(module: str, address: Address, space: Space | None) -> Store:
    store: Store = importlib.import_module(module).open_collection(address, space)
    return store


def _reopen(module: str, address: Address, space: Space | None) -> Store:
    """Open a pickled store with the password or key of this process's environment."""
    return _open(module, address.with_secret(dict(current().secrets)), space)


def collection_not_found(url: str) -> CollectionNotFoundError:
    """Return the error for a collection that does not exist."""
    return CollectionNotFoundError(
        f"There is no collection {url}. Create it with `umekomi store load EMBEDDED.parquet {url}`."
    )


def _check_ids(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if not isinstance(name, str) or not name:
            raise InputError(f"The id of row {row} is {name!r}. Ids must be non-empty text.")
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:
            raise InputError(f"The id of row {row} contains a lone surrogate, which is not text.") from error
        if size > MAX_ID_BYTES or "\0" in name:
            raise InputError(f"The id of row {row} is longer than {MAX_ID_BYTES} bytes or contains a NUL character.")
        if name in seen:
            raise InputError(f"The id {name[:60]!r} occurs more than once in the batch.")
        seen.add(name)
