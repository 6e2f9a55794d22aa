from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from umekomi.data.embedded_file import Space
from umekomi.errors import InputError, SpaceMismatchError
from umekomi.evaluation.splits import split_groups
from umekomi.plots.predictions import macro_f1, report_classification, report_regression
from umekomi.tasks.classify import (
    split_rows,
    train_classifier,
    train_forest_classifier,
    train_forest_regressor,
    train_regressor,
)  # fmt: skip
from umekomi.tasks.predictor import load_predictor
from umekomi.vectors.arithmetic import FloatArray, normalize

SPACE = Space("umekomi-fake", "0123456789abcdef", 6)


def rings(n: int = 240, seed: int = 0) -> tuple[FloatArray, list[str]]:
    """Return rows whose classes are not linearly separable: the sign of a product. One in four is rare."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 6)).astype(np.float32)
    rows[:, 2:] *= 0.2
    return normalize(rows), ["rare" if a * b > 0.15 else "common" for a, b in normalize(rows)[:, :2]]


def test_the_split_is_that_of_scikit_learn() -> None:
    train, test = split_rows(1000)
    expected = train_test_split(list(range(1000)), test_size=0.2, random_state=42)
    assert (train.tolist(), test.tolist()) == tuple(expected)


def test_the_default_classifier_learns_nonlinear_classes() -> None:
    rows, labels = rings()
    train, test = split_rows(len(rows))
    model = train_classifier(rows[train], [labels[row] for row in train])
    report = report_classification(
        model, rows[test], [labels[row] for row in test], trained_on=[labels[row] for row in train]
    )
    assert model.features.gamma > 0
    assert report.accuracy.value > 0.85 > report.baseline_accuracy
    assert report.accuracy.low <= report.accuracy.value <= report.accuracy.high
    assert sum(map(sum, report.confusion)) == report.n_test == 48
    assert report.log_loss < report.baseline_log_loss
    assert [each.label for each in report.classes] == ["common", "rare"]
    assert len(report.curves[0].precision) == len(report.curves[0].recall)


def test_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(1200, 4)).astype(np.float32)
    labels = [bool(flip) for flip in random.random(1200) < 1 / (1 + np.exp(-2 * rows[:, 0]))]
    shares = train_classifier(rows[:400], labels[:400]).probabilities(rows[400:])[:, 1]
    is_correct = np.array(labels[400:])
    for low, high in [(0, 0.3), (0.3, 0.7), (0.7, 1)]:
        in_bin = (shares >= low) & (shares < high)
        assert is_correct[in_bin].mean() == pytest.approx(shares[in_bin].mean(), abs=0.12)


def test_the_default_regressor_beats_the_mean() -> None:
    rows, _ = rings(300)
    values = 3 + 2 * rows[:, 0] * rows[:, 1]
    model = train_regressor(rows[:240], values[:240])
    report = report_regression(model.predict, rows[240:], values[240:], trained_on=values[:240])
    assert report.mse_ratio.value < 0.2
    assert report.mse_ratio.value == pytest.approx(report.mse.value / report.baseline_mse)
    assert report.r2 > 0.8


def test_forests_of_the_guide() -> None:
    rows, labels = rings(120)
    forest = train_forest_classifier(rows, labels)
    assert forest.predict(rows[:5]) == labels[:5]
    assert train_forest_regressor(rows, rows[:, 0]).predict(rows)[0] == pytest.approx(rows[0, 0], abs=0.3)


@pytest.mark.parametrize("labels", [["a", "b"], [1, 2], [True, False], [1.5, 2.5]])
def test_a_saved_classifier_predicts_the_same(tmp_path: Path, labels: list[object]) -> None:
    rows, names = rings(80)
    model = train_classifier(rows, [labels[name == "rare"] for name in names], column="x", space=SPACE)  # type: ignore[misc]
    model.save(tmp_path / "m")
    again = load_predictor(tmp_path / "m")
    assert again.predict(rows) == model.predict(rows)
    assert {type(value) for value in again.predict(rows)} == {type(labels[0])}
    assert (again.probabilities(rows) == model.probabilities(rows)).all()
    assert again.space == SPACE


def test_a_saved_regressor_predicts_the_same_within_the_training_range(tmp_path: Path) -> None:
    rows, _ = rings(80)
    model = train_regressor(rows, rows[:, 0])
    model.save(tmp_path / "m")
    predicted = load_predictor(tmp_path / "m").predict(rows)
    assert predicted == model.predict(rows)
    assert rows[:, 0].min() <= min(predicted) <= max(predicted) <= rows[:, 0].max()  # type: ignore[operator]


def test_a_model_rejects_vectors_of_another_space(tmp_path: Path) -> None:
    rows, labels = rings(80)
    model = train_classifier(rows, labels, space=SPACE)
    model.require_space(SPACE)
    with pytest.raises(SpaceMismatchError, match="trained on vectors of umekomi-fake"):
        model.require_space(Space("other", "f" * 16, 6))
    with pytest.raises(InputError, match="of 6 dimensions; these have 3"):
        model.predict(np.ones((1, 3)))


def test_files_that_are_not_models_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    save_file({"a": np.ones(3)}, tmp_path / "other")
    for name in ("text", "other"):
        with pytest.raises(InputError, match="is not a model that"):
            load_predictor(tmp_path / name)
    with pytest.raises(InputError, match="There is no file"):
        load_predictor(tmp_path / "none")


def copies(n_texts: int = 60, seed: int = 0) -> tuple[FloatArray, list[int], list[str], FloatArray]:
    """Return five copies of each text, with meaningless labels and values."""
    random = np.random.default_rng(seed)
    texts = np.repeat(np.arange(n_texts), 5)
    rows = normalize(random.normal(size=(n_texts, 24)).astype(np.float32))[texts]
    return (
        rows,
        texts.tolist(),
        random.permutation(["a", "b"] * (n_texts // 2))[texts].tolist(),
        random.normal(size=n_texts)[texts],
    )


def test_meaningless_labels_are_predicted_no_better_than_the_baseline() -> None:
    """Labels are permuted over texts, so that only copies of training rows could be predicted."""
    hits, errors, covered = [], [], []
    for seed in range(4):
        rows, texts, labels, values = copies(seed=seed)
        train, test = split_groups(texts, strata=labels, test_share=0.3, seed=seed)
        model = train_classifier(rows[train], [labels[row] for row in train])
        report = report_classification(
            model,
            rows[test],
            [labels[row] for row in test],
            trained_on=[labels[row] for row in train],
            groups=np.array(texts)[test],
        )
        hits.append(report.accuracy.value)
        covered.append(report.accuracy.low <= 0.5 <= report.accuracy.high)
        regressor = train_regressor(rows[train], values[train])
        errors.append(
            report_regression(regressor.predict, rows[test], values[test], trained_on=values[train]).mse_ratio.value
        )
    assert np.mean(hits) == pytest.approx(0.5, abs=0.15)
    assert sum(covered) >= 3
    assert np.mean(errors) > 0.93


def test_a_random_split_rewards_memory() -> None:
    """The same meaningless labels with the split of the guide."""
    rows, _, labels, _ = copies()
    train, test = split_rows(len(rows))
    model = train_forest_classifier(rows[train], [labels[row] for row in train])
    report = report_classification(
        model, rows[test], [labels[row] for row in test], trained_on=[labels[row] for row in train]
    )
    assert report.accuracy.value > 0.95


def test_the_interval_counts_texts_instead_of_rows() -> None:
    rows, texts, labels, values = copies(20)
    model, regressor = train_classifier(rows, labels), train_regressor(rows, values)
    by_row, by_text = (
        report_classification(model, rows, labels, trained_on=labels, groups=groups) for groups in (None, texts)
    )
    assert (by_row.n_test, by_row.n_texts, by_text.n_texts) == (100, 100, 20)
    assert by_text.accuracy.high - by_text.accuracy.low > by_row.accuracy.high - by_row.accuracy.low
    wide, narrow = (
        report_regression(regressor.predict, rows, values, trained_on=values, groups=groups).mae
        for groups in (texts, None)
    )
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_classes_of_a_single_text_and_texts_of_two_classes_are_learned() -> None:
    rows = normalize(np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32))
    rows[1] = rows[0]
    rows[3] = rows[2]
    model = train_classifier(rows, ["rare", "rare", "both", "other"] + ["both", "other"] * 4)
    assert model.labels == ("both", "other", "rare")
    assert np.isfinite(model.probabilities(rows)).all()
    with pytest.raises(InputError, match="copies of one text"):
        train_classifier(rows[[0, 1, 2, 3]], ["a", "a", "b", "b"])
    with pytest.raises(InputError, match="copies of one text"):
        train_regressor(rows[[0, 0, 0, 0]], [1, 2, 3, 4])
    with pytest.raises(InputError, match="12 vectors and 2 groups"):
        train_classifier(rows, ["a", "b"] * 6, groups=[1, 2])


def test_macro_f1_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    y, guess = random.integers(0, 4, 50), random.integers(0, 4, 50)
    assert macro_f1(y, guess) == pytest.approx(f1_score(y, guess, average="macro"))


ROWS = normalize(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * 6, "All 6 rows have the label 'a'"),
        (["a", "b", "a", "a", "a", "a"], "The class 'b' has only one row"),
        (["a", None, "a", "b", "b", "b"], "Row 1 has no label"),
        (["a", 1, "a", 1, 1, 1], "Some labels are text and some are numbers"),
        (["a", "b"], "6 vectors and 2 labels"),
    ],
)
def test_invalid_labels_are_rejected(labels: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_classifier(ROWS, labels)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([2.0] * 6, "All 6 values are 2"),
        ([1, 2, 3, 4, 5, np.nan], "The value of row 5 is missing"),
        (["a"] * 6, "not all numbers"),
        ([1.0], "6 vectors and 1 values"),
    ],
)
def test_invalid_values_are_rejected(values: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_regressor(ROWS, values)


def test_zero_vectors_are_rejected() -> None:
    with pytest.raises(InputError, match="Vector 0 is all zeros"):
        train_classifier(np.zeros((4, 2)), ["a", "b", "a", "b"])
