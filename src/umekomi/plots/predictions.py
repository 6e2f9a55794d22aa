"""Evaluation of a classifier or a regressor on test rows, compared with a constant prediction.

Test rows must not only be left out of the training rows: a copy of a training row was seen. Choose the rows with
:func:`umekomi.evaluation.splits.split_groups`, or also report the rows that are not copies.
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
from ..tasks.classify import Classifier, as_values
from ..tasks.predictor import Label
from ..vectors.arithmetic import DoubleArray, IntArray

_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class against the rest. Figures without a defined value are 0."""

    #: The class.
    label: Label
    #: Precision.
    precision: float
    #: Recall.
    recall: float
    #: F1 score.
    f1: float
    #: Number of test rows of the class.
    support: int
    #: Average precision.
    average_precision: float


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision-recall curve of one class against the rest, for increasing thresholds on its probability."""

    #: The class.
    label: Label
    #: Precision at each threshold.
    precision: tuple[float, ...]
    #: Recall at each threshold.
    recall: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """Figures on test rows with 95 % intervals, and those of always predicting the most frequent class."""

    #: Classes.
    labels: tuple[Label, ...]
    #: Number of training rows.
    n_train: int
    #: Number of test rows.
    n_test: int
    #: Number of different texts (or other groups) among the test rows: the independent units of the intervals.
    n_texts: int
    #: Accuracy.
    accuracy: Estimate
    #: Mean F1 score of the classes.
    macro_f1: Estimate
    #: Log loss in nats.
    log_loss: float
    #: The most frequent class of the training rows.
    baseline_label: Label
    #: Accuracy of always predicting it.
    baseline_accuracy: float
    #: Macro F1 of always predicting it.
    baseline_macro_f1: float
    #: Log loss of predicting the shares of the training rows.
    baseline_log_loss: float
    #: Figures of each class.
    classes: tuple[ClassReport, ...]
    #: ``confusion[i][j]`` counts rows of class i that were predicted as class j.
    confusion: tuple[tuple[int, ...], ...]
    #: Curve of each class that the test rows contain.
    curves: tuple[PrecisionRecall, ...]


@dataclass(frozen=True, slots=True)
class RegressionReport:
    """Figures on test rows with 95 % intervals, and those of always predicting the mean of the training rows."""

    #: Number of training rows.
    n_train: int
    #: Number of test rows.
    n_test: int
    #: Number of different texts (or other groups) among the test rows: the independent units of the intervals.
    n_texts: int
    #: Mean absolute error.
    mae: Estimate
    #: Mean squared error.
    mse: Estimate
    #: Mean of the training rows.
    baseline_mean: float
    #: Mean absolute error of always predicting it.
    baseline_mae: float
    #: Mean squared error of always predicting it.
    baseline_mse: float
    #: ``mae / baseline_mae``; below 1 is better than the mean.
    mae_ratio: Estimate
    #: ``mse / baseline_mse``; below 1 is better than the mean.
    mse_ratio: Estimate
    #: Share of the test rows' variance that is explained.
    r2: float


def report_classification(
    model: Classifier,
    vectors: npt.ArrayLike,
    labels: Sequence[Label],
    *,
    trained_on: Sequence[Label],
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> ClassificationReport:
    """Evaluate a classifier on test rows.

    Args:
        model: The classifier, from :func:`umekomi.tasks.classify.train_classifier` or ``train_forest_classifier``.
        vectors: ``(n, dims) float32``, rows that the classifier was not trained on.
        labels: The ``n`` labels of the rows.
        trained_on: Labels of the training rows, for the baseline.
        groups: ``(n,)``, the text (or another independent unit) of each test row; by default every row is one.
        seed: Seed of the bootstrap.

    Raises:
        InputError: There are no test rows, or the numbers of labels and vectors differ.
    """
    probabilities = model.probabilities(vectors)
    if not len(labels) or len(labels) != len(probabilities):
        raise InputError(
            f"There are {len(probabilities)} test rows and {len(labels)} labels; give one label for each row."
        )
    indices = {label: index for index, label in enumerate(model.labels)}
    # A class that only the test rows have cannot be predicted: it counts as an error, with an index of its own.
    y = np.array([indices.get(label, -1) for label in labels])
    predicted = np.array([indices[label] for label in model.predict(vectors)])
    train_shares = np.bincount([indices[label] for label in trained_on], minlength=len(indices)) / len(trained_on)
    most_frequent = int(train_shares.argmax())
    class_indices = list(range(len(indices)))
    figures = precision_recall_fscore_support(y, predicted, labels=class_indices, zero_division=0.0)
    classes, curves = [], []
    for index, (label, precision, recall, f1, support) in enumerate(zip(model.labels, *figures, strict=True)):
        is_class, average_precision = y == index, 0.0
        if is_class.any():
            average_precision = float(average_precision_score(is_class, probabilities[:, index]))
            precisions, recalls, _ = precision_recall_curve(is_class, probabilities[:, index])
            curves.append(PrecisionRecall(label, tuple(map(float, precisions)), tuple(map(float, recalls))))
        classes.append(ClassReport(label, float(precision), float(recall), float(f1), int(support), average_precision))

    def log_loss(class_probabilities: DoubleArray) -> float:
        return float(-np.log(np.maximum(np.where(y >= 0, class_probabilities, 0.0), 1e-12)).mean())

    return ClassificationReport(
        labels=model.labels,
        n_train=len(trained_on),
        n_test=len(y),
        n_texts=_count_groups(groups, len(y)),
        accuracy=share(y == predicted, groups=groups),
        macro_f1=bootstrap(
            lambda rows: macro_f1(y[rows], predicted[rows]), len(y), groups=groups, seed=seed, resamples=_RESAMPLES
        ),
        log_loss=log_loss(probabilities[np.arange(len(y)), y]),
        baseline_label=model.labels[most_frequent],
        baseline_accuracy=float((y == most_frequent).mean()),
        baseline_macro_f1=macro_f1(y, np.full(len(y), most_frequent)),
        baseline_log_loss=log_loss(train_shares[y]),
        classes=tuple(classes),
        confusion=tuple(tuple(map(int, row)) for row in confusion_matrix(y, predicted, labels=class_indices)),
        curves=tuple(curves),
    )


def macro_f1(y: IntArray, predicted: IntArray) -> float:
    """Return the mean of 2 · correct / (rows + predictions) over the classes that occur, as scikit-learn's macro F1."""
    scores = [
        2 * ((y == label) & (predicted == label)).sum() / ((y == label).sum() + (predicted == label).sum())
        for label in np.union1d(y, predicted)
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
    """Evaluate a regressor on test rows.

    Args:
        predict: The method ``predict`` of the regressor.
        vectors: ``(n, dims) float32``, rows that the regressor was not trained on.
        values: The ``n`` values of the rows.
        trained_on: Values of the training rows, for the baseline.
        groups: As for :func:`report_classification`.
        seed: Seed of the bootstrap.

    Raises:
        InputError: The number of values is wrong, or a value is not finite.
    """
    predicted: DoubleArray = np.asarray(predict(vectors), dtype=np.float64)
    y = as_values(values, len(predicted))
    train_values = np.asarray(trained_on, dtype=np.float64)
    error, baseline_error = predicted - y, train_values.mean() - y

    def estimate(measure: Callable[[IntArray], float]) -> Estimate:
        return bootstrap(measure, len(y), groups=groups, seed=seed, resamples=_RESAMPLES)

    def ratio(power: int) -> Estimate:
        return estimate(lambda rows: _ratio(np.abs(error[rows]) ** power, np.abs(baseline_error[rows]) ** power))

    variance = ((y - y.mean()) ** 2).mean()
    return RegressionReport(
        n_train=len(train_values),
        n_test=len(y),
        n_texts=_count_groups(groups, len(y)),
        mae=estimate(lambda rows: float(np.abs(error[rows]).mean())),
        mse=estimate(lambda rows: float((error[rows] ** 2).mean())),
        baseline_mean=float(train_values.mean()),
        baseline_mae=float(np.abs(baseline_error).mean()),
        baseline_mse=float((baseline_error**2).mean()),
        mae_ratio=ratio(1),
        mse_ratio=ratio(2),
        r2=float(1 - (error**2).mean() / variance) if variance > 0 else 0.0,
    )


def _count_groups(groups: npt.ArrayLike | None, n: int) -> int:
    return n if groups is None else len(np.unique(np.asarray(groups)))


def _ratio(left: DoubleArray, right: DoubleArray) -> float:
    return float(left.mean() / right.mean()) if right.mean() > 0 else float("nan")
