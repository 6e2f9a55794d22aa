"""Which words set one group of texts apart from the others, in any script.

>>> distinctive_terms(["the dog barks", "a dog and a cat", "beans and rice", "rice"], [0, 0, 1, 1], 2, n=1)
[('dog',), ('rice',)]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

_WORD = re.compile(r"[^\W\d_](?:[^\W_]|['’](?=[^\W_]))+")
# Runs of one Japanese or Chinese script; hiragana alone is mostly grammar, and begins no term.
_RUN = re.compile(r"[\u30a1-\u30faー]{2,}|[\u4e00-\u9fff々]{2,}|[가-힣]{2,}")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff々]+")
_MAX_RUN = 8


def terms_of(text: str) -> list[str]:
    """The terms of one text: words in small letters, pairs of neighbours, and runs of kanji or katakana. Stop words are left out."""
    words = [
        word
        for word in (found.lower().replace("’", "'") for found in _WORD.findall(_UNSPACED.sub(" ", text)))
        if word.removesuffix("'s") not in ENGLISH_STOP_WORDS and "'" not in word.removesuffix("'s")
    ]
    pairs = [f"{left} {right}" for left, right in pairwise(words) if left != right]
    runs = [run for run in _RUN.findall(text) if len(run) <= _MAX_RUN]
    return words + pairs + runs


def distinctive_terms(
    texts: Sequence[str], labels: Iterable[int] | npt.NDArray[np.int64], k: int, *, n: int = 5
) -> list[tuple[str, ...]]:
    """The ``n`` terms that tell most of each of the groups 0 … ``k`` - 1; rows of other labels count for none.

    Class-based TF-IDF (Grootendorst 2022, arXiv:2203.05794), where a text counts a term once: how large a share of the
    group's texts has the term, times the logarithm of how much rarer the term is elsewhere. A term must be in at least two
    texts of its group, where the group has more than a few.
    """
    groups = np.asarray(list(labels), dtype=np.int64)
    counts = [Counter[str]() for _ in range(k)]
    for text, group in zip(texts, groups, strict=True):
        if 0 <= group < k:
            counts[group].update(dict.fromkeys(terms_of(text), 1).keys())
    sizes = [max(int((groups == group).sum()), 1) for group in range(k)]
    total = sum(counts, Counter[str]())
    everything = sum(sizes)
    found = []
    for group in range(k):
        least = 2 if sizes[group] >= 8 else 1
        scores = {}
        for term, count in counts[group].items():
            if count < least:
                continue
            inside = count / sizes[group]
            outside = (total[term] - count + 0.5) / (everything - sizes[group] + 1) if k > 1 else 0.5
            scores[term] = inside**0.5 * np.log1p(inside / outside) * (count > 1 or sizes[group] < 8)
        best = sorted(scores, key=lambda term: (-scores[term], term))
        found.append(tuple(_not_repeating(best, n)))
    return found


def _not_repeating(terms: Sequence[str], n: int) -> list[str]:
    """The first ``n`` terms, leaving out one that only repeats a word of one that is kept already."""
    kept: list[str] = []
    for term in terms:
        words = set(term.split())
        stems = {word.removesuffix("'s").removesuffix("s") for word in words}
        if not any(stems & {word.removesuffix("'s").removesuffix("s") for word in other.split()} for other in kept):
            kept.append(term)
        if len(kept) == n:
            break
    return kept
