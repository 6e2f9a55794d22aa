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


def copied_reviews(n: int = 60, seed: int = 0) -> tuple[FloatArray, list[int], list[int], list[float]]:
    """Users who send one review, of a score without a meaning, for three products that others review too."""
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
    kept = evaluate_profiles(texts, users, products, scores, shrinkage=0, center=False, copies="keep")
    left_out = evaluate_profiles(texts, users, products, scores, shrinkage=0, center=False)
    # The pair (u, p): with the copy, u's profile is the mean of X and Y; without, it is Y.
    assert kept.similarities[0] == pytest.approx(0.5**0.5, abs=1e-5)
    assert left_out.similarities[0] == pytest.approx(1.0)
    assert kept.n_copied == left_out.n_copied > 0
    by_text = evaluate_profiles(
        np.random.default_rng(0).normal(size=(4, 8)), users, products, scores, texts=["Good", " good", "a", "b"]
    )
    assert by_text.n_copied >= 1


def test_pairs_of_one_user_or_one_text_are_one_unit() -> None:
    fit = evaluate_profiles(*copied_reviews(), copies="keep")
    assert len(set(fit.units.tolist())) <= 60 < len(fit.scores)


def test_without_meaning_the_interval_contains_no_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_box_plot_is_a_picture(tmp_path: Path) -> None:
    fit = evaluate_profiles(vectors(X, Y, Y, X, X), list("uuvvu"), list("pqpqp"), [5, 1, 1, 2, 3])
    draw_profile_fit(fit, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    draw_profile_fit(fit, tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        draw_profile_fit(fit, tmp_path / "a.txt")


def test_bad_input_is_one_sentence() -> None:
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
