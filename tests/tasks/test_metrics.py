import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from umekomi.errors import InputError
from umekomi.tasks import metrics


def test_ndcg_by_hand() -> None:
    # Found at ranks 1 and 3 with relevance 1 and 2; the ideal order is 2, 1.
    run = {"q": {"a": 0.9, "x": 0.8, "b": 0.7}}
    expected = (1 / 1 + 2 / math.log2(4)) / (2 / 1 + 1 / math.log2(3))
    assert metrics.ndcg({"q": {"a": 1, "b": 2}}, run)["q"] == pytest.approx(expected)


def test_the_ideal_counts_documents_that_were_not_found_but_no_more_than_k() -> None:
    assert metrics.ndcg({"q": {"a": 1, "b": 1}}, {"q": {"a": 1.0}}, 10)["q"] == pytest.approx(
        1 / (1 + 1 / math.log2(3))
    )
    assert metrics.ndcg({"q": {"a": 1, "b": 1}}, {"q": {"a": 1.0}}, 1)["q"] == 1


def test_a_negative_relevance_gains_nothing() -> None:
    assert metrics.ndcg({"q": {"a": -1, "b": 1}}, {"q": {"a": 2.0, "b": 1.0}})["q"] == pytest.approx(1 / math.log2(3))


def test_judged_queries_without_an_answer_count_nothing_and_others_do_not_count() -> None:
    run = {"q": {"a": 1.0}, "unjudged": {"a": 1.0}}
    assert metrics.ndcg({"q": {"a": 1}, "silent": {"a": 1}}, run) == {"q": 1.0, "silent": 0.0}


def test_equal_scores_are_ordered_as_trec_eval_does() -> None:
    assert metrics.ranked({"a": 0.5, "c": 0.5, "b": 0.5, "z": 0.1}) == ["c", "b", "a", "z"]


def test_recall_and_reciprocal_rank_by_hand() -> None:
    run = {"q": {"x": 0.9, "a": 0.8, "b": 0.7}}
    judgements = {"q": {"a": 2, "b": 1, "c": 1, "x": 0}}
    assert metrics.recall(judgements, run, 2)["q"] == pytest.approx(1 / 3)
    assert metrics.recall(judgements, run)["q"] == pytest.approx(2 / 3)
    assert metrics.reciprocal_rank(judgements, run)["q"] == 0.5
    assert metrics.reciprocal_rank(judgements, run, 1)["q"] == 0
    assert metrics.reciprocal_rank({"q": {"n": 1}}, run)["q"] == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=40))
def test_correlations_are_scipys(pairs: list[tuple[int, int]]) -> None:
    left, right = zip(*pairs, strict=True)
    if len(set(left)) < 2 or len(set(right)) < 2:
        assert math.isnan(metrics.spearman(left, right))
        return
    assert metrics.spearman(left, right) == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-12)
    assert metrics.pearson(left, right) == pytest.approx(stats.pearsonr(left, right).statistic, abs=1e-12)
    assert metrics.ranks(left).tolist() == stats.rankdata(left).tolist()


def test_the_bootstrap_interval_of_a_mean_is_near_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.4, 0.3, 400)
    found = metrics.mean(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert metrics.mean(values) == found


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="nothing to measure"):
        metrics.mean([])
