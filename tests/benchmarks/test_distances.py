"""The distances of umekomi.vectors.arithmetic, against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from umekomi.errors import InputError
from umekomi.vectors.arithmetic import Metric, distances, normalize, parse_vector

NAMES = {
    Metric.COSINE: "cosine",
    Metric.EUCLIDEAN: "euclidean",
    Metric.MANHATTAN: "cityblock",
    Metric.CHEBYSHEV: "chebyshev",
}


def some(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("metric", NAMES)
def test_each_distance_is_scipys(metric: Metric) -> None:
    left, right = some(0, 3, 7), some(1, 5000, 7)
    assert distances(left, right, metric) == pytest.approx(cdist(left, right, NAMES[metric]), abs=1e-5)


def test_the_dot_product_is_turned_so_that_smaller_is_nearer() -> None:
    left, right = some(0, 3, 7), some(1, 5, 7)
    assert distances(left, right, "dot") == pytest.approx(-left @ right.T, abs=1e-6)


@given(st.integers(0, 10_000))
def test_on_vectors_of_length_1_cosine_dot_and_euclidean_rank_alike(seed: int) -> None:
    query, others = normalize(some(seed, 1, 16)), normalize(some(seed + 1, 50, 16))
    cosine, dot, euclidean = (distances(query, others, metric)[0] for metric in ("cosine", "dot", "L2"))
    assert cosine == pytest.approx(1 + dot, abs=1e-6)
    assert euclidean**2 == pytest.approx(2 + 2 * dot, abs=1e-5)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(InputError, match="Unknown distance 'hamming'; use one of cosine, dot, L2, L1, Linf"):
        distances(some(0, 1, 2), some(0, 1, 2), "hamming")
    with pytest.raises(InputError, match="of 2 and of 3 dimensions"):
        distances(some(0, 1, 2), some(0, 1, 3))
    with pytest.raises(InputError, match="Vector 0 is all zeros"):
        distances(some(0, 1, 2), np.zeros((1, 2), np.float32))


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1))
def test_a_written_vector_is_read_as_it_was(values: list[float]) -> None:
    assert parse_vector(str(values)).tolist() == values
