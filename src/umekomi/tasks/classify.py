"""Classification and regression on embeddings: the guide's split and random forest, and a better default.

The default is a regularised linear model, on the vectors themselves or on their Gaussian similarity to the training rows (a
kernel
model; of more than 2,000 rows, to 2,000 drawn by the seed: Williams & Seeger 2001). An inner cross-validation on the
training rows alone
chooses between them, the strength of the regularisation, and how far rare classes are preferred. Copies of a text are in one fold
of it (:mod:`umekomi.evaluation.duplicates`).
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
from .predictor import FeatureMap, Label, Predictor, choose, softmax

MAX_LANDMARKS = 2000
_TUNING_COLUMNS = 300
_GAMMAS = (0.0, 0.7)  # 0: linear; else per mean square distance
_RIDGE = (0.03, 0.1, 0.3, 1.0, 10.0, 100.0)  # the greatest amount to answering the mean
_LOGISTIC = (2.0, 8.0, 32.0)
_PREFERENCE = tuple(np.linspace(0.0, 1.0, 11))
_TUNING_ROWS = 3000
_TOGETHER = 4
_ABSENT = -20.0


class Classifies(Protocol):
    """What :func:`train_classifier` gives, and the forest too."""

    @property
    def labels(self) -> tuple[Label, ...]: ...

    def probabilities(self, vectors: npt.ArrayLike) -> DoubleArray: ...

    def predict(self, vectors: npt.ArrayLike) -> list[Label]: ...


@dataclass(frozen=True, slots=True)
class Forest:
    """The guide's random forest behind the same two methods."""

    labels: tuple[Label, ...]
    trees: RandomForestClassifier | RandomForestRegressor

    def probabilities(self, vectors: npt.ArrayLike) -> DoubleArray:
        """Shares of the trees' votes, ``(n, classes) float64``."""
        votes: DoubleArray = self.trees.predict_proba(require_nonzero(vectors))
        return votes

    def predict(self, vectors: npt.ArrayLike) -> list[Label]:
        """One class, or one number, a row."""
        found = self.trees.predict(require_nonzero(vectors))
        return [self.labels[int(place)] for place in found] if self.labels else [float(value) for value in found]


