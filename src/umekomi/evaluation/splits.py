"""Grouped and stratified splits: all rows of a group (one text, one user) are on the same side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..vectors.arithmetic import IntArray

ALWAYS_TRAIN = -1


def split_groups(
    groups: npt.ArrayLike, *, strata: npt.ArrayLike | None = None, test_share: float = 0.2, seed: int = 42
) -> tuple[IntArray, IntArray]:
    """Return the indices of training and of test rows, ascending. No group has rows on both sides.

    About ``test_share`` of the rows of each stratum become test rows. At least one group of each stratum remains for training.

    Args:
        groups: ``(n,)``, the group of each row.
        strata: ``(n,)``, the class of each row. A group with several classes belongs to its most frequent one.
        test_share: Share of test rows.
        seed: Seed of the order in which groups are drawn.

    Raises:
        InputError: One side would be empty.
    """
    _, members, classes = _by_class(groups, strata)
    test: list[int] = []
    random = np.random.default_rng(seed)
    if 0 < test_share < 1:
        for class_groups in classes:
            target = test_share * sum(len(members[group]) for group in class_groups)
            taken = 0
            for group in random.permutation(class_groups)[: len(class_groups) - 1]:
                size = len(members[group])
                if abs(taken + size - target) <= abs(taken - target):
                    test.extend(members[group])
                    taken += size
    is_test = np.zeros(sum(map(len, members)), dtype=bool)
    is_test[test] = True
    if is_test.all() or not is_test.any():
        raise InputError(
            f"{len(is_test)} rows with {len(members)} different texts or groups cannot be split with a test share of "
            f"{test_share}. Use more rows, or another share between 0 and 1."
        )
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def assign_folds(
    groups: npt.ArrayLike, *, strata: npt.ArrayLike | None = None, n_folds: int = 5, seed: int = 0
) -> IntArray:
    """Return the fold of each row, ``(n,) int64`` from 0. Rows of a group share a fold, and folds have similar class frequencies.

    A class with a single group cannot be both trained and tested: its rows get ``ALWAYS_TRAIN``.

    Args:
        groups: ``(n,)``, the group of each row.
        strata: ``(n,)``, the class of each row.
        n_folds: Maximum number of folds.
        seed: Seed of the order in which groups are assigned.
    """
    _, members, classes = _by_class(groups, strata)
    folds = np.full(sum(map(len, members)), ALWAYS_TRAIN, dtype=np.int64)
    random = np.random.default_rng(seed)
    total = np.zeros(n_folds, dtype=np.int64)
    for class_groups in classes:
        if len(class_groups) < 2:
            continue
        class_total = np.zeros(n_folds, dtype=np.int64)
        # Large groups first, so that small ones can even out the folds.
        for group in sorted(random.permutation(class_groups), key=lambda group: -len(members[group])):
            fold = min(range(n_folds), key=lambda fold: (class_total[fold], total[fold]))
            folds[members[group]] = fold
            class_total[fold] += len(members[group])
            total[fold] += len(members[group])
    return folds


def count_groups(groups: npt.ArrayLike, strata: npt.ArrayLike) -> dict[object, int]:
    """Return the number of groups of each class."""
    names, _, classes = _by_class(groups, strata)
    return {name: len(class_groups) for name, class_groups in zip(names, classes, strict=True)}


def quantile_strata(values: npt.ArrayLike, n: int = 5) -> IntArray:
    """Divide values into at most ``n`` classes of similar size, and return the class of each, ``(rows,) int64``."""
    numbers = np.asarray(values, dtype=np.float64)
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, n + 1)[1:-1]))
    classes: IntArray = np.searchsorted(edges, numbers, side="left").astype(np.int64)
    return classes


def _by_class(
    groups: npt.ArrayLike, strata: npt.ArrayLike | None
) -> tuple[list[object], list[IntArray], list[list[int]]]:
    """Return the classes, the row indices of each group, and the groups of each class."""
    _, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    names, codes = np.unique(
        np.zeros(len(inverse), dtype=np.int64) if strata is None else np.asarray(strata), return_inverse=True
    )
    if len(codes) != len(inverse):
        raise InputError(
            f"There are {len(inverse):,} groups but {len(codes):,} classes. Pass one of each for each row."
        )
    classes: list[list[int]] = [[] for _ in names]
    for group, rows in enumerate(members):
        classes[int(np.bincount(codes[rows]).argmax())].append(group)
    return names.tolist(), members, classes
