"""Classification, measured: how well a plain classifier learns labels from the vectors alone. Needs ``umekomi[tasks]``.

As MTEB does (Muennighoff et al. 2023, arXiv:2210.07316), a logistic regression is fitted to the vectors; here over five
stratified folds, so that every text is predicted once by a classifier that has not seen it.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from ..datasets import LabelledSet
from ..embedder import Embedder
from ..encoders.base import Progress
from ..errors import InputError
from . import metrics
from .evaluate import embed_fitting
from .metrics import Estimate

FOLDS = 5


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """What classification came to. ``majority`` is the accuracy of always saying the commonest label."""

    model: str
    data: str
    texts: int
    labels: int
    accuracy: Estimate
    macro_f1: Estimate
    majority: float
    cut: int
    seconds: float


def evaluate_classification(
    data: LabelledSet,
    embedder: Embedder,
    *,
    test: LabelledSet | None = None,
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
        InputError: there is one label only, or a label has fewer texts than there are folds.
    """
    began = time.monotonic()
    counts = Counter(data.labels)
    rare, least = min(counts.items(), key=lambda one: one[1])
    if len(counts) < 2:
        raise InputError(f"{data.name} has the one label {rare!r}; there is nothing to tell apart.")
    if test is None and least < FOLDS:
        raise InputError(f"The label {rare!r} of {data.name} has {least} texts; {FOLDS} folds need as many of each.")
    vectors, cut = embed_fitting(embedder, data.texts, progress=progress)
    classifier = LogisticRegression(max_iter=1000)
    labels = np.array(data.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if test is None:
            folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
            predicted, truth = cross_val_predict(classifier, vectors, labels, cv=folds), labels
        else:
            others, n_cut = embed_fitting(embedder, test.texts, progress=progress)
            predicted, truth, cut = classifier.fit(vectors, labels).predict(others), np.array(test.labels), cut + n_cut
    right = (predicted == truth).astype(np.float64)
    return ClassificationResult(
        model=embedder.model,
        data=(test or data).name,
        texts=len(truth),
        labels=len(counts),
        accuracy=metrics.mean(right),
        macro_f1=metrics.bootstrap(
            lambda rows: float(f1_score(truth[rows], predicted[rows], average="macro", zero_division=0)),
            len(truth),
            resamples=200,
        ),
        majority=float(np.mean(truth == counts.most_common(1)[0][0])),
        cut=cut,
        seconds=time.monotonic() - began,
    )
