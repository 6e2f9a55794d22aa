"""What every vector store is: a collection of vectors with records, in one space.

The checks are here, once: an adapter implements the methods with an underscore and may believe what it is given.
"""

from __future__ import annotations

import importlib
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import pyarrow as pa

from ..data.embedded_file import Space
from ..errors import (
    CollectionNotFoundError,
    InputError,
    SpaceMismatchError,
    StoreError,
    StoreUnavailableError,
)
from ..settings import current
from ..vectors.arithmetic import FloatArray, as_matrix, normalize, require_nonzero
from .columns import ColumnType, convert_records, get_column_types
from .filters.evaluate import evaluate
from .filters.language import Where, bind_where, parse_where
from .url import Address

Record = dict[str, Any]
T = TypeVar("T")
ID, VECTOR = "_id", "_vector"
"""Names that no column of a record may have. A filter may name the first: ``_id in ('a', 'b')``."""

MAX_ID_BYTES = 65_535
"""The longest text that every engine takes as a key."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

_FIRST_USED_IN: dict[str, int] = {}
"""The process in which each engine that does not survive a fork was first used."""

_COUNT_FROM_HITS = 1000
"""Searches for more hits than this count the matching rows first, as filtered searches do."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A found record. ``score`` is the cosine similarity: from -1 to 1, higher is nearer."""

    id: str
    score: float
    record: Record


