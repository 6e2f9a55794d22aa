"""Classification and regression on embeddings: a regularized linear model by default, and the guide's split and random
forest.

The default is a linear model of the vectors themselves or of their Gaussian similarities to the training rows (a kernel
model; with more than 2,000 rows, similarities to 2,000 rows drawn by the seed: Williams & Seeger 2001). An inner
cross-validation on the training rows alone chooses between them, the strength of the regularization, and how far rare
classes are preferred. Copies of a text are in one fold of it (:mod:`umekomi.evaluation.duplicates`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from ..data.embedded_file import Space
from ..errors import InputError
from ..evaluation.duplicates import group_copies
from ..evaluation.splits import assign_folds, count_groups
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, require_nonzero
from .predictor import FeatureMap, Label, Predictor, choose_classes, softmax

MAX_LANDMARKS = 2000
_TUNING_ROWS = 3000
_TUNING_COLUMNS = 300
_GAMMAS = (0.0, 0.7)  # 0: linear; otherwise divided by the mean squared distance
_RIDGE_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 10.0, 100.0)  # the greatest almost always predicts the mean
_LOGISTIC_STRENGTHS = (2.0, 8.0, 32.0)
_PREFERENCES = tuple(np.linspace(0.0, 1.0, 11))
_MAX_CANDIDATES = 4
_ABSENT_BIAS = -20.0


class Classifier(Protocol):
    """The methods that the predictor of :func:`train_classifier` and the forest have in common."""

    @property
    def labels(self) -> tuple[Label, ...]: ...

    def probabilities(self, vectors: npt.ArrayLike) -> DoubleArray: ...

    def predict(self, vectors: npt.ArrayLike) -> list[Label]: ...


@dataclass(frozen=True, slots=True)
class Forest:
    """The guide's random forest with the methods of :class:`Classifier`."""

    #: Classes in ascending order; empty for a regressor.
    labels: tuple[Label, ...]
    #: The fitted scikit-learn model.
    trees: RandomForestClassifier | RandomForestRegressor

    def probabilities(self, vectors: npt.ArrayLike) -> DoubleArray:
        """Return the shares of the trees' votes, ``(n, classes) float64``."""
        votes: DoubleArray = self.trees.predict_proba(require_nonzero(vectors))
        return votes

    def predict(self, vectors: npt.ArrayLike) -> list[Label]:
        """Return one class, or one number, per row."""
        outputs = self.trees.predict(require_nonzero(vectors))
        return [self.labels[int(output)] if self.labels else float(output) for output in outputs]


def split_rows(n: int, *, test_share: float = 0.2, seed: int = 42) -> tuple[IntArray, IntArray]:
    """Return the guide's split: the indices of the training and test rows that scikit-learn's ``train_test_split``
    draws.

    Copies of a training row may be test rows; :func:`umekomi.evaluation.splits.split_groups` keeps them together.

    Raises:
        InputError: One side would be empty.
    """
    if not 0 < test_share < 1 or n < 2:
        raise InputError(
            f"{n} rows cannot be split with a test share of {test_share}; give more rows, or a share between 0 and 1."
        )
    train, test = train_test_split(np.arange(n), test_size=test_share, random_state=seed)
    return train, test


def train_classifier(
    vectors: npt.ArrayLike,
    labels: Sequence[Label],
    *,
    groups: npt.ArrayLike | None = None,
    column: str = "label",
    space: Space | None = None,
    seed: int = 42,
) -> Predictor:
    """Train the default classifier.

    Args:
        vectors: ``(n, dims) float32``.
        labels: The ``n`` labels.
        groups: ``(n,)``, groups of rows (of a text, of a user) that stay in one fold of the inner cross-validation; by
            default copies, as :func:`umekomi.evaluation.duplicates.group_copies` finds them among the vectors.
        column: Name of the labels, stored with the model.
        space: Vector space, stored with the model.
        seed: Seed of the folds and landmarks.

    Raises:
        InputError: There is only one class, a class has a single row, a label is missing, a vector is all zeros, or all
            rows of each class are copies of each other.
    """
    rows = require_nonzero(vectors, min_rows=4)
    classes, y = encode_labels(labels, len(rows))
    counts = np.bincount(y)
    if counts.min() < 2:
        rare = classes[int(counts.argmin())]
        raise InputError(
            f"The class {rare!r} has only one row in the training rows; give it two or more, or leave it out."
        )
    group_ids = _group_ids(rows, groups)
    if max(count_groups(group_ids, y).values()) < 2:
        raise InputError(
            "All rows of each class are copies of one text (or one group); there is nothing to learn from."
        )
    tuning = _tuning_rows(len(rows), seed, y)
    settings = _tune_classifier(rows[tuning], y[tuning], group_ids[tuning], len(classes), seed)
    reduced = _ReducedFeatures(settings.gamma, rows, seed)
    weights, bias = _fit_logistic(reduced.rows, y, settings.strength, settings.balanced, len(classes))
    return Predictor(
        column=column,
        labels=classes,
        features=reduced.features,
        weights=reduced.basis @ weights * settings.scale,
        bias=bias * settings.scale + settings.prior,
        offsets=settings.offsets,
        low=0.0,
        high=0.0,
        space=space,
    )


