"""Repeats requests while an engine does not respond."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import StoreUnavailableError

T = TypeVar("T")
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.1, 2.0


def retry_until(call: Callable[[], T], timeout_s: float) -> T:
    """Call an idempotent function until it succeeds, with growing pauses while the engine does not respond.

    Args:
        call: Function that raises StoreUnavailableError while the engine does not respond.
        timeout_s: Time limit in seconds.

    Raises:
        StoreUnavailableError: The engine did not respond before the time limit.
    """
    deadline = time.monotonic() + timeout_s
    pause = _MIN_PAUSE_S
    while True:
        try:
            return call()
        except StoreUnavailableError:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise
            # Random pauses keep many clients from returning at the same moment.
            time.sleep(min(remaining, pause * random.uniform(0.75, 1.25)))  # noqa: S311 - not for cryptography
            pause = min(2 * pause, _MAX_PAUSE_S)
