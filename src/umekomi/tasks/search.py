"""Search: a query in words, the nearest records."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalog import Role
from ..embedder import Embedder
from ..records import Space
from ..stores import Hit, Store


def search(
    store: Store, embedder: Embedder, queries: Sequence[str], *, n: int = 3, where: str | None = None
) -> list[list[Hit]]:
    """The ``n`` nearest records of each query, nearest first.

    Raises:
        SpaceMismatchError: the store holds vectors of another space than the embedder's.
        FilterError: ``where`` is not a good expression for the store's columns.
    """
    store.require_space(Space(embedder.model, embedder.fingerprint, embedder.dims))
    return store.search(embedder.embed(queries, role=Role.QUERY), k=n, where=where)
