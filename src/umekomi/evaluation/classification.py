"""Evaluation of classification: how well a logistic regression predicts labels from the vectors. Needs ``umekomi[tasks]``.

The classifier is that of MTEB (Muennighoff et al. 2023, arXiv:2210.07316). It is fitted in five stratified folds, so that every
text is predicted once by a classifier that has not seen it. Copies of a text (:mod:`.duplicates`) are always in the same fold.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from ..embedder import Embedder
from ..errors import InputError
from ..progress import Progress
from ..vectors.arithmetic import FloatArray
from . import metrics
from .datasets import LabeledDataset
from .duplicates import group_copies
from .metrics import Estimate
from .retrieval import embed_truncated
from .splits import assign_folds, count_groups

FOLDS = 5


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """The result of evaluating classification with one model on one data set."""

    model: str
    data: str
    #: Number of texts, of distinct texts (without copies) and of labels.
    texts: int
    distinct: int
    labels: int
    #: Accuracy and macro-averaged F1, with intervals over the distinct texts.
    accuracy: Estimate
    macro_f1: Estimate
    #: Accuracy of always predicting the most frequent label.
    majority: float
    #: Number of test texts that are copies of training texts. It is 0 unless a separate test set is given.
    copies: int
    #: Accuracy on the test texts that are not copies; None if all or none of them are copies.
    accuracy_without_copies: Estimate | None
    #: True and predicted label, and number of the distinct text, of each text.
    truth: tuple[str, ...]
    predicted: tuple[str, ...]
    groups: tuple[int, ...]
    #: Number of texts that were truncated to the model's maximum length.
    cut: int
    seconds: float


def evaluate_classification(
    data: LabeledDataset,
    embedder: Embedder,
    *,
    test: LabeledDataset | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ClassificationResult:
    """Embed labeled texts and predict each label.

    Args:
        data: Training set. Without ``test``, its own texts are predicted by cross-validation.
        embedder: Model.
        test: Test set.
        seed: Seed of the folds.
        progress: Callback that receives the number of newly embedded texts.

    Raises:
        InputError: There is only one label, or a label has fewer distinct texts than there are folds.
    """
    began = time.monotonic()
    counts = Counter(data.labels)
    if len(counts) < 2:
        raise InputError(
            f"All texts of {data.name} have the label {data.labels[0]!r}. Classification needs two labels or more."
        )
    if test is None:
        _require_texts(data.name, counts)
    vectors, cut = embed_truncated(embedder, data.texts, progress=progress)
    labels = np.array(data.labels)
    is_copy = np.zeros(0, dtype=bool)
    if test is None:
        groups, truth = group_copies(vectors, data.texts), labels
        _require_texts(data.name, count_groups(groups, labels))
        folds = assign_folds(groups, strata=labels, n_folds=FOLDS, seed=seed)
        predicted = np.empty_like(labels)
        for fold in range(FOLDS):
            predicted[folds == fold] = _predict(vectors[folds != fold], labels[folds != fold], vectors[folds == fold])
    else:
        test_vectors, n_cut = embed_truncated(embedder, test.texts, progress=progress)
        predicted, truth, cut = _predict(vectors, labels, test_vectors), np.array(test.labels), cut + n_cut
        all_groups = group_copies(np.concatenate([vectors, test_vectors]), [*data.texts, *test.texts])
        groups = all_groups[len(vectors) :]
        is_copy = np.isin(groups, all_groups[: len(vectors)])
    correct = predicted == truth
    return ClassificationResult(
        model=embedder.model,
        data=(test or data).name,
        texts=len(truth),
        distinct=len(np.unique(groups)),
        labels=len(counts),
        accuracy=metrics.share(correct, groups=groups),
        macro_f1=metrics.bootstrap(
            lambda rows: _macro_f1(truth[rows], predicted[rows]), len(truth), groups=groups, resamples=200
        ),
        majority=float(np.mean(truth == counts.most_common(1)[0][0])),
        copies=int(is_copy.sum()),
        accuracy_without_copies=(
            metrics.share(correct[~is_copy], groups=groups[~is_copy]) if is_copy.any() and not is_copy.all() else None
        ),
        truth=tuple(truth.tolist()),
        predicted=tuple(predicted.tolist()),
        groups=tuple(groups.tolist()),
        cut=cut,
        seconds=time.monotonic() - began,
    )


def compare_classification(results: Sequence[ClassificationResult]) -> list[dict[str, Estimate]]:
    """Return the differences in ``accuracy`` and ``macro_f1`` from the first result to each other one, on the same texts."""
    truth, groups = np.array(results[0].truth), np.array(results[0].groups)
    predicted = [np.array(result.predicted) for result in results]
    n = len(results) - 1
    differences = []
    for other in predicted[1:]:
        compared = predicted[0], other
        differences.append(
            {
                "accuracy": metrics.paired_share_difference(
                    compared[0] == truth, compared[1] == truth, comparisons=n, groups=groups
                ),
                "macro_f1": metrics.paired_difference(
                    lambda system, rows, compared=compared: _macro_f1(truth[rows], compared[system][rows]),  # type: ignore[misc]
                    len(truth),
                    comparisons=n,
                    groups=groups,
                ),
            }
        )
    return differences


def _require_texts(name: str, counts: Counter[str] | dict[object, int]) -> None:
    label, n = min(counts.items(), key=lambda item: item[1])
    if n < FOLDS:
        raise InputError(
            f"The label {label!r} of {name} has {n} different texts. {FOLDS} folds need at least {FOLDS} for each label."
        )


def _predict(train: FloatArray, labels: npt.NDArray[np.str_], test: FloatArray) -> npt.NDArray[np.str_]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted: npt.NDArray[np.str_] = LogisticRegression(max_iter=1000).fit(train, labels).predict(test)
    return predicted


def _macro_f1(truth: npt.NDArray[np.str_], predicted: npt.NDArray[np.str_]) -> float:
    return float(f1_score(truth, predicted, average="macro", zero_division=0))
