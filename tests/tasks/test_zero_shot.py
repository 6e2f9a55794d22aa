from collections.abc import Callable

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.errors import InputError
from umekomi.tasks.choices import Calibration
from umekomi.tasks.zero_shot import LabelSet, embed_labels, find_split, zero_shot
from umekomi.vectors.arithmetic import FloatArray, IntArray, normalize


def test_the_nearest_label_is_predicted(fake: Embedder) -> None:
    labels = embed_labels({"animal": ["a dog", "a cat"], "food": ["beans", "rice"]}, fake)
    assert zero_shot(fake.embed(["the dog", "two beans"]), labels).predictions == ["animal", "food"]


def test_the_threshold_corrects_biased_labels() -> None:
    random = np.random.default_rng(0)
    angles = np.concatenate([random.normal(0.1, 0.04, 60), random.normal(0.5, 0.08, 240)])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # The first label is nearer to all rows.
    labels = LabelSet(
        ("no", "yes"), np.array([[np.cos(0.3), np.sin(0.3)], [np.cos(1.2), np.sin(1.2)]], dtype=np.float32)
    )
    truth = ["no"] * 60 + ["yes"] * 240
    right = [a == b for a, b in zip(zero_shot(rows, labels).predictions, truth, strict=True)]
    plain = [
        a == b for a, b in zip(zero_shot(rows, labels, calibration=Calibration.NONE).predictions, truth, strict=True)
    ]
    assert np.mean(right) > 0.98
    assert np.mean(plain) < 0.4


def test_one_mode_is_not_split() -> None:
    assert find_split(np.zeros(100)) is None
    for seed in range(5):
        assert find_split(np.random.default_rng(seed).normal(size=900)) is None
    labels = LabelSet(("a", "b"), np.eye(2, dtype=np.float32))
    assert not zero_shot(np.ones((100, 2)), labels).calibrated


def test_two_modes_of_any_shares_are_split_between_them() -> None:
    for share, seed in ((0.1, 0), (0.3, 1), (0.5, 2)):
        random = np.random.default_rng(seed)
        n = int(900 * share)
        values = np.concatenate([random.normal(-0.2, 0.05, n), random.normal(0.1, 0.07, 900 - n)])
        result = find_split(values)
        assert result is not None
        assert abs(int((values < result).sum()) - n) <= 0.03 * 900


def test_the_rows_refine_weak_labels() -> None:
    # Two groups that differ in five dimensions, of which the labels cover one, weakly.
    random = np.random.default_rng(3)
    truth = np.arange(600) % 4 > 0
    rows = random.normal(0, 1, (600, 40))
    rows[:, :5] += np.where(truth, 1.5, -1.5)[:, None]
    directions = np.zeros((2, 40))
    directions[0, 0], directions[1, 0], directions[:, 39] = -1, 1, 1
    labels = LabelSet(("no", "yes"), normalize(directions.astype(np.float32)))
    plain = np.array(zero_shot(rows, labels, calibration=Calibration.NONE).predictions) == "yes"
    result = np.array(zero_shot(rows, labels).predictions) == "yes"
    assert (plain == truth).mean() < 0.95
    assert (result == truth).mean() > 0.98


def topics(counts: tuple[int, ...]) -> tuple[FloatArray, IntArray, LabelSet]:
    """Return texts of topics that differ in three dimensions each, of which the labels cover one, weakly."""
    random = np.random.default_rng(4)
    truth = np.repeat(np.arange(len(counts)), counts)
    rows = random.normal(0, 1, (len(truth), 40))
    for topic in range(len(counts)):
        rows[truth == topic, 3 * topic : 3 * topic + 3] += 2.0
    directions = np.eye(40)[[3 * topic for topic in range(len(counts))]] + np.eye(40)[39]
    return rows.astype(np.float32), truth, LabelSet(("a", "b", "c", "d"), normalize(directions.astype(np.float32)))


@pytest.mark.parametrize("counts", [(100, 100, 100, 100), (300, 40, 40, 20), (15, 15, 15, 15), (200, 0, 200, 0)])
def test_the_rows_refine_several_labels_of_any_shares(counts: tuple[int, ...]) -> None:
    rows, truth, labels = topics(counts)
    plain = zero_shot(rows, labels, calibration=Calibration.NONE)
    result = zero_shot(rows, labels)
    assert (result.calibrated, plain.calibrated) == (True, False)
    assert (result.indices == truth).mean() > (plain.indices == truth).mean() + 0.05
    assert result.scores.shape == (len(truth), 4)
    assert (result.margins >= 0).all()


