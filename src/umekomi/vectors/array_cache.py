"""Vectors in a ``.npy`` file of a cache folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files.outputs import atomic_write
from .arithmetic import FloatArray


def read_array(path: Path, shape: tuple[int, int]) -> FloatArray | None:
    """Return the cached array, or None if there is none, it has another shape or dtype, or the file is damaged."""
    try:
        array: FloatArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    is_valid = isinstance(array, np.ndarray) and array.shape == shape and array.dtype == np.float32
    return array if is_valid and np.isfinite(array).all() else None


def write_array(path: Path, array: FloatArray) -> None:
    """Write an array, and create its folder if necessary.

    Raises:
        InputError: The file cannot be written.
        OSError: The folder cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