def split_rows(n: int, *, test_share: float = 0.2, seed: int = 42) -> tuple[IntArray, IntArray]:
    """The guide's split: the positions of the training and of the test rows, as scikit-learn's ``train_test_split`` draws them.

    Copies of a training row may be test rows; :func:`umekomi.evaluation.splits.split_groups` keeps them together.

    Raises:
        InputError: one side would be empty.
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
        labels: ``n`` labels.
        groups: ``(n,)``, rows that belong together (a text, a user) in the inner cross-validation; by default copies, as
            :func:`umekomi.evaluation.duplicates.group_copies` finds them among the vectors.
        column: their name, kept with the model.
        space: the vectors' space, kept with the model.
        seed: of the folds and landmarks.

    Raises:
        InputError: one class only, a class with a single row, a label that is missing, vectors that point nowhere, or all rows of
            each class are copies of each other.
    """
    rows = require_nonzero(vectors, min_rows=4)
    classes, y = encode_labels(labels, len(rows))
    counts = np.bincount(y)
    if counts.min() < 2:
        rare = classes[int(counts.argmin())]
        raise InputError(
            f"The class {rare!r} has one row only in the training rows; give it two or more, or leave it out."
        )
    together = _groups(rows, groups)
    if max(count_groups(together, y).values()) < 2:
        raise InputError(
            "All rows of each class are copies of one text (or one group); there is nothing to learn from."
        )
    tuning = _some(len(rows), seed, y)
    found = _tune_classifier(rows[tuning], y[tuning], together[tuning], len(classes), seed)
    whole = _Coordinates(found.gamma, rows, seed)
    weights, bias = _logistic(whole.rows, y, found.strength, found.balanced, len(classes))
    return Predictor(
        column=column,
        labels=classes,
        features=whole.features,
        weights=whole.basis @ weights * found.scale,
        bias=bias * found.scale + found.prior,
        offsets=found.offsets,
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
    """Train the default regressor (ridge, linear or with the Gaussian kernel); ``groups`` as for :func:`train_classifier`.

    Raises:
        InputError: the values are all the same or not all finite, there are fewer than four rows, or all are copies of one text.
    """
    rows = require_nonzero(vectors, min_rows=4)
    y = require_values(values, len(rows))
    if y.min() == y.max():
        raise InputError(f"All {len(y):,} values are {y[0]:g}; there is nothing to learn.")
    tuning = _some(len(rows), seed)
    together = _groups(rows, groups)[tuning]
    if len(np.unique(together)) < 2:
        raise InputError("All rows are copies of one text (or one group); there is nothing to learn from.")
    folds = _folds(assign_folds(together, n_folds=min(5, len(np.unique(together))), seed=seed))
    errors: dict[tuple[float, float], float] = {}
    for gamma in _GAMMAS:
        for train, test in folds:
            known = _Coordinates(gamma, rows[tuning[train]], seed, _TUNING_COLUMNS)
            unseen = known.of(rows[tuning[test]])
            for strength in _RIDGE:
                weights, bias = _ridge(known.rows, y[tuning[train]], strength)
                guess = np.clip(unseen @ weights + bias, y.min(), y.max())[:, 0]
                key = gamma, strength
                errors[key] = errors.get(key, 0.0) + float(((guess - y[tuning[test]]) ** 2).sum())
    gamma, strength = min(errors, key=lambda key: errors[key])
    whole = _Coordinates(gamma, rows, seed)
    weights, bias = _ridge(whole.rows, y, strength)
    return Predictor(
        column=column,
        labels=(),
        features=whole.features,
        weights=whole.basis @ weights,
        bias=bias,
        offsets=np.zeros(1),
        low=float(y.min()),
        high=float(y.max()),
        space=space,
    )


def train_forest_classifier(vectors: npt.ArrayLike, labels: Sequence[Label], *, seed: int = 42) -> Forest:
    """The guide's classifier: a random forest of 100 trees."""
    rows = require_nonzero(vectors, min_rows=2)
    classes, y = encode_labels(labels, len(rows))
    return Forest(classes, RandomForestClassifier(n_estimators=100, random_state=seed, n_jobs=-1).fit(rows, y))


def train_forest_regressor(vectors: npt.ArrayLike, values: npt.ArrayLike, *, seed: int = 42) -> Forest:
    """The guide's regressor: a random forest of 100 trees."""
    rows = require_nonzero(vectors, min_rows=2)
    y = require_values(values, len(rows))
    return Forest((), RandomForestRegressor(n_estimators=100, random_state=seed, n_jobs=-1).fit(rows, y))


def encode_labels(labels: Sequence[Label], n: int) -> tuple[tuple[Label, ...], IntArray]:
    """The classes, sorted, and the place of each row's class among them, ``(n,) int64``.

    Raises:
        InputError: a label is missing, there are not ``n`` of them, or all are the same.
    """
    if len(labels) != n:
        raise InputError(f"There are {n:,} vectors and {len(labels):,} labels; give one label a row.")
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    for row, label in enumerate(plain):
        if label is None or (isinstance(label, float) and not np.isfinite(label)):
            raise InputError(f"Row {row} has no label; leave out rows without one.")
    if len({isinstance(label, str) for label in plain}) > 1:
        raise InputError("The labels are partly text and partly numbers; make them one or the other.")
    classes = tuple(sorted(set(plain)))
    if len(classes) < 2:
        raise InputError(
            f"All {n:,} rows have the label {classes[0]!r}; it takes two classes or more to tell apart."
            if classes
            else "There are no rows."
        )
    if len(classes) > max(20, n // 2):
        raise InputError(
            f"There are {len(classes):,} classes in {n:,} rows, too many to learn; use `umekomi regress` for numbers."
        )
    places = {label: place for place, label in enumerate(classes)}
    return classes, np.array([places[label] for label in plain], dtype=np.int64)


def require_values(values: npt.ArrayLike, n: int) -> DoubleArray:
    """The values as ``(n,) float64``, all finite."""
    try:
        y = np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise InputError("The values to learn are not all numbers; use `umekomi classify` for words.") from error
    if len(y) != n:
        raise InputError(f"There are {n:,} vectors and {len(y):,} values; give one value a row.")
    if not np.isfinite(y).all():
        raise InputError(
            f"The value of row {int(np.flatnonzero(~np.isfinite(y))[0])} is missing or not finite; leave such rows out."
        )
    return y


@dataclass(frozen=True, slots=True)
class _Chosen:
    gamma: float
    strength: float
    balanced: bool
    scale: float
    prior: DoubleArray
    offsets: DoubleArray


def _groups(rows: FloatArray, groups: npt.ArrayLike | None) -> IntArray:
    if groups is None:
        return group_copies(rows)
    found = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    if len(found) != len(rows):
        raise InputError(f"There are {len(rows):,} vectors and {len(found):,} groups; give one group for each row.")
    return found


def _folds(folds: IntArray) -> list[tuple[IntArray, IntArray]]:
    """The training and the test rows of each fold that has any."""
    return [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in np.unique(folds[folds >= 0])]


def _tune_classifier(rows: FloatArray, y: IntArray, groups: IntArray, n_classes: int, seed: int) -> _Chosen:
    """Choose by the out-of-fold log loss after calibration, and how far to prefer rare classes by accuracy plus macro F1.

    What calibrates is one temperature (Guo et al. 2017), and, where the fit took all classes for as frequent as each other,
    their true shares.
    """
    least = min((n for n in count_groups(groups, y).values() if n > 1), default=2)
    assigned = assign_folds(groups, strata=y, n_folds=min(5, least), seed=seed)
    folds = _folds(assigned)
    # A class that is one text (with copies) cannot be both learned and tested; it is always learned.
    tested = assigned >= 0
    outputs: dict[tuple[float, float, bool], DoubleArray] = {}
    for gamma in _GAMMAS:
        for train, test in folds:
            known = _Coordinates(gamma, rows[train], seed, _TUNING_COLUMNS)
            unseen = known.of(rows[test])
            for strength in _LOGISTIC:
                for balanced in (False, True):
                    weights, bias = _logistic(known.rows, y[train], strength, balanced, n_classes)
                    place = outputs.setdefault((gamma, strength, balanced), np.zeros((len(y), n_classes)))
                    place[test] = unseen @ weights + bias
    frequency = np.log(np.bincount(y, minlength=n_classes) / len(y))
    outputs = {key: scores[tested] for key, scores in outputs.items()}
    y = y[tested]
    candidates = []
    for (gamma, strength, balanced), scores in outputs.items():
        prior = frequency if balanced else np.zeros(n_classes)
        scale = _temperature(scores, prior, y)
        candidates.append((_log_loss(scores * scale + prior, y), gamma, strength, balanced, scale))
    candidates.sort()
    # One candidate's accuracy and F1 jump about with single rows; the best few together tell more.
    qualities = np.zeros(len(_PREFERENCE))
    for _, gamma, strength, balanced, scale in candidates[:_TOGETHER]:
        prior = frequency if balanced else np.zeros(n_classes)
        shares = softmax(outputs[gamma, strength, balanced] * scale + prior)
        qualities += [_quality(y, choose(shares, -power * frequency)) for power in _PREFERENCE]
    _, gamma, strength, balanced, scale = candidates[0]
    offsets = -_PREFERENCE[int(qualities.argmax())] * frequency
    return _Chosen(gamma, strength, balanced, scale, frequency if balanced else np.zeros(n_classes), offsets)


def _temperature(scores: DoubleArray, prior: DoubleArray, y: IntArray) -> float:
    def loss(scale: float) -> float:
        return _log_loss(scores * scale + prior, y)

    return float(minimize_scalar(loss, bounds=(0.1, 10.0), method="bounded").x)


def _quality(y: IntArray, guess: IntArray) -> float:
    return float((y == guess).mean() + f1_score(y, guess, average="macro", zero_division=0.0))


def _log_loss(outputs: DoubleArray, y: IntArray) -> float:
    shares = softmax(outputs)
    return float(-np.log(np.maximum(shares[np.arange(len(y)), y], 1e-12)).mean())


def _some(n: int, seed: int, y: IntArray | None = None) -> IntArray:
    """All rows, or the 3,000 that the inner cross-validation looks at (all classes in their shares)."""
    if n <= _TUNING_ROWS:
        return np.arange(n)
    some, _ = train_test_split(np.arange(n), train_size=_TUNING_ROWS, random_state=seed, stratify=y)
    return np.sort(some)


def _features(gamma: float, rows: FloatArray, seed: int) -> FeatureMap:
    shift = (
        np.zeros(rows.shape[1], dtype=np.float32) if gamma else rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    )
    if not gamma:
        return FeatureMap(0.0, shift, np.empty((0, rows.shape[1]), dtype=np.float32))
    # Vectors of other lengths than 1 (and of shortened models) would make one gamma mean many things: it is per mean square
    # distance.
    spread = float(2 * rows.var(axis=0, dtype=np.float64).sum()) or 1.0
    if len(rows) > MAX_LANDMARKS:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), MAX_LANDMARKS, replace=False))]
    return FeatureMap(gamma / spread, shift, rows)


