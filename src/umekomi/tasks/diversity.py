"""Diversity: how much a set of texts repeats itself, and how two sets cover each other.

>>> import numpy as np
>>> diversity(np.eye(4, dtype=np.float32)).vendi
4.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..evaluation.duplicates import DisjointSets
from ..vectors.arithmetic import FloatArray, normalize, require_nonzero, require_same_dimensions
from .neighbors import nearest, similarity_blocks

_PAIR_ROWS = 3000
_BINARY_DIMS = 8
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Groups of rows that are as good as the same: ``groups`` holds the rows of each, largest group first.

    ``threshold`` is the cosine from which two rows are; of binary vectors, the one that :func:`bit_cosine` makes of it.
    """

    threshold: float
    groups: tuple[tuple[int, ...], ...]

    @property
    def redundant(self) -> int:
        """How many rows could go if one of each group stayed."""
        return sum(len(group) - 1 for group in self.groups)


@dataclass(frozen=True, slots=True)
class Diversity:
    """How diverse a set is.

    Attributes:
        n: rows.
        mean_similarity: the mean cosine of all pairs of different rows, exact.
        quantiles: of those cosines at 1, 5, 25, 50, 75, 95 and 99 %; of at most 3,000 rows drawn by the seed.
        histogram: pairs (of the same rows) in 40 equal bins from -1 to 1.
        vendi: the Vendi score (Friedman & Dieng 2022, arXiv:2210.02410) with the cosine as kernel: the number of wholly
        unlike rows that
            would be as diverse; between 1 and n.
        vendi_share: ``vendi / n``.
        duplicates: rows that are as good as the same.
        binary: whether the vectors are binary (only signs are left of them). All cosines are then of the bits, nearer to 0 than
            those of the full vectors.
    """

    n: int
    mean_similarity: float
    quantiles: tuple[float, ...]
    histogram: tuple[int, ...]
    vendi: float
    vendi_share: float
    duplicates: NearDuplicates
    binary: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of one space, ``left`` and ``right``.

    Attributes:
        left, right: the diversity of each.
        both: of the two together.
        covered_right: coverage (Naeem et al. 2020, arXiv:2002.09797): the share of right rows whose k nearest right
            neighbours lie no nearer than some left row. 1 where the left set has something everywhere that the right one has.
        covered_left: the same with the sides changed.
        between: the mean cosine of pairs across the sets.
        shared: pairs (left row, right row) that are near-duplicates: a test set that leaks into a training set shows here.
    """

    left: Diversity
    right: Diversity
    both: Diversity
    covered_right: float
    covered_left: float
    between: float
    shared: tuple[tuple[int, int], ...]


def diversity(vectors: npt.ArrayLike, *, threshold: float = 0.95, seed: int = 42) -> Diversity:
    """Measure one set: ``(n, dims) float32``. Two rows whose cosine is at least ``threshold`` are near-duplicates.

    The threshold is of full vectors; for binary ones the corresponding cosine of bits is used.

    Raises:
        InputError: fewer than two rows, a vector that points nowhere, or a threshold out of range.
    """
    unit = normalize(require_nonzero(vectors, min_rows=2))
    n = len(unit)
    total = unit.sum(axis=0, dtype=np.float64)
    own = float(np.einsum("ij,ij->", unit, unit, dtype=np.float64))
    some = unit if n <= _PAIR_ROWS else unit[np.random.default_rng(seed).choice(n, _PAIR_ROWS, replace=False)]
    pairs = np.clip(some @ some.T, -1.0, 1.0)[np.triu_indices(len(some), 1)]
    counts, _ = np.histogram(pairs, bins=BINS, range=(-1.0, 1.0))
    vendi = vendi_score(unit)
    return Diversity(
        n=n,
        mean_similarity=float((total @ total - own) / (n * (n - 1))),
        quantiles=tuple(float(value) for value in np.quantile(pairs, QUANTILES)),
        histogram=tuple(int(count) for count in counts),
        vendi=vendi,
        vendi_share=vendi / n,
        duplicates=near_duplicates(unit, threshold=threshold),
        binary=is_binary(unit),
    )


def is_binary(vectors: FloatArray) -> bool:
    """Whether all numbers of each vector are equal but for their signs, as those read from `--vectors binary` are."""
    sizes = np.abs(vectors)
    return vectors.shape[1] >= _BINARY_DIMS and bool(np.allclose(sizes, sizes[:, :1], rtol=1e-5))


def bit_cosine(cosine: float) -> float:
    """The expected cosine of the signs of two vectors of this cosine, for directions without preference (Charikar 2002).

    >>> round(bit_cosine(0.95), 3)
    0.798
    """
    return float(2 / np.pi * np.arcsin(cosine))


def vendi_score(vectors: npt.ArrayLike) -> float:
    """The exponential of the entropy of the eigenvalues of the matrix of cosines over n; between 1 and n."""
    unit = normalize(require_nonzero(vectors)).astype(np.float64)
    # The matrix of cosines and that of the dimensions have the same eigenvalues but for zeros.
    square = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = np.linalg.eigvalsh(square / len(unit))
    values = values[values > 1e-12]
    return float(np.round(np.exp(-(values * np.log(values)).sum()), 9))


def near_duplicates(vectors: npt.ArrayLike, *, threshold: float = 0.95) -> NearDuplicates:
    """Rows joined, directly or through others, by cosines of at least ``threshold``."""
    unit, threshold = _with_threshold(vectors, threshold)
    sets = DisjointSets(len(unit))
    for start, block in similarity_blocks(unit, unit):
        for left, right in np.argwhere(block >= threshold - 1e-6):
            if start + left < right:
                sets.join(int(start + left), int(right))
    members: dict[int, list[int]] = {}
    for row, label in enumerate(sets.labels().tolist()):
        members.setdefault(label, []).append(row)
    groups = sorted((tuple(rows) for rows in members.values() if len(rows) > 1), key=lambda rows: (-len(rows), rows))
    return NearDuplicates(threshold, tuple(groups))


def compare(
    left: npt.ArrayLike, right: npt.ArrayLike, *, k: int = 5, threshold: float = 0.95, seed: int = 42
) -> Comparison:
    """Compare two sets of one space.

    Raises:
        InputError: the dimensions differ, or a set has not more than ``k`` rows.
    """
    one, other = (normalize(require_nonzero(side, min_rows=2)) for side in (left, right))
    require_same_dimensions(one, other)
    fewest = min(len(one), len(other))
    if not 1 <= k < fewest:
        raise InputError(
            f"k is {k}; the smaller set has {fewest:,} rows, so it must be between 1 and {fewest - 1:,}.", param="k"
        )
    # Both are of one space: if one is binary, so is the other.
    _, least = _with_threshold(one, threshold)
    shared = tuple(
        (int(start + row), int(column))
        for start, block in similarity_blocks(one, other)
        for row, column in np.argwhere(block >= least - 1e-6)
    )
    return Comparison(
        left=diversity(one, threshold=threshold, seed=seed),
        right=diversity(other, threshold=threshold, seed=seed),
        both=diversity(np.concatenate([one, other]), threshold=threshold, seed=seed),
        covered_right=_coverage(one, other, k),
        covered_left=_coverage(other, one, k),
        between=float(one.mean(axis=0, dtype=np.float64) @ other.mean(axis=0, dtype=np.float64)),
        shared=shared,
    )


def _coverage(by: FloatArray, of: FloatArray, k: int) -> float:
    reach = nearest(of, of, k, themselves=True)[0][:, -1]
    return float((nearest(of, by, 1)[0][:, 0] >= reach).mean())


def _with_threshold(vectors: npt.ArrayLike, threshold: float) -> tuple[FloatArray, float]:
    """Unit vectors, and the threshold for their cosines."""
    if not 0 < threshold <= 1:
        raise InputError(f"The threshold is {threshold}; it must be above 0 and at most 1.", param="threshold")
    unit = normalize(require_nonzero(vectors))
    return unit, bit_cosine(threshold) if is_binary(unit) else threshold