def test_a_label_without_rows_gets_few_rows() -> None:
    rows, truth, labels = topics((0, 400, 0, 0))
    plain = zero_shot(rows, labels, calibration=Calibration.NONE)
    assert (zero_shot(rows, labels).indices == truth).mean() > (plain.indices == truth).mean() - 0.05


def test_a_row_is_labeled_independently_of_others_without_calibration_or_with_few_rows() -> None:
    rows, _, labels = topics((100, 100, 100, 100))
    alone = [zero_shot(rows[[index]], labels).predictions[0] for index in range(40)]
    assert zero_shot(rows, labels, calibration=Calibration.NONE).predictions[:40] == alone
    assert zero_shot(rows[:40], labels).predictions == alone
    few = zero_shot(rows[:59], labels)
    assert not few.calibrated
    assert zero_shot(rows[::4], labels).calibrated


def test_a_name_without_a_description_is_embedded_in_several_sentences(fake: Embedder) -> None:
    names = embed_labels({"dog {0}": ["dog {0}"], "犬": ["犬"], "cat": ["a cat"]}, fake)
    sentences = ["dog {0}", "This text is about dog {0}.", "A text about dog {0}."]
    assert names.vectors[0] == pytest.approx(normalize(fake.embed(sentences).mean(axis=0, keepdims=True))[0])
    assert names.vectors[1:] == pytest.approx(fake.embed(["犬", "a cat"]))


def test_invalid_labels_are_rejected(fake: Embedder) -> None:
    with pytest.raises(InputError, match="two or more labels"):
        embed_labels({"one": ["one"]}, fake)
    with pytest.raises(InputError, match="the same description"):
        embed_labels({"a": ["dog"], "b": ["dog"]}, fake)
    with pytest.raises(InputError, match="cannot be compared"):
        zero_shot(np.ones((2, 3)), embed_labels({"a": ["dog"], "b": ["cat"]}, fake))


@pytest.mark.assets
@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        (
            {"negative": ["A negative review."], "positive": ["A positive review."]},
            {
                "My dog loves these biscuits and begs for more.": (0.026, 0.142),
                "The bag was torn and half of the beans were stale.": (0.154, 0.070),
                "Best coffee I have had in years, I will order it again.": (0.096, 0.252),
                "It tastes like soap. I threw it away.": (0.154, 0.098),
            },
        ),
        (
            {name: [name] for name in ("World", "Sports", "Business", "Sci/Tech")},
            {
                "The parliament voted on the new border treaty on Monday.": (0.116, 0.025, 0.053, -0.001),
                "The striker scored twice in the last ten minutes of the final.": (0.045, 0.174, 0.011, -0.002),
                "Shares of the bank fell by four percent after the report.": (0.031, 0.092, 0.196, 0.068),
            },
        ),
    ],
)
def test_golden_scores(
    labels: dict[str, list[str]], rows: dict[str, tuple[float, ...]], embedder_of: Callable[[str], Embedder]
) -> None:
    model = embedder_of("text-embedding-ada-002")
    result = zero_shot(model.embed(list(rows)), embed_labels(labels, model), calibration=Calibration.NONE)
    expected = np.array(list(rows.values()))
    assert result.scores == pytest.approx(expected, abs=0.03)
    assert (result.indices == expected.argmax(axis=1)).all()


def test_golden_accuracy_of_unequal_labels() -> None:
    # Three groups of unequal size around directions that the labels only resemble.
    random = np.random.default_rng(7)
    truth = np.repeat([0, 1, 2], [400, 150, 50])
    rows = random.normal(0, 1, (600, 30))
    rows[np.arange(600), truth] += 3
    directions = np.eye(3, 30) + random.normal(0, 0.2, (3, 30))
    labels = LabelSet(("a", "b", "c"), normalize(directions.astype(np.float32)))
    plain, calibrated = ((zero_shot(rows, labels, calibration=name).indices == truth).mean() for name in Calibration)
    assert (plain, calibrated) == (pytest.approx(0.85, abs=0.02), pytest.approx(0.955, abs=0.02))
