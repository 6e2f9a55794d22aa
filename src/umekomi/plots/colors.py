"""Colors of the rows of a map, the same in figures and on pages."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# The guide's five colors for scores, from the lowest to the highest: red, darkorange, gold, turquoise, darkgreen.
_SCORES = ("#ff0000", "#ff8c00", "#ffd700", "#40e0d0", "#006400")
# The colors of Okabe & Ito, which are distinguishable with any color vision, then Tol's muted ones.
_CATEGORIES = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#882255", "#999933", "#44aa99", "#332288", "#aa4499",
    "#117733",
)  # fmt: skip
_OTHER = "#9a9a9a"
_RAMP = ("#352a87", "#1f77b4", "#2ca089", "#a5be6a", "#f9d423")


@dataclass(frozen=True, slots=True)
class Coloring:
    """Colors of rows and their legend."""

    #: Title of the legend.
    title: str
    #: Entries of the legend, in order.
    names: tuple[str, ...]
    #: Color of each entry, as ``#rrggbb``.
    colors: tuple[str, ...]
    #: Index of each row's entry.
    group: tuple[int, ...]


def color_by(values: Sequence[Any], title: str = "") -> Coloring:
    """Color rows by the values of a column.

    If all values are integers from 1 to 5, they have the guide's colors. Numbers with more than twelve different values
    have five shades with equal shares of the rows. Otherwise, the twelve most frequent values have one color each, and
    the rest is gray.
    """
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    numbers = [
        value for value in plain if isinstance(value, int | float) and not isinstance(value, bool) and value == value
    ]
    unique = sorted(set(numbers))
    if unique and len(numbers) == len(plain) and set(unique) <= {1, 2, 3, 4, 5}:
        return _by_category(plain, unique, [_SCORES[int(value) - 1] for value in unique], title)
    if len(unique) > len(_CATEGORIES) and all(value is None or isinstance(value, int | float) for value in plain):
        return _by_quantile(plain, numbers, title)
    counts = Counter(value for value in plain if value is not None)
    categories = [value for value, _ in counts.most_common(len(_CATEGORIES))]
    if len({type(value) for value in categories}) == 1:
        categories.sort()
    return _by_category(plain, categories, list(_CATEGORIES), title)


def color_clusters(labels: Sequence[int], names: Sequence[str], title: str = "cluster") -> Coloring:
    """Color rows by cluster. ``names[i]`` is the name of cluster i; rows with the label -1 are gray."""
    legend = [*names] + (["no cluster"] if any(label < 0 for label in labels) else [])
    colors = [_CATEGORIES[i % len(_CATEGORIES)] for i in range(len(names))] + [_OTHER]
    group = tuple(int(label) if label >= 0 else len(names) for label in labels)
    return Coloring(title, tuple(legend), tuple(colors[: len(legend)]), group)


def uniform_color(n: int) -> Coloring:
    """Color all ``n`` rows alike."""
    return Coloring("", ("all",), (_CATEGORIES[0],), (0,) * n)


def _by_category(values: list[Any], categories: list[Any], colors: list[str], title: str) -> Coloring:
    indices = {value: index for index, value in enumerate(categories)}
    group = tuple(indices.get(value, len(categories)) for value in values)
    names = [str(value) for value in categories] + (["other"] if len(categories) in group else [])
    return Coloring(title, tuple(names), tuple([*colors[: len(categories)], _OTHER][: len(names)]), group)


def _by_quantile(values: list[Any], numbers: list[Any], title: str) -> Coloring:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, len(_RAMP) + 1)))
    names = [f"{low:.4g} – {high:.4g}" for low, high in itertools.pairwise(edges)]
    group = tuple(
        len(names)
        if value is None or value != value
        else int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(names) - 1))
        for value in values
    )
    legend = names + (["missing"] if len(names) in group else [])
    return Coloring(title, tuple(legend), tuple([*_RAMP[: len(names)], _OTHER][: len(legend)]), group)
