"""The exact store: every vector is compared. What the other stores are measured against.

``memory://name`` names a collection that lives as long as the process. ``memory://name?quantization=binary`` compares the bits
of all vectors and then the vectors of the best: from some ten thousand rows on faster, and nearly exact. Where the
nearest stand out from the rest it is much faster; where many rows are about as near, it compares many.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.embedded_file import Space
from ...errors import CollectionNotFoundError, InputError
from ...vectors.arithmetic import FloatArray, IntArray, normalize
from ...vectors.binary_search import BinaryIndex, to_words
from ..base import ID, Hit, Store
from ..columns import ColumnType
from ..filters.evaluate import evaluate
from ..filters.language import Where
from ..url import Address, Quantization

_BLOCK = 1 << 24
"""Scores at once: 64 MiB of float32, however many queries there are."""


LEAST_CANDIDATES, CANDIDATES_PER_HIT = 500, 30
"""How many vectors are compared after their bits: at least, and for each hit."""
EXACT_BELOW_ROWS = 20_000
"""Below this, bits are not worth it."""


class MemoryStore(Store):
    """An exact store that ends with the process."""

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

    def schema(self) -> pa.Schema:
        return self._records.schema.remove(0)

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        self._remove(ids)
        columns = {ID: pa.array(ids, pa.string())}
        columns |= {name: self._of_column_type(name, records[name]) for name in records.column_names}
        # A column that is missing from a batch is null there.
        self._records = pa.concat_tables([self._records, pa.table(columns)], promote_options="default").combine_chunks()
        self._vectors = np.concatenate([self._vectors, normalize(vectors)])
        self._rows.update({name: row for row, name in enumerate(ids, start=len(self._rows))})

    def _of_column_type(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Whole numbers, with or without a sign as the collection has them."""
        index = self._records.schema.get_field_index(name)
        if index < 0 or self._records.schema.field(index).type == column.type:
            return column
        try:
            return column.cast(self._records.schema.field(index).type)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"The column {name!r} has values that the collection's type cannot hold: {error}."
            ) from error

    def _filter_columns(self) -> dict[str, ColumnType]:
        unsigned = {field.name: ColumnType.UNSIGNED for field in self.schema() if field.type == pa.uint64()}
        return super()._filter_columns() | unsigned

    def _delete(self, ids: list[str]) -> None:
        self._remove(ids)

    def _remove(self, ids: Sequence[str]) -> None:
        gone = {self._rows[name] for name in ids if name in self._rows}
        if gone:
            kept = np.array([row for row in range(len(self._rows)) if row not in gone], dtype=np.int64)
            self._vectors = self._vectors[kept]
            self._records = self._records.take(pa.array(kept))
            self._rows = {name: row for row, name in enumerate(self._records[ID].to_pylist())}
            self._keep(kept)

    def _keep(self, rows: IntArray) -> None:
        """These rows are left of those that were there, in this order."""

    def _get(self, ids: list[str]) -> list[Hit]:
        rows = [self._rows[name] for name in ids if name in self._rows]
        return self._hits(rows, np.ones(len(rows), dtype=np.float32))

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        return {name: self._vectors[self._rows[name]] for name in ids if name in self._rows}

    def _search_all(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        return self._search(vectors, k, where, exact=False)

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        rows = self._matching(where)
        if not len(rows):
            return [[] for _ in vectors]
        candidates = self._vectors if where is None else self._vectors[rows]
        queries = normalize(vectors)
        step = max(1, _BLOCK // len(rows))
        found = []
        for start in range(0, len(queries), step):
            for line in queries[start : start + step] @ candidates.T:
                nearest = self._nearest(line, rows, k)
                found.append(self._hits(rows[nearest].tolist(), line[nearest]))
        return found

    def _nearest(self, scores: FloatArray, rows: IntArray, k: int) -> IntArray:
        """The places of the ``k`` highest scores; of those as high as the last, the first by their ids."""
        if k >= len(scores):
            return np.arange(len(scores), dtype=np.int64)
        places = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        if len(places) == k:
            return places
        ids = self._records[ID].take(pa.array(rows[places])).to_pylist()
        order = sorted(range(len(places)), key=lambda place: (-scores[places[place]], ids[place]))
        return places[order[:k]]

    def _matching(self, where: Where | None) -> IntArray:
        if where is None:
            return np.arange(len(self._rows), dtype=np.int64)
        mask = evaluate(where, self._records).fill_null(False)
        return np.flatnonzero(mask.to_numpy())

    def _hits(self, rows: list[int], scores: FloatArray) -> list[Hit]:
        records = self._records.take(pa.array(rows, pa.int64())).to_pylist()
        return [Hit(record.pop(ID), float(score), record) for score, record in zip(scores, records, strict=True)]

    def _count(self, where: Where | None) -> int:
        return len(self._matching(where))

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        records, vectors = self._records, self._vectors
        for start in range(0, len(vectors), size):
            piece = records.slice(start, size)
            yield piece[ID].to_pylist(), vectors[start : start + size], piece.drop_columns([ID])

    def __reduce__(self) -> tuple[Any, ...]:
        # The rows live in this process only: a copy has its own.
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: object) -> MemoryStore:
        made = type(self).__new__(type(self))
        made.__dict__.update(copy.deepcopy(self.__dict__))
        return made

    def _check_process(self) -> None:
        # A forked process has a copy of the rows.
        pass

    def drop(self) -> None:
        self._clear()
        _COLLECTIONS.pop(self.url, None)


class BitStore(MemoryStore):
    """A store in this process that finds its candidates by their bits. The vectors stay as they are, and give the scores."""

    def _clear(self) -> None:
        super()._clear()
        self._words = to_words(np.empty((0, self.space.dims), dtype=np.float32))

    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None:
        super()._upsert(ids, vectors, records)
        self._words = np.concatenate([self._words, to_words(self._vectors[-len(ids) :])], axis=1)

    def _keep(self, rows: IntArray) -> None:
        self._words = np.ascontiguousarray(self._words[:, rows])

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        rows = self._matching(where)
        n = max(LEAST_CANDIDATES, CANDIDATES_PER_HIT * k)
        if len(rows) < max(EXACT_BELOW_ROWS, n):
            return super()._search(vectors, k, where, exact=True)
        words = self._words if where is None else np.ascontiguousarray(self._words[:, rows])
        queries = normalize(vectors)
        found = []
        vectors = self._vectors if where is None else self._vectors[rows]
        scan = BinaryIndex(words)
        for query in queries:
            places, scores = scan.search(query, vectors, k=k, min_candidates=n)
            nearest = self._nearest(scores, rows[places], k)
            found.append(self._hits(rows[places[nearest]].tolist(), scores[nearest]))
        return found

    def _details(self) -> dict[str, object]:
        return {"quantization": Quantization.BINARY.value, "bytes_of_bits": self._words.nbytes}


_COLLECTIONS: dict[str, MemoryStore] = {}


def open_collection(address: Address, space: Space | None) -> MemoryStore:
    """``memory://name``, made where a space is given and it is not there yet."""
    url = address.url
    _ = address.name
    quantization = address.options.quantization
    if url in _COLLECTIONS and quantization is not None:
        made = Quantization.BINARY if isinstance(_COLLECTIONS[url], BitStore) else Quantization.NONE
        if quantization is not made:
            raise InputError(f"{url} was made with quantization={made}; drop it to make it with {quantization}.")
    if url not in _COLLECTIONS:
        if space is None:
            raise CollectionNotFoundError(f"There is no collection {url}; it ends with the process that made it.")
        kind = BitStore if quantization is Quantization.BINARY else MemoryStore
        _COLLECTIONS[url] = kind(url, space)
    if space is not None:
        _COLLECTIONS[url].require_space(space)
    return _COLLECTIONS[url]


def list_collections(address: Address) -> list[str]:
    """The addresses of this process's collections."""
    return sorted(_COLLECTIONS)
