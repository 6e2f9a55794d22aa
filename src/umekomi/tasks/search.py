"""Search: the records nearest to a query, optionally reranked, or chosen so that they differ from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..catalog import Role
from ..data.embedded_file import Space
from ..embedder import Embedder
from ..errors import InputError, SpaceMismatchError
from ..inputs import Texts, list_texts
from ..progress import Progress
from ..reranker import Reranker
from ..sparse_embedder import SparseEmbedder
from ..stores import Hit, Store
from ..vectors.arithmetic import FloatArray, normalize

CANDIDATES = 10
"""Diverse hits are selected among this many times as many candidates as were requested."""
RERANKED = 100
"""Default number of candidates that a reranker scores for each query."""


def search(
    store: Store,
    embedder: Embedder,
    queries: Texts,
    *,
    n: int = 3,
    where: str | None = None,
    diversity: float = 0.0,
    reranker: Reranker | None = None,
    candidates: int = RERANKED,
    sparse: SparseEmbedder | None = None,
    progress: Progress | None = None,
) -> list[list[Hit]]:
    """Return the ``n`` nearest records of each query, nearest first, or in the order of :func:`diversify` or a reranker.

    Args:
        store: The store to search.
        embedder: The model that made the store's vectors.
        queries: The texts to search for.
        n: Number of hits per query.
        where: Filter expression. Only matching records are returned.
        diversity: From 0, which ranks by similarity to the query alone, to 1, which ranks by dissimilarity to the hits
            selected before. Values above 0 need the column ``text``.
        reranker: Orders the nearest records by their relevance to the query; see :func:`rerank`. It needs the column ``text``.
        candidates: Number of nearest records that the reranker scores for each query, if it is more than ``n``.
        sparse: The model that made the store's sparse vectors. With it, the search is hybrid (docs/sparse.md).
        progress: Callback that receives the number of records that the reranker has scored since the last call.

    Raises:
        SpaceMismatchError: The store holds vectors of another space than the embedder's, or of the same role of a pair
            of models.
        FilterError: ``where`` is not a valid expression for the store's columns.
        InputError: ``diversity`` is not between 0 and 1, there is also a reranker or a sparse model, ``candidates`` is less
            than 1, or the store has no sparse vectors.
    """
    _require_diversity(diversity)
    if reranker is not None and diversity:
        raise InputError("Give either a reranker or a diversity.", param="diversity")
    if candidates < 1:
        raise InputError(f"candidates is {candidates}; it must be at least 1.", param="candidates")
    queries = list_texts(queries)
    store.require_space(Space(embedder.model, embedder.fingerprint, embedder.dims))
    embedder.require_counterpart(store.space.role, where=store.url)
    if sparse is not None:
        if diversity:
            raise InputError("Give either sparse vectors or a diversity.", param="diversity")
        _require_sparse(store, sparse)
    vectors = embedder.embed(queries, role=Role.QUERY)
    weights = None if sparse is None else sparse.embed(queries, role=Role.QUERY)
    if reranker is not None:
        nearest = store.search(vectors, k=max(n, candidates), where=where, sparse=weights)
        return [
            rerank(reranker, query, hits, n=n, where=store.url, progress=progress)
            for query, hits in zip(queries, nearest, strict=True)
        ]
    if diversity == 0.0:
        return store.search(vectors, k=n, where=where, sparse=weights)
    results = []
    for hits in store.search(vectors, k=n * CANDIDATES, where=where):
        selected = diversify(
            np.array([hit.score for hit in hits], np.float32),
            vectors_of(hits, store, embedder),
            n=n,
            diversity=diversity,
        )
        results.append([hits[index] for index in selected])
    return results


def _require_sparse(store: Store, sparse: SparseEmbedder) -> None:
    """Raise SpaceMismatchError if the store has sparse vectors of another model. The store checks whether it has any."""
    stored = store.space.sparse
    if stored is not None and stored.fingerprint != sparse.fingerprint:
        raise SpaceMismatchError(
            f"{store.url} holds sparse vectors of {stored.model} ({stored.fingerprint}), not of {sparse.model} "
            f"({sparse.fingerprint})."
        )


def rerank(
    reranker: Reranker, query: str, hits: Sequence[Hit], *, n: int, where: str, progress: Progress | None = None
) -> list[Hit]:
    """Return the ``n`` hits that are most relevant according to a reranker, with their ``rerank_score``.

    Args:
        reranker: The reranker.
        query: The text that was searched for.
        hits: Candidates.
        n: Number of hits to return.
        where: Name of the store for messages.
        progress: Callback that receives the number of hits that have been scored since the last call.

    Raises:
        InputError: The records have no column ``text``.
    """
    ranking = reranker.rank(query, _texts_of(hits, where=where), top_n=n, progress=progress)
    return [replace(hits[document.index], rerank_score=document.score) for document in ranking]


def _texts_of(hits: Sequence[Hit], *, where: str) -> list[str]:
    """Return the texts of hits. Raises InputError if their records have no column ``text``."""
    texts = [hit.record.get("text") for hit in hits]
    if not all(isinstance(text, str) and text for text in texts):
        raise InputError(f"{where} does not store the embedded texts: this needs a column 'text'.")
    return [str(text) for text in texts]


def vectors_of(hits: Sequence[Hit], store: Store, embedder: Embedder) -> FloatArray:
    """Return the vectors of hits, ``(n, dims) float32``.

    The texts are embedded again, because the engines do not return vectors. The same text gives the same vector, so
    these are the vectors that are stored.

    Raises:
        InputError: The records have no column ``text``.
    """
    if not hits:
        return np.empty((0, embedder.dims), dtype=np.float32)
    texts = _texts_of(hits, where=store.url)
    role = Role(store.space.role) if store.space.role else None
    return (embedder.for_role(role) if role else embedder).embed(texts, role=role)


def diversify(scores: FloatArray, vectors: FloatArray, *, n: int, diversity: float = 0.5) -> list[int]:
    """Select ``n`` hits that are near the query and unlike each other (maximal marginal relevance).

    Repeatedly selects the hit with the highest ``(1 - diversity) * score - diversity * (its greatest similarity to a
    selected hit)`` (Carbonell & Goldstein 1998, doi:10.1145/290941.291025).

    Args:
        scores: ``(m,) float32``, the similarity of each hit to the query.
        vectors: ``(m, dims) float32``, the vectors of the hits.
        n: Number of hits to select. If there are fewer, all are selected.
        diversity: Weight of the dissimilarity; 0 keeps the order of the scores.

    Returns:
        The indices of the selected hits, in the order of their selection.

    Raises:
        InputError: ``diversity`` is not between 0 and 1, or the numbers of scores and vectors differ.
    """
    _require_diversity(diversity)
    if len(scores) != len(vectors):
        raise InputError(f"There are {len(scores)} scores and {len(vectors)} vectors; give one of each for every hit.")
    if not len(scores):
        return []
    unit = normalize(vectors)
    relevance = (1.0 - diversity) * scores.astype(np.float64)
    # The first hit is the nearest whatever the diversity, because nothing is selected yet.
    selected = [int(np.argmax(scores))]
    redundancy = (unit @ unit[selected[0]]).astype(np.float64)
    while len(selected) < min(n, len(scores)):
        marginal = relevance - diversity * redundancy
        marginal[selected] = -np.inf
        selected.append(int(np.argmax(marginal)))
        redundancy = np.maximum(redundancy, unit @ unit[selected[-1]])
    return selected


def _require_diversity(diversity: float) -> None:
    if not 0.0 <= diversity <= 1.0:
        raise InputError(f"The diversity is {diversity:g}; it must be between 0 and 1.", param="diversity")
