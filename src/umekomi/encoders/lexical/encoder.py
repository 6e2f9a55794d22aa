"""Words as a vector: hashed, signed, and weighted by how rare they are in general, so that no corpus is needed.

Each term of a text (see :mod:`.words`) adds its weight to some dimensions, each with one sign, chosen by 64-bit hashes (the
hashing trick: Weinberger et al. 2009, arXiv:0902.2206): one of the term itself, and one of each run of five letters in it, so
that *tasting* and *tasteless*, or a word and its misspelling, share a part. The weight is BM25's (Robertson & Zaragoza 2009,
doi:10.1561/1500000019): what the term tells times its saturated count in the text. The dot product of two such vectors
estimates how much weight of words two texts share.
"""

from __future__ import annotations

import gzip
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import chain
from pathlib import Path

import msgpack
import numpy as np
import numpy.typing as npt

from ...catalog import EncoderSpec, Part, Role
from ...errors import AssetCorruptError
from ...progress import Progress
from ...settings import Settings
from ...vectors.arithmetic import DoubleArray, FloatArray, IntArray
from ..base import Encoder
from ..forks import guard
from .terms import Rules, Words, hash_term, only_word

VERSION = 3
"""Counts up whenever the same text gives another vector, so that old and new vectors are never mixed."""

_NUMBERS_AT_ONCE = 1 << 20
_TERMS_KEPT = 1 << 18
_STOP, _ODD = -1, -2
# A token's code is its term's number and the weight of one occurrence, in steps of 1/2048, so that sorting codes brings the
# forms of a word together, the weightiest last.
_WEIGHT_BITS = 16
_WEIGHT_STEP = 2048.0
_CODE_BITS = 40
# Sums of multiples of this are exact in float64, so that their order, which depends on what was embedded before, does not matter.
_EXACT = float(1 << 24)


@dataclass(frozen=True, slots=True)
class Weighting:
    """How terms are counted.

    Args:
        k1: BM25's; how soon a repeated term adds no more. At 0 a term counts once.
        b: BM25's; how much a long text's terms count less.
        mean_length: the length of a middling document in words.
        grams: the weight of a term's runs of letters together, against that of the term itself.
        gram_size: their length in letters, the bounds of the word being letters too.
        doubt: a vector's length is ``w / (w + doubt)``, where ``w`` is the length of its terms' weights: a word or two tell less
            than a hundred.
        unspaced_doubt: where all terms are of scripts without spaces, the vector is shorter by this share.
    """

    k1: float = 2.0
    b: float = 0.75
    mean_length: float = 150.0
    grams: float = 1.0
    gram_size: int = 5
    doubt: float = 3.0
    unspaced_doubt: float = 0.8


