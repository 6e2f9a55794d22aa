"""Recommendation: what else is like this one, without telling the same story twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..embedder import Embedder
from ..errors import InputError
from ..inputs import list_texts
from ..vectors.arithmetic import FloatArray, normalize, require_nonzero

NEAR_DUPLICATE = 0.8
"""The cosine above which two texts tell the same: of the AG News articles, all pairs above it are one story sent by two
agencies or told on two days. A figure of text-embedding-ada-002's vectors; other models may want another."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A row that is like the source. ``copies`` are the rows that were dropped because they say the same as this one."""

    index: int
    score: float
    copies: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendations:
    """``items`` has the most alike first; ``copies`` are the rows that say the same as the source itself."""

    source: int
    items: tuple[Recommendation, ...]
    copies: tuple[int, ...] = ()


def recommend(
    vectors: FloatArray, source: int, *, n: int = 5, near_duplicate: float | None = NEAR_DUPLICATE
) -> Recommendations:
    """The rows most alike to the row ``source``, itself and near-duplicates left out.

    Args:
        vectors: ``(rows, dims) float32``.
        source: the place of the row that is asked about.
        n: how many; fewer come where there are not as many that differ.
        near_duplicate: a row as near as this cosine to the source, or to one that is chosen, says the same; None keeps all.

    Raises:
        InputError: there is no such row, a row is all zeros, or an option is out of its range.
    """
    if not 0 <= source < len(vectors):
        raise InputError(f"There is no row {source}; the rows are 0 to {len(vectors) - 1}.", param="source")
    if n < 1:
        raise InputError(f"The number of recommendations is {n}; it must be at least 1.", param="n")
    if near_duplicate is not None and not -1.0 <= near_duplicate <= 1.0:
        raise InputError(f"near_duplicate is {near_duplicate:g}; it is a cosine, at most 1.", param="near_duplicate")
    matrix = require_nonzero(vectors)
    units = normalize(matrix)
    limit = np.inf if near_duplicate is None else near_duplicate
    scores = units @ units[source]
    chosen: list[int] = [source]
    copies: dict[int, list[int]] = {source: []}
    for place in np.argsort(-scores, kind="stable").tolist():
        if place == source:
            continue
        alike = units[chosen] @ units[place]
        nearest = int(np.argmax(alike))
        if alike[nearest] >= limit:
            copies[chosen[nearest]].append(place)
        elif len(chosen) <= n:
            chosen.append(place)
            copies[place] = []
        else:
            break
    items = tuple(Recommendation(i, float(scores[i]), tuple(copies[i])) for i in chosen[1:])
    return Recommendations(source, items, tuple(copies[source]))


def recommend_strings(
    strings: Sequence[str] | object,
    source: int,
    embedder: Embedder,
    *,
    n: int = 5,
    near_duplicate: float | None = NEAR_DUPLICATE,
) -> Recommendations:
    """The texts most alike to the one at ``source``, as :func:`recommend`; the texts may be a pandas or Polars column.

    Raises:
        InputError: a text is empty, or there is no such place.
    """
    texts = list_texts(strings)
    if not 0 <= source < len(texts):
        raise InputError(f"There is no row {source}; the rows are 0 to {len(texts) - 1}.", param="source")
    return recommend(embedder.embed(texts), source, n=n, near_duplicate=near_duplicate)
