"""How well a classifier or a regressor does on rows that it has not seen, beside what always answers the same.

Rows that were not trained on are not enough: a copy of a training row was seen. Choose the rows with
:func:`umekomi.evaluation.splits.split_groups`, or report those without copies as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    precision_recall_fscore_support,
)

from ..errors import InputError
from ..evaluation.metrics import Estimate, bootstrap, share
from ..tasks.classify import Classifies, require_values
from ..tasks.predictor import Label
from ..vectors.arithmetic import DoubleArray, IntArray

_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class against the rest; ``support`` is its rows in the test set. Figures are 0 where there is nothing to count."""

    label: Label
    precision: float
    recall: float
    f1: float
    support: int
    average_precision: float


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """The curve of one class against the rest: ``precision`` and ``recall`` as the threshold on its probability rises."""

    label: Label
    precision: tuple[float, ...]
    recall: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """Figures on test rows with 95 % intervals, and those of always answering the most frequent class.

    ``n_texts`` is the number of different texts (or other groups) among the ``n_test`` rows, the independent units that the
    intervals are computed over. ``confusion[i][j]`` counts rows of class i that were taken for class j. ``log_loss`` is in nats;
    ``baseline_log_loss`` is that of the training rows' shares.
    """

    labels: tuple[Label, ...]
    n_train: int
    n_test: int
    n_texts: int
    accuracy: Estimate
    macro_f1: Estimate
    log_loss: float
    baseline_label: Label
    baseline_accuracy: float
    baseline_macro_f1: float
    baseline_log_loss: float
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]
    curves: tuple[PrecisionRecall, ...]


@dataclass(frozen=True, slots=True)
class RegressionReport:
    """Figures on test rows with 95 % intervals, those of always answering the training rows' mean, and their ratios (below 1 is
    better than the mean). ``n_texts`` is the number of different texts (or other groups) among the ``n_test`` rows; ``r2`` is the
    share of the test rows' variance that is explained."""

    n_train: int
    n_test: int
    n_texts: int
    mae: Estimate
    mse: Estimate
    baseline_mean: float
    baseline_mae: float
    baseline_mse: float
    mae_ratio: Estimate
    mse_ratio: Estimate
    r2: float


def report_classification(
    model: Classifies,
    vectors: npt.ArrayLike,
    labels: Sequence[Label],
    *,
    trained_on: Sequence[Label],
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> ClassificationReport:
    """Measure a classifier on test rows.

    Args:
        model: what :func:`umekomi.tasks.classify.train_classifier` gave, or the forest.
        vectors: ``(n, dims) float32``, rows that were not trained on.
        labels: their ``n`` labels.
        trained_on: the training rows' labels, for the baseline.
        groups: ``(n,)``, the text (or another independent unit) of each test row; by default every row is one.
        seed: of the resampling.

    Raises:
        InputError: there are no test rows, or as many labels as vectors are not given.
    """
    shares = model.probabilities(vectors)
    if not len(labels) or len(labels) != len(shares):
        raise InputError(f"There are {len(shares)} test rows and {len(labels)} labels; give one label a row.")
    places = {label: place for place, label in enumerate(model.labels)}
    # A class that only the test set has cannot be told: it counts as a miss, in a place of its own.
    y = np.array([places.get(label, -1) for label in labels])
    guess = np.array([places[label] for label in model.predict(vectors)])
    trained = np.bincount([places[label] for label in trained_on], minlength=len(places)) / len(trained_on)
    common = int(trained.argmax())
    every = list(range(len(places)))
    precision, recall, f1, support = precision_recall_fscore_support(y, guess, labels=every, zero_division=0.0)
    classes, curves = [], []
    for place, label in enumerate(model.labels):
        here = y == place
        average = float(average_precision_score(here, shares[:, place])) if here.any() else 0.0
        classes.append(
            ClassReport(
                label, float(precision[place]), float(recall[place]), float(f1[place]), int(support[place]), average
            )
        )
        if here.any():
            heights, widths, _ = precision_recall_curve(here, shares[:, place])
            curves.append(PrecisionRecall(label, tuple(map(float, heights)), tuple(map(float, widths))))
    known = y >= 0
    own = np.where(known, shares[np.arange(len(y)), y], 0.0)
    return ClassificationReport(
        labels=model.labels,
        n_train=len(trained_on),
        n_test=len(y),
        n_texts=_n_texts(groups, len(y)),
        accuracy=share(y == guess, groups=groups),
        macro_f1=bootstrap(
            lambda rows: macro_f1(y[rows], guess[rows]), len(y), groups=groups, seed=seed, resamples=_RESAMPLES
        ),
        log_loss=float(-np.log(np.maximum(own, 1e-12)).mean()),
        baseline_label=model.labels[common],
        baseline_accuracy=float((y == common).mean()),
        baseline_macro_f1=macro_f1(y, np.full(len(y), common)),
        baseline_log_loss=float(-np.log(np.maximum(np.where(known, trained[y], 0.0), 1e-12)).mean()),
        classes=tuple(classes),
        confusion=tuple(tuple(map(int, row)) for row in confusion_matrix(y, guess, labels=every)),
        curves=tuple(curves),
    )


def macro_f1(y: IntArray, guess: IntArray) -> float:
    """The mean over the classes that occur of 2 · right / (rows + guesses), as scikit-learn's macro F1."""
    there = np.union1d(y, guess)
    scores = [
        2 * ((y == label) & (guess == label)).sum() / ((y == label).sum() + (guess == label).sum()) for label in there
    ]
    return float(np.mean(scores))


def report_regression(
    predict: Callable[[npt.ArrayLike], Sequence[Label]],
    vectors: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    trained_on: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> RegressionReport:
    """Measure a regressor's ``predict`` on test rows: ``(n, dims) float32`` and their ``n`` values.

    ``groups`` as for :func:`report_classification`.
    """
    guess: DoubleArray = np.asarray(predict(vectors), dtype=np.float64)
    y = require_values(values, len(guess))
    trained = np.asarray(trained_on, dtype=np.float64)
    error, plain = guess - y, trained.mean() - y

    def estimate(measure: Callable[[IntArray], float]) -> Estimate:
        return bootstrap(measure, len(y), groups=groups, seed=seed, resamples=_RESAMPLES)

    def ratio(power: int) -> Estimate:
        return estimate(lambda rows: _ratio(np.abs(error[rows]) ** power, np.abs(plain[rows]) ** power))

    around = ((y - y.mean()) ** 2).mean()
    return RegressionReport(
        n_train=len(trained),
        n_test=len(y),
        n_texts=_n_texts(groups, len(y)),
        mae=estimate(lambda rows: float(np.abs(error[rows]).mean())),
        mse=estimate(lambda rows: float((error[rows] ** 2).mean())),
        baseline_mean=float(trained.mean()),
        baseline_mae=float(np.abs(plain).mean()),
        baseline_mse=float((plain**2).mean()),
        mae_ratio=ratio(1),
        mse_ratio=ratio(2),
        r2=float(1 - (error**2).mean() / around) if around > 0 else 0.0,
    )


def _n_texts(groups: npt.ArrayLike | None, n: int) -> int:
    return n if groups is None else len(np.unique(np.asarray(groups)))


def _ratio(left: DoubleArray, right: DoubleArray) -> float:
    return float(left.mean() / right.mean()) if right.mean() > 0 else float("nan")
