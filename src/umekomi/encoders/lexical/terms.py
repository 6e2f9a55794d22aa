"""Split texts into weighted terms.

A term is a stemmed word or, in scripts without spaces and in Korean, a pair of adjacent characters or one Han character. Pairs
connect a Korean word with itself before another particle (Lee & Ahn 1996, SIGIR). The weight of a word is
its inverse document frequency (Spärck Jones 1972, doi:10.1108/eb026526), estimated from its frequency in general English, so no
corpus is needed. The most frequent words of other languages are stop words.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

from ..unicode import normalize_text
from .frequencies import smallest_frequency
from .tables import function_words, standard_characters

# The vowel signs of Indic and other scripts are part of words, but ``\w`` does not match them.
_MARKS = "".join(
    chr(code) for code in (*range(0x300, 0x1E00), *range(0xA800, 0xAC00)) if unicodedata.category(chr(code))[0] == "M"
)
_WORD = rf"[^\W_](?:[^\W_]|[{_MARKS}])*"
_WORDS = re.compile(rf"{_WORD}(?:['’]{_WORD})?")
# Han, kana and the scripts of Southeast Asia, which are written without spaces, and Hangul.
_UNSPACED = re.compile(
    r"[\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    r"\U00020000-\U0003ffff]+"
)
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_HIRAGANA = re.compile(r"[\u3041-\u309f]")
_ITERATION_MARKS = re.compile(r"(?<=[\u3041-\ua000])[々〻ゝヽゞヾ]")
# Vowel marks of Hebrew and Arabic, which most texts leave out, and the Arabic character that lengthens words.
_OPTIONAL_MARKS = re.compile(r"[\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670]")
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
    #: Weight of a pair of characters in scripts without spaces. That of a rare English word is 4.
    pair: float = 1.2
    #: Factor for each hiragana in a pair, because most of them are in particles and endings.
    hiragana: float = 0.8
    #: Weight of a Han character.
    han: float = 1.2
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
        self._function_words = function_words()
        self._rarest = smallest_frequency(frequencies)
        self._stem = lru_cache(maxsize=1 << 17)(snowballstemmer.stemmer("english").stemWord)

    def tokenize(self, text: str) -> tuple[list[str], int]:
        """Return the tokens of a text, which are the arguments of :meth:`term`, and its number of words.

        A token is a word in lower case, or one or two characters of a script without spaces after a space.
        """
        text = _ITERATION_MARKS.sub(_repeat, _OPTIONAL_MARKS.sub("", normalize_text(text)))
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
            weight = self.rules.han if _HAN.fullmatch(piece) else self.rules.pair
            weight *= self.rules.hiragana ** len(_HIRAGANA.findall(piece))
            return Term(piece.translate(standard_characters()), weight, unspaced=True)
        plain = token.replace("’", "'").removesuffix("'s")
        if plain in self._function_words:
            return Term(plain, 0.0)
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


def _repeat(mark: re.Match[str]) -> str:
    """Return the character that an iteration mark stands for: the one before it, with a voiced sound after ゞ and ヾ."""
    character = mark.string[mark.start() - 1]
    return unicodedata.normalize("NFC", f"{character}\u3099") if mark[0] in "ゞヾ" else character


def _split_unspaced(run: str) -> list[str]:
    """Return all pairs of adjacent characters and all single Han characters. Most Japanese words have one or two."""
    pairs = [run[index : index + 2] for index in range(len(run) - 1)]
    return pairs + _HAN.findall(run) + ([run] if len(run) == 1 else [])


def hash_term(term: str) -> int:
    """Return a 64-bit hash of a term, which is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")
