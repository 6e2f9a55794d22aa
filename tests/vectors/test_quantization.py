"""Vectors in fewer bytes: what is lost is bounded, and what is written today is read tomorrow."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from umekomi.errors import InputError, RecordError
from umekomi.vectors.arithmetic import FloatArray, normalize
from umekomi.vectors.arrow import VectorType, column_of, column_type, matrix_of
from umekomi.vectors.quantization import Rotation, from_bits, from_int8, rotation, to_bits, to_int8


def half_empty(n: int, dims: int) -> FloatArray:
    """Vectors whose second half is mostly zeros, as a lexical part is."""
    chance = np.random.default_rng(7)
    vectors = chance.standard_normal((n, dims), dtype=np.float32)
    vectors[:, dims // 2 :] *= chance.random((n, dims - dims // 2)) < 0.05
    return normalize(vectors)


@pytest.mark.parametrize("dims", [8, 64, 384, 1536, 3072, 13])
def test_a_rotation_keeps_lengths_and_angles_and_can_be_undone(dims: int) -> None:
    vectors = half_empty(50, dims)
    turned = rotation(dims).apply(vectors)
    assert np.abs(turned @ turned.T - vectors @ vectors.T).max() < 1e-5
    assert np.abs(rotation(dims).undo(turned) - vectors).max() < 1e-5


def test_a_rotation_spreads_every_dimension_over_all() -> None:
    turned = rotation(1536).apply(np.eye(1536, dtype=np.float32)[:100])
    assert np.abs(turned).max() < 0.25
    assert (turned == 0).mean() < 0.001


def test_bits_that_were_written_before_are_read_alike() -> None:
    # Files keep these bits: if this changes, files that exist can no longer be read.
    vectors = normalize(np.sin(np.arange(4 * 64, dtype=np.float64) ** 1.5).reshape(4, 64).astype(np.float32))
    assert hashlib.sha256(to_bits(vectors).tobytes()).hexdigest()[:16] == "f4b82391f666ae65"
    assert (Rotation(64).apply(vectors) == rotation(64).apply(vectors)).all()


def test_bits_and_int8_keep_the_angles_nearly() -> None:
    vectors = half_empty(300, 1536)
    true = vectors @ vectors.T
    assert np.abs(vectors @ from_int8(to_int8(vectors)).T - true).max() < 0.02
    guessed = vectors @ from_bits(to_bits(vectors)).T
    # A vector and its signs have a cosine of sqrt(2 / pi), about 0.798, so that all cosines shrink alike.
    assert np.diag(guessed).mean() == pytest.approx(0.798, abs=0.005)
    off = ~np.eye(300, dtype=bool)
    assert np.std(guessed[off] / 0.798 - true[off]) < 0.025
    with pytest.raises(InputError, match="multiple of 8"):
        to_bits(half_empty(2, 12))


def test_a_row_of_zeros_does_no_harm() -> None:
    assert not from_int8(to_int8(np.zeros((1, 16), np.float32))).any()


@pytest.mark.parametrize(("kind", "off"), [("float32", 0.0), ("float16", 1e-3), ("int8", 1e-2), ("binary", 0.2)])
def test_a_column_is_read_back_as_float32_whatever_it_is_kept_as(kind: str, off: float) -> None:
    vectors = half_empty(20, 256)
    column = column_of(vectors, VectorType(kind))
    assert column.type == column_type(VectorType(kind), 256)
    for found, wanted in ((matrix_of(column), vectors), (matrix_of(column[3:9]), vectors[3:9])):
        assert found.dtype == np.float32
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= off
    assert matrix_of(column[:0]).shape == (0, 256)


def test_a_column_of_something_else_is_refused() -> None:
    with pytest.raises(RecordError, match="holds no vectors"):
        matrix_of(pa.array([[1.0], [2.0, 3.0]]))
    with pytest.raises(RecordError, match="multiple of 8"):
        column_type(VectorType.BINARY, 20)
