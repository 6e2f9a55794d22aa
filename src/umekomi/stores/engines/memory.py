"""The exact store in memory. Every vector is compared, and the other stores are tested against it.

The collection ``memory://name`` exists as long as the process. ``memory://name?quantization=binary`` compares the sign
bits of all vectors and then the vectors of the best candidates. From about 20,000 rows on this is faster, and nearly
exact. The gain is large if the nearest rows stand out from the rest, and smaller if many rows are about equally near.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...data.embedded_file import Space
from ...encoders.sparse.bm25 import inverse_document_frequency, is_bm25
from ...errors import CollectionNotFoundError, InputError
from ...vectors.arithmetic import FloatArray, normalize
from ...vectors.binary_search import BinaryIndex, to_words
from ...vectors.sparse import SparseVectors
from ..base import ID, Hit, Store
from ..columns import ColumnType
from ..filters.evaluate import evaluate
from ..filters.language import Where
from ..url import Address, Quantization

_BLOCK_SCORES = 1 << 24
"""Number of scores that are computed at once (64 MiB of float32), for any number of queries."""

MIN_CANDIDATES, CANDIDATES_PER_HIT = 500, 30
"""Number of vectors that are compared after their bits: at least, and per hit."""

MIN_BINARY_ROWS = 20_000
"""Comparing the bits of fewer rows is not faster than comparing their vectors."""


class MemoryStore(Store):
    """An exact store in the memory of this process.

    Args:
        url: URL of the collection.
        space: Embedding space of the vectors.
    """

    engine = "memory"
    supports_unsigned = True

    def __init__(self, url: str, space: Space) -> None:
        self.url = url
        self.space = space
        self._clear()

    def _clear(self) -> None:
        self._rows: dict[str, int] = {}
        self._vectors: FloatArray = np.empty((0, self.space.dims), dtype=np.float32)
        self._records = pa.table({ID: pa.array([], pa.string())})
        self._sparse = SparseVectors.from_parts([], dims=self.space.sparse.dims if self.space.sparse else 1)

    def schema(self) -> pa.Schema:
        return self._records.schema.remove(0)

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        self._delete(ids)
        columns = {ID: pa.array(ids, pa.string())}
        columns |= {name: self._cast_to_stored_type(name, records[name]) for name in records.column_names}
        # Columns that the batch or the collection lacks become null.
        self._records = pa.concat_tables([self._records, pa.table(columns)], promote_options="default").combine_chunks()
        unit = normalize(vectors)
        self._vectors = np.concatenate([self._vectors, unit]) if len(self._vectors) else unit
        self._rows.update({name: row for row, name in enumerate(ids, start=len(self._rows))})

    def _upsert_sparse(self, ids: list[str], vectors: FloatArray, records: pa.Table, sparse: SparseVectors) -> None:
        self._upsert(ids, vectors, records)
        self._sparse = SparseVectors.concatenate([self._sparse, sparse], dims=sparse.dims)

    def _search_sparse(self, sparse: SparseVectors, k: int, where: Where | None) -> list[list[Hit]]:
        assert self.space.sparse is not None  # noqa: S101 - checked by the caller
        rows = self._find_matches(where)
        scores = self._multiply(sparse, uses_idf=is_bm25(self.space.sparse.model))[:, rows]
        hits = []
        for row_scores in scores:
            positive = np.flatnonzero(row_scores > 0)
            nearest = positive[self._select_nearest(row_scores[positive], rows[positive], k)]
            hits.append(self._to_hits(rows[nearest].tolist(), row_scores[nearest]))
        return hits

    def _multiply(self, queries: SparseVectors, *, uses_idf: bool) -> FloatArray:
        """Return the dot products of queries and all rows: ``(len(queries), rows) float32``.

        With ``uses_idf``, the weights of the queries are multiplied by the inverse document frequencies of their terms.
        """
        stored, n_rows = self._sparse, len(self._sparse)
        owners = np.repeat(np.arange(n_rows), np.diff(stored.indptr))
        products = np.zeros((len(queries), n_rows), dtype=np.float32)
        for number in range(len(queries)):
            query = queries.row(number)
            terms, weights = np.array(list(query), dtype=np.int32), np.array(list(query.values()))
            if not len(terms):
                continue
            columns = np.minimum(np.searchsorted(terms, stored.indices), len(terms) - 1)
            matches = np.flatnonzero(terms[columns] == stored.indices)
            columns = columns[matches]
            if uses_idf:
                counts = np.bincount(columns, minlength=len(terms)).astype(np.float64)
                weights = weights * inverse_document_frequency(n_rows, counts)
            values = stored.values[matches] * weights[columns]
            products[number] = np.bincount(owners[matches], weights=values, minlength=n_rows)
        return products

    def _cast_to_stored_type(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Convert integers to signed or unsigned, as the collection's column is."""
        index = self._records.schema.get_field_index(name)
        if index < 0 or self._records.schema.field(index).type == column.type:
            return column
        try:
            return column.cast(self._records.schema.field(index).type)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"The column {name!r} has values that do not fit the type of the collection's column: {error}."
            ) from error

    def _filter_columns(self) -> dict[str, ColumnType]:
        unsigned = {field.name: ColumnType.UNSIGNED for field in self.schema() if field.type == pa.uint64()}
        return super()._filter_columns() | unsigned

    def _delete(self, ids: Sequence[str]) -> None:
        deleted = {self._rows[name] for name in ids if name in self._rows}
        if deleted:
            remaining = np.array([row for row in range(len(self._rows)) if row not in deleted], dtype=np.int64)
            self._select(remaining)

    def _select(self, rows: npt.NDArray[np.int64]) -> None:
        """Keep only these rows, in this order."""
        self._vectors = self._vectors[rows]
        if len(self._sparse):
            self._sparse = self._sparse.take(rows.tolist())
        self._records = self._records.take(pa.array(rows))
        self._rows = {name: row for row, name in enumerate(self._records[ID].to_pylist())}

    def _get(self, ids: list[str]) -> list[Hit]:
        rows = [self._rows[name] for name in ids if name in self._rows]
        return self._to_hits(rows, np.ones(len(rows), dtype=np.float32))

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        return {name: self._vectors[self._rows[name]] for name in ids if name in self._rows}

    def _search_complete(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        return self._search(vectors, k, where, exact=False)

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        rows = self._find_matches(where)
        if not len(rows):
            return [[] for _ in vectors]
        candidates = self._vectors if where is None else self._vectors[rows]
        queries = normalize(vectors)
        step = max(1, _BLOCK_SCORES // len(rows))
        hits = []
        for start in range(0, len(queries), step):
            for scores in queries[start : start + step] @ candidates.T:
                nearest = self._select_nearest(scores, rows, k)
                hits.append(self._to_hits(rows[nearest].tolist(), scores[nearest]))
        return hits

    def _select_nearest(self, scores: FloatArray, rows: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
        """Return the indices of the ``k`` highest scores. Ties at the last score are resolved by id."""
        if k >= len(scores):
            return np.arange(len(scores), dtype=np.int64)
        indices = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        if len(indices) == k:
            return indices
        ids = self._records[ID].take(pa.array(rows[indices])).to_pylist()
        order = sorted(range(len(indices)), key=lambda index: (-scores[indices[index]], ids[index]))
        return indices[order[:k]]

    def _find_matches(self, where: Where | None) -> npt.NDArray[np.int64]:
        """Return the numbers of the matching rows."""
        if where is None:
            return np.arange(len(self._rows), dtype=np.int64)
        return np.flatnonzero(evaluate(where, self._records).fill_null(False).to_numpy())

    def _to_hits(self, rows: list[int], scores: FloatArray) -> list[Hit]:
        records = self._records.take(pa.array(rows, pa.int64())).to_pylist()
        return [Hit(record.pop(ID), float(score), record) for score, record in zip(scores, records, strict=True)]

    def _count(self, where: Where | None) -> int:
        return len(self._find_matches(where))

    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        records, vectors = self._records, self._vectors
        for start in range(0, len(vectors), size):
            batch = records.slice(start, size)
            yield batch[ID].to_pylist(), vectors[start : start + size], batch.drop_columns([ID])

    def __reduce__(self) -> tuple[Any, ...]:
        # The rows exist only in this process, so that a pickled store contains them.
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: object) -> MemoryStore:
        store = type(self).__new__(type(self))
        store.__dict__.update(copy.deepcopy(self.__dict__))
        return store

    def _check_process(self) -> None:
        # A forked process has its own copy of the rows.
        pass

    def _drop(self) -> None:
        self._clear()
        _collections.pop(self.url, None)


class BinaryMemoryStore(MemoryStore):
    """A store in memory that selects candidates by their sign bits. Scores are those of the full vectors."""

    def _clear(self) -> None:
        super()._clear()
        self._words = to_words(np.empty((0, self.space.dims), dtype=np.float32))

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        super()._upsert(ids, vectors, records)
        self._words = np.concatenate([self._words, to_words(self._vectors[-len(ids) :])], axis=1)

    def _select(self, rows: npt.NDArray[np.int64]) -> None:
        super()._select(rows)
        self._words = np.ascontiguousarray(self._words[:, rows])

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        rows = self._find_matches(where)
        n_candidates = max(MIN_CANDIDATES, CANDIDATES_PER_HIT * k)
        if len(rows) < max(MIN_BINARY_ROWS, n_candidates):
            return super()._search(vectors, k, where, exact=True)
        scan = BinaryIndex(self._words if where is None else np.ascontiguousarray(self._words[:, rows]))
        candidates = self._vectors if where is None else self._vectors[rows]
        hits = []
        for query in normalize(vectors):
            indices, scores = scan.search(query, candidates, k=k, min_candidates=n_candidates)
            nearest = self._select_nearest(scores, rows[indices], k)
            hits.append(self._to_hits(rows[indices[nearest]].tolist(), scores[nearest]))
        return hits

    def _details(self) -> dict[str, object]:
        return {"quantization": Quantization.BINARY.value, "bytes_of_bits": self._words.nbytes}


_collections: dict[str, MemoryStore] = {}


def open_collection(address: Address, space: Space | None) -> MemoryStore:
    """Open ``memory://name``. With a space, create the collection if it does not exist."""
    url, quantization = address.url, address.options.quantization
    _ = address.name  # checks the name
    store = _collections.get(url)
    if store is None:
        if space is None:
            raise CollectionNotFoundError(
                f"There is no collection {url}. Collections in memory end with the process that created them."
            )
        store_type = BinaryMemoryStore if quantization is Quantization.BINARY else MemoryStore
        _collections[url] = store = store_type(url, space)
    stored = Quantization.BINARY if isinstance(store, BinaryMemoryStore) else Quantization.NONE
    if quantization not in (None, stored):
        raise InputError(
            f"{url} was created with quantization={stored}. Drop it to create it with quantization={quantization}."
        )
    if space is not None:
        store.require_space(space)
    return store


def list_collections(address: Address) -> list[str]:
    """Return the URLs of this process's collections."""
    return sorted(_collections)
