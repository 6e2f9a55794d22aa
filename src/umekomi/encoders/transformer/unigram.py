"""Tokenize short texts with a Unigram vocabulary that is memory-mapped, so that nothing has to be loaded first.

The tokenizers library needs most of a second to build a vocabulary of 250,000 pieces. Here the sorted pieces are one array on
disk, and NumPy looks up all substrings of a text in it at once. The ids are those of the library.

The algorithm is the Viterbi search of T. Kudo (2018), "Subword Regularization", arXiv:1804.10959, as the tokenizers library
implements it: the segmentation with the highest sum of scores. A character outside of the vocabulary is an unknown token, and
neighboring unknown tokens are one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: The characters with the Unicode property White_Space. `str.split` has others.
_WORD = re.compile("[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_UNDERSCORE = "▁"
#: The score of an unknown character is that of the rarest piece minus this number.
_UNKNOWN_PENALTY = 10.0


@dataclass(frozen=True, slots=True)
class UnigramArrays:
    """A vocabulary as arrays, sorted by the UTF-8 bytes of the pieces."""

    #: ``(n,) S48`` or another width: the pieces in UTF-8.
    pieces: npt.NDArray[np.bytes_]
    #: ``(n,) int32``.
    ids: npt.NDArray[np.int32]
    #: ``(n,) float32``: logarithms of probabilities.
    scores: npt.NDArray[np.float32]

    @classmethod
    def build(cls, pieces: Sequence[bytes], scores: npt.NDArray[np.float32]) -> UnigramArrays:
        """Return the arrays of a vocabulary. The id of a piece is its index; of equal pieces, the last one counts."""
        array = np.array(pieces, dtype=np.bytes_)
        order = np.argsort(array, kind="stable")
        is_last = np.append(array[order][1:] != array[order][:-1], True)
        order = order[is_last]
        return cls(array[order], order.astype(np.int32), np.asarray(scores, dtype=np.float32)[order])

    def save(self, folder: Path) -> None:
        """Write the arrays to files in a folder."""
        for name in self.__slots__:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path) -> UnigramArrays:
        """Map the files that :meth:`save` wrote into memory. Raises OSError or ValueError if they are damaged."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls.__slots__))


class UnigramTokenizer:
    """Returns the ids of texts that were normalized as :class:`~.vocabulary.TextTokenizer` does.

    Args:
        arrays: The vocabulary.
        unknown: Id of the unknown token.

    >>> arrays = UnigramArrays.build([b"<unk>", "▁ab".encode(), "▁".encode(), b"b"], np.array([0, -1, -2, -3], np.float32))
    >>> UnigramTokenizer(arrays, unknown=0).ids("ab b xyb")
    [1, 2, 3, 2, 0, 3]
    """

    def __init__(self, arrays: UnigramArrays, *, unknown: int) -> None:
        self._arrays = arrays
        self._unknown = unknown
        self._max_bytes = arrays.pieces.dtype.itemsize
        self._unknown_score = float(arrays.scores.min()) - _UNKNOWN_PENALTY
        self._segment = lru_cache(maxsize=65_536)(self._segment_word)
        self._entries: dict[str, tuple[int, float] | None] = {}

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text."""
        words = [part for word in _WORD.findall(text) for part in _split_word(word)]
        self._look_up(set(words))
        return [token for word in words for token in self._segment(word)]

    def _look_up(self, words: set[str]) -> None:
        """Add all substrings of words to the dictionary of entries, with None for those that are not pieces."""
        entries, width = self._entries, self._max_bytes
        if len(entries) > 1_000_000:
            entries.clear()
        substrings = {
            word[start:end]
            for word in words
            for start in range(len(word))
            for end in range(start + 1, min(start + width, len(word)) + 1)
        }
        new = [text for text in substrings if text not in entries]
        encoded = [text.encode("utf-8", "surrogatepass") for text in new]
        entries.update(dict.fromkeys((text for text, key in zip(new, encoded, strict=True) if len(key) > width), None))
        short = [(text, key) for text, key in zip(new, encoded, strict=True) if len(key) <= width]
        if not short:
            return
        keys = np.array([key for _, key in short], dtype=self._arrays.pieces.dtype)
        indices = np.minimum(np.searchsorted(self._arrays.pieces, keys), len(self._arrays.pieces) - 1)
        is_piece = (self._arrays.pieces[indices] == keys).tolist()
        ids, scores = self._arrays.ids[indices].tolist(), self._arrays.scores[indices].tolist()
        for index, (text, key) in enumerate(short):
            # NumPy drops zero bytes at the end.
            entries[text] = (ids[index], scores[index]) if is_piece[index] and key[-1:] != b"\0" else None

    def _segment_word(self, word: str) -> tuple[int, ...]:
        """Return the ids of the best segmentation of a word, all of whose substrings have been looked up."""
        entries, unknown, width = self._entries, self._unknown, self._max_bytes
        n = len(word)
        best: list[float] = [0.0] * (n + 1)
        starts = [-1] * (n + 1)
        tokens = [unknown] * (n + 1)
        for start in range(n):
            has_single = False
            for end in range(start + 1, min(start + width, n) + 1):
                entry = entries[word[start:end]]
                if entry is None:
                    continue
                score = best[start] + entry[1]
                if starts[end] < 0 or score > best[end]:
                    best[end], starts[end], tokens[end] = score, start, entry[0]
                has_single |= end == start + 1
            if not has_single:
                score = best[start] + self._unknown_score
                if starts[start + 1] < 0 or score > best[start + 1]:
                    best[start + 1], starts[start + 1], tokens[start + 1] = score, start, unknown
        ids: list[int] = []
        end = n
        while end > 0:
            if not (ids and ids[-1] == tokens[end] == unknown):
                ids.append(tokens[end])
            end = starts[end]
        return tuple(reversed(ids))


def _split_word(word: str) -> list[str]:
    """Return the parts of a word that begin with ``▁``. One is put in front if the word does not begin with it."""
    if not word.startswith(_UNDERSCORE):
        word = _UNDERSCORE + word
    if _UNDERSCORE not in word[1:]:
        return [word]
    return [_UNDERSCORE + part for part in word[1:].split(_UNDERSCORE)]
