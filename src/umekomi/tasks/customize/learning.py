"""Learning of a matrix ``W = I + P M Pᵀ`` from pairs of vectors, by gradient descent (L-BFGS).

The columns of ``P`` ``(dims, rank)`` are the principal directions of the vectors, and ``M`` ``(rank, rank)`` is learned. What is
outside of these directions keeps its value, so one step costs as much as with vectors of ``rank`` dimensions. The penalty
``λ/2 |M|²`` shrinks ``W`` toward the identity. Rank, λ and the number of steps are those with the lowest loss on held-out
rows, in a cross-validation.

Customizing vectors with a matrix is an idea of OpenAI's cookbook ("Customizing embeddings"), whose matrix is not shrunk. The loss
of labeled pairs is the cross-entropy of a logistic model of the cosine. That of queries with documents is the cross-entropy among
all documents of a batch (van den Oord et al. 2018, arXiv:1807.03748).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...evaluation.splits import assign_folds
from ...extras import needed_for
from ...progress import Progress, no_progress
from ...vectors.arithmetic import DoubleArray, FloatArray, IntArray

RANKS, PENALTIES = (16, 64, 192), (1e-2, 1e-3, 1e-4)
"""Candidates of the rank and of λ."""

MAX_STEPS = 150
"""Maximum number of steps of a fit."""
_FOLDS = 3
_FOLD_ROWS = 4000
"""Maximum number of rows of the cross-validation."""
_PATIENCE = 8
"""Steps without improvement on the held-out rows after which a fit ends."""
_BATCH = 512
_BASIS_ROWS, _BASIS_ITERATIONS = 8000, 4


@dataclass(frozen=True, slots=True)
class Learned:
    """A learned map ``v -> v + (v left) right``."""

    #: ``(dims, rank) float32``.
    left: FloatArray
    #: ``(rank, dims) float32``.
    right: FloatArray
    #: λ of the penalty.
    penalty: float
    #: Number of steps. 0 if no step lowered the loss on rows that were held out; the map is then the identity.
    steps: int

    @property
    def rank(self) -> int:
        """Number of learned directions."""
        return len(self.right)


class Loss(Protocol):
    """A loss of cosines. Its own parameters are learned together with the matrix."""

    @property
    def is_square(self) -> bool:
        """Whether each row is compared with each row of its batch, instead of only with its partner."""
        ...

    def start(self, cosines: Sequence[FloatArray], rows: Sequence[IntArray]) -> DoubleArray:
        """Return initial parameters for the cosines of each batch, ``(n,)`` or ``(n, n)``, whose rows have these numbers."""
        ...

    def compute(
        self, cosines: FloatArray, rows: IntArray, parameters: DoubleArray
    ) -> tuple[float, FloatArray, DoubleArray]:
        """Return the sum of the losses of a batch, and its derivatives by the cosines and by the parameters."""
        ...


MAX_LOG_SCALE = 5.0
"""Maximum of the logarithm of a scale. A line search may try larger ones, which would overflow."""


def _limited_scale(logarithm: float) -> tuple[float, float]:
    """Return the scale of a logarithm, and the derivative of its logarithm: 1, or 0 above the limit."""
    return float(np.exp(min(logarithm, MAX_LOG_SCALE))), float(logarithm <= MAX_LOG_SCALE)


@dataclass(frozen=True, slots=True)
class LabelLoss:
    """The cross-entropy between targets and ``σ(exp(a) (cosine - b))``; ``a`` and ``b`` are learned."""

    #: ``(n,)``, from 0 to 1.
    targets: DoubleArray
    is_square: bool = False

    def start(self, cosines: Sequence[FloatArray], rows: Sequence[IntArray]) -> DoubleArray:
        """Fit the two parameters by Newton's method. A falling relation is started as a flat one."""
        values, targets = np.concatenate(cosines).astype(np.float64), self.targets[np.concatenate(rows)]
        design = np.stack([values, np.ones(len(values))], axis=1)
        weights = np.zeros(2)
        for _ in range(20):
            probabilities = _sigmoid(design @ weights)
            curvature = design.T @ (design * (probabilities * (1 - probabilities) + 1e-6)[:, None]) + 1e-3 * np.eye(2)
            weights -= np.linalg.solve(curvature, design.T @ (probabilities - targets) + 1e-3 * weights)
        scale = float(np.clip(weights[0], 1.0, 50.0))
        return np.array([np.log(scale), np.clip(-weights[1] / scale, -1.0, 1.0)])

    def compute(
        self, cosines: FloatArray, rows: IntArray, parameters: DoubleArray
    ) -> tuple[float, FloatArray, DoubleArray]:
        """Compute the loss; see :class:`Loss`."""
        (scale, slope_of_scale), targets = _limited_scale(parameters[0]), self.targets[rows]
        scores = scale * (cosines.astype(np.float64) - parameters[1])
        slope = _sigmoid(scores) - targets
        loss = float((np.logaddexp(0.0, scores) - targets * scores).sum())
        return (
            loss,
            (slope * scale).astype(np.float32),
            np.array([slope_of_scale * (slope @ scores), -scale * slope.sum()]),
        )


