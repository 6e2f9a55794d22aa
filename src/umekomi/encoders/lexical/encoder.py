"""Vectors of hashed words, weighted by their rarity in general English, so no corpus is needed.

Each term of a text (see :mod:`.terms`) adds its weight to several dimensions with signs, both chosen by 64-bit hashes (the
hashing trick: Weinberger et al. 2009, arXiv:0902.2206). The hashes are those of the term and of its character 5-grams, so
*tasting* and *tasteless*, or a word and its misspelling, share dimensions. Weights follow BM25 (Robertson & Zaragoza 2009,
doi:10.1561/1500000019): inverse document frequency times saturated term frequency. The dot product of two vectors estimates
the weight of the terms that two texts share.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...catalog import EncoderSpec, Part, Role
from ...progress import Progress
from ...settings import Settings
from ...vectors.arithmetic import DoubleArray, FloatArray, IntArray
from ..base import Encoder
from ..forks import guard
from .frequencies import open_frequencies
from .terms import Rules, TermExtractor, hash_term, single_word

VERSION = 5
"""Increases whenever the same text gives another vector, so that old and new vectors are never mixed."""

_BATCH_NUMBERS = 1 << 20
_MAX_CACHED_TOKENS = 1 << 18
_STOP_WORD, _IRREGULAR = -1, -2
# The code of a token consists of the number of its term and the weight of one occurrence in steps of 1/2048. Sorted codes have
# all forms of a word in a row, the one with the largest weight last.
_WEIGHT_BITS = 16
_WEIGHT_STEP = 2048.0
_CODE_BITS = 40
# Sums of multiples of 1/_EXACT are exact in float64, so their order, which depends on earlier texts, does not matter.
_EXACT = float(1 << 24)


@dataclass(frozen=True, slots=True)
class Weighting:
    """How term counts become weights."""

    #: BM25's saturation of repeated terms. At 0 a term counts once.
    k1: float = 2.0
    #: BM25's length normalization.
    b: float = 0.75
    #: Length of an average document in words.
    mean_length: float = 150.0
    #: Weight of all character n-grams of a term together, relative to the term itself.
    grams: float = 1.0
    #: Number of characters in an n-gram. Word boundaries count as characters.
    gram_size: int = 5
    #: The length of a vector is ``w / (w + doubt)``, where ``w`` is the norm of its term weights: few words say less than many.
    doubt: float = 4.0
    #: Factor for the length of a vector whose terms are all in scripts without spaces. Pairs of characters say less about the
    #: similarity of two sentences than words do, but more about whether a document answers a query.
    unspaced_factor: float = 0.6


class LexicalEncoder(Encoder):
    """Encodes texts as vectors of hashed words.

    Args:
        frequencies: Share of each word in English text.
        dims: Number of dimensions. With more dimensions, fewer words share one.
        rules: Which words become terms, and their weights.
        weighting: How term counts become weights.
        query_weighting: The same for queries. By default equal to ``weighting``.
    """

    def __init__(
        self,
        frequencies: Mapping[str, float],
        *,
        dims: int,
        rules: Rules | None = None,
        weighting: Weighting | None = None,
        query_weighting: Weighting | None = None,
    ) -> None:
        self.name = self.architecture = "lexical"
        self.dims = dims
        self.weighting = weighting or Weighting()
        self.query_weighting = query_weighting or self.weighting
        self._extractor = TermExtractor(frequencies, rules or Rules())
        self.after_fork()
        guard.register(self)

    def after_fork(self) -> None:
        """Empty the table of terms, which a thread of the parent process may have left half updated."""
        self._table = _TermTable(self._extractor, self.dims, self.weighting)
        self._lock = threading.Lock()

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        weighting = self.query_weighting if role is Role.QUERY else self.weighting
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        step = max(1, _BATCH_NUMBERS // self.dims)
        for start in range(0, len(texts), step):
            batch = texts[start : start + step]
            with self._lock:
                vectors[start : start + step] = self._encode_batch(batch, weighting)
            progress(len(batch))
        return vectors

    def _encode_batch(self, texts: Sequence[str], weighting: Weighting) -> FloatArray:
        rows, codes, n_words = self._codes(texts)
        if not len(codes):
            return np.zeros((len(texts), self.dims), dtype=np.float32)
        keys = np.sort((rows << _CODE_BITS) | codes)
        last = np.flatnonzero(np.diff(keys >> _WEIGHT_BITS, append=-1))
        counts = np.diff(last, prepend=-1)
        keys = keys[last]
        row, number = keys >> _CODE_BITS, (keys >> _WEIGHT_BITS) & ((1 << (_CODE_BITS - _WEIGHT_BITS)) - 1)
        idf = (keys & ((1 << _WEIGHT_BITS) - 1)) / _WEIGHT_STEP
        saturation = weighting.k1 * (1.0 - weighting.b + weighting.b * n_words[row] / weighting.mean_length)
        weights = np.rint(idf * counts * (weighting.k1 + 1.0) / (counts + saturation) * _WEIGHT_STEP) / _WEIGHT_STEP
        terms, owners = self._table.features(number)
        positions = row[owners] * self.dims + terms.dimensions
        values = np.rint(weights[owners] * terms.values * _EXACT)
        sums = _sums(positions, values, len(texts) * self.dims).reshape(len(texts), self.dims)
        squares = weights * weights
        total = _sums(row, squares, len(texts))
        unspaced = _sums(row, squares * self._table.is_unspaced(number), len(texts))
        lengths = _lengths(total, unspaced, weighting)
        norms = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        scales = np.divide(lengths, norms, out=np.zeros_like(norms), where=norms > 0.0)
        vectors: FloatArray = (sums * scales[:, None]).astype(np.float32)
        return vectors

    def _codes(self, texts: Sequence[str]) -> tuple[IntArray, IntArray, DoubleArray]:
        """Return the row and the code of each token that is not a stop word, and the number of words of each text."""
        table, extractor = self._table, self._extractor
        table.limit_size()
        fast = not extractor.rules.identifiers
        tokens: list[list[str]] = []
        n_words = np.empty(len(texts))
        for row, text in enumerate(texts):
            if fast and text.isascii():
                text_tokens = extractor.tokenize_ascii(text)
                n_words[row] = len(text_tokens)
            else:
                text_tokens, n_words[row] = extractor.tokenize(text)
            tokens.append(text_tokens)
        rows, codes = _flatten(tokens, table)
        irregular = np.unique(rows[codes == _IRREGULAR])
        if len(irregular):
            for row in irregular:
                tokens[row], n_words[row] = extractor.tokenize(texts[row])
            rows, codes = _flatten(tokens, table)
        is_term = codes >= 0
        return rows[is_term], codes[is_term], n_words

    def identity(self) -> dict[str, object]:
        return {
            "kind": "lexical",
            "version": VERSION,
            "dims": self.dims,
            "rules": asdict(self._extractor.rules),
            "weighting": asdict(self.weighting),
            "query_weighting": asdict(self.query_weighting),
        }


@dataclass(frozen=True, slots=True)
class _Features:
    """The dimensions that terms add to, and the values for a weight of 1."""

    dimensions: IntArray
    values: DoubleArray


class _TermTable(dict[str, int]):
    """Codes of tokens. The code of a new token is computed when it is looked up."""

    def __init__(self, extractor: TermExtractor, dims: int, weighting: Weighting) -> None:
        super().__init__()
        self._extractor = extractor
        self._dims = dims
        self._weighting = weighting
        self._start()

    def _start(self) -> None:
        self.clear()
        self._numbers: dict[str, int] = {}
        self._ends = _GrowingArray(np.int64)
        self._ends.append(0)
        self._dimensions = _GrowingArray(np.int64)
        self._values = _GrowingArray(np.float64)
        self._unspaced = _GrowingArray(np.int8)

    def limit_size(self) -> None:
        """Empty a large table, because the terms of a billion texts do not fit into memory."""
        if len(self) > _MAX_CACHED_TOKENS:
            self._start()

    def __missing__(self, token: str) -> int:
        word = single_word(token)
        if word is None:
            code = _IRREGULAR
        elif word != token:
            code = self[word]
        else:
            term = self._extractor.term(token)
            code = _STOP_WORD
            if term.weight > 0.0:
                number = self._number(term.key, unspaced=term.unspaced)
                code = (number << _WEIGHT_BITS) | max(1, round(term.weight * _WEIGHT_STEP))
        self[token] = code
        return code

    def _number(self, key: str, *, unspaced: bool) -> int:
        number = self._numbers.setdefault(key, len(self._numbers))
        if number == self._unspaced.size:
            self._add(key, 1.0)
            if not unspaced and self._weighting.grams:
                grams = _grams(key, self._weighting.gram_size)
                for gram in grams:
                    self._add(f"#{gram}", self._weighting.grams / math.sqrt(len(grams)))
            self._ends.append(self._dimensions.size)
            self._unspaced.append(unspaced)
        return number

    def _add(self, feature: str, value: float) -> None:
        bits = hash_term(feature)
        self._dimensions.append((bits >> 1) % self._dims)
        self._values.append(value if bits & 1 else -value)

    def features(self, numbers: IntArray) -> tuple[_Features, IntArray]:
        """Return the features of terms, and the index in ``numbers`` of the term of each feature."""
        ends = self._ends.array
        starts, sizes = ends[numbers], ends[numbers + 1] - ends[numbers]
        owners = np.repeat(np.arange(len(numbers)), sizes)
        offsets = np.cumsum(sizes) - sizes
        selected = np.arange(len(owners)) + (starts - offsets)[owners]
        return _Features(self._dimensions.array[selected], self._values.array[selected]), owners

    def is_unspaced(self, numbers: IntArray) -> npt.NDArray[np.int8]:
        """Return which terms are in a script without spaces: ``(n,) int8``."""
        return self._unspaced.array[numbers]


class _GrowingArray:
    """An array that numbers can be appended to."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.array = np.zeros(1024, dtype=dtype)
        self.size = 0

    def append(self, number: float) -> None:
        if self.size == len(self.array):
            self.array = np.concatenate([self.array, np.zeros_like(self.array)])
        self.array[self.size] = number
        self.size += 1


