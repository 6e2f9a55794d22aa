"""Results of searches, and how a hybrid search combines two lists of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

FUSED_HITS = 100
"""Number of hits of each search that a hybrid search combines, or more if more hits are requested."""
_FUSION_CONSTANT = 60

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that a search or a lookup returned."""

    id: str
    #: Cosine similarity to the query, from -1 to 1. It is 1 for lookups by id. For a hybrid search, the sum of
    #: ``1 / (60 + rank)`` over the ranks in both searches.
    score: float
    record: Record
    #: Relevance to the query according to a reranker, if there was one.
    rerank_score: float | None = field(default=None, repr=False)


def sort_hits(hits: Iterable[Hit]) -> list[Hit]:
    """Return hits with the highest scores first. Ties are ordered by id."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def fuse_hits(lists: Iterable[Sequence[Hit]], k: int) -> list[Hit]:
    """Return the ``k`` hits with the highest sums of ``1 / (60 + rank)`` over the lists that they are in.

    >>> a, b, c = (Hit(name, 0.5, {}) for name in "abc")
    >>> [hit.id for hit in fuse_hits([[a, b], [b, c]], 2)]
    ['b', 'a']
    """
    scores: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for results in lists:
        for rank, hit in enumerate(sort_hits(results), start=1):
            scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (_FUSION_CONSTANT + rank)
            hits.setdefault(hit.id, hit)
    return sort_hits(replace(hit, score=scores[name]) for name, hit in hits.items())[:k]
