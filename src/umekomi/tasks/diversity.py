"""Diversity: how much a set of texts repeats itself, and how much two sets cover each other.

>>> import numpy as np
>>> diversity(np.eye(4, dtype=np.float32)).vendi
4.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..vectors.arithmetic import FloatArray, IntArray, normalize, require_nonzero, require_same_dimensions
from .neighbors import nearest_neighbors, similarity_blocks

NEAR_DUPLICATE_COSINE = 0.95
"""Default threshold of near-duplicates."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40
_PAIR_ROWS = 3000
_MIN_BINARY_DIMS = 8
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Groups of rows that are nearly identical."""

    #: The smallest cosine of two near-duplicates; for binary vectors, converted by :func:`bit_cosine`.
    threshold: float
    #: The rows of each group in ascending order, largest group first.
    groups: tuple[tuple[int, ...], ...]

    @property
    def redundant(self) -> int:
        """The number of rows that could be removed if one row of each group stayed."""
        return sum(len(group) - 1 for group in self.groups)


@dataclass(frozen=True, slots=True)
class Diversity:
    """Diversity of a set."""

    #: Number of rows.
    n: int
    #: Mean cosine of all pairs of different rows, exact.
    mean_similarity: float
    #: Quantiles of these cosines at 1, 5, 25, 50, 75, 95 and 99 %; of at most 3,000 rows drawn by the seed.
    quantiles: tuple[float, ...]
    #: Number of pairs (of the same rows) in 40 equal bins from -1 to 1.
    histogram: tuple[int, ...]
    #: Vendi score (Friedman & Dieng 2022, arXiv:2210.02410) with the cosine as kernel: the number of completely
    #: dissimilar rows that would be as diverse; between 1 and n.
    vendi: float
    #: ``vendi / n``.
    vendi_share: float
    #: Groups of near-duplicates.
    duplicates: NearDuplicates
    #: Whether the vectors are binary. All cosines are then of the signs, closer to 0 than those of the full vectors.
    binary: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two sets of one space, ``left`` and ``right``."""

    #: Diversity of the left set.
    left: Diversity
    #: Diversity of the right set.
    right: Diversity
    #: Diversity of the two sets together.
    both: Diversity
    #: Coverage (Naeem et al. 2020, arXiv:2002.09797): the share of right rows that have a left row at least as near as
    #: their k-th nearest right neighbor. It is 1 if the left set has rows everywhere where the right one has.
    covered_right: float
    #: The same with the sides exchanged.
    covered_left: float
    #: Mean cosine of the pairs across the sets.
    between: float
    #: Pairs (left row, right row) of near-duplicates. They show, for example, a test set that leaks into a training
    #: set.
    shared: tuple[tuple[int, int], ...]


def diversity(vectors: npt.ArrayLike, *, threshold: float = NEAR_DUPLICATE_COSINE, seed: int = 42) -> Diversity:
    """Measure the diversity of one set.

    Args:
        vectors: ``(n, dims) float32``.
        threshold: Cosine from which two rows are near-duplicates. It refers to full vectors; for binary vectors the
            corresponding cosine of the signs is used.
        seed: Seed of the rows whose pairs give the quantiles and the histogram.

    Raises:
        InputError: There are fewer than two rows, a vector is all zeros, or the threshold is out of range.
    """
    unit = normalize(require_nonzero(vectors, min_rows=2))
    n = len(unit)
    total = unit.sum(axis=0, dtype=np.float64)
    self_products = float(np.einsum("ij,ij->", unit, unit, dtype=np.float64))
    sample = unit if n <= _PAIR_ROWS else unit[np.random.default_rng(seed).choice(n, _PAIR_ROWS, replace=False)]
    pairs = np.clip(sample @ sample.T, -1.0, 1.0)[np.triu_indices(len(sample), 1)]
    counts, _ = np.histogram(pairs, bins=BINS, range=(-1.0, 1.0))
    vendi = vendi_score(unit)
    return Diversity(
        n=n,
        mean_similarity=float((total @ total - self_products) / (n * (n - 1))),
        quantiles=tuple(float(value) for value in np.quantile(pairs, QUANTILES)),
        histogram=tuple(int(count) for count in counts),
        vendi=vendi,
        vendi_share=vendi / n,
        duplicates=near_duplicates(unit, threshold=threshold),
        binary=is_binary(unit),
    )


def is_binary(vectors: FloatArray) -> bool:
    """Return whether all values of each vector are equal except for their signs, as with ``--vectors binary``."""
    magnitudes = np.abs(vectors)
    return vectors.shape[1] >= _MIN_BINARY_DIMS and bool(np.allclose(magnitudes, magnitudes[:, :1], rtol=1e-5))


def bit_cosine(cosine: float) -> float:
    """Return the expected cosine of the signs of two vectors with this cosine, if all directions are equally likely
    (Charikar 2002).

    >>> round(bit_cosine(0.95), 3)
    0.798
    """
    return float(2 / np.pi * np.arcsin(cosine))


