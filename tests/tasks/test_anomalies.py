from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from umekomi import Embedder
from umekomi.data.readers.opening import open_records
from umekomi.errors import InputError
from umekomi.tasks.anomalies import find_anomalies
from umekomi.vectors.arithmetic import FloatArray, normalize


def ordinary_rows(n: int, seed: int = 0) -> FloatArray:
    """Return rows around one direction."""
    rows = np.eye(6)[0] + 0.2 * np.random.default_rng(seed).normal(size=(n, 6))
    return normalize(rows.astype(np.float32))


UNUSUAL = normalize(np.eye(6, dtype=np.float32)[1:3])


@pytest.mark.parametrize("method", ["knn", "lof"])
def test_unusual_rows_are_flagged_first(method: str) -> None:
    anomalies = find_anomalies(np.concatenate([ordinary_rows(198), UNUSUAL]), method=method, k=10)
    assert set(anomalies.flagged(0.01)) == {198, 199}


@pytest.mark.parametrize("method", ["knn", "lof"])
def test_the_false_alarm_rate_holds_with_a_reference(method: str) -> None:
    anomalies = find_anomalies(ordinary_rows(2000, seed=1), reference=ordinary_rows(1000, seed=2), method=method)
    assert anomalies.has_reference
    assert len(anomalies.flagged(0.05)) / 2000 == pytest.approx(0.05, abs=0.02)
    unusual = find_anomalies(UNUSUAL, reference=ordinary_rows(1000), method=method)
    assert unusual.p_values.tolist() == [unusual.min_p_value] * 2
    assert unusual.min_p_value == 1 / (1001 if method == "knn" else 501)