def _basis(features: FeatureMap, rows: FloatArray, columns: int) -> DoubleArray:
    """``(features, columns)``: the directions in which the training rows differ; for a kernel the landmarks', scaled to
    length 1 in
    its own space (the inverse square root of the landmarks' similarities)."""
    if features.gamma:
        values, vectors = _strongest(features.apply(features.landmarks), columns)
        kept = values > max(1e-6, values[-1] * 1e-6)
        scaled: DoubleArray = vectors[:, kept] / np.sqrt(values[kept])
        return scaled
    moved = features.apply(rows)
    wide = len(rows) <= rows.shape[1]
    values, vectors = _strongest(moved @ moved.T if wide else moved.T @ moved, columns)
    kept = values > max(1e-9, values[-1] * 1e-9)
    directions: DoubleArray = moved.T @ (vectors[:, kept] / np.sqrt(values[kept])) if wide else vectors[:, kept]
    return directions


def _strongest(square: DoubleArray, columns: int) -> tuple[DoubleArray, DoubleArray]:
    """The greatest eigenvalues, rising, and their vectors."""
    n = len(square)
    values, vectors = eigh(square, subset_by_index=[max(0, n - columns), n - 1])
    return values, vectors


class _Coordinates:
    """Rows as coordinates in which a rotation-blind linear model learns the same with far fewer numbers."""

    def __init__(self, gamma: float, rows: FloatArray, seed: int, columns: int = MAX_LANDMARKS) -> None:
        self.features = _features(gamma, rows, seed)
        self.basis = _basis(self.features, rows, columns)
        self.rows = self.of(rows)

    def of(self, rows: FloatArray) -> DoubleArray:
        coordinates: DoubleArray = self.features.apply(rows) @ self.basis
        return coordinates


