"""BM25, the baseline that every search by vectors should be laid beside.

Lucene's formula (Kamphuis et al. 2020, doi:10.1007/978-3-030-45442-5_4) with Anserini's parameters, k1 0.9 and b 0.4, which
BEIR's published figures use: ``log(1 + (N - df + 0.5) / (df + 0.5)) · tf / (tf + k1 · (1 - b + b · length / mean length))``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import snowballstemmer

from .datasets import RetrievalDataset

K1, B = 0.9, 0.4

# Identifiers are taken apart, so that the one baseline serves prose and code: parseHTTPHeader2 is parse, http, header, 2.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")
_UNSPACED = re.compile(r"[\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff]{2,}")
_STOP = re.compile(
    r"(a|an|and|are|as|at|be|but|by|for|if|in|into|is|it|no|not|of|on|or|such|that|the|their|then|there|these|they|this|to|was"
    r"|will|with)"
)


class Bm25:
    """An index in memory over texts by id."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        stem = snowballstemmer.stemmer("porter").stemWord
        self._stem = lru_cache(maxsize=1 << 17)(stem)
        self._ids = list(documents)
        counts = [self._terms(text) for text in documents.values()]
        lengths = np.array([sum(count.values()) for count in counts], dtype=np.float64)
        mean = lengths.mean() or 1.0
        self._norms = K1 * (1.0 - B + B * lengths / mean)
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for place, count in enumerate(counts):
            for term, frequency in count.items():
                postings[term].append((place, frequency))
        self._postings = {term: np.array(places) for term, places in postings.items()}

    def _terms(self, text: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for word in _WORDS.findall(text):
            if _UNSPACED.fullmatch(word):
                found.update(word[place : place + 2] for place in range(len(word) - 1))
            elif not _STOP.fullmatch(lower := word.lower()):
                found[self._stem(lower)] += 1
        return found

    def search(self, query: str, *, k: int = 100, without: str | None = None) -> dict[str, float]:
        """The best ``k`` texts that share a term with the query, and their scores; never the one of the id ``without``."""
        scores = np.zeros(len(self._ids))
        for term, weight in self._terms(query).items():
            if term in self._postings:
                places, frequencies = self._postings[term].T
                idf = np.log1p((len(self._ids) - len(places) + 0.5) / (len(places) + 0.5))
                scores[places] += weight * idf * frequencies / (frequencies + self._norms[places])
        # Of equal scores the greater id first, as everywhere in the evaluation.
        order = sorted(np.flatnonzero(scores), key=lambda place: (scores[place], self._ids[place]), reverse=True)
        found = {self._ids[place]: float(scores[place]) for place in order[: k + 1] if self._ids[place] != without}
        return dict(list(found.items())[:k])


def bm25_run(data: RetrievalDataset, *, k: int = 100) -> dict[str, dict[str, float]]:
    """What BM25 answers to each query of a set."""
    index = Bm25(data.documents)
    return {query: index.search(text, k=k, without=data.source_document(query)) for query, text in data.queries.items()}
