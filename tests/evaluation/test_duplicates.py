import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from umekomi.errors import InputError
from umekomi.evaluation.duplicates import group_copies, merge_groups, normalize_text
from umekomi.vectors.arithmetic import normalize

ROWS = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)


def test_case_white_space_and_width_are_ignored() -> None:
    texts = ["Good dog!", " good\tdog!\n", "ＧＯＯＤ dog!", "good dog", "Straße", "STRASSE"]
    assert group_copies(ROWS, texts).tolist() == [0, 0, 0, 1, 2, 2]


def test_vectors_of_equal_direction_are_copies() -> None:
    rows = ROWS.copy()
    rows[3] = rows[0] * 2
    rows[4] = rows[0] * (1 + 1e-4 * ROWS[5])
    assert group_copies(rows).tolist() == [0, 1, 2, 0, 0, 3]


def test_similar_texts_are_not_copies() -> None:
    rows = ROWS.copy()
    rows[1] = rows[0] + 0.1 * rows[1]
    assert normalize(rows)[0] @ normalize(rows)[1] > 0.98
    assert len(set(group_copies(rows).tolist())) == 6


def test_the_relation_is_transitive() -> None:
    rows = ROWS.copy()
    rows[2] = rows[1]
    assert group_copies(rows, ["a", "A", "b", "c", "d", "e"]).tolist() == [0, 0, 0, 1, 2, 3]


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_white_space_never_distinguishes_texts(words: list[str]) -> None:
    assert normalize_text(" ".join(words)) == normalize_text("\n " + "\t\u00a0".join(words) + "\u3000")


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_groups_agree_with_scipy(keys: list[tuple[int, int]]) -> None:
    left, right = np.array(keys).T
    joined = (left[:, None] == left) | (right[:, None] == right)
    _, expected = connected_components(csr_array(joined))
    found = merge_groups(left.tolist(), right.tolist())
    assert ((found[:, None] == found) == (expected[:, None] == expected)).all()


def test_numbers_of_texts_and_vectors_must_agree() -> None:
    with pytest.raises(InputError, match="6 vectors but 1 texts"):
        group_copies(ROWS, ["a"])
