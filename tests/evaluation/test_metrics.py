import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score

from umekomi.errors import InputError
from umekomi.evaluation import metrics
from umekomi.vectors.arithmetic import DoubleArray


def test_ndcg() -> None:
    # Found at ranks 1 and 3 with relevance 1 and 2; the ideal order is 2, 1.
    run = {"q": {"a": 0.9, "x": 0.8, "b": 0.7}}
    expected = (1 / 1 + 2 / math.log2(4)) / (2 / 1 + 1 / math.log2(3))
    assert metrics.ndcg({"q": {"a": 1, "b": 2}}, run)["q"] == pytest.approx(expected)


def test_ideal_dcg_includes_missed_documents_up_to_k() -> None:
    assert metrics.ndcg({"q": {"a": 1, "b": 1}}, {"q": {"a": 1.0}}, 10)["q"] == pytest.approx(
        1 / (1 + 1 / math.log2(3))
    )
    assert metrics.ndcg({"q": {"a": 1, "b": 1}}, {"q": {"a": 1.0}}, 1)["q"] == 1


def test_negative_relevance_has_no_gain() -> None:
    assert metrics.ndcg({"q": {"a": -1, "b": 1}}, {"q": {"a": 2.0, "b": 1.0}})["q"] == pytest.approx(1 / math.log2(3))


def test_judged_queries_without_results_count_as_zero_and_others_are_omitted() -> None:
    run = {"q": {"a": 1.0}, "unjudged": {"a": 1.0}}
    assert metrics.ndcg({"q": {"a": 1}, "silent": {"a": 1}}, run) == {"q": 1.0, "silent": 0.0}


def test_ties_are_ordered_as_in_trec_eval() -> None:
    assert metrics.ranked({"a": 0.5, "c": 0.5, "b": 0.5, "z": 0.1}) == ["c", "b", "a", "z"]


def test_recall_and_reciprocal_rank() -> None:
    run = {"q": {"x": 0.9, "a": 0.8, "b": 0.7}}
    judgments = {"q": {"a": 2, "b": 1, "c": 1, "x": 0}}
    assert metrics.recall(judgments, run, 2)["q"] == pytest.approx(1 / 3)
    assert metrics.recall(judgments, run)["q"] == pytest.approx(2 / 3)
    assert metrics.reciprocal_rank(judgments, run)["q"] == 0.5
    assert metrics.reciprocal_rank(judgments, run, 1)["q"] == 0
    assert metrics.reciprocal_rank({"q": {"n": 1}}, run)["q"] == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=40))
def test_correlations_agree_with_scipy(pairs: list[tuple[int, int]]) -> None:
    left, right = zip(*pairs, strict=True)
    if len(set(left)) < 2 or len(set(right)) < 2:
        assert math.isnan(metrics.spearman(left, right))
        return
    assert metrics.spearman(left, right) == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-12)
    assert metrics.pearson(left, right) == pytest.approx(stats.pearsonr(left, right).statistic, abs=1e-12)
    assert metrics.ranks(left).tolist() == stats.rankdata(left).tolist()


def test_the_bootstrap_interval_of_a_mean_is_close_to_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(0.4, 0.3, 400)
    found = metrics.mean(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert metrics.mean(values) == found


def test_average_precision() -> None:
    run = {"q": {"x": 0.9, "a": 0.8, "b": 0.7}}
    judgments = {"q": {"a": 2, "b": 1, "c": 1, "x": 0}, "silent": {"a": 1}, "empty": {"a": 0}}
    expected = {"q": (1 / 2 + 2 / 3) / 3, "silent": 0.0, "empty": 0.0}
    assert metrics.average_precision(judgments, run) == pytest.approx(expected)
    assert metrics.average_precision(judgments, run, 2)["q"] == pytest.approx(1 / 6)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100)), min_size=2, max_size=30, unique_by=lambda one: one[1]))
