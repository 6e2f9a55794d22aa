"""Terms that distinguish one group of texts from the others, in any script.

>>> distinctive_terms(["the dog barks", "a dog and a cat", "beans and rice", "rice"], [0, 0, 1, 1], 2, n=1)
[('dog',), ('rice',)]
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

_WORD = re.compile(r"[^\W\d_](?:[^\W_]|['’](?=[^\W_]))+")
# Runs of one Japanese or Chinese script. Hiragana alone is mostly grammar and starts no term.
_RUN = re.compile(r"[\u30a1-\u30faー]{2,}|[\u4e00-\u9fff々]{2,}|[가-힣]{2,}")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff々]+")
_CLAUSE = re.compile(r"[.,;:!?()\[\]\"<>\n]+")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,80}>")
_MAX_RUN = 8


def extract_terms(text: str) -> list[str]:
    """Return the lowercase words of a text, pairs of adjacent words, and runs of kanji or katakana, without stop words."""
    terms = [run for run in _RUN.findall(text) if len(run) <= _MAX_RUN]
    for clause in _CLAUSE.split(_UNSPACED.sub(" . ", _TAG.sub(" . ", text))):
        words = [word.lower().replace("’", "'").removesuffix("'s") for word in _WORD.findall(clause)]
        words = ["" if word in ENGLISH_STOP_WORDS or "'" in word else word for word in words]
        terms += [word for word in words if word]
        terms += [f"{left} {right}" for left, right in pairwise(words) if left and right and left != right]
    return terms


def distinctive_terms(
    texts: Sequence[str],
    labels: Iterable[int] | npt.NDArray[np.int64],
    k: int,
    *,
    n: int = 5,
    terms: Sequence[AbstractSet[str]] | None = None,
) -> list[tuple[str, ...]]:
    """Return the ``n`` most distinctive terms of each of the groups 0 … ``k`` - 1; rows with other labels are ignored.

    Class-based TF-IDF (Grootendorst 2022, arXiv:2203.05794), where a text counts a term once: the share of the group's
    texts that contain the term, times the logarithm of its ratio to the share of the other texts. A term must be in at
    least two texts of its group, unless the group has fewer than eight texts. Repeated texts count once.

    Args:
        texts: The texts.
        labels: Group of each text.
        k: Number of groups.
        n: Number of terms.
        terms: The terms of each text, if they are already known from :func:`extract_terms`.
    """
    groups = np.asarray(list(labels), dtype=np.int64).tolist()
    # Repeated texts give no new evidence.
    unique = {(text, group): row for row, (text, group) in enumerate(zip(texts, groups, strict=True)) if 0 <= group < k}
    counts = [Counter[str]() for _ in range(k)]
    sizes = [0] * k
    for (text, group), row in unique.items():
        counts[group].update(set(extract_terms(text)) if terms is None else terms[row])
        sizes[group] += 1
    total = sum(counts, Counter[str]())
    return [tuple(rank_terms(count, size, total, sum(sizes), n=n)) for count, size in zip(counts, sizes, strict=True)]


def rank_terms(
    inside: Mapping[str, int], n_inside: int, total: Mapping[str, int], n_total: int, *, n: int
) -> list[str]:
    """Return the ``n`` terms that distinguish some texts from the rest, most distinctive first.

    Args:
        inside: Number of texts of the group that contain each term.
        n_inside: Number of texts of the group.
        total: Number of all texts that contain each term.
        n_total: Number of all texts.
        n: Number of terms.
    """
    min_count = 2 if n_inside >= 8 else 1
    scores = {}
    for term, count in inside.items():
        if count < min_count:
            continue
        share = count / n_inside
        share_outside = (total[term] - count + 0.5) / (n_total - n_inside + 1)
        if share > share_outside:
            scores[term] = share * math.log(share / share_outside)
    return _without_repeats(sorted(scores, key=lambda term: (-scores[term], term)), n)


def _without_repeats(terms: Sequence[str], n: int) -> list[str]:
    """Return the first ``n`` terms, skipping terms that share a word with an earlier one."""
    selected: list[str] = []
    seen_stems: set[str] = set()
    for term in terms:
        stems = {word.removesuffix("'s").removesuffix("s") for word in term.split()}
        if not stems & seen_stems:
            selected.append(term)
            seen_stems |= stems
        if len(selected) == n:
            break
    return selected
