"""Classification, measured: how well a plain classifier learns labels from the vectors alone. Needs ``umekomi[tasks]``.

As MTEB does (Muennighoff et al. 2023, arXiv:2210.07316), a logistic regression is fitted to the vectors; here over five
stratified folds, so that every text is predicted once by a classifier that has not seen it. Copies of a text
(:mod:`umekomi.evaluation.duplicates`) are always in the same fold.
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
from .retrieval import embed_fitting
from .splits import assign_folds, count_groups

FOLDS = 5


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """How well labels were predicted.

    Attributes:
        texts, labels: how many there are; ``distinct`` texts are no copies of each other.
        accuracy, macro_f1: with intervals over the distinct texts.
        majority: the accuracy of always saying the most frequent label.
        copies: with other texts to predict, how many of them are copies of texts that were learned from.
        accuracy_without_copies: the accuracy on the rest of them; None if there are no copies, or nothing else.
        truth, predicted: the label of each text; ``groups`` numbers the distinct texts.
    """

    model: str
    data: str
    texts: int
    distinct: int
    labels: int
    accuracy: Estimate
    macro_f1: Estimate
    majority: float
    copies: int
    accuracy_without_copies: Estimate | None
    truth: tuple[str, ...]
    predicted: tuple[str, ...]
    groups: tuple[int, ...]
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
    """Embed labelled texts and predict each label.

    Args:
        data: what is learned from; without ``test``, by folds, also what is predicted.
        embedder: the model.
        test: other texts to predict.
        seed: of the folds.
        progress: told of texts as they are embedded.

    Raises:
        InputError: there is one label only, or a label has fewer different texts than there are folds.
    """
    began = time.monotonic()
    counts = Counter(data.labels)
    if len(counts) < 2:
        raise InputError(f"{data.name} has the one label {data.labels[0]!r}; there is nothing to tell apart.")
    if test is None:
        _require_texts(data.name, counts)
    vectors, cut = embed_fitting(embedder, data.texts, progress=progress)
    labels = np.array(data.labels)
    copied = np.zeros(0, dtype=bool)
    if test is None:
        groups, truth = group_copies(vectors, data.texts), labels
        _require_texts(data.name, count_groups(groups, labels))
        folds = assign_folds(groups, strata=labels, n_folds=FOLDS, seed=seed)
        predicted = np.empty_like(labels)
        for fold in range(FOLDS):
            predicted[folds == fold] = _predict(vectors[folds != fold], labels[folds != fold], vectors[folds == fold])
    else:
        others, n_cut = embed_fitting(embedder, test.texts, progress=progress)
        predicted, truth, cut = _predict(vectors, labels, others), np.array(test.labels), cut + n_cut
        together = group_copies(np.concatenate([vectors, others]), [*data.texts, *test.texts])
        groups = together[len(vectors) :]
        copied = np.isin(groups, together[: len(vectors)])
    right = predicted == truth
    return ClassificationResult(
        model=embedder.model,
        data=(test or data).name,
        texts=len(truth),
        distinct=len(np.unique(groups)),
        labels=len(counts),
        accuracy=metrics.share(right, groups=groups),
        macro_f1=metrics.bootstrap(
            lambda rows: _macro_f1(truth[rows], predicted[rows]), len(truth), groups=groups, resamples=200
        ),
        majority=float(np.mean(truth == counts.most_common(1)[0][0])),
        copies=int(copied.sum()),
        accuracy_without_copies=(
            metrics.share(right[~copied], groups=groups[~copied]) if copied.any() and not copied.all() else None
        ),
        truth=tuple(truth.tolist()),
        predicted=tuple(predicted.tolist()),
        groups=tuple(groups.tolist()),
        cut=cut,
        seconds=time.monotonic() - began,
    )


def compare_classification(results: Sequence[ClassificationResult]) -> list[dict[str, Estimate]]:
    """How much better each result after the first is, by ``accuracy`` and ``macro_f1``, on the same texts."""
    truth, groups = np.array(results[0].truth), np.array(results[0].groups)
    predicted = [np.array(result.predicted) for result in results]
    n = len(results) - 1
    found = []
    for other in predicted[1:]:
        two = predicted[0], other
        found.append(
            {
                "accuracy": metrics.paired_share_difference(
                    two[0] == truth, two[1] == truth, comparisons=n, groups=groups
                ),
                "macro_f1": metrics.paired_difference(
                    lambda which, rows, two=two: _macro_f1(truth[rows], two[which][rows]),  # type: ignore[misc]
                    len(truth),
                    comparisons=n,
                    groups=groups,
                ),
            }
        )
    return found


def _require_texts(name: str, counts: Counter[str] | dict[object, int]) -> None:
    rare, least = min(counts.items(), key=lambda one: one[1])
    if least < FOLDS:
        raise InputError(
            f"The label {rare!r} of {name} has {least} different texts; {FOLDS} folds need as many of each."
        )


def _predict(known: FloatArray, labels: npt.NDArray[np.str_], unknown: FloatArray) -> npt.NDArray[np.str_]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        predicted: npt.NDArray[np.str_] = LogisticRegression(max_iter=1000).fit(known, labels).predict(unknown)
    return predicted


def _macro_f1(truth: npt.NDArray[np.str_], predicted: npt.NDArray[np.str_]) -> float:
    return float(f1_score(truth, predicted, average="macro", zero_division=0))
