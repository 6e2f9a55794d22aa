"""Text to terms: the words that tell something, by their stems, with what each tells.

A term is a stemmed word, or, in scripts without spaces, a pair of neighbouring characters or one Han character. What a word
tells is its inverse document frequency (Spärck Jones 1972, doi:10.1108/eb026526), estimated from its frequency in general
English, so that no corpus is needed.
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

_WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
# Han, kana, and the scripts of South-East Asia: written without spaces, so that a word is a run of characters.
_UNSPACED = re.compile(
    r"[\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    r"\U00020000-\U0003ffff]+"
)
_IDENTIFIER_PARTS = re.compile(r"[A-Z]{2,}(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]{2,}")
# What is not part of a word becomes a space. Only for ASCII, where it is many times faster than the pattern above.
_ASCII_SPACES = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "'")}


@dataclass(frozen=True, slots=True)
class Rules:
    """Which words count, and how much.

    Args:
        stop: words that make up more than this share of English tell nothing.
        mean_length: of a middling document, in words, for the inverse document frequency.
        power: of the inverse document frequency. Two texts' product multiplies the weights of the word in both, so that
            ``0.5`` makes it count once, as BM25 does.
        unspaced: the weight of pairs of characters in scripts without spaces, against that of words.
        identifiers: whether ``getUserName`` is also the words that it is made of (``user_name`` always is).
    """

    stop: float = 1e-3
    mean_length: float = 150.0
    power: float = 0.5
    unspaced: float = 0.5
    identifiers: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """A term, and the weight of one occurrence; ``weight`` is 0 for words that are everywhere."""

    key: str
    weight: float
    unspaced: bool = False


class Words:
    """Finds and weighs the terms of texts.

    Args:
        frequencies: word to its share of all words of English.
        rules: which words count, and how much.
    """

    def __init__(self, frequencies: Mapping[str, float], rules: Rules) -> None:
        self.rules = rules
        self._frequencies = frequencies
        self._rarest = min(frequencies.values(), default=1e-8)
        self._stem = lru_cache(maxsize=1 << 17)(snowballstemmer.stemmer("english").stemWord)

    def find(self, text: str) -> tuple[list[str], int]:
        """The tokens of a text, each of which is given to :meth:`term`, and the length of the text in words.

        A token is a word in lower case, or a piece of a script without spaces with a space before it.
        """
        text = unicodedata.normalize("NFKC", text)
        found = _WORDS.findall(_UNSPACED.sub(" ", text))
        tokens = [word.lower() for word in found]
        n_words = len(tokens)
        if self.rules.identifiers:
            for word in found:
                parts = [part.lower() for part in _IDENTIFIER_PARTS.findall(word) if len(part) > 1]
                if len(parts) > 1:
                    tokens += parts
        for run in _UNSPACED.findall(text):
            n_words += len(run)
            tokens += [f" {piece}" for piece in _pieces(run)]
        return tokens, n_words

    def find_in_ascii(self, text: str) -> list[str]:
        """As :meth:`find`, for texts in ASCII and rules that leave identifiers whole, faster.

        A token may have apostrophes around it or be several words with apostrophes between: see :func:`only_word`.
        """
        return text.lower().translate(_ASCII_SPACES).split()

    def term(self, token: str) -> Term:
        """The term of a token, and how much it tells."""
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
        # The chance that a middling document holds the word; its logarithm is the inverse document frequency.
        chance = -math.expm1(self.rules.mean_length * math.log1p(-frequency))
        return Term(stem, (-math.log(chance)) ** self.rules.power)


def only_word(token: str) -> str | None:
    """The word that a token of :meth:`Words.find_in_ascii` is for :meth:`Words.find`; None if it is none or several.

    >>> only_word("'tis"), only_word("don't"), only_word("rock'n'roll")
    ('tis', "don't", None)
    """
    if "'" not in token:
        return token
    found = _WORDS.findall(token)
    return found[0] if len(found) == 1 else None


def _pieces(run: str) -> list[str]:
    """Pairs of neighbouring characters, and each Han character alone: most words of Japanese are one or two."""
    pairs = [run[place : place + 2] for place in range(len(run) - 1)]
    return pairs + [character for character in run if character >= "\u3400"] + ([run] if len(run) == 1 else [])


def hash_term(term: str) -> int:
    """64 bits of a term, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).digest(), "little")
