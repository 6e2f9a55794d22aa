"""Exact products have the same bits for any number and order of summands."""

from fractions import Fraction

import numpy as np
import pytest

from umekomi.vectors.arithmetic import normalize
from umekomi.vectors.exact import matrix_step, multiply_exactly, next_power, round_to

STEP = 2.0**-24


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_product_is_exact(scale: float) -> None:
    random = np.random.default_rng(0)
    vectors = normalize(random.normal(size=(3, 500)).astype(np.float32))
    values = scale * random.normal(size=(500, 2))
    matrix = round_to(values, matrix_step(values, STEP))
    assert matrix == pytest.approx(values, abs=scale * 1e-6)
    product = multiply_exactly(vectors, matrix, STEP)
    rounded = round_to(vectors, STEP)
    for row in range(3):
        for column in range(2):
            pairs = zip(rounded[row].tolist(), matrix[:, column].tolist(), strict=True)
            assert Fraction(product[row, column]) == sum(Fraction(one) * Fraction(other) for one, other in pairs)


def test_the_order_of_the_dimensions_does_not_matter() -> None:
    random = np.random.default_rng(1)
    vectors = normalize(random.normal(size=(20, 1000)).astype(np.float32))
    values = random.normal(size=(1000, 30))
    matrix = round_to(values, matrix_step(values, STEP))
    order = random.permutation(1000)
    assert (multiply_exactly(vectors[:, order], matrix[order], STEP) == multiply_exactly(vectors, matrix, STEP)).all()
    assert (vectors[:, order] @ matrix[order] != vectors @ matrix).any()


def test_powers_of_two() -> None:
    assert [next_power(value) for value in (0.0, 0.3, 1.0, 1.1)] == [1.0, 0.5, 1.0, 2.0]
