import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi.errors import InputError
from umekomi.evaluation.splits import ALWAYS_TRAIN, assign_folds, quantile_strata, split_groups

rows_of_groups = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3)), min_size=10, max_size=80)


@given(rows_of_groups, st.integers(0, 9))
def test_groups_are_not_divided_and_every_class_is_trained(rows: list[tuple[int, int]], seed: int) -> None:
    groups, strata = np.array(rows).T
    try:
        train, test = split_groups(groups, strata=strata, seed=seed)
    except InputError:
        return
    assert sorted([*train, *test]) == list(range(len(rows)))
    assert not set(groups[train]) & set(groups[test])


def test_classes_have_the_same_share_of_test_rows() -> None:
    groups, strata = np.arange(1000) // 2, np.repeat([0, 1, 2], [700, 200, 100])
    _, test = split_groups(groups, strata=strata, test_share=0.2)
    assert np.bincount(strata[test]).tolist() == [140, 40, 20]


def test_a_class_with_one_text_is_in_the_training_set() -> None:
    train, _ = split_groups([0, 0, 0, 1, 2, 3, 4, 5, 6], strata=["rare"] * 3 + ["common"] * 6)
    assert set(range(3)) <= set(train)


@pytest.mark.parametrize("share", [0, 1, -1, 2, float("nan")])
def test_shares_that_leave_one_side_empty_are_rejected(share: float) -> None:
    with pytest.raises(InputError, match="cannot be split with a test share"):
        split_groups(range(20), test_share=share)


def test_one_text_cannot_be_split() -> None:
    with pytest.raises(InputError, match="20 rows with 1 different texts"):
        split_groups([0] * 20)


@given(rows_of_groups)
def test_folds_keep_groups_together(rows: list[tuple[int, int]]) -> None:
    groups, strata = np.array(rows).T
    folds = assign_folds(groups, strata=strata, n_folds=4)
    for group in set(groups.tolist()):
        assert len(set(folds[groups == group].tolist())) == 1


def test_folds_are_stratified() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(150), random.integers(1, 6, 150))
    strata = (groups % 3 == 0).astype(int)
    folds = assign_folds(groups, strata=strata)
    for label in (0, 1):
        counts = np.bincount(folds[strata == label], minlength=5)
        assert np.ptp(counts) <= 2


def test_a_class_with_one_text_has_no_fold() -> None:
    folds = assign_folds([0, 0, 1, 2, 3], strata=["rare", "rare", "common", "common", "common"])
    assert folds[:2].tolist() == [ALWAYS_TRAIN, ALWAYS_TRAIN]
    assert (folds[2:] >= 0).all()


def test_quantile_strata_have_similar_sizes() -> None:
    assert np.bincount(quantile_strata(np.random.default_rng(0).normal(size=500))).tolist() == [100] * 5
    assert len(set(quantile_strata([5, 5, 5, 5, 1, 1, 5, 5]).tolist())) <= 2
