from pathlib import Path

import numpy as np
import pytest

from umekomi.errors import InputError
from umekomi.plots.charts import draw_profile_fit
from umekomi.tasks import profiles
from umekomi.tasks.profiles import evaluate_profiles, make_profiles, suggest
from umekomi.vectors.arithmetic import FloatArray

X, Y = [1.0, 0.0], [0.0, 1.0]


def vectors(*rows: list[float]) -> FloatArray:
    return np.array(rows, dtype=np.float32)


def test_a_profile_is_the_mean_of_its_texts() -> None:
    made = make_profiles(vectors(X, Y, Y), ["a", "a", "b"])
    assert made.keys == ("a", "b")
    assert made.counts.tolist() == [2, 1]
    assert made.vectors == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], Y]), abs=1e-6)


def test_texts_without_a_key_and_keys_with_little_support_have_no_profile() -> None:
    assert make_profiles(vectors(X, Y, Y, X), ["a", "a", "b", None], min_support=2).keys == ("a",)


def test_shrinkage_moves_a_profile_towards_the_overall_mean() -> None:
    def nearness(shrinkage: float) -> float:
        made = make_profiles(vectors(X, Y, Y, Y), ["a", "b", "b", "b"], shrinkage=shrinkage)
        return float(made.vectors[0, 1])

    assert 0 == nearness(0) < nearness(1) < nearness(10) < 1


def test_similar_products_are_suggested_without_those_already_seen() -> None:
    users = make_profiles(vectors(X), ["u"])
    products = make_profiles(vectors([0.9, 0.1], X, Y), ["near", "had", "far"])
    assert [item.key for item in suggest(users, products, "u", seen=["had"])] == ["near", "far"]
    with pytest.raises(InputError, match="no profile of 'v'"):
        suggest(users, products, "v")


def test_a_pair_is_measured_without_its_own_text() -> None:
    """User u wrote about p and q; the text about p is in neither profile when it is measured."""
    texts = vectors(X, Y, Y)
    fit = evaluate_profiles(texts, ["u", "u", "v"], ["p", "q", "p"], [5, 1, 1], shrinkage=0, center=False)
    assert fit.similarities.tolist() == pytest.approx([1.0])  # Y of u's other text, Y of p's other text
    assert fit.scores.tolist() == [5]
    assert np.isnan(fit.correlation)  # one pair correlates with nothing


def test_the_correlation_is_high_if_similar_pairs_have_high_scores() -> None:
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


def copied_reviews(n: int = 60, seed: int = 0) -> tuple[FloatArray, list[int], list[int], list[float]]:
    """Return users who send one review, with a meaningless score, for three products that others review too."""
    random = np.random.default_rng(seed)
    own, other = random.standard_normal((2, n, 16)).astype(np.float32)
    vectors = np.concatenate([np.repeat(own, 3, axis=0), other])
    users = [*np.repeat(np.arange(n), 3).tolist(), *range(n)]
    products = [*random.integers(0, 30, 3 * n).tolist(), *random.integers(0, 30, n).tolist()]
    scores = random.integers(1, 6, n).astype(float)
    return vectors, users, products, [*np.repeat(scores, 3).tolist(), *random.integers(1, 6, n).tolist()]


def test_copies_of_the_measured_text_are_in_no_profile() -> None:
    texts = vectors(X, X, Y, Y)
    users, products, scores = ["u", "u", "u", "v"], ["p", "q", "r", "p"], [5, 5, 1, 1]
    with_copies = evaluate_profiles(texts, users, products, scores, shrinkage=0, center=False, copies="keep")
    without_copies = evaluate_profiles(texts, users, products, scores, shrinkage=0, center=False)
    # The pair (u, p): with the copy, u's profile is the mean of X and Y; without, it is Y.
    assert with_copies.similarities[0] == pytest.approx(0.5**0.5, abs=1e-5)
    assert without_copies.similarities[0] == pytest.approx(1.0)
    assert with_copies.n_copied == without_copies.n_copied > 0
    by_text = evaluate_profiles(
        np.random.default_rng(0).normal(size=(4, 8)), users, products, scores, texts=["Good", " good", "a", "b"]
    )
    assert by_text.n_copied >= 1


def test_pairs_of_one_user_or_one_text_are_one_unit() -> None:
    fit = evaluate_profiles(*copied_reviews(), copies="keep")
    assert len(set(fit.units.tolist())) <= 60 < len(fit.scores)


def test_the_interval_of_meaningless_scores_contains_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "RESAMPLES", 200)
    covered = []
    for seed in range(12):
        fit = evaluate_profiles(*copied_reviews(seed=seed), seed=seed)
        covered.append(fit.low <= 0 <= fit.high)
    assert sum(covered) >= 10


def test_rounding_errors_do_not_change_the_order_of_copies() -> None:
    random = np.random.default_rng(0)
    texts, users, products, scores = copied_reviews()
    noisy = texts * (1 + 1e-7 * random.standard_normal(texts.shape)).astype(np.float32)
    before, after = (evaluate_profiles(rows, users, products, scores) for rows in (texts, noisy))
    assert before.correlation == pytest.approx(after.correlation, abs=1e-9)


def test_the_box_plot_is_written(tmp_path: Path) -> None:
    fit = evaluate_profiles(vectors(X, Y, Y, X, X), list("uuvvu"), list("pqpqp"), [5, 1, 1, 2, 3])
    draw_profile_fit(fit, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    draw_profile_fit(fit, tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        draw_profile_fit(fit, tmp_path / "a.txt")


def test_invalid_input_is_rejected() -> None:
    with pytest.raises(InputError, match="the largest number is 1"):
        make_profiles(vectors(X), ["a"], min_support=2)
    with pytest.raises(InputError, match="1 vectors and 2 keys"):
        make_profiles(vectors(X), ["a", "b"])
    with pytest.raises(InputError, match="Vector 1 is all zeros"):
        make_profiles(vectors(X, [0, 0]), ["a", "b"])
    with pytest.raises(InputError, match="No text has both"):
        evaluate_profiles(vectors(X, Y), ["a", "b"], ["p", "q"], [1, 2])
    with pytest.raises(InputError, match="score of row 1 is not a number"):
        evaluate_profiles(vectors(X, Y), ["a", "a"], ["p", "p"], [1, float("nan")])
