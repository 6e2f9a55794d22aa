"""Split texts into weighted terms.

A term is a stemmed word or, in scripts without spaces, a pair of adjacent characters or one Han character. The weight of a word
is its inverse document frequency (Spärck Jones 1972, doi:10.1108/eb026526), estimated from its frequency in general English, so
no corpus is needed.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

from ..unicode import normalize_text

_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
# Han, kana, and the scripts of Southeast Asia, which are written without spaces.
_UNSPACED = re.compile(
    r"[\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    r"\U00020000-\U0003ffff]+"
)
_IDENTIFIER_PARTS = re.compile(r"[A-Z]{2,}(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]{2,}")
# Replaces characters that are not part of a word by spaces. For ASCII this is many times faster than the pattern.
_ASCII_SPACES = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "'")}


@dataclass(frozen=True, slots=True)
class Rules:
    """Which words become terms, and their weights."""

    #: Words with a larger share of English text than this are stop words.
    stop: float = 1e-3
    #: Length of an average document in words, for the inverse document frequency.
    mean_length: float = 150.0
    #: Exponent of the inverse document frequency. A dot product multiplies the weights in both texts, so 0.5 counts it
    #: once, as BM25 does.
    power: float = 0.5
    #: Weight of pairs of characters in scripts without spaces, relative to words.
    unspaced: float = 0.5
    #: Whether to split ``getUserName`` into words too. ``user_name`` is always split.
    identifiers: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """A term with its weight."""

    key: str
    #: Weight of one occurrence; 0 for stop words.
    weight: float
    #: Whether the term is in a script without spaces.
    unspaced: bool = False


class TermExtractor:
    """Finds terms in texts and weights them.

    Args:
        frequencies: Share of each word in English text.
        rules: Which words become terms, and their weights.
    """

    def __init__(self, frequencies: Mapping[str, float], rules: Rules) -> None:
        self.rules = rules
        self._frequencies = frequencies
        self._rarest = min(frequencies.values(), default=1e-8)
        self._stem = lru_cache(maxsize=1 << 17)(snowballstemmer.stemmer("english").stemWord)

    def tokenize(self, text: str) -> tuple[list[str], int]:
        """Return the tokens of a text, which are the arguments of :meth:`term`, and its number of words.

        A token is a word in lower case, or one or two characters of a script without spaces after a space.
        """
        text = normalize_text(text)
        words = _WORDS.findall(_UNSPACED.sub(" ", text))
        tokens = [word.lower() for word in words]
        n_words = len(tokens)
        if self.rules.identifiers:
            for word in words:
                parts = [part.lower() for part in _IDENTIFIER_PARTS.findall(word) if len(part) > 1]
                if len(parts) > 1:
                    tokens += parts
        for run in _UNSPACED.findall(text):
            n_words += len(run)
            tokens += [f" {piece}" for piece in _split_unspaced(run)]
        return tokens, n_words

    def tokenize_ascii(self, text: str) -> list[str]:
        """Return the tokens of an ASCII text faster than :meth:`tokenize`, if the rules do not split identifiers.

        A token may start or end with apostrophes, or contain several words with apostrophes between: see :func:`single_word`.
        """
        return text.lower().translate(_ASCII_SPACES).split()

    def term(self, token: str) -> Term:
        """Return the term of a token."""
        if token.startswith(" "):
            piece = token[1:]
            return Term(
                piece, self.rules.unspaced * (6.0 if len(piece) == 2 else 4.0) ** self.rules.power, unspaced=True
            )
        plain = token.replace("’", "'").removesuffix("'s")
        stem = self._stem(plain)
        frequency = max(self._frequencies.get(plain, 0.0), self._frequencies.get(stem, 0.0), self._rarest)
        if frequency > self.rules.stop:
            return Term(stem, 0.0)
        # The probability that an average document contains the word. Its negative logarithm is the inverse document frequency.
        probability = -math.expm1(self.rules.mean_length * math.log1p(-frequency))
        return Term(stem, (-math.log(probability)) ** self.rules.power)


def single_word(token: str) -> str | None:
    """Return the single word in a token of :meth:`TermExtractor.tokenize_ascii`, or None if it contains no word or more than one.

    >>> single_word("'tis"), single_word("don't"), single_word("rock'n'roll")
    ('tis', "don't", None)
    """
    if "'" not in token:
        return token
    words = _WORDS.findall(token)
    return words[0] if len(words) == 1 else None


def _split_unspaced(run: str) -> list[str]:
    """Return all pairs of adjacent characters and all single Han characters. Most Japanese words have one or two."""
    pairs = [run[index : index + 2] for index in range(len(run) - 1)]
    return pairs + [character for character in run if character >= "\u3400"] + ([run] if len(run) == 1 else [])


def hash_term(term: str) -> int:
    """Return a 64-bit hash of a term, which is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")
