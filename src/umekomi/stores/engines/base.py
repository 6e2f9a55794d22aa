"""Base classes shared by the engines."""

from __future__ import annotations

import os
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol, TypeVar

import pyarrow as pa

from ...data.embedded_file import Space
from ...errors import InputError, StoreError
from ...vectors.arithmetic import FloatArray, normalize
from ...vectors.sparse import SparseVectors
from ..base import Hit, Store, collection_not_found, retry_until
from ..columns import ColumnType, get_column_types
from ..errors import Failure, translate_errors
from ..filters.approximate import Approximation, filter_hits, search_candidates
from ..filters.language import Where
from ..metadata import CollectionMetadata
from ..url import Address

T = TypeVar("T")
Classifier = Callable[[Exception], tuple[Failure, str] | None]


class CollectionStore(Store):
    """Base class of engines that store :class:`CollectionMetadata` with each collection.

    A subclass sets up its connection before it calls this constructor.

    Args:
        address: Address of the collection.
        space: Space of a new collection. None opens an existing one.

    Raises:
        CollectionNotFoundError: The collection does not exist, and ``space`` is None.
        InputError: The engine does not support the number of dimensions or the options of a new collection.
        SpaceMismatchError: The collection exists and holds vectors of another space.
    """

    max_dims: ClassVar[int]
    mutable_options: ClassVar[Sequence[str]] = ("ef_search",)
    """Options that may differ from those that the collection was created with."""

    def __init__(self, address: Address, space: Space | None) -> None:
        self.url, self.timeout_s = address.url, address.timeout_s
        self._address = address
        self._options = address.options
        self._metadata: CollectionMetadata | None = None
        try:
            retry_until(self._refresh, address.open_timeout_s)
            if space is None and self._metadata is None:
                raise collection_not_found(self.url)
            if space is not None:
                if self._metadata is None:
                    self.space = space
                    self._check_new(space)
                self.require_space(space)
        except BaseException:
            self.close()
            raise

    @property
    def _exists(self) -> bool:
        return self._metadata is not None

    @property
    def _columns(self) -> Mapping[str, ColumnType]:
        """Types of the record columns in order."""
        return {} if self._metadata is None else self._metadata.columns

    def schema(self) -> pa.Schema:
        return pa.schema([]) if self._metadata is None else self._metadata.schema()

    def _check_new(self, space: Space) -> None:
        """Raise InputError if the engine does not support a new collection with this space and these options."""
        if space.dims > self.max_dims:
            raise InputError(
                f"The vectors have {space.dims:,} dimensions; {self.engine} supports at most {self.max_dims:,}."
            )

    def _set_metadata(self, metadata: CollectionMetadata) -> None:
        self._options = self._address.options.merge_over(metadata.options, self.url, mutable=self.mutable_options)
        self._metadata, self.space = metadata, metadata.space

    def _refresh(self) -> None:
        """Read the metadata of the collection, if it exists."""
        with self._translate_errors():
            metadata = self._read_metadata()
        if metadata is not None:
            self._set_metadata(metadata)

    def _close_when_collected(self, connection: Closable) -> None:
        """Close a connection when the store is garbage collected, because some clients warn about open connections."""
        weakref.finalize(self, _close_in_process, connection, os.getpid())

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Return a context for calls of the engine, which raises its errors as errors of Umekomi."""
        self._check_process()
        with translate_errors(self._address, self._classify_error):
            yield

    def _upsert_sparse(self, ids: list[str], vectors: FloatArray, records: pa.Table, sparse: SparseVectors) -> None:
        self._upsert(ids, vectors, records, sparse)

    def _upsert(
        self, ids: list[str], vectors: FloatArray, records: pa.Table, sparse: SparseVectors | None = None
    ) -> None:
        columns = get_column_types(records.schema) if self._metadata is None else self._columns
        # Rows are encoded first, so that an invalid record raises an error before the collection is created.
        rows = self._encode(ids, records, columns)
        if self._metadata is None:
            self._create(CollectionMetadata(self.space, columns, self._options))
            if list(self._columns.items()) != list(columns.items()):
                if any(self._columns.get(name) is not column_type for name, column_type in columns.items()):
                    raise InputError(
                        f"Another process created {self.url} with other columns at the same time. Open it again."
                    )
                rows = self._encode(ids, records, self._columns)
        self._write(ids, normalize(vectors), rows if sparse is None else self._add_sparse(rows, sparse))

    def _create(self, metadata: CollectionMetadata) -> None:
        """Create the collection. If another process creates it first, use that collection."""
        with self._translate_errors():
            stored = self._create_collection(metadata)
        if stored is None:
            raise StoreError(f"Another process deleted {self.url}. Try again.")
        self._set_metadata(stored)
        self.require_space(metadata.space)

    def _drop(self) -> None:
        # Another program may have replaced the collection. This raises an error if the new one is not Umekomi's.
        self._refresh()
        self._drop_collection()
        self._metadata = None

    @staticmethod
    @abstractmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        """Classify an error of the engine; see :func:`translate_errors`."""

    @abstractmethod
    def _read_metadata(self) -> CollectionMetadata | None:
        """Return the metadata that is stored in the engine, or None if the collection does not exist.

        Raises:
            CollectionNotFoundError: The collection was created by another program.
        """

    @abstractmethod
    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        """Create the collection unless it exists, and return the metadata that is then stored in the engine."""

    @abstractmethod
    def _encode(self, ids: list[str], records: pa.Table, columns: Mapping[str, ColumnType]) -> Any:
        """Convert records with any subset of the columns to the form that :meth:`_write` expects.

        Raises:
            InputError: The engine cannot store one of the records.
        """

    def _add_sparse(self, rows: Any, sparse: SparseVectors) -> Any:
        """Add sparse vectors to encoded rows, for engines with sparse vectors."""
        raise NotImplementedError

    @abstractmethod
    def _write(self, ids: list[str], vectors: FloatArray, rows: Any) -> None:
        """Write encoded rows with unit vectors ``(n, dims) float32``."""

    @abstractmethod
    def _drop_collection(self) -> None: ...


class FilteredStore(CollectionStore):
    """Base class of engines that cannot evaluate every filter exactly.

    The engine evaluates a looser filter, and the rows that it returns are filtered again in this process.
    """

    max_hits: ClassVar[int] = 1 << 62
    """Maximum number of hits that the engine returns for one query."""
    can_compare_all: ClassVar[bool] = True
    """Whether the engine can compare a query with every row. Otherwise rows are read and compared in this process."""

    @abstractmethod
    def _approximate(self, where: Where) -> Approximation:
        """Return a looser and a stricter filter that the engine can evaluate."""

    @abstractmethod
    def _nearest(self, queries: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        """Return the nearest rows of unit vectors ``(q, dims) float32`` under a filter that the engine can evaluate."""

    def _match_sparse(self, query: Mapping[int, float], k: int, where: Where | None) -> list[Hit]:
        """Return the rows with the largest dot products with a sparse vector, for engines with sparse vectors."""
        raise NotImplementedError

    def _search_sparse(self, sparse: SparseVectors, k: int, where: Where | None) -> list[list[Hit]]:
        approximation = None if where is None else self._approximate(where)
        looser = None if approximation is None else approximation.looser

        def search(query: Mapping[int, float]) -> list[Hit]:
            # The engines reject a query without numbers.
            if not query:
                return []
            if where is None or approximation is None or approximation.is_exact:
                return self._match_sparse(query, k, looser)
            return search_candidates(
                lambda n: self._match_sparse(query, n, looser), k, where, self._columns, max_candidates=self.max_hits
            )

        return [search(sparse.row(row)) for row in range(len(sparse))]

    @abstractmethod
    def _count_matches(self, where: Where | None) -> int:
        """Count the rows under a filter that the engine can evaluate."""

    @abstractmethod
    def _scan(self, where: Where) -> Iterator[list[Hit]]:
        """Yield all rows under a filter that the engine can evaluate. Other rows may be among them."""

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if exact and not self.can_compare_all:
            return self._search_by_scanning(vectors, k, where)
        queries = normalize(vectors)
        if where is None:
            return self._nearest(queries, k, None, exact=exact)
        approximation = self._approximate(where)
        if approximation.is_exact:
            return self._nearest(queries, k, approximation.looser, exact=exact)

        def find_candidates(query: FloatArray) -> Callable[[int], list[Hit]]:
            return lambda n: self._nearest(query[None], n, approximation.looser, exact=exact)[0]

        return [
            search_candidates(find_candidates(query), k, where, self._columns, max_candidates=self.max_hits)
            for query in queries
        ]

    def _count(self, where: Where | None) -> int:
        if where is None:
            return self._count_matches(None)
        approximation = self._approximate(where)
        n_rows = self._count_matches(approximation.looser)
        if approximation.is_exact or n_rows == self._count_matches(approximation.stricter):
            return n_rows
        return self._count_by_scanning(where)

    def _count_by_scanning(self, where: Where) -> int:
        return sum(len(filter_hits(hits, where, self._columns)) for hits in self._scan(self._approximate(where).looser))

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        return self._count_matches(None if where is None else self._approximate(where).looser)


class Closable(Protocol):
    """A connection."""

    def close(self) -> None: ...


def _close_in_process(connection: Closable, process: int) -> None:
    # A forked process shares the connections of its parent. Closing them would end the parent's sessions.
    if process == os.getpid():
        connection.close()


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of at most ``size`` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def list_urls(address: Address, classify: Classifier, list_names: Callable[[], list[str]]) -> list[str]:
    """Return the URLs of collections on a server.

    Args:
        address: Address of the server.
        classify: Classifies errors of the engine; see :func:`translate_errors`.
        list_names: Returns the names of the collections that Umekomi created.
    """

    def call() -> list[str]:
        with translate_errors(address, classify):
            return sorted(list_names())

    return [address.sibling(name).url for name in retry_until(call, address.open_timeout_s)]
