from dataclasses import replace

import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from umekomi import Embedder
from umekomi.evaluation.datasets import LabeledDataset

pytest.importorskip("sklearn", reason="scikit-learn is in umekomi[tasks]")

from umekomi.errors import InputError
from umekomi.evaluation.classification import compare_classification, evaluate_classification

GOOD = tuple(f"good bean number {n}" for n in range(10))
BAD = tuple(f"bad dog number {n}" for n in range(10))


def test_separable_labels_are_learned(fake: Embedder) -> None:
    result = evaluate_classification(LabeledDataset("tiny", GOOD + BAD, ("yes",) * 10 + ("no",) * 10), fake)
    assert result.accuracy.value == result.macro_f1.value == 1.0
    assert (result.accuracy.low, result.accuracy.high) == pytest.approx(binomtest(20, 20).proportion_ci())
    assert result.macro_f1.value == f1_score(result.truth, result.predicted, average="macro")
    assert (result.majority, result.texts, result.labels) == (0.5, 20, 2)


def test_random_labels_are_not_learned(fake: Embedder) -> None:
    texts = tuple(f"bean {n}" for n in range(20))
    result = evaluate_classification(LabeledDataset("noise", texts, ("yes", "no") * 10), fake)
    assert result.accuracy.low < 0.5


def test_copies_are_in_the_same_fold(fake: Embedder) -> None:
    """Every text has five copies and a label of its own will: only memory could tell it."""
    texts = tuple(f"word{n}" for n in range(24) for _ in range(5))
    labels = tuple("yes" if n * 7 % 24 < 12 else "no" for n in range(24) for _ in range(5))
    result = evaluate_classification(LabeledDataset("copies", texts, labels), fake)
    assert (result.texts, result.distinct) == (120, 24)
    assert result.accuracy.low < 0.5
    assert result.accuracy.high - result.accuracy.low > 0.3  # as of 24 texts, not of 120


def test_copies_in_a_test_set_are_counted(fake: Embedder) -> None:
    known = LabeledDataset("known", GOOD + BAD, ("yes",) * 10 + ("no",) * 10)
    test = LabeledDataset("new", ("Good  bean NUMBER 1", "good bean number 77"), ("yes", "yes"))
    result = evaluate_classification(known, fake, test=test)
    assert result.copies == 1
    assert result.accuracy_without_copies is not None
    assert result.accuracy_without_copies.value == 1.0


def test_models_are_compared_on_the_same_texts(fake: Embedder) -> None:
    result = evaluate_classification(LabeledDataset("tiny", GOOD + BAD, ("yes",) * 10 + ("no",) * 10), fake)
    worse = replace(result, predicted=("no",) * 20)
    (found,) = compare_classification([result, worse])
    assert found["accuracy"].value == -0.5
    assert found["accuracy"].low < -0.5 < found["accuracy"].high < 0
    assert found["macro_f1"].value == pytest.approx(1 / 3 - 1)


def test_a_separate_test_set(fake: Embedder) -> None:
    known = LabeledDataset("known", GOOD[:3] + BAD[:4], ("yes",) * 3 + ("no",) * 4)
    result = evaluate_classification(
        known, fake, test=LabeledDataset("new", GOOD[3:] + BAD[3:4], ("yes",) * 7 + ("no",))
    )
    assert (result.data, result.accuracy.value, result.majority) == ("new", 1.0, 0.125)


def test_too_few_texts_are_rejected(fake: Embedder) -> None:
    with pytest.raises(InputError, match="have the label 'yes'"):
        evaluate_classification(LabeledDataset("one", GOOD, ("yes",) * 10), fake)
    with pytest.raises(InputError, match=r"The label 'no' of few has 1 different texts\. 5 folds need at least 5"):
        evaluate_classification(LabeledDataset("few", GOOD, ("yes",) * 9 + ("no",)), fake)
