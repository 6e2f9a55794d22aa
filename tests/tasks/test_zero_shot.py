import numpy as np
import pytest

from umekomi import Embedder
from umekomi.errors import InputError
from umekomi.tasks.zero_shot import LabelSet, embed_labels, find_valley, zero_shot


def test_the_nearest_label_wins(fake: Embedder) -> None:
    labels = embed_labels({"animal": ["a dog", "a cat"], "food": ["beans", "rice"]}, fake)
    assert zero_shot(fake.embed(["the dog", "two beans"]), labels).predictions == ["animal", "food"]


def test_the_threshold_lies_between_the_heaps_where_the_labels_are_biased() -> None:
    random = np.random.default_rng(0)
    heaps = np.concatenate([random.normal(0.1, 0.04, 60), random.normal(0.5, 0.08, 240)])
    rows = np.stack([np.cos(heaps), np.sin(heaps)], axis=1).astype(np.float32)
    # The first label's direction is nearer to everything.
    labels = LabelSet(
        ("no", "yes"), np.array([[np.cos(0.3), np.sin(0.3)], [np.cos(1.2), np.sin(1.2)]], dtype=np.float32)
    )
    truth = ["no"] * 60 + ["yes"] * 240
    right = [a == b for a, b in zip(zero_shot(rows, labels).predictions, truth, strict=True)]
    plain = [a == b for a, b in zip(zero_shot(rows, labels, calibrate=False).predictions, truth, strict=True)]
    assert np.mean(right) > 0.98
    assert np.mean(plain) < 0.4


def test_one_heap_has_no_valley() -> None:
    assert find_valley(np.zeros(100)) is None
    labels = LabelSet(("a", "b"), np.eye(2, dtype=np.float32))
    assert not zero_shot(np.ones((100, 2)), labels).calibrated


def test_several_labels_are_calibrated_by_their_means() -> None:
    labels = LabelSet(("a", "b", "c"), np.eye(3, dtype=np.float32))
    found = zero_shot(np.random.default_rng(0).random((90, 3)) + np.array([0.3, 0, 0]), labels)
    assert found.thresholds[0] > found.thresholds[1]
    assert found.scores.shape == (90, 3)
    assert (found.margins >= 0).all()


def test_bad_labels_are_a_sentence(fake: Embedder) -> None:
    with pytest.raises(InputError, match="two labels or more"):
        embed_labels({"one": ["one"]}, fake)
    with pytest.raises(InputError, match="described alike"):
        embed_labels({"a": ["dog"], "b": ["dog"]}, fake)
    with pytest.raises(InputError, match="cannot be compared"):
        zero_shot(np.ones((2, 3)), embed_labels({"a": ["dog"], "b": ["cat"]}, fake))
