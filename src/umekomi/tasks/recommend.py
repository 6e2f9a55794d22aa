"""Recommendation: rows that are similar to a row, without near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..embedder import Embedder
from ..errors import InputError
from ..inputs import list_texts
from ..vectors.arithmetic import FloatArray, normalize, require_nonzero

NEAR_DUPLICATE = 0.8
"""The cosine above which two texts report the same event. In the AG News articles, all pairs above it are reports of one
event by two agencies or on two days. This was measured with text-embedding-ada-002; other models may need another
value."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A row that is similar to the source."""

    #: Index of the row.
    index: int
    #: Cosine of the row and the source.
    score: float
    #: Rows that were left out because they are near-duplicates of this one.
    copies: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Rows that are similar to the source."""

    #: Index of the source.
    source: int
    #: Recommendations, most similar first.
    items: tuple[Recommendation, ...]
    #: Near-duplicates of the source itself.
    copies: tuple[int, ...] = ()


def recommend(
    vectors: FloatArray, source: int, *, n: int = 5, near_duplicate: float | None = NEAR_DUPLICATE
) -> Recommendations:
    """Return the rows most similar to the row ``source``, without the row itself and near-duplicates.

    Args:
        vectors: ``(rows, dims) float32``.
        source: Index of the row to compare with.
        n: Number of recommendations. There are fewer if too few rows are different enough.
        near_duplicate: Rows with at least this cosine to the source or to a selected row are near-duplicates; None
            keeps all.

    Raises:
        InputError: There is no such row, a row is all zeros, or an option is out of range.
    """
    _require_row(source, len(vectors))
    if n < 1:
        raise InputError(f"The number of recommendations is {n}; it must be at least 1.", param="n")
    if near_duplicate is not None and not -1.0 <= near_duplicate <= 1.0:
        raise InputError(f"near_duplicate is {near_duplicate:g}; it is a cosine, at most 1.", param="near_duplicate")
    unit = normalize(require_nonzero(vectors))
    threshold = np.inf if near_duplicate is None else near_duplicate
    scores = unit @ unit[source]
    selected: list[int] = [source]
    copies: dict[int, list[int]] = {source: []}
    for row in np.argsort(-scores, kind="stable").tolist():
        if row == source:
            continue
        cosines = unit[selected] @ unit[row]
        nearest = int(np.argmax(cosines))
        if cosines[nearest] >= threshold:
            copies[selected[nearest]].append(row)
        elif len(selected) <= n:
            selected.append(row)
            copies[row] = []
        else:
            break
    items = tuple(Recommendation(row, float(scores[row]), tuple(copies[row])) for row in selected[1:])
    return Recommendations(source, items, tuple(copies[source]))


def recommend_strings(
    strings: Sequence[str] | object,
    source: int,
    embedder: Embedder,
    *,
    n: int = 5,
    near_duplicate: float | None = NEAR_DUPLICATE,
) -> Recommendations:
    """Embed texts and return those most similar to the one at index ``source``, as :func:`recommend` does.

    Args:
        strings: The texts: a sequence, or a column of pandas or Polars.
        source: Index of the text to compare with.
        embedder: The model.
        n: Number of recommendations.
        near_duplicate: As of :func:`recommend`.

    Raises:
        InputError: A text is empty, or there is no such row.
    """
    texts = list_texts(strings)
    _require_row(source, len(texts))
    return recommend(embedder.embed(texts), source, n=n, near_duplicate=near_duplicate)


def _require_row(row: int, n_rows: int) -> None:
    if not 0 <= row < n_rows:
        raise InputError(f"There is no row {row}; the rows are 0 to {n_rows - 1}.", param="source")
