from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from umekomi import Embedder
from umekomi.errors import InputError
from umekomi.records import open_records
from umekomi.tasks.anomalies import find_anomalies
from umekomi.vectors import FloatArray, normalize


def usual(n: int, seed: int = 0) -> FloatArray:
    """Rows about one direction."""
    rows = np.eye(6)[0] + 0.2 * np.random.default_rng(seed).normal(size=(n, 6))
    return normalize(rows.astype(np.float32))


STRANGE = normalize(np.eye(6, dtype=np.float32)[1:3])


@pytest.mark.parametrize("method", ["knn", "lof"])
def test_strange_rows_are_flagged_first(method: str) -> None:
    found = find_anomalies(np.concatenate([usual(200), STRANGE]), method=method, k=10)
    assert set(found.flagged(0.001)[:2]) == {200, 201}


@pytest.mark.parametrize("method", ["knn", "lof"])
def test_against_a_reference_the_false_alarm_rate_holds(method: str) -> None:
    found = find_anomalies(usual(2000, seed=1), reference=usual(1000, seed=2), method=method)
    assert found.conformal
    assert len(found.flagged(0.05)) / 2000 == pytest.approx(0.05, abs=0.02)
    assert find_anomalies(STRANGE, reference=usual(1000), method=method).false_alarm.max() < 0.002


def test_the_local_outlier_factor_is_scikit_learns() -> None:
    rows = usual(150)
    theirs = -LocalOutlierFactor(12, metric="cosine", algorithm="brute").fit(rows).negative_outlier_factor_
    np.testing.assert_allclose(find_anomalies(rows, method="lof", k=12).scores, theirs, rtol=2e-3)


def test_bad_input_is_a_sentence() -> None:
    with pytest.raises(InputError, match="k is 20; with 5 rows"):
        find_anomalies(usual(5))
    with pytest.raises(InputError, match="cannot be compared"):
        find_anomalies(usual(30), reference=np.ones((30, 4)))
    with pytest.raises(InputError, match="between 0 and 1"):
        find_anomalies(usual(30)).flagged(2)


@pytest.mark.data
@pytest.mark.assets
def test_foreign_texts_among_reviews_are_found(ada: Embedder, data: Path) -> None:
    reviews = [row["Text"] for row in next(open_records(data / "fine_food_reviews_1k.csv").batches(120)).to_pylist()]
    news = [row["description"] for row in next(open_records(data / "AG_news_samples.csv").batches(12)).to_pylist()]
    found = find_anomalies(ada.embed([*reviews, *news]))
    assert roc_auc_score([0] * len(reviews) + [1] * len(news), found.scores) >= 0.95
