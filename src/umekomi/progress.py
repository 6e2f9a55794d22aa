"""The callback that long operations report their progress to."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int], object]
"""Called with the number of items (texts, rows or bytes) finished since the last call. Fits ``tqdm.update``."""


def no_progress(count: int) -> None:
    """Ignore progress. The default where a callback is optional."""
