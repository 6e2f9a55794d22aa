"""Words as a vector: hashed, signed, and weighted by how rare they are in general, so that no corpus is needed.

Each term of a text (a stemmed word, or a pair of neighbouring characters in a script without spaces) adds its weight to
one dimension, with one sign, both chosen by a 64-bit hash (the hashing trick: Weinberger et al. 2009, arXiv:0902.2206).
The weight is BM25's (Robertson & Zaragoza 2009, doi:10.1561/1500000019): the inverse document frequency of the term,
estimated from the word's frequency in general English (wordfreq), times its saturated count in the text. The dot product
of two such vectors estimates how much weight of words two texts share.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import msgpack
import numpy as np
import snowballstemmer

from ..catalog import EncoderSpec, Part, Role
from ..errors import AssetCorruptError
from ..settings import Settings
from ..vectors import FloatArray, normalize
from .base import Encoder, Progress

VERSION = 2
"""Counts up whenever the same text gives another vector, so that old and new vectors are never mixed."""

_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
# Han, kana, and the scripts of South-East Asia: written without spaces, so that a word is a run of characters.
_UNSPACED = re.compile(
    r"[\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    r"\U00020000-\U0003ffff]+"
)


@dataclass(frozen=True, slots=True)
class Weighting:
    """How terms are weighted.

    ``k1`` and ``b`` are BM25's; ``mean_length`` is the length of a middling document in words. ``stop`` leaves out words
    that make up more than this share of English. ``pairs`` is the weight of pairs of neighbouring words against that of
    single ones, ``unspaced`` that of characters in scripts without spaces. A vector's length is ``w / (w + doubt)``, where
    ``w`` is the length of its terms' weights: a word or two tell less than a hundred. Where all terms are of scripts without
    spaces, it is shorter by the share ``unspaced_doubt``.
    """

    k1: float = 1.2
    b: float = 0.75
    mean_length: float = 150.0
    stop: float = 1e-3
    pairs: float = 0.0
    unspaced: float = 0.5
    doubt: float = 8.0
    unspaced_doubt: float = 0.5


class LexicalEncoder(Encoder):
    """Hashed words.

    Args:
        frequencies: word to its share of all words of English.
        dims: the length of the vectors; the more, the fewer words share a dimension.
        weighting: how terms are weighted.
    """

    def __init__(self, frequencies: Mapping[str, float], *, dims: int, weighting: Weighting | None = None) -> None:
        self.name = "lexical"
        self.dims = dims
        self.weighting = weighting or Weighting()
        self._frequencies = frequencies
        self._rarest = min(frequencies.values(), default=1e-8)
        self._stem = lru_cache(maxsize=1 << 17)(snowballstemmer.stemmer("english").stemWord)
        self._term = lru_cache(maxsize=1 << 18)(self._hash)
        self._word = lru_cache(maxsize=1 << 18)(self._weigh)

    def _encode(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        vectors = np.zeros((len(texts), self.dims), dtype=np.float32)
        lengths = np.zeros((len(texts), 1), dtype=np.float32)
        for row, text in enumerate(texts):
            terms = self._terms(text)
            if terms:
                keys, weights = zip(*terms.items(), strict=True)
                places, signs = zip(*map(self._term, keys), strict=True)
                np.add.at(vectors[row], list(places), np.array(weights, dtype=np.float32) * np.array(signs, np.float32))
                lengths[row] = self._length(terms)
            progress(1)
        return normalize(vectors) * lengths

    def _length(self, terms: Mapping[str, float]) -> float:
        """How much of its share of a model the vector of these terms takes: little where they tell little."""
        whole = sum(weight * weight for weight in terms.values())
        unspaced = sum(weight * weight for term, weight in terms.items() if _UNSPACED.match(term))
        told = math.sqrt(whole)
        return told / (told + self.weighting.doubt) * (1.0 - self.weighting.unspaced_doubt * unspaced / whole)

    def _terms(self, text: str) -> dict[str, float]:
        """The terms of a text with their weights."""
        rules = self.weighting
        text = unicodedata.normalize("NFKC", text)
        words = [word.lower() for word in _WORDS.findall(_UNSPACED.sub(" ", text))]
        counts: Counter[str] = Counter()
        base: dict[str, float] = {}
        before = ""
        for word in words:
            key, weight = self._word(word)
            if weight > 0.0:
                counts[key] += 1
                base[key] = max(base.get(key, 0.0), weight)
                if rules.pairs and before:
                    pair = f"{before} {key}"
                    counts[pair] += 1
                    base[pair] = rules.pairs * min(weight + base[before], 2 * weight, 2 * base[before])
                before = key
            else:
                before = ""
        n_terms = len(words)
        for run in _UNSPACED.findall(text):
            n_terms += len(run)
            for piece in self._pieces(run):
                counts[piece] += 1
                base[piece] = rules.unspaced * (6.0 if len(piece) == 2 else 4.0)
        saturation = rules.k1 * (1.0 - rules.b + rules.b * n_terms / rules.mean_length)
        return {key: base[key] * count * (rules.k1 + 1.0) / (count + saturation) for key, count in counts.items()}

    @staticmethod
    def _pieces(run: str) -> list[str]:
        """Pairs of neighbouring characters, and each Han character alone: most words of Japanese are one or two."""
        pairs = [run[place : place + 2] for place in range(len(run) - 1)]
        return pairs + [character for character in run if character >= "\u3400"] + ([run] if len(run) == 1 else [])

    def _weigh(self, word: str) -> tuple[str, float]:
        """A word's stem, and how much a word of that rarity tells; 0 for words that are everywhere."""
        plain = word.replace("’", "'").removesuffix("'s")
        stem = self._stem(plain)
        frequency = max(self._frequencies.get(plain, 0.0), self._frequencies.get(stem, 0.0), self._rarest)
        if frequency > self.weighting.stop:
            return stem, 0.0
        # The chance that a middling document holds the word; its logarithm is the idf.
        chance = -math.expm1(self.weighting.mean_length * math.log1p(-frequency))
        return stem, -math.log(chance)

    def _hash(self, term: str) -> tuple[int, float]:
        digest = hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        return (number >> 1) % self.dims, 1.0 if number & 1 else -1.0

    def identity(self) -> dict[str, object]:
        return {"kind": "lexical", "version": VERSION, "dims": self.dims, "weighting": asdict(self.weighting)}


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


def build(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> LexicalEncoder:
    """The lexical encoder of a row of the catalogue."""
    options = {**spec.options, **part.options}
    dims = options.pop("dims", spec.dims)
    return LexicalEncoder(read_frequencies(files["frequencies"]), dims=dims, weighting=Weighting(**options))
