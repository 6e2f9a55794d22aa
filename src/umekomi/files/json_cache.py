"""Named values in a JSON file of the cache folder, such as digests of files and results of checks.

The cache never raises an error: values of a missing or damaged file count as not cached, and if the file cannot be written, they
are computed again later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from .outputs import write_text


class JsonCache:
    """Values by name in one file. The file appears when the first value is added.

    Args:
        path: The file.
        is_valid: Return whether a value has the expected form. Other values are ignored.
        is_current: Return whether a name still refers to something. Other values are dropped when the file is written.
    """

    def __init__(
        self, path: Path, *, is_valid: Callable[[Any], bool], is_current: Callable[[str], bool] = lambda name: True
    ) -> None:
        self._path = path
        self._is_valid = is_valid
        self._is_current = is_current

    def read(self) -> dict[str, Any]:
        """Return all values."""
        with suppress(OSError, ValueError):
            content = json.loads(self._path.read_text("utf-8"))
            if isinstance(content, dict):
                return {name: value for name, value in content.items() if self._is_valid(value)}
        return {}

    def add(self, name: str, value: object) -> None:
        """Add or replace a value. If two processes do so at the same time, one value may be lost."""
        values = {key: stored for key, stored in self.read().items() if self._is_current(key)} | {name: value}
        with suppress(OSError, InputError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(values, indent=1) + "\n")
