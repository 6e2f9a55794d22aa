"""BM25, a baseline for vector search.

Lucene's formula (Kamphuis et al. 2020, doi:10.1007/978-3-030-45442-5_4) with Anserini's parameters, k1 0.9 and b 0.4, which
BEIR's published figures use: ``log(1 + (N - df + 0.5) / (df + 0.5)) · tf / (tf + k1 · (1 - b + b · length / mean length))``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
import snowballstemmer

from ..encoders.sparse.bm25 import STOP_WORDS, inverse_document_frequency, saturate
from .datasets import RetrievalDataset

K1, B = 0.9, 0.4

# Identifiers are split, so that the same baseline works for prose and code: parseHTTPHeader2 is parse, http, header, 2.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")
_UNSPACED = re.compile(r"[\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff]{2,}")


_stem = lru_cache(maxsize=1 << 17)(snowballstemmer.stemmer("porter").stemWord)


def count_words(text: str) -> Counter[str]:
    """Return how often each stemmed word, or pair of characters in scripts without spaces, occurs in a text."""
    terms: Counter[str] = Counter()
    for word in _WORDS.findall(text):
        if _UNSPACED.fullmatch(word):
            terms.update(word[start : start + 2] for start in range(len(word) - 1))
        elif (lower := word.lower()) not in STOP_WORDS:
            terms[_stem(lower)] += 1
    return terms


class Bm25:
    """An in-memory index of texts by id.

    Args:
        documents: Texts by id.
        terms: Function that counts the terms of a text. By default :func:`count_words`.
        k1: Saturation of repeated terms.
        b: Normalization by length.
    """

    def __init__(
        self,
        documents: Mapping[str, str],
        *,
        terms: Callable[[str], Counter[str]] | None = None,
        k1: float = K1,
        b: float = B,
    ) -> None:
        self._terms = terms or count_words
        self._ids = list(documents)
        self._k1, self._b = k1, b
        counts = [self._terms(text) for text in documents.values()]
        self._lengths = np.array([count.total() for count in counts], dtype=np.float64)
        self._mean_length = float(self._lengths.mean()) or 1.0
        postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for index, count in enumerate(counts):
            for term, frequency in count.items():
                postings[term].append((index, frequency))
        self._postings = {term: np.array(pairs) for term, pairs in postings.items()}

    def search(self, query: str, *, k: int = 100, exclude: str | None = None) -> dict[str, float]:
        """Return the scores of the best ``k`` texts that share a term with the query, except the text with the id ``exclude``."""
        scores = np.zeros(len(self._ids))
        for term, weight in self._terms(query).items():
            if term in self._postings:
                indices, frequencies = self._postings[term].T
                idf = inverse_document_frequency(len(self._ids), len(indices))
                scores[indices] += (weight * idf) * saturate(
                    frequencies, self._lengths[indices], mean_length=self._mean_length, k1=self._k1, b=self._b
                )
        # The greater id comes first among equal scores, as in trec_eval.
        order = sorted(np.flatnonzero(scores), key=lambda index: (scores[index], self._ids[index]), reverse=True)
        hits = [(self._ids[index], float(scores[index])) for index in order[: k + 1] if self._ids[index] != exclude]
        return dict(hits[:k])


def bm25_run(data: RetrievalDataset, *, k: int = 100) -> dict[str, dict[str, float]]:
    """Return the results of BM25 for each query of a data set."""
    index = Bm25(data.documents)
    return {query: index.search(text, k=k, exclude=data.source_document(query)) for query, text in data.queries.items()}
