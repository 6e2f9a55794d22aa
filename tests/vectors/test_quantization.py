"""Quantized vectors: the error is bounded, and the format does not change between versions."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from umekomi.errors import InputError, RecordError
from umekomi.vectors.arithmetic import FloatArray, normalize
from umekomi.vectors.arrow import VectorType, arrow_type, from_column, to_column
from umekomi.vectors.quantization import Rotation, from_bits, from_int8, get_rotation, to_bits, to_int8


def half_empty(n: int, dims: int) -> FloatArray:
    """Vectors whose second half is mostly zeros, like that of a lexical part."""
    random = np.random.default_rng(7)
    vectors = random.standard_normal((n, dims), dtype=np.float32)
    vectors[:, dims // 2 :] *= random.random((n, dims - dims // 2)) < 0.05
    return normalize(vectors)


@pytest.mark.parametrize("dims", [8, 64, 384, 1536, 3072, 13])
def test_a_rotation_preserves_lengths_and_angles_and_can_be_inverted(dims: int) -> None:
    vectors = half_empty(50, dims)
    rotated = get_rotation(dims).apply(vectors)
    assert np.abs(rotated @ rotated.T - vectors @ vectors.T).max() < 1e-5
    assert np.abs(get_rotation(dims).invert(rotated) - vectors).max() < 1e-5


def test_a_rotation_spreads_every_dimension_over_all() -> None:
    rotated = get_rotation(1536).apply(np.eye(1536, dtype=np.float32)[:100])
    assert np.abs(rotated).max() < 0.25
    assert (rotated == 0).mean() < 0.001


def test_the_bits_of_a_vector_do_not_change_between_versions() -> None:
    # Files contain these bits. If they change, existing files can no longer be read.
    vectors = normalize(np.sin(np.arange(4 * 64, dtype=np.float64) ** 1.5).reshape(4, 64).astype(np.float32))
    assert hashlib.sha256(to_bits(vectors).tobytes()).hexdigest()[:16] == "f4b82391f666ae65"
    assert (Rotation(64).apply(vectors) == get_rotation(64).apply(vectors)).all()


def test_bits_and_int8_nearly_preserve_angles() -> None:
    vectors = half_empty(300, 1536)
    true = vectors @ vectors.T
    assert np.abs(vectors @ from_int8(to_int8(vectors)).T - true).max() < 0.02
    estimated = vectors @ from_bits(to_bits(vectors)).T
    # A vector and its signs have a cosine of sqrt(2 / pi), about 0.798, so all cosines shrink by this factor.
    assert np.diag(estimated).mean() == pytest.approx(0.798, abs=0.005)
    off = ~np.eye(300, dtype=bool)
    assert np.std(estimated[off] / 0.798 - true[off]) < 0.025
    with pytest.raises(InputError, match="multiple of 8"):
        to_bits(half_empty(2, 12))


def test_a_row_of_zeros_stays_zeros() -> None:
    assert not from_int8(to_int8(np.zeros((1, 16), np.float32))).any()


@pytest.mark.parametrize(("name", "tolerance"), [("float32", 0.0), ("float16", 1e-3), ("int8", 1e-2), ("binary", 0.2)])
def test_every_column_type_is_read_back_as_float32(name: str, tolerance: float) -> None:
    vectors = half_empty(20, 256)
    column = to_column(vectors, VectorType(name))
    assert column.type == arrow_type(VectorType(name), 256)
    for result, expected in ((from_column(column), vectors), (from_column(column[3:9]), vectors[3:9])):
        assert result.dtype == np.float32
        assert result.shape == expected.shape
        assert np.abs(result - expected).max() <= tolerance
    assert from_column(column[:0]).shape == (0, 256)


def test_a_column_without_vectors_is_rejected() -> None:
    with pytest.raises(RecordError, match="does not contain vectors"):
        from_column(pa.array([[1.0], [2.0, 3.0]]))
    with pytest.raises(RecordError, match="multiple of 8"):
        arrow_type(VectorType.BINARY, 20)