class LexicalEncoder(Encoder):
    """Hashed words.

    Args:
        frequencies: word to its share of all words of English.
        dims: the length of the vectors; the more, the fewer words share a dimension.
        rules: which words count, and how much.
        weighting: how terms are counted.
        query_weighting: how those of queries are counted, where it is not alike.
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
        self.name = "lexical"
        self.dims = dims
        self.weighting = weighting or Weighting()
        self.query_weighting = query_weighting or self.weighting
        self._words = Words(frequencies, rules or Rules())
        self.after_fork()
        guard.register(self)

    def after_fork(self) -> None:
        """Start with an empty table of terms: in a forked child, a thread of the parent may have left it half updated."""
        self._table = _Table(self._words, self.dims, self.weighting)
        self._lock = threading.Lock()

    def _encode(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        weighting = self.query_weighting if role is Role.QUERY else self.weighting
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        step = max(1, _NUMBERS_AT_ONCE // self.dims)
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
        told = (keys & ((1 << _WEIGHT_BITS) - 1)) / _WEIGHT_STEP
        saturation = weighting.k1 * (1.0 - weighting.b + weighting.b * n_words[row] / weighting.mean_length)
        weights = np.rint(told * counts * (weighting.k1 + 1.0) / (counts + saturation) * _WEIGHT_STEP) / _WEIGHT_STEP
        terms, owners = self._table.features(number)
        places = row[owners] * self.dims + terms.places
        values = np.rint(weights[owners] * terms.values * _EXACT)
        sums = _sums(places, values, len(texts) * self.dims).reshape(len(texts), self.dims)
        squares = weights * weights
        whole = _sums(row, squares, len(texts))
        unspaced = _sums(row, squares * self._table.is_unspaced(number), len(texts))
        lengths = _lengths(whole, unspaced, weighting)
        norms = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        scales = np.divide(lengths, norms, out=np.zeros_like(norms), where=norms > 0.0)
        vectors: FloatArray = (sums * scales[:, None]).astype(np.float32)
        return vectors

    def _codes(self, texts: Sequence[str]) -> tuple[IntArray, IntArray, DoubleArray]:
        """The row and the code of each token that tells something, and the length of each text in words."""
        table, words = self._table, self._words
        table.make_room()
        fast = not words.rules.identifiers
        tokens: list[list[str]] = []
        n_words = np.empty(len(texts))
        for row, text in enumerate(texts):
            if fast and text.isascii():
                found = words.find_in_ascii(text)
                n_words[row] = len(found)
            else:
                found, n_words[row] = words.find(text)
            tokens.append(found)
        rows, codes = _flat(tokens, table)
        odd = np.unique(rows[codes == _ODD])
        if len(odd):
            for row in odd:
                tokens[row], n_words[row] = words.find(texts[row])
            rows, codes = _flat(tokens, table)
        telling = codes >= 0
        return rows[telling], codes[telling], n_words

    def identity(self) -> dict[str, object]:
        return {
            "kind": "lexical",
            "version": VERSION,
            "dims": self.dims,
            "rules": asdict(self._words.rules),
            "weighting": asdict(self.weighting),
            "query_weighting": asdict(self.query_weighting),
        }


@dataclass(frozen=True, slots=True)
class _Features:
    """Where terms add to a vector, and how much for a weight of 1."""

    places: IntArray
    values: DoubleArray


class _Table(dict[str, int]):
    """Token to code; a token that is not there yet is weighed and numbered as it is asked for."""

    def __init__(self, words: Words, dims: int, weighting: Weighting) -> None:
        super().__init__()
        self._words = words
        self._dims = dims
        self._weighting = weighting
        self._start()

    def _start(self) -> None:
        self.clear()
        self._numbers: dict[str, int] = {}
        self._ends = _Numbers(np.int64)
        self._ends.append(0)
        self._places = _Numbers(np.int64)
        self._values = _Numbers(np.float64)
        self._unspaced = _Numbers(np.int8)

    def make_room(self) -> None:
        """Forget everything where there is too much: the terms of a billion texts must not fill the memory."""
        if len(self) > _TERMS_KEPT:
            self._start()

    def __missing__(self, token: str) -> int:
        word = only_word(token)
        if word is None:
            found = _ODD
        elif word != token:
            found = self[word]
        else:
            term = self._words.term(token)
            found = _STOP
            if term.weight > 0.0:
                number = self._number(term.key, unspaced=term.unspaced)
                found = (number << _WEIGHT_BITS) | max(1, round(term.weight * _WEIGHT_STEP))
        self[token] = found
        return found

    def _number(self, key: str, *, unspaced: bool) -> int:
        number = self._numbers.setdefault(key, len(self._numbers))
        if number == self._unspaced.size:
            self._add(key, 1.0)
            if not unspaced and self._weighting.grams:
                grams = _grams(key, self._weighting.gram_size)
                for gram in grams:
                    self._add(f"#{gram}", self._weighting.grams / math.sqrt(len(grams)))
            self._ends.append(self._places.size)
            self._unspaced.append(unspaced)
        return number

    def _add(self, feature: str, value: float) -> None:
        bits = hash_term(feature)
        self._places.append((bits >> 1) % self._dims)
        self._values.append(value if bits & 1 else -value)

    def features(self, numbers: IntArray) -> tuple[_Features, IntArray]:
        """The features of terms, and for each the place in ``numbers`` of the term that it is of."""
        ends = self._ends.array
        starts, sizes = ends[numbers], ends[numbers + 1] - ends[numbers]
        owners = np.repeat(np.arange(len(numbers)), sizes)
        before = np.cumsum(sizes) - sizes
        chosen = np.arange(len(owners)) + (starts - before)[owners]
        return _Features(self._places.array[chosen], self._values.array[chosen]), owners

    def is_unspaced(self, numbers: IntArray) -> npt.NDArray[np.int8]:
        """Which terms are of a script without spaces."""
        return self._unspaced.array[numbers]


class _Numbers:
    """An array that grows at its end."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.array = np.zeros(1024, dtype=dtype)
        self.size = 0

    def append(self, number: float) -> None:
        if self.size == len(self.array):
            self.array = np.concatenate([self.array, np.zeros_like(self.array)])
        self.array[self.size] = number
        self.size += 1


