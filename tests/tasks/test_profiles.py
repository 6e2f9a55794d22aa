from pathlib import Path

import numpy as np
import pytest

from umekomi.errors import InputError
from umekomi.tasks.profile_plot import box_plot
from umekomi.tasks.profiles import evaluate_profiles, make_profiles, suggest
from umekomi.vectors import FloatArray

X, Y = [1.0, 0.0], [0.0, 1.0]


def vectors(*rows: list[float]) -> FloatArray:
    return np.array(rows, dtype=np.float32)


def test_a_profile_is_the_mean_of_its_texts() -> None:
    made = make_profiles(vectors(X, Y, Y), ["a", "a", "b"])
    assert made.keys == ("a", "b")
    assert made.counts.tolist() == [2, 1]
    assert made.vectors == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], Y]), abs=1e-6)


def test_texts_of_nobody_and_keys_of_little_support_have_none() -> None:
    assert make_profiles(vectors(X, Y, Y, X), ["a", "a", "b", None], min_support=2).keys == ("a",)


def test_shrinking_turns_a_profile_towards_the_mean_of_all() -> None:
    def nearness(shrinkage: float) -> float:
        made = make_profiles(vectors(X, Y, Y, Y), ["a", "b", "b", "b"], shrinkage=shrinkage)
        return float(made.vectors[0, 1])

    assert 0 == nearness(0) < nearness(1) < nearness(10) < 1


def test_products_like_the_user_are_suggested_but_not_those_that_were_had() -> None:
    users = make_profiles(vectors(X), ["u"])
    products = make_profiles(vectors([0.9, 0.1], X, Y), ["near", "had", "far"])
    assert [item.key for item in suggest(users, products, "u", seen=["had"])] == ["near", "far"]
    with pytest.raises(InputError, match="no profile of 'v'"):
        suggest(users, products, "v")


def test_a_pair_is_measured_without_its_own_text() -> None:
    """User u wrote of p and q; the text on p is in neither profile when it is measured."""
    texts = vectors(X, Y, Y)
    fit = evaluate_profiles(texts, ["u", "u", "v"], ["p", "q", "p"], [5, 1, 1], shrinkage=0, center=False)
    assert fit.similarities.tolist() == pytest.approx([1.0])  # Y of u's other text, Y of p's other text
    assert fit.scores.tolist() == [5]
    assert np.isnan(fit.correlation)  # one pair correlates with nothing


def test_where_alike_pairs_score_high_the_correlation_is_high() -> None:
    random = np.random.default_rng(0)
    tastes = random.standard_normal((40, 8)).astype(np.float32)
    made = random.standard_normal((40, 8)).astype(np.float32)
    who, what = random.integers(0, 40, 800).tolist(), random.integers(0, 40, 800).tolist()
    texts = tastes[who] + made[what]
    liking = np.einsum("ij,ij->i", tastes[who], made[what])
    fit = evaluate_profiles(texts, who, what, liking, test=np.arange(400))
    assert fit.correlation > 0.8
    assert fit.low < fit.correlation < fit.high
    assert len(fit.scores) == 400
    chance = evaluate_profiles(texts, who, what, random.permutation(liking), test=np.arange(400))
    assert chance.low < 0 < chance.high


def test_the_box_plot_is_a_picture(tmp_path: Path) -> None:
    fit = evaluate_profiles(vectors(X, Y, Y, X, X), list("uuvvu"), list("pqpqp"), [5, 1, 1, 2, 3])
    box_plot(fit, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    box_plot(fit, tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        box_plot(fit, tmp_path / "a.txt")


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(InputError, match="the most that one has is 1"):
        make_profiles(vectors(X), ["a"], min_support=2)
    with pytest.raises(InputError, match="1 vectors and 2 keys"):
        make_profiles(vectors(X), ["a", "b"])
    with pytest.raises(InputError, match="Vector 1 is all zeros"):
        make_profiles(vectors(X, [0, 0]), ["a", "b"])
    with pytest.raises(InputError, match="No text has both"):
        evaluate_profiles(vectors(X, Y), ["a", "b"], ["p", "q"], [1, 2])
    with pytest.raises(InputError, match="score of row 1 is not a number"):
        evaluate_profiles(vectors(X, Y), ["a", "a"], ["p", "p"], [1, float("nan")])
