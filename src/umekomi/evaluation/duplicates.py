"""Copies: rows with the same text.

A test row that is a copy of a training row measures memorization, and copies are not independent evidence.

Two rows are copies if

- their texts are equal after Unicode's compatibility normalization (NFKC), case folding, and replacing every run of white
  space by one space, or
- their vectors have a cosine of at least 0.9999: the same text, as far as the model can tell.

The relation is transitive. An edited text is not a copy; `umekomi diversity` finds near-duplicates with a lower cosine.

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
    """Return a text after NFKC normalization and case folding, with single spaces.

    >>> normalize_text("  Ｇood\\tDOG\\n")
    'good dog'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def group_copies(vectors: npt.ArrayLike, texts: Sequence[str] | None = None) -> IntArray:
    """Return a group number for each row, ``(n,) int64``, which copies share. Groups are numbered from 0 by first appearance.

    Args:
        vectors: ``(n, dims) float32``.
        texts: The ``n`` texts, if they are available.

    Raises:
        InputError: The numbers of texts and vectors differ.
    """
    matrix = as_matrix(vectors)
    if texts is not None and len(texts) != len(matrix):
        raise InputError(f"There are {len(matrix):,} vectors but {len(texts):,} texts. Pass one text for each vector.")
    by_bytes = merge_groups([row.tobytes() for row in matrix])
    exact = by_bytes if texts is None else merge_groups(by_bytes, [normalize_text(text) for text in texts])
    # Compare only the first row of each exact group.
    _, first = np.unique(exact, return_index=True)
    roots = DisjointSets(len(first))
    for left, right in _nearly_equal(normalize(matrix[first])):
        roots.join(left, right)
    return merge_groups(roots.labels()[exact])


def _nearly_equal(unit: FloatArray) -> Iterable[tuple[int, int]]:
    """Return the pairs of rows with a cosine similarity of at least COPY_COSINE."""
    # Imported lazily, because importing scipy takes long and would delay `--help`.
    from scipy.spatial import cKDTree

    if len(unit) < 2:
        return []
    # An orthogonal projection to a few dimensions never increases a distance, so the tree finds all candidates.
    n_projected = min(_PROJECTED_DIMS, unit.shape[1])
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((unit.shape[1], n_projected)))
    radius = float(np.sqrt(2 - 2 * COPY_COSINE))
    pairs = cKDTree(unit @ basis).query_pairs(radius, output_type="ndarray")
    cosines = np.einsum("ij,ij->i", unit[pairs[:, 0]], unit[pairs[:, 1]], dtype=np.float64)
    return [(int(left), int(right)) for left, right in pairs[cosines >= COPY_COSINE]]


def merge_groups(*keys: Iterable[Hashable]) -> IntArray:
    """Return the connected components of rows that share a value in any of the sequences, ``(n,) int64``.

    None does not connect rows. Components are numbered from 0 by first appearance.

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
    """Disjoint sets of rows (union-find). The smallest row represents a set."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def root(self, row: int) -> int:
        """Return the row that represents the set of ``row``."""
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(self, left: int, right: int) -> None:
        """Merge the sets of two rows."""
        first, second = self.root(left), self.root(right)
        self._parent[max(first, second)] = min(first, second)

    def labels(self) -> IntArray:
        """Return the number of each row's set, ``(n,) int64``, from 0 by first appearance."""
        numbers: dict[int, int] = {}
        return np.array(
            [numbers.setdefault(self.root(row), len(numbers)) for row in range(len(self._parent))], dtype=np.int64
        )
