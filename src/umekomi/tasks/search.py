"""Search: a query in words, the nearest records; on request such that no two of them say the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..catalog import Role
from ..data.embedded_file import Space
from ..embedder import Embedder
from ..errors import InputError
from ..stores import Hit, Store
from ..vectors.arithmetic import FloatArray, normalize

CANDIDATES = 10
"""A diverse choice is made among this many times as many hits as were asked for."""


def search(
    store: Store,
    embedder: Embedder,
    queries: Sequence[str],
    *,
    n: int = 3,
    where: str | None = None,
    diversity: float = 0.0,
) -> list[list[Hit]]:
    """The ``n`` nearest records of each query, nearest first; with ``diversity``, in the order of :func:`diversify`.

    Args:
        store: what to search.
        embedder: the model that the store's vectors are of.
        queries: what to find, in words.
        n: how many hits.
        where: only records that match.
        diversity: from 0, only what is near, to 1, only what is unlike the hits before. Needs the column ``text``.

    Raises:
        SpaceMismatchError: the store holds vectors of another space than the embedder's, or of the same half of a pair.
        FilterError: ``where`` is not a good expression for the store's columns.
        InputError: ``diversity`` is not between 0 and 1.
    """
    check_diversity(diversity)
    store.require_space(Space(embedder.model, embedder.fingerprint, embedder.dims))
    embedder.require_counterpart(store.space.role, where=store.url)
    vectors = embedder.embed(queries, role=Role.QUERY)
    if diversity == 0.0:
        return store.search(vectors, k=n, where=where)
    found = []
    for hits in store.search(vectors, k=n * CANDIDATES, where=where):
        chosen = diversify(
            np.array([hit.score for hit in hits], np.float32),
            vectors_of(hits, store, embedder),
            n=n,
            diversity=diversity,
        )
        found.append([hits[place] for place in chosen])
    return found


def vectors_of(hits: Sequence[Hit], store: Store, embedder: Embedder) -> FloatArray:
    """The vectors of hits, ``(n, dims) float32``: made again of their texts, as engines do not hand them out.

    The same text gives the same vector, so these are the ones that were stored.

    Raises:
        InputError: the records have no column ``text``.
    """
    if not hits:
        return np.empty((0, embedder.dims), dtype=np.float32)
    texts = [hit.record.get("text") for hit in hits]
    if not all(isinstance(text, str) and text for text in texts):
        raise InputError(f"{store.url} does not keep what was embedded: it needs a column 'text' for this.")
    role = Role(store.space.role) if store.space.role else None
    return (embedder.for_role(role) if role else embedder).embed([str(text) for text in texts], role=role)


def diversify(scores: FloatArray, vectors: FloatArray, *, n: int, diversity: float = 0.5) -> list[int]:
    """Choose ``n`` hits that are near the query and unlike each other: maximal marginal relevance.

    One after another, the hit with the highest ``(1 - diversity) * score - diversity * (its similarity to the most alike of
    those chosen)`` is taken (Carbonell & Goldstein 1998, doi:10.1145/290941.291025).

    Args:
        scores: ``(m,) float32``, each hit's similarity to the query.
        vectors: ``(m, dims) float32``, of the hits.
        n: how many to choose; all, if there are fewer.
        diversity: 0 keeps the order of the scores.

    Returns:
        The places of the chosen, first the first.

    Raises:
        InputError: ``diversity`` is not between 0 and 1, or there are not as many scores as vectors.
    """
    check_diversity(diversity)
    if len(scores) != len(vectors):
        raise InputError(f"There are {len(scores)} scores and {len(vectors)} vectors; give one of each a hit.")
    if not len(scores):
        return []
    units = normalize(vectors)
    gain = (1.0 - diversity) * scores.astype(np.float64)
    # Before anything is chosen nothing is alike, so that the first is the nearest, whatever the diversity.
    chosen = [int(np.argmax(scores))]
    alike = (units @ units[chosen[0]]).astype(np.float64)
    while len(chosen) < min(n, len(scores)):
        marginal = gain - diversity * alike
        marginal[chosen] = -np.inf
        chosen.append(int(np.argmax(marginal)))
        alike = np.maximum(alike, units @ units[chosen[-1]])
    return chosen


def check_diversity(diversity: float) -> None:
    """Raise InputError unless it is between 0 and 1."""
    if not 0.0 <= diversity <= 1.0:
        raise InputError(f"The diversity is {diversity:g}; it must be between 0 and 1.", param="diversity")