@dataclass(frozen=True, slots=True)
class SearchLoss:
    """The cross-entropy of a query's document among all documents of the batch; the scale of the cosines is learned."""

    #: Numbers of the query and of the document of each row, ``(n,)``.
    queries: IntArray
    documents: IntArray
    #: Pairs of a query and a document that is relevant to it. They do not count as negatives.
    relevant: frozenset[tuple[int, int]]
    is_square: bool = True

    def start(self, cosines: Sequence[FloatArray], rows: Sequence[IntArray]) -> DoubleArray:
        """Choose the scale with the lowest loss."""
        scales = np.log([5.0, 10.0, 20.0, 40.0, 80.0])
        losses = [
            sum(
                self.compute(block, numbers, np.array([scale]))[0] for block, numbers in zip(cosines, rows, strict=True)
            )
            for scale in scales
        ]
        return np.array([scales[int(np.argmin(losses))]])

    def compute(
        self, cosines: FloatArray, rows: IntArray, parameters: DoubleArray
    ) -> tuple[float, FloatArray, DoubleArray]:
        """Compute the loss; see :class:`Loss`."""
        scale, slope_of_scale = _limited_scale(parameters[0])
        scores = scale * cosines.astype(np.float64)
        scores[self._is_omitted(rows)] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        exponentials = np.exp(scores)
        totals = exponentials.sum(axis=1, keepdims=True)
        slope = exponentials / totals
        diagonal = np.diag_indices(len(rows))
        loss = float((np.log(totals[:, 0]) - scores[diagonal]).sum())
        slope[diagonal] -= 1.0
        return (
            loss,
            (slope * scale).astype(np.float32),
            np.array([slope_of_scale * scale * float((slope * cosines).sum())]),
        )

    def _is_omitted(self, rows: IntArray) -> npt.NDArray[np.bool_]:
        """Return whether each document of a batch is relevant to each query, except on the diagonal."""
        queries, documents = self.queries[rows].tolist(), self.documents[rows].tolist()
        columns: dict[int, list[int]] = {}
        for column, document in enumerate(documents):
            columns.setdefault(document, []).append(column)
        by_query: dict[int, list[int]] = {}
        for query, document in self.relevant:
            if document in columns:
                by_query.setdefault(query, []).extend(columns[document])
        omitted = np.zeros((len(rows), len(rows)), dtype=np.bool_)
        for row, query in enumerate(queries):
            omitted[row, by_query.get(query, [])] = True
        np.fill_diagonal(omitted, False)
        return omitted


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of two sides. Dot products and lengths outside of the learned directions do not change."""

    rows: IntArray
    #: ``(n, rank)``, each side along the learned directions.
    sides: tuple[FloatArray, FloatArray]
    #: ``(n,)`` or ``(n, n)``, the dot products outside of these directions.
    products: FloatArray
    #: ``(n,)``, the squared lengths of each side outside of these directions.
    squares: tuple[FloatArray, FloatArray]

    def cosines(self, weights: FloatArray) -> tuple[FloatArray, list[FloatArray], list[FloatArray]]:
        """Return the cosines of the mapped rows, the mapped rows along the directions per unit of length, and the lengths."""
        units, lengths = [], []
        for side, square in zip(self.sides, self.squares, strict=True):
            mapped = side @ weights
            lengths.append(np.sqrt(np.maximum(square + np.einsum("ij,ij->i", mapped, mapped), 1e-12)))
            units.append(mapped / lengths[-1][:, None])
        if self.products.ndim == 2:
            cosines = units[0] @ units[1].T + self.products / (lengths[0][:, None] * lengths[1][None])
        else:
            cosines = np.einsum("ij,ij->i", units[0], units[1]) + self.products / (lengths[0] * lengths[1])
        return cosines, units, lengths

    def gradient(
        self, slope: FloatArray, cosines: FloatArray, units: list[FloatArray], lengths: list[FloatArray]
    ) -> FloatArray:
        """Return the derivative by the weights, given that by the cosines."""
        left, right = units
        weighted = slope * cosines
        if slope.ndim == 2:
            by_left = slope @ right - weighted.sum(axis=1)[:, None] * left
            by_right = slope.T @ left - weighted.sum(axis=0)[:, None] * right
        else:
            by_left = slope[:, None] * right - weighted[:, None] * left
            by_right = slope[:, None] * left - weighted[:, None] * right
        gradient: FloatArray = self.sides[0].T @ (by_left / lengths[0][:, None])
        gradient += self.sides[1].T @ (by_right / lengths[1][:, None])
        return gradient


def learn_matrix(
    left: FloatArray,
    right: FloatArray,
    loss: Loss,
    *,
    groups: npt.ArrayLike,
    ranks: Sequence[int] = RANKS,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Learned:
    """Learn a map from pairs of vectors.

    Args:
        left: ``(n, dims) float32`` of length 1, one side of each pair.
        right: The other side.
        loss: The loss of the cosines.
        groups: ``(n,)``; rows of a group are in the same fold of the cross-validation. With a single group, the map is the
            identity.
        ranks: Candidates of the rank.
        penalties: Candidates of λ.
        seed: Seed of the folds and batches.
        progress: Called with the number of steps since the last call, of :func:`count_steps` together.
    """
    random = np.random.default_rng(seed)
    basis = principal_directions(np.concatenate([left, right]), max(ranks), random)
    n_candidates = len(ranks)
    ranks = sorted({min(rank, basis.shape[1]) for rank in ranks})
    selected = np.sort(random.permutation(len(left))[:_FOLD_ROWS])
    folds = np.full(len(left), -1)
    folds[selected] = assign_folds(np.asarray(groups)[selected], n_folds=_FOLDS, seed=seed)
    best = (np.inf, ranks[0], penalties[0], 0)
    n_folds = int(folds.max()) + 1
    for rank in ranks if n_folds > 1 else ():
        problems = []
        for fold in range(n_folds):
            train, test = selected[folds[selected] != fold], selected[folds[selected] == fold]
            problems.append([_batches(left, right, basis[:, :rank], rows, loss, random) for rows in (train, test)])
        for penalty in penalties:
            curves = []
            for train, test in problems:
                curve = _fit(train, loss, penalty, MAX_STEPS, held_out=test, progress=progress)[1]
                # A fit that ended early would only get worse.
                curves.append(curve + curve[-1:] * (MAX_STEPS + 1 - len(curve)))
            mean = np.mean(curves, axis=0)
            step = int(np.argmin(mean))
            best = min(best, (float(mean[step]), rank, penalty, step))
    progress(MAX_STEPS * _FOLDS * len(penalties) * (n_candidates - len(ranks)))
    _, rank, penalty, steps = best
    batches = _batches(left, right, basis[:, :rank], np.arange(len(left)), loss, random)
    weights = _fit(batches, loss, penalty, steps, progress=progress)[0]
    change = weights - np.eye(rank, dtype=np.float32)
    return Learned(
        (basis[:, :rank] @ change).astype(np.float32), np.ascontiguousarray(basis[:, :rank].T), penalty, steps
    )


def count_steps() -> int:
    """Return the number of steps that :func:`learn_matrix` reports."""
    return MAX_STEPS * (_FOLDS * len(PENALTIES) * len(RANKS) + 1)


def principal_directions(vectors: FloatArray, rank: int, random: np.random.Generator) -> FloatArray:
    """Return orthonormal directions with the greatest sums of squares, greatest first: ``(n, dims) -> (dims, rank) float32``.

    Uses subspace iteration (Halko et al. 2011, arXiv:0909.4061) on at most 8,000 rows. There are fewer directions if
    there are fewer rows or dimensions.
    """
    sample = vectors[np.sort(random.permutation(len(vectors))[:_BASIS_ROWS])]
    rank = min(rank, *sample.shape)
    basis = random.standard_normal((sample.shape[1], min(rank + 16, *sample.shape))).astype(np.float32)
    for _ in range(_BASIS_ITERATIONS):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
    _, _, rotation = np.linalg.svd(sample @ basis, full_matrices=False)
    directions: FloatArray = (basis @ rotation[:rank].T).astype(np.float32)
    return directions


def _batches(
    left: FloatArray, right: FloatArray, basis: FloatArray, rows: IntArray, loss: Loss, random: np.random.Generator
) -> list[_Batch]:
    """Divide rows into batches. Losses that compare each with each get random batches of a fixed size."""
    parts = [rows]
    if loss.is_square:
        parts = np.array_split(random.permutation(rows), -(-len(rows) // _BATCH))
    batches = []
    for part in parts:
        whole = left[part], right[part]
        sides = whole[0] @ basis, whole[1] @ basis
        if loss.is_square:
            products = whole[0] @ whole[1].T - sides[0] @ sides[1].T
        else:
            products = np.einsum("ij,ij->i", *whole) - np.einsum("ij,ij->i", *sides)
        squares = [
            np.einsum("ij,ij->i", vectors, vectors) - np.einsum("ij,ij->i", side, side)
            for vectors, side in zip(whole, sides, strict=True)
        ]
        batches.append(_Batch(part, sides, products, (squares[0], squares[1])))
    return batches


def _fit(
    batches: list[_Batch],
    loss: Loss,
    penalty: float,
    steps: int,
    *,
    held_out: list[_Batch] | None = None,
    progress: Progress = no_progress,
) -> tuple[FloatArray, list[float]]:
    """Return ``I + M`` after some steps, and the mean loss of the held-out rows after each step, beginning with step 0."""
    # Imported lazily, because importing scipy takes long and would delay `--help`.
    with needed_for("Learning a matrix"):
        from scipy.optimize import minimize

    rank = batches[0].sides[0].shape[1]
    identity = np.eye(rank, dtype=np.float32)
    n_rows = sum(len(batch.rows) for batch in batches)
    first = loss.start([batch.cosines(identity)[0] for batch in batches], [batch.rows for batch in batches])
    point = np.concatenate([first, np.zeros(rank * rank)])

    def split(values: DoubleArray) -> tuple[DoubleArray, FloatArray]:
        return values[: len(first)], identity + values[len(first) :].reshape(rank, rank).astype(np.float32)

    def value_and_gradient(values: DoubleArray) -> tuple[float, DoubleArray]:
        parameters, weights = split(values)
        total, by_parameters, by_weights = 0.0, np.zeros(len(first)), np.zeros((rank, rank), dtype=np.float32)
        for batch in batches:
            cosines, units, lengths = batch.cosines(weights)
            value, slope, own = loss.compute(cosines, batch.rows, parameters)
            total += value
            by_parameters += own
            by_weights += batch.gradient(slope, cosines, units, lengths)
        change = values[len(first) :]
        gradient = np.concatenate([by_parameters / n_rows, by_weights.ravel() / n_rows + penalty * change])
        return total / n_rows + penalty / 2 * float(change @ change), gradient

    def measure(values: DoubleArray) -> float:
        parameters, weights = split(values)
        batches = held_out or []
        losses = [loss.compute(batch.cosines(weights)[0], batch.rows, parameters)[0] for batch in batches]
        return sum(losses) / sum(len(batch.rows) for batch in batches)

    curve = [measure(point)] if held_out else []
    n_done = 0

    def after_step(intermediate_result: object) -> None:
        nonlocal n_done
        n_done += 1
        progress(1)
        if held_out:
            curve.append(measure(intermediate_result.x))  # type: ignore[attr-defined]
            if len(curve) - 1 - int(np.argmin(curve)) >= _PATIENCE:
                raise StopIteration

    if steps:
        result = minimize(
            value_and_gradient, point, jac=True, method="L-BFGS-B", callback=after_step, options={"maxiter": steps}
        )
        point = result.x
    progress(MAX_STEPS - n_done)
    return split(point)[1], curve


def _sigmoid(values: DoubleArray) -> DoubleArray:
    probabilities: DoubleArray = 0.5 * (1.0 + np.tanh(0.5 * values))
    return probabilities