def clustered(n: int, dims: int, random: np.random.Generator) -> FloatArray:
    """Return rows around five directions, with different numbers of rows and variances."""
    centers = normalize(random.normal(size=(5, dims)).astype(np.float32))
    label = random.choice(5, n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    spread = np.array([0.3, 0.5, 1.0, 0.7, 0.4])[label, None] / np.sqrt(dims)
    return (centers[label] + spread * random.normal(size=(n, dims))).astype(np.float32)


def gaussian(n: int, dims: int, random: np.random.Generator) -> FloatArray:
    return (1 / np.sqrt(dims) + 0.3 * random.normal(size=(n, dims))).astype(np.float32)


@pytest.mark.parametrize("draw", [gaussian, clustered])
@pytest.mark.parametrize("dims", [10, 384])
@pytest.mark.parametrize("method", ["knn", "lof"])
def test_ordinary_rows_are_flagged_at_the_given_rate(
    draw: Callable[[int, int, np.random.Generator], FloatArray], dims: int, method: str
) -> None:
    """A small version of benchmarks/error_rates.py: references of 99, so that 0.05 is 5 of 100 possible p-values."""
    shares = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        m = 99 if method == "knn" else 198
        rows = draw(m + 60, dims, random)
        shares.append((find_anomalies(rows[m:], reference=rows[:m], method=method, k=5).p_values <= 0.05).mean())
    assert np.mean(shares) == pytest.approx(0.05, abs=0.02)
    assert len(find_anomalies(rows, method=method, k=5).flagged(0.05)) <= 0.05 * len(rows)


def test_the_p_value_is_the_rank_among_the_reference_with_the_row_added() -> None:
    """The p-value is the rank of the row's score among all scores of the reference with it."""
    reference, rows = ordinary_rows(40), np.concatenate([ordinary_rows(5, seed=1), UNUSUAL])
    anomalies = find_anomalies(rows, reference=reference, k=4)
    for row, p in zip(rows, anomalies.p_values, strict=True):
        scores = find_anomalies(np.concatenate([reference, row[None]]), k=4).scores
        assert p == pytest.approx((scores >= scores[-1] - 1e-9).mean())


def test_expected_false_alarms_account_for_the_size_of_the_reference() -> None:
    small, large = (find_anomalies(ordinary_rows(1000, seed=1), reference=ordinary_rows(m), k=5) for m in (200, 5000))
    assert small.expected_false_alarms(0.01)[0] == pytest.approx(1000 * 2 / 201)  # type: ignore[index]
    assert small.expected_false_alarms(0.01)[1:] == tuple(betabinom.ppf([0.025, 0.975], 1000, 2, 199))  # type: ignore[index]
    _, low, high = large.expected_false_alarms(0.01) or (0, 0, 0)
    assert 4 <= low <= 5  # almost binomial
    assert 16 <= high <= 18
    assert small.expected_false_alarms(0.001) == (0.0, 0, 0)
    assert find_anomalies(ordinary_rows(50), k=5).expected_false_alarms(0.01) is None


def test_few_discoveries_are_ordinary_rows() -> None:
    ordinary, unusual = [], []
    for seed in range(30):
        rows = np.concatenate([ordinary_rows(90, seed=seed), np.tile(UNUSUAL, (5, 1))])
        anomalies = find_anomalies(rows, reference=ordinary_rows(400, seed=100 + seed), k=10).discoveries(0.2)
        ordinary.append((anomalies < 90).sum() / max(1, len(anomalies)))
        unusual.append((anomalies >= 90).sum())
    assert np.mean(unusual) == 10
    assert np.mean(ordinary) <= 0.2
    only_ordinary = [
        len(find_anomalies(ordinary_rows(90, seed=s), reference=ordinary_rows(400, seed=s + 50), k=10).discoveries(0.1))
        > 0
        for s in range(40)
    ]
    assert np.mean(only_ordinary) <= 0.2
    with pytest.raises(InputError, match="needs a reference"):
        find_anomalies(ordinary_rows(50), k=5).discoveries(0.1)


def test_factors_of_new_rows_equal_those_of_scikit_learn() -> None:
    reference, rows = ordinary_rows(150), ordinary_rows(40, seed=1)
    half = np.sort(np.random.default_rng(42).permutation(150)[:75])
    expected = LocalOutlierFactor(12, metric="cosine", algorithm="brute", novelty=True).fit(reference[half])
    anomalies = find_anomalies(rows, reference=reference, method="lof", k=12)
    np.testing.assert_allclose(anomalies.scores, -expected.score_samples(rows), rtol=2e-3)


def test_local_outlier_factors_equal_those_of_scikit_learn() -> None:
    rows = ordinary_rows(150)
    expected = -LocalOutlierFactor(12, metric="cosine", algorithm="brute").fit(rows).negative_outlier_factor_
    np.testing.assert_allclose(find_anomalies(rows, method="lof", k=12).scores, expected, rtol=2e-3)


def test_invalid_input_is_rejected() -> None:
    with pytest.raises(InputError, match="k is 20; with 5 rows"):
        find_anomalies(ordinary_rows(5))
    with pytest.raises(InputError, match="with 15 rows in half of the reference it must be between 1 and 14"):
        find_anomalies(ordinary_rows(3), reference=ordinary_rows(30), method="lof")
    with pytest.raises(InputError, match="cannot be compared"):
        find_anomalies(ordinary_rows(30), reference=np.ones((30, 4)))
    with pytest.raises(InputError, match="between 0 and 1"):
        find_anomalies(ordinary_rows(30)).flagged(2)


@pytest.mark.data
@pytest.mark.assets
def test_foreign_texts_among_reviews_are_found(ada: Embedder, data: Path) -> None:
    reviews = [row["Text"] for row in next(open_records(data / "fine_food_reviews_1k.csv").batches(120)).to_pylist()]
    news = [row["description"] for row in next(open_records(data / "AG_news_samples.csv").batches(12)).to_pylist()]
    anomalies = find_anomalies(ada.embed([*reviews, *news]))
    assert roc_auc_score([0] * len(reviews) + [1] * len(news), anomalies.scores) >= 0.95