def vendi_score(vectors: npt.ArrayLike) -> float:
    """Return the exponential of the entropy of the eigenvalues of the cosine matrix divided by n; between 1 and n."""
    unit = normalize(require_nonzero(vectors)).astype(np.float64)
    # The matrix of cosines and that of the dimensions have the same eigenvalues except for zeros.
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = np.linalg.eigvalsh(gram / len(unit))
    values = values[values > 1e-12]
    return float(np.round(np.exp(-(values * np.log(values)).sum()), 9))


def near_duplicates(
    vectors: npt.ArrayLike, *, threshold: float = NEAR_DUPLICATE_COSINE, partition: IntArray | None = None
) -> NearDuplicates:
    """Group rows that are connected, directly or through others, by cosines of at least ``threshold``.

    Args:
        vectors: ``(n, dims) float32``.
        threshold: Cosine of near-duplicates, of full vectors.
        partition: ``(n,)``, a number for each row. Only rows with the same number are compared, which saves time on
            large sets and finds no pairs across. By default all rows are compared.

    Raises:
        InputError: A vector is all zeros, or the threshold is out of range.
    """
    unit, threshold = _with_threshold(vectors, threshold)
    if partition is None:
        components = [np.arange(len(unit))]
    else:
        components = [np.flatnonzero(partition == number) for number in np.unique(partition)]
    groups = [group for rows in components for group in _connected_groups(unit, rows, threshold)]
    return NearDuplicates(threshold, tuple(sorted(groups, key=lambda rows: (-len(rows), rows))))


def _connected_groups(unit: FloatArray, rows: IntArray, threshold: float) -> list[tuple[int, ...]]:
    """Return the connected components of two rows or more."""
    # Imported here because scipy takes time to import and `--help` must not wait for it.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(rows)
    first = np.arange(n)  # the first row of each row's component so far
    for start, block in similarity_blocks(unit[rows], unit[rows]):
        left, right = np.nonzero(block >= threshold - _TOLERANCE)
        left, right = np.concatenate([left + start, np.arange(n)]), np.concatenate([right, first])
        graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(n, n))
        _, labels = connected_components(graph, directed=False)
        _, first_of_label = np.unique(labels, return_index=True)
        first = first_of_label[labels]
    members: dict[int, list[int]] = {}
    for row, representative in zip(rows.tolist(), first.tolist(), strict=True):
        members.setdefault(representative, []).append(row)
    return [tuple(group) for group in members.values() if len(group) > 1]


def compare(
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    *,
    k: int = 5,
    threshold: float = NEAR_DUPLICATE_COSINE,
    seed: int = 42,
) -> Comparison:
    """Compare two sets of one space.

    Args:
        left: ``(n, dims) float32``.
        right: ``(m, dims) float32``.
        k: Number of neighbors for the coverage.
        threshold: Cosine from which two rows are near-duplicates.
        seed: Seed of :func:`diversity`.

    Raises:
        InputError: The dimensions differ, or a set does not have more than ``k`` rows.
    """
    left, right = (normalize(require_nonzero(side, min_rows=2)) for side in (left, right))
    require_same_dimensions(left, right)
    smaller = min(len(left), len(right))
    if not 1 <= k < smaller:
        raise InputError(
            f"k is {k}; the smaller set has {smaller:,} rows, so it must be between 1 and {smaller - 1:,}.", param="k"
        )
    # Both sets are of one space: if one is binary, so is the other.
    _, min_cosine = _with_threshold(left, threshold)
    shared = tuple(
        (int(start + row), int(column))
        for start, block in similarity_blocks(left, right)
        for row, column in np.argwhere(block >= min_cosine - _TOLERANCE)
    )
    return Comparison(
        left=diversity(left, threshold=threshold, seed=seed),
        right=diversity(right, threshold=threshold, seed=seed),
        both=diversity(np.concatenate([left, right]), threshold=threshold, seed=seed),
        covered_right=_coverage(left, right, k),
        covered_left=_coverage(right, left, k),
        between=float(left.mean(axis=0, dtype=np.float64) @ right.mean(axis=0, dtype=np.float64)),
        shared=shared,
    )


def _coverage(covering: FloatArray, covered: FloatArray, k: int) -> float:
    kth_cosine = nearest_neighbors(covered, covered, k, self_indices=np.arange(len(covered)))[0][:, -1]
    return float((nearest_neighbors(covered, covering, 1)[0][:, 0] >= kth_cosine).mean())


def _with_threshold(vectors: npt.ArrayLike, threshold: float) -> tuple[FloatArray, float]:
    """Return the unit vectors and the threshold for their cosines."""
    if not 0 < threshold <= 1:
        raise InputError(f"The threshold is {threshold}; it must be above 0 and at most 1.", param="threshold")
    unit = normalize(require_nonzero(vectors))
    return unit, bit_cosine(threshold) if is_binary(unit) else threshold
