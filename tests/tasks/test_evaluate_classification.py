import pytest

from umekomi import Embedder
from umekomi.datasets import LabelledSet

pytest.importorskip("sklearn", reason="scikit-learn is in umekomi[tasks]")

from umekomi.errors import InputError
from umekomi.tasks.evaluate_classification import evaluate_classification

GOOD = tuple(f"good bean number {n}" for n in range(10))
BAD = tuple(f"bad dog number {n}" for n in range(10))


def test_what_can_be_told_apart_is(fake: Embedder) -> None:
    result = evaluate_classification(LabelledSet("tiny", GOOD + BAD, ("yes",) * 10 + ("no",) * 10), fake)
    assert result.accuracy.value == result.macro_f1.value == 1.0
    assert (result.majority, result.texts, result.labels) == (0.5, 20, 2)


def test_labels_without_a_meaning_are_not_learned(fake: Embedder) -> None:
    result = evaluate_classification(LabelledSet("noise", GOOD + GOOD, ("yes",) * 10 + ("no",) * 10), fake)
    assert result.accuracy.value <= 0.5


def test_other_texts_may_be_predicted(fake: Embedder) -> None:
    known = LabelledSet("known", GOOD[:3] + BAD[:4], ("yes",) * 3 + ("no",) * 4)
    result = evaluate_classification(known, fake, test=LabelledSet("new", GOOD[3:] + BAD[3:4], ("yes",) * 7 + ("no",)))
    assert (result.data, result.accuracy.value, result.majority) == ("new", 1.0, 0.125)


def test_too_few_texts_are_refused(fake: Embedder) -> None:
    with pytest.raises(InputError, match="the one label 'yes'"):
        evaluate_classification(LabelledSet("one", GOOD, ("yes",) * 10), fake)
    with pytest.raises(InputError, match="The label 'no' of few has 1 texts; 5 folds need as many of each"):
        evaluate_classification(LabelledSet("few", GOOD, ("yes",) * 9 + ("no",)), fake)
