from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from umekomi.errors import InputError, SpaceMismatchError
from umekomi.records import Space
from umekomi.tasks.predict import (
    split_rows,
    train_classifier,
    train_forest_classifier,
    train_forest_regressor,
    train_regressor,
)  # fmt: skip
from umekomi.tasks.predict_report import macro_f1, report_classification, report_regression
from umekomi.tasks.predictor import load_predictor
from umekomi.vectors import FloatArray, normalize

SPACE = Space("umekomi-fake", "0123456789abcdef", 6)


def rings(n: int = 240, seed: int = 0) -> tuple[FloatArray, list[str]]:
    """Rows whose class no straight line tells: the sign of a product. One in four is rare."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 6)).astype(np.float32)
    rows[:, 2:] *= 0.2
    return normalize(rows), ["rare" if a * b > 0.15 else "common" for a, b in normalize(rows)[:, :2]]


def test_the_split_is_scikit_learns() -> None:
    train, test = split_rows(1000)
    expected = train_test_split(list(range(1000)), test_size=0.2, random_state=42)
    assert (train.tolist(), test.tolist()) == tuple(expected)


def test_the_default_classifier_learns_what_no_line_tells() -> None:
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
    told = np.array(labels[400:])
    for low, high in [(0, 0.3), (0.3, 0.7), (0.7, 1)]:
        some = (shares >= low) & (shares < high)
        assert told[some].mean() == pytest.approx(shares[some].mean(), abs=0.12)


def test_the_default_regressor_beats_the_mean() -> None:
    rows, _ = rings(300)
    values = 3 + 2 * rows[:, 0] * rows[:, 1]
    model = train_regressor(rows[:240], values[:240])
    report = report_regression(model.predict, rows[240:], values[240:], trained_on=values[:240])
    assert report.mse_ratio.value < 0.2
    assert report.mse_ratio.value == pytest.approx(report.mse.value / report.baseline_mse)
    assert report.r2 > 0.8


def test_the_guides_forests() -> None:
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


def test_a_saved_regressor_predicts_the_same_within_what_it_has_seen(tmp_path: Path) -> None:
    rows, _ = rings(80)
    model = train_regressor(rows, rows[:, 0])
    model.save(tmp_path / "m")
    predicted = load_predictor(tmp_path / "m").predict(rows)
    assert predicted == model.predict(rows)
    assert rows[:, 0].min() <= min(predicted) <= max(predicted) <= rows[:, 0].max()  # type: ignore[operator]


def test_a_model_keeps_to_its_space(tmp_path: Path) -> None:
    rows, labels = rings(80)
    model = train_classifier(rows, labels, space=SPACE)
    model.require_space(SPACE)
    with pytest.raises(SpaceMismatchError, match="trained on vectors of umekomi-fake"):
        model.require_space(Space("other", "f" * 16, 6))
    with pytest.raises(InputError, match="of 6 dimensions; these have 3"):
        model.predict(np.ones((1, 3)))


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    save_file({"a": np.ones(3)}, tmp_path / "other")
    for name in ("text", "other"):
        with pytest.raises(InputError, match="is not a model that"):
            load_predictor(tmp_path / name)
    with pytest.raises(InputError, match="There is no file"):
        load_predictor(tmp_path / "none")


def test_macro_f1_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    y, guess = random.integers(0, 4, 50), random.integers(0, 4, 50)
    assert macro_f1(y, guess) == pytest.approx(f1_score(y, guess, average="macro"))


ROWS = normalize(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["a"] * 6, "All 6 rows have the label 'a'"),
        (["a", "b", "a", "a", "a", "a"], "The class 'b' has one row only"),
        (["a", None, "a", "b", "b", "b"], "Row 1 has no label"),
        (["a", 1, "a", 1, 1, 1], "partly text and partly numbers"),
        (["a", "b"], "6 vectors and 2 labels"),
    ],
)
def test_bad_labels_are_a_sentence(labels: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        train_classifier(ROWS, labels)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([2.0] * 6, "All 6 values are 2"),
        ([1, 2, 3, 4, 5, np.nan], "The value of row 5 is missing"),
        (["a"] * 6, "not all numbers"),
        ([1.0], "6 vectors and 1 values"),
    ],
)
def test_bad_values_are_a_sentence(values: list[float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        train_regressor(ROWS, values)


def test_vectors_of_zeros_are_refused() -> None:
    with pytest.raises(InputError, match="Vector 0 is all zeros"):
        train_classifier(np.zeros((4, 2)), ["a", "b", "a", "b"])
