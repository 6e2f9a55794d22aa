"""A rotation changes the order of importance of the dimensions, and no dot product."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from umekomi.encoders.alignment import MATRIX_STEP
from umekomi.encoders.rotation import Rotation
from umekomi.errors import AssetCorruptError
from umekomi.vectors.arithmetic import FloatArray, normalize


def random_vectors(rows: int, dims: int) -> FloatArray:
    return normalize(np.random.default_rng(1).normal(size=(rows, dims)).astype(np.float32))


def orthogonal(size: int) -> FloatArray:
    return np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0].astype(np.float32)


def test_dot_products_stay_the_same_and_later_dimensions_are_untouched() -> None:
    vectors = random_vectors(20, 100)
    rotated = Rotation(orthogonal(80)).apply(vectors)
    assert np.allclose(rotated @ rotated.T, vectors @ vectors.T, atol=2e-3)
    assert np.allclose(rotated[:, 80:], vectors[:, 80:], atol=1e-3)
    assert not np.allclose(rotated[:, :80], vectors[:, :80], atol=0.1)
    assert np.linalg.norm(rotated, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_vector_has_the_same_bytes_in_every_batch() -> None:
    vectors, rotation = random_vectors(130, 400), Rotation(orthogonal(384))
    together = rotation.apply(vectors)
    for rows in ([5], [129, 5, 7], list(range(100, 4, -3))):
        assert rotation.apply(vectors[rows]).tobytes() == together[rows].tobytes()


def test_the_matrix_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rotation.safetensors"
    save_file({"rotation": np.eye(2)[::-1].astype(np.float16).copy()}, path)
    assert Rotation.read(path).apply(np.array([[0.6, 0.8, 0]], dtype=np.float32)) == pytest.approx(
        np.array([[0.8, 0.6, 0]]), abs=MATRIX_STEP
    )
    path.write_bytes(b"not safetensors")
    with pytest.raises(AssetCorruptError, match="umekomi models verify"):
        Rotation.read(path)
