"""Splits that keep copies together: stratified by class, with all rows of one group (one text, one user) on one side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..vectors.arithmetic import IntArray

ALWAYS_TRAIN = -1


def split_groups(
    groups: npt.ArrayLike, *, strata: npt.ArrayLike | None = None, test_share: float = 0.2, seed: int = 42
) -> tuple[IntArray, IntArray]:
    """The positions of training and of test rows, rising; no group has rows on both sides.

    Each stratum gives about ``test_share`` of its rows, and always keeps a group for training.

    Args:
        groups: ``(n,)``, the group of each row.
        strata: ``(n,)``, the class of each row; a group of several classes counts as its most frequent one.
        test_share: the share of the rows to test on.
        seed: of the order in which groups are drawn.

    Raises:
        InputError: one side would be empty.
    """
    _, members, classes = _by_class(groups, strata)
    test: list[int] = []
    random = np.random.default_rng(seed)
    if 0 < test_share < 1:
        for own in classes:
            target = test_share * sum(len(members[group]) for group in own)
            taken = 0
            for group in random.permutation(own)[: len(own) - 1]:
                size = len(members[group])
                if abs(taken + size - target) <= abs(taken - target):
                    test.extend(members[group])
                    taken += size
    held = np.zeros(sum(map(len, members)), dtype=bool)
    held[test] = True
    if held.all() or not held.any():
        raise InputError(
            f"{len(held)} rows with {len(members)} different texts or groups cannot be split with a test share of {test_share}; "
            "give more rows, or another share between 0 and 1."
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def assign_folds(
    groups: npt.ArrayLike, *, strata: npt.ArrayLike | None = None, n_folds: int = 5, seed: int = 0
) -> IntArray:
    """The fold of each row, ``(n,) int64`` from 0; rows of one group share a fold, and classes are spread evenly over folds.

    A class with a single group cannot be both learned and tested: its rows get ``ALWAYS_TRAIN``.

    Args:
        groups: ``(n,)``, the group of each row.
        strata: ``(n,)``, the class of each row.
        n_folds: how many folds there are at most.
        seed: of the order in which groups are assigned.
    """
    _, members, classes = _by_class(groups, strata)
    folds = np.full(sum(map(len, members)), ALWAYS_TRAIN, dtype=np.int64)
    random = np.random.default_rng(seed)
    total = np.zeros(n_folds, dtype=np.int64)
    for own in classes:
        if len(own) < 2:
            continue
        here = np.zeros(n_folds, dtype=np.int64)
        # Large groups first: the small ones then even out the folds.
        for group in sorted(random.permutation(own), key=lambda group: -len(members[group])):
            fold = min(range(n_folds), key=lambda place: (here[place], total[place]))
            folds[members[group]] = fold
            here[fold] += len(members[group])
            total[fold] += len(members[group])
    return folds


def count_groups(groups: npt.ArrayLike, strata: npt.ArrayLike) -> dict[object, int]:
    """How many groups each class has."""
    names, _, classes = _by_class(groups, strata)
    return {name: len(own) for name, own in zip(names, classes, strict=True)}


def quantile_strata(values: npt.ArrayLike, n: int = 5) -> IntArray:
    """Numbers as at most ``n`` classes of about equal size, ``(rows,) int64``."""
    numbers = np.asarray(values, dtype=np.float64)
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, n + 1)[1:-1]))
    found: IntArray = np.searchsorted(edges, numbers, side="left").astype(np.int64)
    return found


def _by_class(
    groups: npt.ArrayLike, strata: npt.ArrayLike | None
) -> tuple[list[object], list[IntArray], list[list[int]]]:
    """The classes, the rows of each group, and the groups of each class."""
    _, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    names, kinds = np.unique(
        np.zeros(len(inverse), dtype=np.int64) if strata is None else np.asarray(strata), return_inverse=True
    )
    if len(kinds) != len(inverse):
        raise InputError(
            f"There are {len(inverse):,} groups and {len(kinds):,} classes; give one of each for each row."
        )
    classes: list[list[int]] = [[] for _ in names]
    for group, rows in enumerate(members):
        classes[int(np.bincount(kinds[rows]).argmax())].append(group)
    return names.tolist(), members, classes
