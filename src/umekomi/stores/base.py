"""What every vector store is: a collection of vectors with records, in one space.

The checks are here, once: an adapter implements the methods with an underscore and may believe what it is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import InputError, SpaceMismatchError
from ..records import Space
from ..vectors import FloatArray, as_matrix
from .where import Where, check_where, parse_where

Record = dict[str, Any]
MAX_ID_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Hit:
    """A found record. ``score`` is the cosine similarity: from -1 to 1, higher is nearer."""

    id: str
    score: float
    record: Record


class Store(ABC):
    """One collection: rows of an id, a vector and a record, all vectors in one space.

    Ids are texts of at most 64 kB. A record is a flat dictionary of text, numbers, booleans, times and None; all records of
    a collection have the columns of its first batch.
    """

    url: str
    space: Space

    def upsert(self, ids: Sequence[str], vectors: FloatArray, records: pa.Table) -> None:
        """Add rows, or replace those whose ids are there already. When this returns, the rows are safe.

        Args:
            ids: one a row, no two alike.
            vectors: ``(n, dims) float32``; none all zeros.
            records: a table of ``n`` rows.

        Raises:
            InputError: the ids, vectors and records do not fit each other or the collection.
        """
        matrix = as_matrix(vectors) if len(vectors) else np.empty((0, self.space.dims), np.float32)
        self._check_dims(matrix)
        if not len(ids) == len(matrix) == len(records):
            raise InputError(
                f"There are {len(ids)} ids, {len(matrix)} vectors and {len(records)} records; give one of each a row."
            )
        if not len(ids):
            return
        _check_ids(ids)
        if not np.einsum("ij,ij->i", matrix, matrix).all():
            raise InputError("A vector is all zeros; it is near to nothing and cannot be stored.")
        self._check_columns(records.schema)
        self._upsert(list(ids), matrix, records)

    def search(self, vectors: FloatArray, *, k: int = 10, where: str | Where | None = None) -> list[list[Hit]]:
        """The nearest rows of each vector, nearest first: ``(q, dims) float32`` gives ``q`` lists of at most ``k`` hits.

        Raises:
            InputError: the vectors are not of the collection's dimensions, or ``k`` is less than 1.
            FilterError: ``where`` is not a good expression for the collection's columns.
        """
        matrix = as_matrix(vectors)
        self._check_dims(matrix)
        if k < 1:
            raise InputError(f"The number of hits is {k}; it must be at least 1.")
        return self._search(matrix, k, self._where(where))

    def count(self, where: str | Where | None = None) -> int:
        """How many rows there are, or match."""
        return self._count(self._where(where))

    def require_space(self, space: Space) -> None:
        """Raise SpaceMismatchError unless vectors of this space may be searched and stored here."""
        if space.fingerprint != self.space.fingerprint:
            raise SpaceMismatchError(
                f"{self.url} holds vectors of {self.space.model} ({self.space.fingerprint}); these are of {space.model} "
                f"({space.fingerprint}). Use the model {self.space.model}, or embed the texts again."
            )

    def _where(self, where: str | Where | None) -> Where | None:
        if where is None:
            return None
        tree = parse_where(where) if isinstance(where, str) else where
        check_where(tree, self.schema())
        return tree

    def _check_dims(self, matrix: FloatArray) -> None:
        if matrix.shape[1] != self.space.dims:
            raise InputError(f"The vectors have {matrix.shape[1]} dimensions; {self.url} holds {self.space.dims}.")

    def _check_columns(self, schema: pa.Schema) -> None:
        there = self.schema().names
        strange = [name for name in schema.names if name not in there]
        if there and strange:
            raise InputError(f"{self.url} has no column {strange[0]!r}; its columns are {', '.join(there)}.")

    @abstractmethod
    def schema(self) -> pa.Schema:
        """The records' columns; none before the first batch."""

    @abstractmethod
    def get(self, ids: Sequence[str]) -> list[Hit]:
        """The rows of these ids that are there, in no order that is promised; their score is 1."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows; ids that are not there do no harm."""

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

    @abstractmethod
    def _upsert(self, ids: list[str], vectors: FloatArray, records: pa.Table) -> None: ...

    @abstractmethod
    def _search(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]: ...

    @abstractmethod
    def _count(self, where: Where | None) -> int: ...


def _check_ids(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for row, name in enumerate(ids):
        if not isinstance(name, str) or not name:
            raise InputError(f"The id of row {row} is {name!r}; ids are texts that are not empty.")
        if len(name.encode("utf-8", "replace")) > MAX_ID_BYTES:
            raise InputError(f"The id of row {row} is longer than 64 kB.")
        if name in seen:
            raise InputError(f"The id {name[:60]!r} comes twice in one batch.")
        seen.add(name)