def train_regressor(
    vectors: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    column: str = "value",
    space: Space | None = None,
    seed: int = 42,
) -> Predictor:
    """Train the default regressor: ridge regression, linear or with the Gaussian kernel.

    Args:
        vectors: ``(n, dims) float32``.
        values: The ``n`` values.
        groups: As for :func:`train_classifier`.
        column: Name of the values, stored with the model.
        space: Vector space, stored with the model.
        seed: Seed of the folds and landmarks.

    Raises:
        InputError: The values are all equal or not all finite, there are fewer than four rows, or all are copies of one
            text.
    """
    rows = require_nonzero(vectors, min_rows=4)
    y = as_values(values, len(rows))
    if y.min() == y.max():
        raise InputError(f"All {len(y):,} values are {y[0]:g}; there is nothing to learn.")
    tuning = _tuning_rows(len(rows), seed)
    group_ids = _group_ids(rows, groups)[tuning]
    n_groups = len(np.unique(group_ids))
    if n_groups < 2:
        raise InputError("All rows are copies of one text (or one group); there is nothing to learn from.")
    errors: dict[tuple[float, float], float] = {}
    for train, test in _folds(assign_folds(group_ids, n_folds=min(5, n_groups), seed=seed)):
        for gamma in _GAMMAS:
            reduced = _ReducedFeatures(gamma, rows[tuning[train]], seed, _TUNING_COLUMNS)
            test_rows = reduced.of(rows[tuning[test]])
            for strength in _RIDGE_STRENGTHS:
                weights, bias = _fit_ridge(reduced.rows, y[tuning[train]], strength)
                predicted = np.clip(test_rows @ weights + bias, y.min(), y.max())[:, 0]
                error = float(((predicted - y[tuning[test]]) ** 2).sum())
                errors[gamma, strength] = errors.get((gamma, strength), 0.0) + error
    gamma, strength = min(errors, key=lambda key: errors[key])
    reduced = _ReducedFeatures(gamma, rows, seed)
    weights, bias = _fit_ridge(reduced.rows, y, strength)
    return Predictor(
        column=column,
        labels=(),
        features=reduced.features,
        weights=reduced.basis @ weights,
        bias=bias,
        offsets=np.zeros(1),
        low=float(y.min()),
        high=float(y.max()),
        space=space,
    )


def train_forest_classifier(vectors: npt.ArrayLike, labels: Sequence[Label], *, seed: int = 42) -> Forest:
    """Train the guide's classifier, a random forest of 100 trees."""
    rows = require_nonzero(vectors, min_rows=2)
    classes, y = encode_labels(labels, len(rows))
    return Forest(classes, RandomForestClassifier(n_estimators=100, random_state=seed, n_jobs=-1).fit(rows, y))


def train_forest_regressor(vectors: npt.ArrayLike, values: npt.ArrayLike, *, seed: int = 42) -> Forest:
    """Train the guide's regressor, a random forest of 100 trees."""
    rows = require_nonzero(vectors, min_rows=2)
    y = as_values(values, len(rows))
    return Forest((), RandomForestRegressor(n_estimators=100, random_state=seed, n_jobs=-1).fit(rows, y))


