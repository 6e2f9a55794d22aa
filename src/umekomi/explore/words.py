"""The words that set some texts apart from the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

_WORD = re.compile(r"[^\W\d_][\w'’-]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

# Words that say nothing of a subject, and the like in what people write of their own.
_DULL = ENGLISH_STOP_WORDS | {
    "title",
    "content",
    "just",
    "really",
    "got",
    "did",
    "does",
    "didn",
    "don",
    "like",
    "the",
    "use",
    "used",
}


def words_of(text: str) -> set[str]:
    """The words of a text, lower case; of scripts without spaces, runs of kanji and katakana."""
    found = set()
    for word in _WORD.findall(text[:4000].lower()):
        if _CJK.search(word):
            found.update(re.findall(r"[\u30a1-\u30ff]{2,}|[\u3400-\u9fff]{2,}", word))
        elif len(word) > 2 and word not in _DULL and "'" not in word and "’" not in word:
            found.add(word)
    return found


def distinctive_words(
    rows: Sequence[set[str]], found: npt.NDArray[np.int64], k: int, *, n: int = 6
) -> list[tuple[str, ...]]:
    """The ``n`` most distinctive words of each group: those whose share of its texts is greatest beside that of the others.

    ``rows`` are the words of each text, ``found`` its group, from 0 to ``k - 1``.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(k)]
    for words, cluster in zip(rows, found, strict=True):
        counts[cluster].update(words)
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    sizes = np.bincount(found, minlength=k)
    everything = len(rows)
    best = []
    for cluster, some in enumerate(counts):
        size = max(int(sizes[cluster]), 1)
        rest = max(everything - size, 1)
        scored = []
        for word, count in some.items():
            if count < 2 and size > 4:
                continue
            here, elsewhere = count / size, (total[word] - count) / rest
            scored.append((here * float(np.log((here + 0.5 / size) / (elsewhere + 0.5 / rest))), word))
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        best.append(_without_kin([word for _, word in scored[: 6 * n]], n))
    return best


def _without_kin(words: Sequence[str], n: int) -> tuple[str, ...]:
    """The first ``n`` words, leaving out those that are another's plural or the like."""
    kept: list[str] = []
    for word in words:
        if not any(
            word.startswith(other[:-1]) or other.startswith(word[:-1]) for other in kept if len(other) > 3 < len(word)
        ):
            kept.append(word)
        if len(kept) == n:
            break
    return tuple(kept)
