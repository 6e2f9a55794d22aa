import numpy as np
import pytest

from umekomi.errors import InputError
from umekomi.tasks.diversity import compare, diversity, near_duplicates, vendi_score

EYE = np.eye(6, dtype=np.float32)


def test_the_vendi_score_of_orthogonal_rows_is_their_number() -> None:
    assert vendi_score(EYE) == pytest.approx(6)
    assert vendi_score(np.ones((5, 3))) == pytest.approx(1)
    assert vendi_score(np.repeat(EYE[:2], 50, axis=0)) == pytest.approx(2)


def test_the_vendi_score_matches_its_definition() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 40)).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(unit @ unit.T / 9)
    assert vendi_score(rows) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-4)


def test_similarities_of_pairs() -> None:
    result = diversity(np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32))
    assert result.mean_similarity == pytest.approx(2 * 0.5**0.5 / 3, abs=1e-6)
    assert sum(result.histogram) == 3
    assert result.quantiles[3] == pytest.approx(0.5**0.5, abs=1e-6)


def test_near_duplicates_are_connected_to_groups() -> None:
    rows = np.array([[1, 0], [0, 1], [1, 0.01], [0.01, 1], [1, 0.02], [1, 1]], dtype=np.float32)
    result = near_duplicates(rows, threshold=0.99)
    assert result.groups == ((0, 2, 4), (1, 3))
    assert result.redundant == 3


def test_identical_rows_are_duplicates_at_a_threshold_of_one() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    assert near_duplicates(np.concatenate([rows, rows[:2]]), threshold=1.0).groups == ((0, 5), (1, 6))


def test_coverage_of_two_sets() -> None:
    random = np.random.default_rng(0)
    wide = random.normal(size=(300, 6)).astype(np.float32)
    narrow = (EYE[0] + 0.1 * random.normal(size=(300, 6))).astype(np.float32)
    result = compare(wide, narrow)
    assert result.left.vendi > result.right.vendi
    assert result.covered_left < 0.2
    assert compare(wide, random.normal(size=(300, 6))).covered_right > 0.9


def test_shared_pairs_of_two_sets_are_reported() -> None:
    assert compare(EYE, EYE[::-1][:4], k=2).shared == ((2, 3), (3, 2), (4, 1), (5, 0))


def test_invalid_input_is_rejected() -> None:
    with pytest.raises(InputError, match="at least 2"):
        diversity(EYE[:1])
    with pytest.raises(InputError, match="The threshold is 2"):
        near_duplicates(EYE, threshold=2)
    with pytest.raises(InputError, match="k is 5"):
        compare(EYE, EYE[:3])


def test_the_threshold_of_binary_vectors_is_converted_to_bits() -> None:
    random = np.random.default_rng(0)
    full = random.normal(size=(60, 512)).astype(np.float32)
    full[1] = full[0] + 0.25 * random.normal(size=512)  # cosine 0.97
    full[3] = full[2] + 0.60 * random.normal(size=512)  # cosine 0.86
    bits = np.where(full > 0, 1.0, -1.0).astype(np.float32)
    result = diversity(bits)
    assert result.binary
    assert result.duplicates.threshold == pytest.approx(0.798, abs=0.001)
    assert result.duplicates.groups == diversity(full).duplicates.groups == ((0, 1),)
    assert not diversity(full).binary
    assert compare(bits[:30], bits[:30]).shared == compare(full[:30], full[:30]).shared