def encode_labels(labels: Sequence[Label], n: int) -> tuple[tuple[Label, ...], IntArray]:
    """Return the classes in ascending order, and the index of each row's class, ``(n,) int64``.

    Raises:
        InputError: A label is missing, there are not ``n`` labels, or all are the same.
    """
    if len(labels) != n:
        raise InputError(f"There are {n:,} vectors and {len(labels):,} labels; give one label for each row.")
    values = [label.item() if isinstance(label, np.generic) else label for label in labels]
    for row, label in enumerate(values):
        if label is None or (isinstance(label, float) and not np.isfinite(label)):
            raise InputError(f"Row {row} has no label; leave out rows without one.")
    if len({isinstance(label, str) for label in values}) > 1:
        raise InputError("Some labels are text and some are numbers; make them all one or the other.")
    classes = tuple(sorted(set(values)))
    if not classes:
        raise InputError("There are no rows.")
    if len(classes) < 2:
        raise InputError(f"All {n:,} rows have the label {classes[0]!r}; at least two classes are needed.")
    if len(classes) > max(20, n // 2):
        raise InputError(
            f"There are {len(classes):,} classes in {n:,} rows, too many to learn; use `umekomi regress` for numbers."
        )
    indices = {label: index for index, label in enumerate(classes)}
    return classes, np.array([indices[label] for label in values], dtype=np.int64)


def as_values(values: npt.ArrayLike, n: int) -> DoubleArray:
    """Return the values as ``(n,) float64``.

    Raises:
        InputError: There are not ``n`` values, or a value is not a finite number.
    """
    try:
        y = np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise InputError("The values to learn are not all numbers; use `umekomi classify` for words.") from error
    if len(y) != n:
        raise InputError(f"There are {n:,} vectors and {len(y):,} values; give one value for each row.")
    if not np.isfinite(y).all():
        raise InputError(
            f"The value of row {int(np.flatnonzero(~np.isfinite(y))[0])} is missing or not finite; leave such rows out."
        )
    return y


@dataclass(frozen=True, slots=True)
class _Hyperparameters:
    """Settings of a classifier, chosen by the inner cross-validation."""

    #: As in :class:`FeatureMap`, but divided by the mean squared distance.
    gamma: float
    #: Inverse strength of the regularization.
    strength: float
    #: Whether classes are weighted equally in the fit.
    balanced: bool
    #: Inverse temperature of the calibration.
    scale: float
    #: Log shares of the classes if the fit was balanced, otherwise zeros.
    prior: DoubleArray
    #: As in :class:`Predictor`.
    offsets: DoubleArray


def _group_ids(rows: FloatArray, groups: npt.ArrayLike | None) -> IntArray:
    if groups is None:
        return group_copies(rows)
    group_ids = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    if len(group_ids) != len(rows):
        raise InputError(f"There are {len(rows):,} vectors and {len(group_ids):,} groups; give one group for each row.")
    return group_ids


def _folds(folds: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Return the training and test rows of each fold that has test rows."""
    return [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds[folds >= 0])]


def _tune_classifier(rows: FloatArray, y: IntArray, groups: IntArray, n_classes: int, seed: int) -> _Hyperparameters:
    """Choose settings by the out-of-fold log loss after calibration, and the preference for rare classes by accuracy
    plus macro F1.

    The calibration consists of one temperature (Guo et al. 2017) and, if the fit gave all classes the same weight, of
    the classes' true shares.
    """
    min_groups = min((n for n in count_groups(groups, y).values() if n > 1), default=2)
    folds = assign_folds(groups, strata=y, n_folds=min(5, min_groups), seed=seed)
    # A class that is one text (with copies) cannot be both learned and tested; it is always learned.
    is_tested = folds >= 0
    outputs: dict[tuple[float, float, bool], DoubleArray] = {}
    for gamma in _GAMMAS:
        for train, test in _folds(folds):
            reduced = _ReducedFeatures(gamma, rows[train], seed, _TUNING_COLUMNS)
            test_rows = reduced.of(rows[test])
            for strength in _LOGISTIC_STRENGTHS:
                for balanced in (False, True):
                    weights, bias = _fit_logistic(reduced.rows, y[train], strength, balanced, n_classes)
                    out = outputs.setdefault((gamma, strength, balanced), np.zeros((len(y), n_classes)))
                    out[test] = test_rows @ weights + bias
    log_shares = np.log(np.bincount(y, minlength=n_classes) / len(y))
    priors = {True: log_shares, False: np.zeros(n_classes)}
    outputs = {key: scores[is_tested] for key, scores in outputs.items()}
    y = y[is_tested]
    candidates = []
    for (gamma, strength, balanced), scores in outputs.items():
        scale = _inverse_temperature(scores, priors[balanced], y)
        candidates.append((_log_loss(scores * scale + priors[balanced], y), gamma, strength, balanced, scale))
    candidates.sort()
    # The accuracy and F1 of one candidate vary with single rows, so those of the best few are added up.
    qualities = np.zeros(len(_PREFERENCES))
    for _, gamma, strength, balanced, scale in candidates[:_MAX_CANDIDATES]:
        probabilities = softmax(outputs[gamma, strength, balanced] * scale + priors[balanced])
        qualities += [
            _quality(y, choose_classes(probabilities, -preference * log_shares)) for preference in _PREFERENCES
        ]
    _, gamma, strength, balanced, scale = candidates[0]
    offsets = -_PREFERENCES[int(qualities.argmax())] * log_shares
    return _Hyperparameters(gamma, strength, balanced, scale, priors[balanced], offsets)


def _inverse_temperature(scores: DoubleArray, prior: DoubleArray, y: IntArray) -> float:
    def loss(scale: float) -> float:
        return _log_loss(scores * scale + prior, y)

    return float(minimize_scalar(loss, bounds=(0.1, 10.0), method="bounded").x)


def _quality(y: IntArray, predicted: IntArray) -> float:
    return float((y == predicted).mean() + f1_score(y, predicted, average="macro", zero_division=0.0))


def _log_loss(outputs: DoubleArray, y: IntArray) -> float:
    probabilities = softmax(outputs)
    return float(-np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-12)).mean())


def _tuning_rows(n: int, seed: int, y: IntArray | None = None) -> IntArray:
    """Return all rows, or 3,000 of them for the inner cross-validation, with all classes in their shares."""
    if n <= _TUNING_ROWS:
        return np.arange(n)
    sample, _ = train_test_split(np.arange(n), train_size=_TUNING_ROWS, random_state=seed, stratify=y)
    return np.sort(sample)


class _ReducedFeatures:
    """Features in fewer coordinates, in which a rotation-invariant linear model learns the same.

    Attributes:
        features: The features.
        basis: ``(features, columns) float64``: the directions in which the training rows differ. For a kernel these are
            the directions of the landmarks, scaled to length 1 in feature space (the inverse square root of the
            landmarks' similarities).
        rows: ``(n, columns) float64``, the training rows.
    """

    def __init__(self, gamma: float, rows: FloatArray, seed: int, columns: int = MAX_LANDMARKS) -> None:
        self.features = _feature_map(gamma, rows, seed)
        self.basis = _basis(self.features, rows, columns)
        self.rows = self.of(rows)

    def of(self, rows: FloatArray) -> DoubleArray:
        reduced: DoubleArray = self.features.apply(rows) @ self.basis
        return reduced


def _feature_map(gamma: float, rows: FloatArray, seed: int) -> FeatureMap:
    dims = rows.shape[1]
    if not gamma:
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        return FeatureMap(0.0, mean, np.empty((0, dims), dtype=np.float32))
    # Relative to the mean squared distance, so that one gamma suits vectors of any length and number of dimensions.
    mean_square_distance = float(2 * rows.var(axis=0, dtype=np.float64).sum()) or 1.0
    if len(rows) > MAX_LANDMARKS:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), MAX_LANDMARKS, replace=False))]
    return FeatureMap(gamma / mean_square_distance, np.zeros(dims, dtype=np.float32), rows)


def _basis(features: FeatureMap, rows: FloatArray, columns: int) -> DoubleArray:
    if features.gamma:
        values, vectors = _largest_eigenpairs(features.apply(features.landmarks), columns, 1e-6)
        return np.asarray(vectors / np.sqrt(values))
    centered = features.apply(rows)
    is_wide = len(rows) <= rows.shape[1]
    values, vectors = _largest_eigenpairs(centered @ centered.T if is_wide else centered.T @ centered, columns, 1e-9)
    return np.asarray(centered.T @ (vectors / np.sqrt(values)) if is_wide else vectors)


def _largest_eigenpairs(matrix: DoubleArray, n: int, tolerance: float) -> tuple[DoubleArray, DoubleArray]:
    """Return the ``n`` largest eigenvalues in ascending order and their eigenvectors, without those near zero."""
    size = len(matrix)
    values, vectors = eigh(matrix, subset_by_index=[max(0, size - n), size - 1])
    is_large = values > max(tolerance, values[-1] * tolerance)
    return values[is_large], vectors[:, is_large]


def _fit_logistic(
    rows: DoubleArray, y: IntArray, strength: float, balanced: bool, n_classes: int
) -> tuple[DoubleArray, DoubleArray]:
    """Fit multinomial logistic regression: weights ``(columns, classes)`` and bias ``(classes,)``."""
    present = np.unique(y)
    if len(present) < n_classes:  # in a fold without a class, because all its rows have copies of another class
        weights, bias = np.zeros((rows.shape[1], n_classes)), np.full(n_classes, _ABSENT_BIAS)
        bias[present] = 0.0
        if len(present) > 1:
            weights[:, present], bias[present] = _fit_logistic(
                rows, np.searchsorted(present, y), strength, balanced, len(present)
            )
        return weights, bias
    model = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, max_iter=300, tol=1e-3)
    model.fit(rows, y)
    weights, bias = model.coef_.T, model.intercept_
    if weights.shape[1] == 1:  # with two classes scikit-learn has one column, for the second class
        weights, bias = np.concatenate([-weights / 2, weights / 2], axis=1), np.array([-bias[0] / 2, bias[0] / 2])
    return weights, bias


def _fit_ridge(rows: DoubleArray, y: DoubleArray, strength: float) -> tuple[DoubleArray, DoubleArray]:
    model = Ridge(alpha=strength).fit(rows, y)
    return model.coef_[:, None], np.array([model.intercept_])