def _flat(tokens: list[list[str]], table: _Table) -> tuple[IntArray, IntArray]:
    """The row and the code of every token."""
    sizes = [len(found) for found in tokens]
    rows = np.repeat(np.arange(len(tokens), dtype=np.int64), sizes)
    codes = map(table.__getitem__, chain.from_iterable(tokens))
    return rows, np.fromiter(codes, dtype=np.int64, count=len(rows))


def _sums(places: IntArray, values: DoubleArray, size: int) -> DoubleArray:
    """The sum of the values of each place from 0 to ``size``."""
    return np.bincount(places, weights=values, minlength=size).astype(np.float64, copy=False)


def _grams(word: str, size: int) -> list[str]:
    """Runs of letters of a word with its bounds: ``<bean>`` is ``<bean``, ``bean>``."""
    bounded = f"<{word}>"
    return [bounded[place : place + size] for place in range(max(1, len(bounded) - size + 1))]


def _lengths(whole: DoubleArray, unspaced: DoubleArray, weighting: Weighting) -> DoubleArray:
    """How much of their share of a model vectors take: little where their terms tell little."""
    told = np.sqrt(whole)
    share = np.divide(unspaced, whole, out=np.zeros_like(whole), where=whole > 0.0)
    lengths: DoubleArray = told / (told + weighting.doubt) * (1.0 - weighting.unspaced_doubt * share)
    return lengths


def read_frequencies(path: Path) -> dict[str, float]:
    """Word frequencies as wordfreq stores them: word to its share of all words.

    The file is gzipped MessagePack: a header, then lists of words, the list at place ``i`` holding the words of frequency
    ``10 ** (-i / 100)``.
    """
    try:
        header, *groups = msgpack.unpackb(gzip.decompress(path.read_bytes()))
    except (OSError, ValueError, msgpack.UnpackException) as error:
        raise AssetCorruptError(f"{path} is not a file of word frequencies; run `umekomi models verify`.") from error
    if header.get("format") != "cB":
        raise AssetCorruptError(f"{path} holds word frequencies in an unknown format; run `umekomi models verify`.")
    return {word: 10.0 ** (-place / 100.0) for place, words in enumerate(groups) for word in words}


# One of the sizes after another: models of one process have the words in common, and reading them takes half a second.
_shared_frequencies = lru_cache(maxsize=1)(read_frequencies)


def build(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> LexicalEncoder:
    """The lexical encoder of a row of the catalogue: options of :class:`Rules` and :class:`Weighting` by name.

    Those of ``query`` are the weighting's where the text is a query.
    """
    options = {**spec.options, **part.options}
    dims = options.pop("dims", spec.dims)
    for_queries = options.pop("query", {})
    rules = {field.name: options.pop(field.name) for field in fields(Rules) if field.name in options}
    return LexicalEncoder(
        _shared_frequencies(files["frequencies"]),
        dims=dims,
        rules=Rules(**rules),
        weighting=Weighting(**options),
        query_weighting=Weighting(**{**options, **for_queries}),
    )
