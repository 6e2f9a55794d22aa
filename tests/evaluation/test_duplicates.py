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


def test_texts_that_differ_in_case_white_space_or_width_are_copies() -> None:
    texts = ["Good dog!", " good\tdog!\n", "ＧＯＯＤ dog!", "good dog", "Straße", "STRASSE"]
    assert group_copies(ROWS, texts).tolist() == [0, 0, 0, 1, 2, 2]


def test_equal_vectors_are_copies_whatever_their_lengths_and_rounding() -> None:
    rows = ROWS.copy()
    rows[3] = rows[0] * 2
    rows[4] = rows[0] * (1 + 1e-4 * ROWS[5])
    assert group_copies(rows).tolist() == [0, 1, 2, 0, 0, 3]


def test_what_is_only_similar_is_no_copy() -> None:
    rows = ROWS.copy()
    rows[1] = rows[0] + 0.1 * rows[1]
    assert normalize(rows)[0] @ normalize(rows)[1] > 0.98
    assert len(set(group_copies(rows).tolist())) == 6


def test_copies_of_copies_are_copies() -> None:
    rows = ROWS.copy()
    rows[2] = rows[1]
    assert group_copies(rows, ["a", "A", "b", "c", "d", "e"]).tolist() == [0, 0, 0, 1, 2, 3]


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_white_space_never_makes_another_text(words: list[str]) -> None:
    assert normalize_text(" ".join(words)) == normalize_text("\n " + "\t\u00a0".join(words) + "\u3000")


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_groups_are_scipys_connected_components(keys: list[tuple[int, int]]) -> None:
    left, right = np.array(keys).T
    joined = (left[:, None] == left) | (right[:, None] == right)
    _, expected = connected_components(csr_array(joined))
    found = merge_groups(left.tolist(), right.tolist())
    assert ((found[:, None] == found) == (expected[:, None] == expected)).all()


def test_one_text_for_each_vector() -> None:
    with pytest.raises(InputError, match="6 vectors but 1 texts"):
        group_copies(ROWS, ["a"])
