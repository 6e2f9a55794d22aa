"""Pairs of texts to learn from, split so that no text of the test rows is in the training rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...data.readers.opening import open_records
from ...errors import InputError, RecordError
from ...evaluation.duplicates import merge_groups, normalize_text
from ...evaluation.splits import quantile_strata, split_groups
from ...vectors.arithmetic import DoubleArray, IntArray

MIN_ROWS = 50
"""Minimum number of pairs. From fewer, nothing can be learned and measured."""
_MIN_CLASS = 10
_MAX_COMPONENT = 0.5


class Goal(StrEnum):
    """What the pairs teach."""

    #: Labels 1 (alike) and 0.
    LABELS = "labels"
    #: Scores, greater for pairs that are more alike.
    SCORES = "scores"
    #: Each pair is a query and a relevant document.
    SEARCH = "search"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of texts."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    #: ``(n,)`` from 0 to 1; ones if the goal is a search.
    targets: DoubleArray
    goal: Goal

    @property
    def digest(self) -> str:
        """SHA-256 of the pairs."""
        content = [self.goal, self.left, self.right, self.targets.tolist()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PairSplit:
    """Rows to train on and rows to test on."""

    train: IntArray
    test: IntArray
    #: Number of rows on neither side, because one of their texts is on each side.
    n_dropped: int
    #: Group of each row, ``(n,)``: rows of different groups in the training set share no text, unless rows were dropped.
    groups: IntArray


def read_pairs(path: str | Path, left: str, right: str, label: str | None = None) -> Pairs:
    """Read pairs of texts from a CSV, TSV, JSON Lines or Parquet file.

    Args:
        path: Path of the file.
        left: Column of the first texts, or of the queries.
        right: Column of the second texts, or of the relevant documents.
        label: Column of the labels (1 and 0) or scores. None if every pair is a query with a relevant document.

    Raises:
        RecordError: The file cannot be read, a column is missing, or a row has no text or no number.
        InputError: There are too few pairs, or all labels are equal.
    """
    records = open_records(path)
    names = records.schema.names
    for name in (left, right, label):
        if name is not None and name not in names:
            raise RecordError(f"{path} has no column {name!r}; the columns are {', '.join(names)}.")
    table = pa.Table.from_batches(records.batches(4096), records.schema)
    sides = []
    for name in (left, right):
        texts = table.column(name).to_pylist()
        for row, text in enumerate(texts, start=1):
            if not isinstance(text, str) or not text.strip():
                raise RecordError(f"The column {name!r} of {path} has no text in row {row:,}.")
        sides.append(tuple(texts))
    if label is None:
        return make_pairs(sides[0], sides[1])
    values = np.empty(len(table))
    for row, value in enumerate(table.column(label).to_pylist()):
        # A column with a single invalid value is read as text.
        try:
            values[row] = float(value)
        except (TypeError, ValueError):
            values[row] = np.nan
        if not np.isfinite(values[row]):
            raise RecordError(
                f"The column {label!r} of {path} has {value!r} in row {row + 1:,}, which is not a finite number. Remove the row."
            )
    return make_pairs(sides[0], sides[1], values)


def make_pairs(left: tuple[str, ...], right: tuple[str, ...], values: DoubleArray | None = None) -> Pairs:
    """Return pairs, given the labels or scores, or None for a search. Labels may also be -1 and 1, as in OpenAI's cookbook.

    Raises:
        InputError: There are too few pairs, or all values are equal.
    """
    return Pairs(left, right, *scale_values(values, len(left)))


def scale_values(values: DoubleArray | None, n: int) -> tuple[DoubleArray, Goal]:
    """Scale the labels or scores of ``n`` pairs to 0 to 1, and return what they teach.

    Raises:
        InputError: There are too few pairs, or all values are equal.
    """
    if n < MIN_ROWS:
        raise InputError(f"There are {n:,} pairs; at least {MIN_ROWS} are needed to learn a matrix and to test it.")
    if values is None:
        return np.ones(n), Goal.SEARCH
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise InputError(
            f"All labels are {low:g}; pairs of both classes are needed. If every pair is a query and a relevant document, omit "
            "--label."
        )
    targets = (values - low) / (high - low)
    is_binary = set(np.unique(values).tolist()) in ({0.0, 1.0}, {-1.0, 1.0})
    if is_binary and min(counts := np.bincount(targets.astype(np.int64))) < _MIN_CLASS:
        raise InputError(
            f"There are {counts[1]:,} pairs with label 1 and {counts[0]:,} others; at least {_MIN_CLASS} of each are needed."
        )
    return targets, Goal.LABELS if is_binary else Goal.SCORES


def split_pairs(pairs: Pairs, *, test_share: float = 0.3, seed: int = 42) -> PairSplit:
    """Split pairs so that no text of the test rows is in the training rows. Texts are compared as copies are.

    Rows that are connected through shared texts stay together. If more than half of the rows are connected, texts are divided
    instead, and rows with a text on each side are dropped.

    Raises:
        InputError: One side would be empty.
    """
    left, right = ([normalize_text(text) for text in side] for side in (pairs.left, pairs.right))
    # Row i of the first half and row i of the second half are the two texts of pair i.
    n = len(left)
    components = merge_groups(left + right, [*range(n), *range(n)])[:n]
    strata = None
    if pairs.goal is not Goal.SEARCH:
        strata = quantile_strata(pairs.targets) if pairs.goal is Goal.SCORES else pairs.targets.astype(np.int64)
    if np.bincount(components).max() <= _MAX_COMPONENT * n:
        train, test = split_groups(components, strata=strata, test_share=test_share, seed=seed)
        return PairSplit(train, test, 0, components)
    texts = sorted({*left, *right})
    # A row is in the test set if both of its texts are, so the share of texts is the root of that of rows.
    random = np.random.default_rng(seed)
    is_test = dict(zip(texts, random.random(len(texts)) < test_share**0.5 * 0.8, strict=True))
    sides = np.array([int(is_test[one]) + int(is_test[other]) for one, other in zip(left, right, strict=True)])
    train, test = np.flatnonzero(sides == 0), np.flatnonzero(sides == 2)
    if min(len(train), len(test)) < MIN_ROWS // 5:
        raise InputError("The pairs share too many texts to be split by text. Use more pairs of different texts.")
    return PairSplit(train, test, n - len(train) - len(test), merge_groups(left))
