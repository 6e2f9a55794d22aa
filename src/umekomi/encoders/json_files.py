"""Strict readers of JSON files: a key that no reader knows, or a value of another type, is an error that names it."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

MAX_INTEGER = 10**15
"""Larger numbers mean that there is no limit, such as the maximum length 1e30 of tokenizers of transformers."""


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: The file cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{path} is not JSON: {error}.", param="model") from error


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; it is empty if there is no such file.

    Raises:
        InputError: The file cannot be read, is not JSON, or contains something else.
    """
    values = read_json(path) if path.exists() else {}
    if not isinstance(values, dict):
        raise InputError(f"{path} must contain an object, not {_name(values)}.", param="model")
    return values


class JsonObject:
    """An object in a JSON file. Each key must be read or ignored explicitly before :meth:`close`.

    A key with the value null counts as missing, because libraries write null for settings that are not used. Methods that take
    several keys, older names of one setting, read the first one that exists.

    Args:
        source: The file, for messages.
        values: Keys and values.
    """

    def __init__(self, source: Path | str, values: Mapping[str, Any]) -> None:
        self._source = source
        self._values = {key: value for key, value in values.items() if value is not None}
        self._nulls = values.keys() - self._values.keys()
        self._seen: set[str] = set()

    @classmethod
    def read(cls, path: Path) -> JsonObject:
        """Read a file. If there is no such file, the object is empty."""
        return cls(path, read_object(path))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def is_null(self, key: str) -> bool:
        """Return whether a key has the value null, for the few that mean something else if they are missing."""
        return key in self._nulls

    def get(self, *keys: str) -> Any:
        """Return a value of any type, or None if it is missing."""
        self._seen.update(keys)
        return next((self._values[key] for key in keys if key in self._values), None)

    def text(self, *keys: str, default: str) -> str:
        """Return a text, or ``default`` if it is missing."""
        return str(self._take(keys, (str,), "a text", default))

    def truth(self, key: str, *, default: bool) -> bool:
        """Return true or false, or ``default`` if the key is missing."""
        return bool(self._take((key,), (bool,), "true or false", default))

    def number(self, *keys: str, default: float) -> float:
        """Return a finite number above 0, or ``default`` if it is missing."""
        value = self._take(keys, (int, float), "a number", default)
        if isinstance(value, bool) or not 0 < value < math.inf:
            raise self.error(keys, "Umekomi expects a number above 0")
        return float(value)

    def integer(self, *keys: str, minimum: int = 1) -> int | None:
        """Return a whole number, or None if it is missing. Numbers above :data:`MAX_INTEGER` become that number."""
        value = self._take(keys, (int, float), "a number", None)
        if value is None:
            return None
        if isinstance(value, bool) or not value >= minimum or (value < MAX_INTEGER and value != int(value)):
            raise self.error(keys, f"Umekomi expects a whole number above {minimum - 1}")
        return int(min(value, MAX_INTEGER))

    def required(self, *keys: str, default: int | None = None, minimum: int = 1) -> int:
        """Return a whole number, or ``default`` if it is missing. Raise InputError if there is no default either."""
        value = self.integer(*keys, minimum=minimum)
        value = default if value is None else value
        if value is None:
            raise InputError(f"{self._source} has no {keys[0]!r}.", param="model")
        return value

    def object(self, key: str) -> JsonObject:
        """Return an object, which is empty if the key is missing."""
        return JsonObject(self._source, self._take((key,), (dict,), "an object", {}))

    def texts(self, key: str) -> dict[str, str]:
        """Return an object of texts. Null becomes an empty text."""
        values = self._take((key,), (dict,), "an object", {})
        for name, value in values.items():
            if not isinstance(value, (str, type(None))):
                raise self.error([key], f"Umekomi expects a text for {name!r}")
        return {name: value or "" for name, value in values.items()}

    def numbers(self, key: str) -> list[int]:
        """Return a list of whole numbers above 0; it is empty if the key is missing."""
        values = self._take((key,), (list,), "a list of numbers", [])
        if not all(type(value) is int and value > 0 for value in values):
            raise self.error([key], "Umekomi expects whole numbers above 0")
        return list(values)

    def names(self, key: str) -> list[str]:
        """Return a text or a list of texts as a list; it is empty if the key is missing."""
        values = self._take((key,), (str, list), "a text or a list of texts", [])
        values = [values] if isinstance(values, str) else values
        if not all(isinstance(value, str) for value in values):
            raise self.error([key], "Umekomi expects a text or a list of texts")
        return list(values)

    def require(self, key: str, allowed: Collection[Any], reason: str = "") -> None:
        """Raise InputError if the key has a value that is not allowed. A missing key is always allowed."""
        value = self.get(key)
        if value is not None and not any(_is_equal(value, other) for other in allowed):
            supported = " and ".join(json.dumps(other) for other in allowed) or "null"
            raise self.error([key], reason or f"Umekomi supports {supported}")

    def ignore(self, keys: Iterable[str]) -> None:
        """Accept keys that do not change the result, whatever their values."""
        self._seen.update(keys)

    def close(self) -> None:
        """Raise InputError if there are keys that were neither read nor ignored."""
        unknown = sorted(self._values.keys() - self._seen)
        if unknown:
            raise InputError(
                f"{self._source} has the key {unknown[0]!r} ({_shorten(self._values[unknown[0]])}), which Umekomi does not know. "
                "It may change the result of the model.",
                param="model",
            )

    def error(self, keys: Iterable[str], reason: str) -> InputError:
        """Return an error that names the file, the first of some keys that exists, and its value."""
        names = list(keys)
        key = next((key for key in names if key in self._values), names[0])
        return InputError(f"{self._source}: {key!r} is {_shorten(self._values.get(key))}; {reason}.", param="model")

    def _take(self, keys: Sequence[str], types: tuple[type, ...], name: str, default: Any) -> Any:
        value = self.get(*keys)
        if value is None:
            return default
        if not isinstance(value, types):
            raise self.error(keys, f"Umekomi expects {name}")
        return value


def _is_equal(value: Any, other: Any) -> bool:
    """Return whether two values are equal in JSON, where 1 equals 1.0, but not true."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _name(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "null", bool: "a truth value"}.get(type(value), "a number")


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
