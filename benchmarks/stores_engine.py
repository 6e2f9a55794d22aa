"""Interface of the engines that benchmarks/stores.py compares."""

from pathlib import Path
from typing import ClassVar

import numpy as np

LEVELS = (100, 10, 1)
"""Percentages of rows that match a filter; 100 is without a filter."""

M, EF, EF_SEARCH = 16, 200, 200
"""Settings of HNSW, the same for all engines."""


class Engine:
    """A store in a folder. The id of a row is its number."""

    label: ClassVar[str]
    stores_records: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def create(self, dims: int) -> None: ...

    def add(self, first: int, vectors: np.ndarray, shards: np.ndarray) -> None: ...

    def commit(self) -> None:
        """Make a write durable, as the documentation of the engine advises."""

    def finish(self) -> None: ...

    def open(self, dims: int, *, writes: bool = False) -> None: ...

    def search(self, query: np.ndarray, k: int, level: int) -> list[int]: ...

    def count(self) -> int: ...

    def close(self) -> None: ...


def make_texts(first: int, n: int) -> list[str]:
    """Return the texts of some rows."""
    return [
        f"Row {row}: great coffee, smooth and mild, and it came in two days; I would order it again."
        for row in range(first, first + n)
    ]
