"""Customization as a scikit-learn transformer of vectors.

>>> from sklearn.pipeline import make_pipeline
>>> from umekomi.tasks.sklearn_transformer import EmbeddingTransformer
>>> texts = [f"{word} {n}" for word in ("beans", "dog") for n in range(30)]
>>> model = make_pipeline(EmbeddingTransformer("umekomi-fake"), MatrixTransformer(rank=2, penalty=1e-3))
>>> model.fit_transform(texts, ["food"] * 30 + ["animal"] * 30).shape
(60, 64)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ...embedder import Embedder
from ...errors import InputError
from ...evaluation.duplicates import merge_groups
from ...extras import needed_for
from ...vectors.arithmetic import FloatArray, IntArray, normalize
from ...vectors.matrices import Matrix
from .learning import PENALTIES, RANKS, LabelLoss, Loss, SearchLoss, learn_matrix
from .pairs import Goal, scale_values
from .report import require_plain

with needed_for("MatrixTransformer"):
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

_PARTNERS = 4
"""Number of other rows of its class that each row is paired with."""


class MatrixTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learns a matrix that moves vectors of a class together, and applies it. Vectors that it returns have length 1.

    :meth:`fit` learns from classes, and :meth:`fit_pairs` from pairs, as `umekomi customize` does. Nothing is measured on other
    texts: put the transformer in a pipeline and compare it with ``"passthrough"`` in a cross-validation.

    Args:
        rank: Number of learned directions. None chooses it by cross-validation within the training rows.
        penalty: Weight of the penalty that shrinks the matrix to the identity. None chooses it too.
        random_state: Seed of folds and batches.

    Attributes:
        matrix_: The learned matrix, for ``Embedder(matrix=…)``.
        n_features_in_: Dimensions of the vectors.
    """

    def __init__(self, *, rank: int | None = None, penalty: float | None = None, random_state: int = 42) -> None:
        self.rank = rank
        self.penalty = penalty
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:  # noqa: N803 - scikit-learn's own name
        """Learn from vectors ``(n, dims)`` and their classes ``(n,)``. Vectors of a class are alike.

        Raises:
            InputError: Fewer than two classes have two or more rows.
        """
        vectors, classes = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(classes)
        codes = np.unique(classes, return_inverse=True)[1]
        left, right, blocks = _pair_rows(codes, self.random_state)
        # Copies are in one fold.
        copies = merge_groups([row.tobytes() for row in vectors])
        groups = merge_groups([f"block {block}" for block in blocks], copies[left].tolist(), copies[right].tolist())
        alike = frozenset((code, code) for code in codes.tolist())
        return self._learn(vectors[left], vectors[right], SearchLoss(codes[left], codes[right], alike), groups)

    def fit_pairs(self, left: npt.ArrayLike, right: npt.ArrayLike, labels: npt.ArrayLike | None = None) -> Self:
        """Learn from pairs of vectors, ``(n, dims)`` each.

        Args:
            left: The first vectors, or those of queries.
            right: The second vectors, or those of relevant documents.
            labels: ``(n,)``: 1 (or True) for pairs that are alike and 0 or -1 for others, or scores. None if each pair is a query
                with a relevant document.

        Raises:
            InputError: There are fewer than 50 pairs, or all labels are equal.
        """
        first = validate_data(self, left, dtype=np.float32)
        second = validate_data(self, right, dtype=np.float32, reset=False)
        values = None if labels is None else np.asarray(labels, dtype=np.float64)
        if len(first) != len(second) or (values is not None and values.shape != (len(first),)):
            raise InputError("The first vectors, the second vectors and the labels must be of the same number.")
        if values is not None and not np.isfinite(values).all():
            raise InputError("A label is not a finite number. Remove its pair.")
        targets, goal = scale_values(values, len(first))
        queries, documents = (merge_groups([row.tobytes() for row in side]) for side in (first, second))
        loss: Loss = LabelLoss(targets)
        if goal is Goal.SEARCH:
            loss = SearchLoss(queries, documents, frozenset(zip(queries.tolist(), documents.tolist(), strict=True)))
        return self._learn(first, second, loss, merge_groups(queries.tolist(), documents.tolist()))

    def transform(self, X: npt.ArrayLike) -> FloatArray:  # noqa: N803
        """Apply the matrix to vectors, ``(n, dims) float32``. A vector has the same bytes in every batch."""
        check_is_fitted(self)
        return self.matrix_.apply(validate_data(self, X, dtype=np.float32, reset=False))

    def save(self, path: str | Path, embedder: Embedder) -> None:
        """Write the matrix as `umekomi customize` does, for ``-m MODEL+FILE``.

        Args:
            path: Name of the file, which ends with ``.safetensors``.
            embedder: The model of the vectors that the matrix was learned from.

        Raises:
            SpaceMismatchError: The vectors of the model have other dimensions.
            InputError: The model has a matrix already.
        """
        check_is_fitted(self)
        require_plain(embedder)
        matrix = replace(self.matrix_, model=embedder.model, fingerprint=embedder.fingerprint)
        matrix.require_space(embedder.model, embedder.fingerprint, embedder.dims)
        matrix.save(path)

    def _learn(self, left: FloatArray, right: FloatArray, loss: Loss, groups: IntArray) -> Self:
        # Small products are slower, and may differ in the last bits, with several threads.
        with threadpool_limits(1):
            learned = learn_matrix(
                normalize(left),
                normalize(right),
                loss,
                groups=groups,
                ranks=RANKS if self.rank is None else (self.rank,),
                penalties=PENALTIES if self.penalty is None else (self.penalty,),
                seed=self.random_state,
            )
        self.matrix_ = Matrix({"left": learned.left, "right": learned.right})
        self._n_features_out = self.matrix_.dims_out
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _pair_rows(codes: IntArray, seed: int) -> tuple[IntArray, IntArray, IntArray]:
    """Pair each row with a few others of its class: their indices, and the block of each pair. Blocks share no rows.

    Raises:
        InputError: Fewer than two classes have two or more rows.
    """
    random = np.random.default_rng(seed)
    left, right, blocks = [], [], []
    n_blocks = n_classes = 0
    for code in range(int(codes.max()) + 1):
        rows = random.permutation(np.flatnonzero(codes == code))
        n_classes += len(rows) > 1
        for block in np.array_split(rows, max(1, len(rows) // (2 * _PARTNERS))):
            for shift in range(1, min(_PARTNERS + 1, len(block))):
                left.append(block)
                right.append(np.roll(block, shift))
                blocks.append(np.full(len(block), n_blocks))
            n_blocks += 1
    if n_classes < 2:
        raise InputError(
            f"{len(codes)} samples with {n_classes} classes of two or more; at least two such classes are needed."
        )
    return np.concatenate(left), np.concatenate(right), np.concatenate(blocks)
