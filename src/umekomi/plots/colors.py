"""Which colour each row of a picture has, the same for still pictures and for pages."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SCORES = ("red", "darkorange", "gold", "turquoise", "darkgreen")
"""The guide's five colours, from the lowest score to the highest."""
_SCORES = ("#ff0000", "#ff8c00", "#ffd700", "#40e0d0", "#006400")
# Okabe & Ito's colours, which the colour-blind can tell apart, then Tol's muted ones.
_GROUPS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#882255", "#999933", "#44aa99", "#332288", "#aa4499",
    "#117733",
)  # fmt: skip
OTHER = "#9a9a9a"
_RAMP = ("#352a87", "#1f77b4", "#2ca089", "#a5be6a", "#f9d423")


@dataclass(frozen=True, slots=True)
class Colouring:
    """``group`` is the place of each row's entry in ``names`` and ``colours`` (``#rrggbb``): the legend, in order."""

    title: str
    names: tuple[str, ...]
    colours: tuple[str, ...]
    group: tuple[int, ...]


def colour_by(values: Sequence[Any], title: str = "") -> Colouring:
    """Colour rows by a column's values.

    Whole numbers of at most five different values from 1 to 5 have the guide's colours; other numbers of more than twelve
    values five
    shades by equal shares of the rows; all else the twelve commonest values a colour each, and grey for the rest.
    """
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    numbers = [
        value for value in plain if isinstance(value, int | float) and not isinstance(value, bool) and value == value
    ]
    there = sorted(set(numbers))
    if there and len(numbers) == len(plain) and set(there) <= {1, 2, 3, 4, 5}:
        return _grouped(plain, there, [_SCORES[int(value) - 1] for value in there], title)
    if len(there) > len(_GROUPS) and all(value is None or isinstance(value, int | float) for value in plain):
        return _shaded(plain, numbers, title)
    common = [value for value, _ in Counter(value for value in plain if value is not None).most_common(len(_GROUPS))]
    ordered = (
        sorted(common, key=lambda value: (isinstance(value, str), value))
        if len({type(v) for v in common}) == 1
        else common
    )
    return _grouped(plain, ordered, list(_GROUPS), title)


def colour_clusters(labels: Sequence[int], names: Sequence[str], title: str = "cluster") -> Colouring:
    """Colour rows by cluster; ``names[i]`` is that of cluster i, and rows of label -1 are grey."""
    legend = [*names] + (["no cluster"] if any(label < 0 for label in labels) else [])
    colours = [_GROUPS[place % len(_GROUPS)] for place in range(len(names))] + [OTHER]
    group = tuple(int(label) if label >= 0 else len(names) for label in labels)
    return Colouring(title, tuple(legend), tuple(colours[: len(legend)]), group)


def no_colouring(n: int) -> Colouring:
    """One colour for all rows."""
    return Colouring("", ("all",), (_GROUPS[0],), (0,) * n)


def _grouped(plain: list[Any], ordered: list[Any], colours: list[str], title: str) -> Colouring:
    places = {value: place for place, value in enumerate(ordered)}
    group = tuple(places.get(value, len(ordered)) for value in plain)
    names = [str(value) for value in ordered] + (["other"] if len(ordered) in group else [])
    return Colouring(title, tuple(names), tuple([*colours[: len(ordered)], OTHER][: len(names)]), group)


def _shaded(plain: list[Any], numbers: list[Any], title: str) -> Colouring:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, len(_RAMP) + 1)))
    names = [f"{low:.4g} – {high:.4g}" for low, high in itertools.pairwise(edges)]
    group = tuple(
        len(names)
        if value is None or value != value
        else int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(names) - 1))
        for value in plain
    )
    legend = names + (["missing"] if len(names) in group else [])
    return Colouring(title, tuple(legend), tuple([*_RAMP[: len(names)], OTHER][: len(legend)]), group)