def _logistic(
    rows: DoubleArray, y: IntArray, strength: float, balanced: bool, n_classes: int
) -> tuple[DoubleArray, DoubleArray]:
    """Multinomial: weights ``(columns, classes)`` and bias ``(classes,)``."""
    there = np.unique(y)
    if len(there) < n_classes:  # in a fold: a class whose rows all have copies of another class's
        weights, bias = np.zeros((rows.shape[1], n_classes)), np.full(n_classes, _ABSENT)
        bias[there] = 0.0
        if len(there) > 1:
            weights[:, there], bias[there] = _logistic(rows, np.searchsorted(there, y), strength, balanced, len(there))
        return weights, bias
    model = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, max_iter=300, tol=1e-3)
    model.fit(rows, y)
    weights, bias = model.coef_.T, model.intercept_
    if weights.shape[1] == 1:  # two classes: one column for the second
        weights, bias = np.concatenate([-weights / 2, weights / 2], axis=1), np.array([-bias[0] / 2, bias[0] / 2])
    return weights, bias


def _ridge(rows: DoubleArray, y: DoubleArray, strength: float) -> tuple[DoubleArray, DoubleArray]:
    model = Ridge(alpha=strength).fit(rows, y)
    return model.coef_[:, None], np.array([model.intercept_])