def _flatten(tokens: list[list[str]], table: _TermTable) -> tuple[IntArray, IntArray]:
    """Return the row and the code of every token."""
    sizes = list(map(len, tokens))
    rows = np.repeat(np.arange(len(tokens), dtype=np.int64), sizes)
    codes = map(table.__getitem__, chain.from_iterable(tokens))
    return rows, np.fromiter(codes, dtype=np.int64, count=len(rows))


def _sums(indices: IntArray, values: DoubleArray, size: int) -> DoubleArray:
    """Return the sum of the values of each index below ``size``."""
    return np.bincount(indices, weights=values, minlength=size).astype(np.float64, copy=False)


def _grams(word: str, size: int) -> list[str]:
    """Return the character n-grams of a word with its boundaries: ``<bean>`` has ``<bean`` and ``bean>``."""
    bounded = f"<{word}>"
    return [bounded[start : start + size] for start in range(max(1, len(bounded) - size + 1))]


def _lengths(total: DoubleArray, unspaced: DoubleArray, weighting: Weighting) -> DoubleArray:
    """Return the lengths of vectors from the sums of their squared term weights: texts with few rare terms are short."""
    norms = np.sqrt(total)
    share = np.divide(unspaced, total, out=np.zeros_like(total), where=total > 0.0)
    lengths = np.divide(norms, norms + weighting.doubt, out=np.zeros_like(norms), where=norms > 0.0)
    scaled: DoubleArray = lengths * (1.0 + (weighting.unspaced_factor - 1.0) * share)
    return scaled


# Models of one process share the frequencies, because reading them takes half a second.
_shared_frequencies = lru_cache(maxsize=1)(open_frequencies)


def build(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> LexicalEncoder:
    """Build the lexical encoder of a row of the catalog from options of :class:`Rules` and :class:`Weighting`.

    The options in ``query`` replace those of the weighting for queries.
    """
    options = {**spec.options, **part.options}
    dims = options.pop("dims", spec.dims)
    query_options = options.pop("query", {})
    rules = {field.name: options.pop(field.name) for field in fields(Rules) if field.name in options}
    return LexicalEncoder(
        _shared_frequencies(files["frequencies"], settings),
        dims=dims,
        rules=Rules(**rules),
        weighting=Weighting(**options),
        query_weighting=Weighting(**{**options, **query_options}),
    )
