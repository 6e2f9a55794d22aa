import base64
import struct

import numpy as np
import pytest

from umekomi.errors import InputError
from umekomi.vectors.arithmetic import as_matrix, compose, cosine, from_base64, normalize, shorten, to_base64


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_normalize_scales_to_length_one_and_keeps_zeros() -> None:
    assert normalize(rows([3, 4], [0, 0])).tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]


def test_the_product_of_composed_vectors_is_the_weighted_mean_of_the_cosines_of_their_parts() -> None:
    rng = np.random.default_rng(7)
    left = [normalize(rng.standard_normal((5, d), dtype=np.float32)) for d in (3, 8)]
    right = [normalize(rng.standard_normal((5, d), dtype=np.float32)) for d in (3, 8)]
    products = compose(left, [3, 1]) @ compose(right, [3, 1]).T
    assert products == pytest.approx(0.75 * left[0] @ right[0].T + 0.25 * left[1] @ right[1].T, abs=1e-6)


def test_a_part_of_zeros_does_not_shorten_a_composed_vector() -> None:
    vector = compose([rows([1, 0]), rows([0, 0, 0])], [1, 9])
    assert vector.tolist() == [[1, 0, 0, 0, 0]]


def test_shortened_vectors_are_normalized() -> None:
    short = shorten(normalize(rows([1, 2, 3, 4])), 2)
    assert np.linalg.norm(short) == pytest.approx(1)
    with pytest.raises(InputError, match="must be between 1 and 4"):
        shorten(rows([1, 2, 3, 4]), 5)


def test_cosine_rejects_vectors_of_different_dimensions() -> None:
    with pytest.raises(InputError, match="3 and of 2 dimensions cannot be compared"):
        cosine(rows([1, 2, 3]), rows([1, 2]))


def test_base64_is_little_endian_float32() -> None:
    text = to_base64(rows([1.5, -2])[0])
    assert struct.unpack("<2f", base64.b64decode(text)) == (1.5, -2.0)
    assert from_base64(text).tolist() == [1.5, -2.0]
    with pytest.raises(InputError):
        from_base64("not base64!")


@pytest.mark.parametrize("bad", [[[1, 2], [3]], [[["x"]]], [[[1.0]]], [[float("nan")]], [["a"]]])
def test_values_that_are_not_a_table_of_finite_numbers_are_rejected(bad: object) -> None:
    with pytest.raises(InputError):
        as_matrix(bad)
