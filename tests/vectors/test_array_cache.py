from pathlib import Path

import numpy as np
import pytest

from umekomi.vectors.array_cache import read_array, write_array

ARRAY = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_a_written_array_is_read_with_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "maps" / "a.npy"
    assert read_array(path, (3, 2)) is None
    write_array(path, ARRAY)
    assert (read_array(path, (3, 2)) == ARRAY).all()
    assert read_array(path, (2, 3)) is None


@pytest.mark.parametrize("array", [ARRAY.astype(np.float64), ARRAY * np.nan])
def test_other_types_and_values_that_are_not_finite_are_not_read(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    assert read_array(tmp_path / "a.npy", (3, 2)) is None


def test_a_truncated_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_array(path, ARRAY)
    path.write_bytes(path.read_bytes()[:-4])
    assert read_array(path, (3, 2)) is None