def test_average_precision_agrees_with_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    """Of a ranking that contains every relevant document."""
    relevant, scores = zip(*rows, strict=True)
    if not any(relevant):
        return
    run = {"q": {f"d{n}": float(score) for n, score in enumerate(scores)}}
    judgments = {"q": {f"d{n}": int(good) for n, good in enumerate(relevant)}}
    found = metrics.average_precision(judgments, run)["q"]
    assert found == pytest.approx(average_precision_score(relevant, scores))


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_interval_of_a_share_agrees_with_scipy(hits: list[bool]) -> None:
    found = metrics.share(hits)
    expected = stats.binomtest(sum(hits), len(hits)).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert metrics.share([*hits, *hits], groups=[*range(len(hits))] * 2) == pytest.approx(found)


@pytest.mark.parametrize("n", [9, 30, 200])
@pytest.mark.parametrize("true_share", [0.02, 0.1, 0.3, 0.5, 0.9, 0.98])
def test_coverage_of_the_interval_of_a_share(n: int, true_share: float) -> None:
    """Exactly, over all numbers of hits."""
    hits = np.arange(n + 1)
    found = [metrics.share(np.arange(n) < k) for k in hits]
    covered = [one.low <= true_share <= one.high for one in found]
    assert stats.binom.pmf(hits, n, true_share)[covered].sum() >= 0.95


def test_copies_do_not_narrow_the_interval_of_a_share() -> None:
    """Each of 30 texts has up to nine copies, which are right or wrong together."""
    random = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        groups = np.repeat(np.arange(30), random.integers(1, 10, 30))
        found = metrics.share((random.random(30) < 0.7)[groups], groups=groups)
        covered.append(found.low <= 0.7 <= found.high)
    assert np.mean(covered) >= 0.93


def test_the_bootstrap_resamples_whole_groups() -> None:
    random = np.random.default_rng(0)
    values, groups = random.normal(size=40), np.arange(40)
    alone = metrics.mean(values)
    copied = metrics.mean(np.repeat(values, 5), groups=np.repeat(groups, 5))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    assert metrics.mean(np.repeat(values, 5)).high < alone.high
    with pytest.raises(InputError, match="40 rows but 3 groups"):
        metrics.mean(values, groups=[1, 2, 3])


@pytest.mark.parametrize(("n", "least"), [(9, 0.92), (30, 0.93), (200, 0.93)])
def test_coverage_of_the_interval_of_a_mean(n: int, least: float) -> None:
    random = np.random.default_rng(n)
    covered = []
    for _ in range(300):
        found = _mean_of(random.uniform(size=n))
        covered.append(found.low <= 0.5 <= found.high)
    assert np.mean(covered) >= least


def test_coverage_of_the_difference_of_two_shares_without_discordant_rows() -> None:
    same = metrics.paired_share_difference([1, 1, 0] * 3, [1, 1, 0] * 3)
    assert same.value == 0
    assert same.low == pytest.approx(-same.high)
    assert same.high > 0.1
    random = np.random.default_rng(0)
    covered = []
    for _ in range(500):
        draws = random.random(30)
        found = metrics.paired_share_difference(draws < 0.6, (draws < 0.5) | (draws > 0.9))
        covered.append(found.low <= 0.0 <= found.high)
    assert np.mean(covered) >= 0.93


def test_a_paired_difference_is_the_difference_of_the_statistics() -> None:
    random = np.random.default_rng(0)
    two = random.normal(size=(2, 50)) + np.array([[0.0], [1.0]])
    alone, among = (
        metrics.paired_difference(lambda which, rows: float(two[which][rows].mean()), 50, comparisons=n)
        for n in (1, 10)
    )
    assert alone.value == pytest.approx(two[1].mean() - two[0].mean())
    assert among.low < alone.low < alone.value < alone.high < among.high


def test_empty_inputs_are_rejected() -> None:
    for measure in (metrics.mean, metrics.share):
        with pytest.raises(InputError, match="no rows to measure"):
            measure([])


def _mean_of(values: DoubleArray) -> metrics.Estimate:
    return metrics.bootstrap(lambda rows: float(values[rows].mean()), len(values), resamples=300)