class Store(ABC):
    """One collection: rows of an id, a vector and a record, all vectors in one space.

    Ids are texts of at most 65,535 bytes. A record is a flat dictionary of text, whole numbers, numbers, booleans, times and
    None; times are kept in UTC to the microsecond. All records of a collection have the columns of its first batch.
    """

    engine: ClassVar[str]
    max_exact_rows: ClassVar[int] = 10_000
    """Largest number of matching rows that a search compares one by one. An approximate index misses rows under a filter that few
    rows match, or whose rows are all far from the query; up to this size, comparing every row is about as fast as the index."""
    survives_fork: ClassVar[bool] = True
    """Whether a process that was forked after the engine was used can open stores of its own. A store is never shared with it."""
    url: str
    space: Space
    timeout_s: float = 0.0
    """For how long an engine that does not answer is asked again, in seconds."""
    supports_unsigned: bool = False
    """Whether whole numbers above 2^63 - 1 stay numbers; if not, their column becomes text."""
    has_numbered_rows: bool = False
    """Whether the ids are only the numbers of the rows, which say nothing about the rows of another source."""
    _address: Address
    _process: int = 0

    def __new__(cls, *unused: object, **also: object) -> Self:
        store = super().__new__(cls)
        store._process = os.getpid()
        if not cls.survives_fork and _FIRST_USED_IN.setdefault(cls.engine, store._process) != store._process:
            raise StoreError(
                f"{cls.engine} was used in process {_FIRST_USED_IN[cls.engine]}, which this process was forked from, and does "
                "not work after that. Start processes with multiprocessing's 'spawn' or 'forkserver', or open stores only there."
            )
        return store

    def upsert(
        self, ids: Sequence[str], vectors: FloatArray, records: pa.Table | Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Add rows, or replace those whose ids are there already. When this returns, the rows are safe.

        Args:
            ids: one a row, no two alike.
            vectors: ``(n, dims) float32``; none all zeros.
            records: a table of ``n`` rows, or ``n`` dictionaries. A column that the collection has and they lack is null.

        Raises:
            InputError: the ids, vectors and records do not fit each other or the collection; nothing was written.
            StoreError: the engine could not write.
        """
        matrix = as_matrix(vectors) if len(vectors) else np.empty((0, self.space.dims), np.float32)
        self._check_dims(matrix)
        n_records = len(ids) if records is None else len(records)
        if not len(ids) == len(matrix) == n_records:
            raise InputError(
                f"There are {len(ids)} ids, {len(matrix)} vectors and {n_records} records; give one of each a row."
            )
        if not len(ids):
            return
        _check_ids(ids)
        require_nonzero(matrix, min_rows=0)
        there = get_column_types(self.schema())
        table = (
            pa.table({})
            if records is None
            else convert_records(records, there, supports_unsigned=self.supports_unsigned)
        )
        self._check_columns(table.column_names, there)
        self._retry(lambda: self._upsert(list(ids), matrix, table))

    def search(self, vectors: FloatArray, *, k: int = 10, where: str | Where | None = None) -> list[list[Hit]]:
        """The nearest rows of each vector, nearest first: ``(q, dims) float32`` gives ``q`` lists of at most ``k`` hits.

        Raises:
            InputError: the vectors are all zeros or not of the collection's dimensions, or ``k`` is less than 1.
            FilterError: ``where`` is not a good expression for the collection's columns.
            StoreError: the engine could not answer.
        """
        matrix = as_matrix(vectors)
        self._check_dims(matrix)
        if k < 1:
            raise InputError(f"The number of hits is {k}; it must be at least 1.")
        require_nonzero(matrix, min_rows=0)
        # Of rows that are equally near, the engine's order says nothing: the ids' order does.
        tree = self._where(where)
        found = self._retry(lambda: self._search_all(matrix, k, tree))
        return [sorted(hits, key=lambda hit: (-hit.score, hit.id)) for hits in found]

    def _search_all(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        """Search with the index where it is reliable, and compare every matching row where it is not.

        Every answer has ``min(k, matching rows)`` hits.
        """
        if where is not None or k > _COUNT_FROM_HITS:
            n_rows = self._count_up_to(where, 1 + max(self.max_exact_rows, 2 * k))
            if not n_rows:
                return [[] for _ in vectors]
            k = min(k, n_rows)
            if self._prefers_exact(k, n_rows):
                return self._search(vectors, k, where, exact=True)
        found = self._search(vectors, k, where, exact=False)
        if min(map(len, found)) < k:
            k = min(k, self._count(where))
            if min(map(len, found)) < k:
                return self._search(vectors, k, where, exact=True)
        return found

    def _prefers_exact(self, k: int, n_rows: int) -> bool:
        # An index that is asked for half of the rows or more is slower than comparing them all.
        return n_rows <= max(self.max_exact_rows, 2 * k)

    def _search_by_reading(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        """Compare every matching row here: for engines that cannot compare all rows themselves."""
        queries = normalize(vectors)
        best = [(np.empty(0, np.float32), np.empty(0, object)) for _ in queries]
        for ids, matrix in self._matching_vectors(where):
            for row, scores in enumerate(queries @ normalize(matrix).T):
                scores = np.concatenate([best[row][0], scores])
                names = np.concatenate([best[row][1], np.array(ids, dtype=object)])
                order = np.argsort(-scores, kind="stable")[:k]
                best[row] = scores[order], names[order]
        return [self._with_records(dict(zip(names, scores.tolist(), strict=True))) for scores, names in best]

    def _matching_vectors(self, where: Where | None) -> Iterator[tuple[list[str], FloatArray]]:
        """Ids and vectors ``(n, dims) float32`` of the matching rows; an engine that filters while it reads does better."""
        for ids, matrix, records in self.iterate():
            if where is not None:
                table = records.append_column(ID, pa.array(ids, pa.string()))
                kept = evaluate(where, table).fill_null(False).to_numpy()
                ids, matrix = [name for name, keep in zip(ids, kept, strict=True) if keep], matrix[kept]
            if ids:
                yield ids, matrix

    def _with_records(self, scores: Mapping[str, float]) -> list[Hit]:
        """Hits of rows whose scores are known."""
        return [Hit(hit.id, scores[hit.id], hit.record) for hit in self._get(list(scores))] if scores else []

    def check_where(self, where: str | Where | None) -> None:
        """Raise FilterError unless ``where`` is a good expression for the collection's columns."""
        self._where(where)

    def count(self, where: str | Where | None = None) -> int:
        """How many rows there are, or match."""
        tree = self._where(where)
        return self._retry(lambda: self._count(tree))

    def get(self, ids: Sequence[str]) -> list[Hit]:
        """The rows of these ids that are there, in no order that is promised; their score is 1."""
        wanted = list(dict.fromkeys(ids))
        return self._retry(lambda: self._get(wanted)) if wanted else []

    def get_vectors(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """The vectors of the rows of these ids that are there: id to ``(dims,) float32`` of length 1."""
        wanted = list(dict.fromkeys(ids))
        return self._retry(lambda: self._get_vectors(wanted)) if wanted else {}

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows; ids that are not there do no harm."""
        gone = list(dict.fromkeys(ids))
        if gone:
            self._retry(lambda: self._delete(gone))

    def info(self) -> dict[str, object]:
        """What the collection is, as plain data: its engine, space, rows, columns and whatever the engine adds."""
        columns = {name: str(kind) for name, kind in get_column_types(self.schema()).items()}
        about = {"url": self.url, "engine": self.engine, "rows": self.count(), **asdict(self.space)}
        return {**about, "columns": columns, **self._details()}

    def require_space(self, space: Space) -> None:
        """Raise SpaceMismatchError unless vectors of this space may be searched and stored here."""
        if space.fingerprint != self.space.fingerprint:
            raise SpaceMismatchError(
                f"{self.url} holds vectors of {self.space.model} ({self.space.fingerprint}); these are of {space.model} "
                f"({space.fingerprint}). Use the model {self.space.model}, or embed the texts again."
            )
        if space.role and self.space.role and space.role != self.space.role:
            raise SpaceMismatchError(
                f"{self.url} holds vectors of the role {self.space.role} ({self.space.model}); these have the role {space.role} "
                f"({space.model}). Keep the two sides of a search apart: load these into another collection."
            )

    def _where(self, where: str | Where | None) -> Where | None:
        if where is None:
            return None
        tree = parse_where(where) if isinstance(where, str) else where
        return bind_where(tree, {**self._filter_columns(), ID: ColumnType.TEXT})

    def _filter_columns(self) -> dict[str, ColumnType]:
        return get_column_types(self.schema())

    def _check_dims(self, matrix: FloatArray) -> None:
        if matrix.shape[1] != self.space.dims:
            raise InputError(f"The vectors have {matrix.shape[1]} dimensions; {self.url} holds {self.space.dims}.")

    def _check_columns(self, names: Sequence[str], there: Mapping[str, ColumnType]) -> None:
        taken = [name for name in names if name in (ID, VECTOR)]
        if taken:
            raise InputError(f"The column name {taken[0]!r} is taken by the store; rename the column.")
        strange = [name for name in names if name not in there]
        if strange and (there or self.count()):
            raise InputError(
                f"{self.url} has no column {', '.join(map(repr, strange))}; its columns are {', '.join(there) or 'none'}. "
                "Leave the new ones out, or load everything into a new collection."
            )

    @abstractmethod
    def schema(self) -> pa.Schema:
        """The records' columns; none before the first batch."""

    @abstractmethod
    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        """Every row: ids, vectors ``(n, dims) float32`` and records, at most ``size`` at a time."""

    @abstractmethod
    def drop(self) -> None:
        """Remove the collection and all that it holds."""

    def optimize(self) -> None:  # noqa: B027 - most engines have nothing to do here
        """Build what makes searches fast, after much has been written."""

    def close(self) -> None:  # noqa: B027 - most engines have nothing to do here
        """Give back what the engine holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _details(self) -> dict[str, object]:
        return {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # A store is pickled as its URL without the secret, and opened again where it is unpickled.
        return _reopen, (type(self).__module__, self._address.without_secret(), self.space)

    def __copy__(self) -> Store:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: object) -> Store:
        return _open(type(self).__module__, self._address, self.space)

    def _retry(self, call: Callable[[], T]) -> T:
        return retry_until(call, self.timeout_s)

    def _check_process(self) -> None:
        """Raise StoreError in a process that was forked after the store was opened: connections and threads are not shared."""
        if self._process != os.getpid():
            raise StoreError(
                f"{self.url} was opened in process {self._process}, which this process was forked from. Open it again here."
            )

    @abstractmethod
    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None: ...

    @abstractmethod
    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        """The nearest rows of each vector; with ``exact``, every matching row is compared."""

    @abstractmethod
    def _count(self, where: Where | None) -> int: ...

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        """At least the number of matching rows, if that is cheap to tell; ``limit`` stands for a larger or unknown number."""
        return self._count(where)

    @abstractmethod
    def _get(self, ids: list[str]) -> list[Hit]: ...

    @abstractmethod
    def _delete(self, ids: list[str]) -> None: ...

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        # Right for every engine, and slow: one that can ask for rows with their vectors does better.
        wanted = set(ids)
        return {
            name: vector
            for names, matrix, _ in self.iterate()
            for name, vector in zip(names, matrix, strict=True)
            if name in wanted
        }


def _open(module: str, address: Address, space: Space | None) -> Store:
    store: Store = importlib.import_module(module).open_collection(address, space)
    return store


def _reopen(module: str, address: Address, space: Space | None) -> Store:
    """Open a store that was pickled, with the password or key of this process's environment."""
    return _open(module, address.with_secret(dict(current().secrets)), space)


def retry_until(call: Callable[[], T], timeout_s: float) -> T:
    """Call again, with growing pauses, while the engine does not answer. For what does no harm when it is done twice.

    Raises:
        StoreUnavailableError: it has not answered for ``timeout_s`` seconds.
    """
    until = time.monotonic() + timeout_s
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return call()
        except StoreUnavailableError:
            left = until - time.monotonic()
            if left <= 0:
                raise
            # A little of chance keeps many clients from coming back at the same moment.
            time.sleep(min(left, pause * random.uniform(0.75, 1.25)))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def collection_not_found(url: str) -> CollectionNotFoundError:
    """What every engine says of a collection that it does not have."""
    return CollectionNotFoundError(
        f"There is no collection {url}. Make it with `umekomi store load EMBEDDED.parquet {url}`."
    )


def _check_ids(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if not isinstance(name, str) or not name:
            raise InputError(f"The id of row {row} is {name!r}; ids are texts that are not empty.")
        try:
            size = len(name.encode())
        except UnicodeEncodeError as error:
            raise InputError(f"The id of row {row} holds half a surrogate pair, which is not text.") from error
        if size > MAX_ID_BYTES or "\0" in name:
            raise InputError(f"The id of row {row} is longer than {MAX_ID_BYTES} bytes or holds a NUL character.")
        if name in seen:
            raise InputError(f"The id {name[:60]!r} comes twice in one batch.")
        seen.add(name)
