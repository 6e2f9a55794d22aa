"""BM25 as sparse vectors, in the convention of Qdrant: the dot product of a query and a document is the score of BM25.

The weight of a term in a document is its saturated frequency, ``tf · (k1 + 1) / (tf + k1 · (1 - b + b · length / mean length))``
(Robertson & Zaragoza 2009, doi:10.1561/1500000019). The weight of each term of a query is 1. The search multiplies it by the
inverse document frequency of the term in the collection.

Terms are those of :mod:`~umekomi.encoders.lexical.terms` without the weights: stemmed words and, in scripts without spaces, pairs
of characters. The dimension of a term is a hash, which is the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from ...catalog import Role
from ...errors import InputError
from ...progress import Progress, no_progress
from ...vectors.arithmetic import DoubleArray
from ...vectors.sparse import SparseVectors
from ..lexical.terms import Rules, TermExtractor, hash_term
from .base import SparseEncoder

NAME, MEAN_LENGTH = "bm25", "mean_length"
"""The model's name, and the name of its option for the mean number of terms of a document."""
VERSION = 1
"""Increases whenever the same text gives another vector."""
DIMS = (1 << 31) - 1
"""Number of dimensions: every index is an int32 and not negative. About 1 of 2,000 terms shares its dimension with one of
a million others."""

STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})  # fmt: skip
"""Lucene's stop words for English."""


def saturate(
    frequencies: DoubleArray, lengths: DoubleArray | float, *, mean_length: float, k1: float, b: float
) -> DoubleArray:
    """Return the saturated frequencies of terms, from 0 to 1: ``(n,) -> (n,)``.

    Args:
        frequencies: ``(n,)``, how often each term occurs in its document.
        lengths: ``(n,)`` or a single number: the number of terms of the documents.
        mean_length: Mean of the lengths of all documents.
        k1: Saturation. At 0 a term counts once.
        b: Normalization by length, from 0 to 1.
    """
    result: DoubleArray = frequencies / (frequencies + k1 * (1.0 - b + b * lengths / mean_length))
    return result


def inverse_document_frequency(n_documents: int, n_matches: DoubleArray | int) -> DoubleArray:
    """Return the inverse document frequency of terms that occur in ``n_matches`` documents, by Lucene's and Qdrant's formula."""
    result: DoubleArray = np.log1p((n_documents - n_matches + 0.5) / (n_matches + 0.5))
    return result


@dataclass(frozen=True, slots=True)
class Bm25Options:
    """Parameters of BM25."""

    k1: float = 1.2
    b: float = 0.75
    #: Mean number of terms of a document.
    mean_length: float = 256.0


def parse_bm25(model: str) -> Bm25Options:
    """Parse a name such as ``bm25`` or ``bm25,k1=0.9,b=0.4,mean_length=120``.

    Raises:
        InputError: There is an unknown option, or a value out of range.

    >>> parse_bm25("bm25,b=0.4")
    Bm25Options(k1=1.2, b=0.4, mean_length=256.0)
    """
    limits = {"k1": (0.0, 100.0), "b": (0.0, 1.0), MEAN_LENGTH: (1e-9, 1e9)}
    options = {}
    for option in model.split(",")[1:]:
        name, _, text = option.partition("=")
        if name not in limits:
            raise InputError(f"{model} has an unknown option {name!r}; BM25 has {', '.join(limits)}.", param="model")
        low, high = limits[name]
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not low <= value <= high:
            raise InputError(f"{model} has {name}={text}; use a number from {low:g} to {high:g}.", param="model")
        options[name] = value
    return Bm25Options(**options)


def is_bm25(model: str) -> bool:
    """Return whether a model's name is ``bm25``, with or without options."""
    return model.partition(",")[0] == NAME


class Bm25Encoder(SparseEncoder):
    """BM25. Safe to use from several threads.

    Args:
        options: Parameters.
    """

    dims = DIMS
    uses_idf = True

    def __init__(self, options: Bm25Options | None = None) -> None:
        self.options = options or Bm25Options()
        self._extractor = TermExtractor({}, Rules())
        self._key = lru_cache(maxsize=1 << 18)(self._find_key)

    @property
    def model(self) -> str:
        """The name with all options that differ from the defaults."""
        defaults = Bm25Options()
        options = [
            f",{field.name}={getattr(self.options, field.name):g}"
            for field in fields(Bm25Options)
            if getattr(self.options, field.name) != getattr(defaults, field.name)
        ]
        return NAME + "".join(options)

    def terms(self, text: str) -> Counter[str]:
        """Return how often each term occurs in a text."""
        keys = map(self._key, self._extractor.tokenize(text)[0])
        return Counter(key for key in keys if key)

    def words(self, text: str, indices: Sequence[int]) -> list[str]:
        names = {_hash(term): term for term in self.terms(text)}
        return [names[index] for index in indices]

    def _find_key(self, token: str) -> str:
        """Return the term of a token, or an empty text for stop words."""
        if token in STOP_WORDS:
            return ""
        term = self._extractor.term(token)
        return term.key if term.weight > 0 else ""

    def encode(
        self, texts: Sequence[str], *, role: str | None = None, progress: Progress = no_progress
    ) -> SparseVectors:
        parts = []
        options = self.options
        for text in texts:
            counts = self.terms(text)
            frequencies: Counter[int] = Counter()
            for term, count in counts.items():
                frequencies[_hash(term)] += count
            indices = np.array(sorted(frequencies), dtype=np.int32)
            numbers = np.array([frequencies[index] for index in indices.tolist()], dtype=np.float64)
            values = np.ones(len(indices))
            if role != Role.QUERY:
                values = (options.k1 + 1) * saturate(
                    numbers, float(counts.total()), mean_length=options.mean_length, k1=options.k1, b=options.b
                )
            parts.append((indices, values.astype(np.float32)))
            progress(1)
        return SparseVectors.from_parts(parts, dims=DIMS)

    def identity(self) -> dict[str, object]:
        # Not the parameters: a query has the same vector with all of them.
        return {"kind": "bm25", "version": VERSION}


def measure_mean_length(model: str, texts: Iterable[str]) -> str:
    """Return a name of :func:`parse_bm25` with the mean number of terms of texts that have any."""
    encoder = Bm25Encoder(parse_bm25(model))
    n_texts = n_terms = 0
    for text in texts:
        length = encoder.terms(text).total()
        n_texts += length > 0
        n_terms += length
    return f"{model},{MEAN_LENGTH}={n_terms / n_texts:.6g}" if n_texts else model


@lru_cache(maxsize=1 << 18)
def _hash(term: str) -> int:
    return hash_term(term) % DIMS
