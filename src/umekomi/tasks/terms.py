"""Which words set one group of texts apart from the others, in any script.

>>> distinctive_terms(["the dog barks", "a dog and a cat", "beans and rice", "rice"], [0, 0, 1, 1], 2, n=1)
[('dog',), ('rice',)]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from ..vectors.arithmetic import IntArray

_WORD = re.compile(r"[^\W\d_](?:[^\W_]|['’](?=[^\W_]))+")
# Runs of one Japanese or Chinese script; hiragana alone is mostly grammar, and begins no term.
_RUN = re.compile(r"[\u30a1-\u30faー]{2,}|[\u4e00-\u9fff々]{2,}|[가-힣]{2,}")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff々]+")
_CLAUSE = re.compile(r"[.,;:!?()\[\]\"<>\n]+")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,80}>")
_MAX_RUN = 8


def terms_of(text: str) -> list[str]:
    """The terms of one text: words in small letters, pairs of neighbours, and runs of kanji or katakana; no stop words."""
    terms = [run for run in _RUN.findall(text) if len(run) <= _MAX_RUN]
    for clause in _CLAUSE.split(_UNSPACED.sub(" . ", _TAG.sub(" . ", text))):
        words = [word.lower().replace("’", "'").removesuffix("'s") for word in _WORD.findall(clause)]
        kept = ["" if word in ENGLISH_STOP_WORDS or "'" in word else word for word in words]
        terms += [word for word in kept if word]
        terms += [f"{left} {right}" for left, right in pairwise(kept) if left and right and left != right]
    return terms


def distinctive_terms(
    texts: Sequence[str], labels: Iterable[int] | IntArray, k: int, *, n: int = 5
) -> list[tuple[str, ...]]:
    """The ``n`` terms that tell most of each of the groups 0 … ``k`` - 1; rows of other labels count for none.

    Class-based TF-IDF (Grootendorst 2022, arXiv:2203.05794), where a text counts a term once: how large a share of the
    group's texts has the term, times the logarithm of how much rarer the term is elsewhere. A term must be in at least two
    texts of its group, where the group has more than a few; a text that comes again counts once.
    """
    groups = np.asarray(list(labels), dtype=np.int64)
    # The same text again tells nothing new.
    once = [(text, group) for text, group in dict.fromkeys(zip(texts, groups.tolist(), strict=True)) if 0 <= group < k]
    return most_telling([set(terms_of(text)) for text, _ in once], [group for _, group in once], k, n=n)


def most_telling(
    rows: Sequence[AbstractSet[str]], groups: Iterable[int] | IntArray, k: int, *, n: int = 5
) -> list[tuple[str, ...]]:
    """:func:`distinctive_terms` of rows whose terms are known already: a set of them a row, all in one of the ``k`` groups."""
    counts = [Counter[str]() for _ in range(k)]
    sizes = [0] * k
    for terms, group in zip(rows, groups, strict=True):
        counts[group].update(terms)
        sizes[group] += 1
    total = sum(counts, Counter[str]())
    everything = sum(sizes)
    found = []
    for group in range(k):
        least = 2 if sizes[group] >= 8 else 1
        scores = {}
        for term, count in counts[group].items():
            if count < least:
                continue
            inside = count / max(sizes[group], 1)
            outside = (total[term] - count + 0.5) / (everything - sizes[group] + 1) if k > 1 else 0.5
            scores[term] = inside * np.log(inside / outside)
        best = sorted((term for term in scores if scores[term] > 0), key=lambda term: (-scores[term], term))
        found.append(tuple(without_repeats(best, n)))
    return found


def without_repeats(terms: Sequence[str], n: int) -> list[str]:
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
