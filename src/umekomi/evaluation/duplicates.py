"""Copies: rows with the same text. A test row whose copy was trained on measures memory, and copies are no independent evidence.

Two rows are copies if

- their texts are equal after Unicode's compatibility normalization (NFKC), case folding, and replacing every run of white
  space by one space, or
- their vectors have a cosine of at least 0.9999: the same text, as far as the model can tell.

Copies of copies are copies. A text that was edited is another text: `umekomi diversity` finds near-duplicates by a lower cosine.

>>> group_copies(np.eye(3, dtype=np.float32), ["Good dog", "bad dog", "  good\\nDOG "]).tolist()
[0, 1, 0]
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..vectors.arithmetic import FloatArray, IntArray, as_matrix, normalize

COPY_COSINE = 0.9999
_PROJECTED_DIMS = 16


def normalize_text(text: str) -> str:
    """What copies have in common: NFKC, case folded, with single spaces.

    >>> normalize_text("  Ｇood\\tDOG\\n")
    'good dog'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def group_copies(vectors: npt.ArrayLike, texts: Sequence[str] | None = None) -> IntArray:
    """A number for each row, ``(n,) int64``, which copies share; the numbers run from 0 in order of first appearance.

    Args:
        vectors: ``(n, dims) float32``.
        texts: the ``n`` texts, where they are known.

    Raises:
        InputError: there is not one text for each vector.
    """
    matrix = as_matrix(vectors)
    if texts is not None and len(texts) != len(matrix):
        raise InputError(f"There are {len(matrix):,} vectors and {len(texts):,} texts; give one text for each vector.")
    by_bytes = merge_groups([row.tobytes() for row in matrix])
    known = by_bytes if texts is None else merge_groups(by_bytes, [normalize_text(text) for text in texts])
    # Of what is known to be equal, one row is enough to compare with the rest.
    _, first = np.unique(known, return_index=True)
    roots = DisjointSets(len(first))
    for left, right in _nearly_equal(normalize(matrix[first])):
        roots.join(left, right)
    return merge_groups(roots.labels()[known])


def _nearly_equal(unit: FloatArray) -> Iterable[tuple[int, int]]:
    """Pairs of rows whose cosine is at least COPY_COSINE."""
    # Here, because scipy takes time to import and `--help` must not wait for it.
    from scipy.spatial import cKDTree

    if len(unit) < 2:
        return []
    # A projection to a few dimensions makes no distance longer, so that it finds all candidates.
    some = min(_PROJECTED_DIMS, unit.shape[1])
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((unit.shape[1], some)))
    radius = float(np.sqrt(2 - 2 * COPY_COSINE))
    pairs = cKDTree(unit @ basis).query_pairs(radius, output_type="ndarray")
    cosines = np.einsum("ij,ij->i", unit[pairs[:, 0]], unit[pairs[:, 1]], dtype=np.float64)
    return [(int(left), int(right)) for left, right in pairs[cosines >= COPY_COSINE]]


def merge_groups(*keys: Iterable[Hashable]) -> IntArray:
    """Connected components: rows that share a value in any of the sequences, directly or through other rows, share a number.

    A value of None connects nothing. ``(n,) int64``, numbered from 0 in order of first appearance.

    >>> merge_groups(["ann", "ann", "bob", "eve"], ["x", "y", "y", None]).tolist()
    [0, 0, 0, 1]
    """
    columns = [list(values) for values in keys]
    sets = DisjointSets(len(columns[0]))
    for column in columns:
        seen: dict[Hashable, int] = {}
        for row, value in enumerate(column):
            if value is not None:
                sets.join(seen.setdefault(value, row), row)
    return sets.labels()


class DisjointSets:
    """Rows joined into sets (union-find; the smallest row represents a set)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def root(self, row: int) -> int:
        """The row that represents the set of ``row``."""
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(self, left: int, right: int) -> None:
        """Make one set of two."""
        one, other = self.root(left), self.root(right)
        self._parent[max(one, other)] = min(one, other)

    def labels(self) -> IntArray:
        """The number of each row's set, ``(n,) int64``, from 0 in order of first appearance."""
        numbers: dict[int, int] = {}
        return np.array(
            [numbers.setdefault(self.root(row), len(numbers)) for row in range(len(self._parent))], dtype=np.int64
        )
