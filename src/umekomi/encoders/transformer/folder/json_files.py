"""Strict readers of JSON files: a key that no reader knows, or a value of another type, is an error that names it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ....errors import InputError


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
    values = read_json(path) if path.is_file() else {}
    if not isinstance(values, dict):
        raise InputError(f"{path} must contain an object, not {_name(values)}.", param="model")
    return values


class JsonObject:
    """An object in a JSON file. Each key must be read or ignored explicitly before :meth:`close`.

    Args:
        path: The file, for messages.
        values: Keys and values.
    """

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self._path = path
        self._values = values
        self._seen: set[str] = set()

    @classmethod
    def read(cls, path: Path) -> JsonObject:
        """Read a file. If there is no such file, the object is empty."""
        return cls(path, read_object(path))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, default: str) -> str:
        """Return a text, or ``default`` if the key is missing or null."""
        return str(self._take(key, (str,), "a text", default))

    def truth(self, key: str, *, default: bool) -> bool:
        """Return true or false, or ``default`` if the key is missing or null."""
        return bool(self._take(key, (bool,), "true or false", default))

    def positive(self, key: str) -> int | None:
        """Return a whole number above 0, or None if the key is missing or null."""
        value = self._take(key, (int, float), "a number", None)
        if value is None:
            return None
        if isinstance(value, bool) or not value >= 1 or (value < 1e15 and value != int(value)):
            raise self.error(key, "Umekomi expects a whole number above 0")
        return int(min(value, 1e15))

    def required(self, key: str) -> int:
        """Return a whole number above 0. Raise InputError if the key is missing or null."""
        value = self.positive(key)
        if value is None:
            raise InputError(f"{self._path} has no {key!r}.", param="model")
        return value

    def object(self, key: str) -> JsonObject:
        """Return an object, which is empty if the key is missing or null."""
        return JsonObject(self._path, self._take(key, (dict,), "an object", {}))

    def texts(self, key: str) -> dict[str, str]:
        """Return an object of texts. Null becomes an empty text."""
        values = self._take(key, (dict,), "an object", {})
        for name, value in values.items():
            if not isinstance(value, (str, type(None))):
                raise self.error(key, f"Umekomi expects a text for {name!r}")
        return {name: value or "" for name, value in values.items()}

    def numbers(self, key: str) -> list[int]:
        """Return a list of whole numbers above 0; it is empty if the key is missing or null."""
        values = self._take(key, (list,), "a list of numbers", [])
        if not all(type(value) is int and value > 0 for value in values):
            raise self.error(key, "Umekomi expects whole numbers above 0")
        return list(values)

    def names(self, key: str) -> list[str]:
        """Return a text or a list of texts as a list; it is empty if the key is missing or null."""
        values = self._take(key, (str, list), "a text or a list of texts", [])
        values = [values] if isinstance(values, str) else values
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "Umekomi expects a text or a list of texts")
        return list(values)

    def require(self, key: str, allowed: Collection[Any], reason: str = "") -> None:
        """Raise InputError if the key has a value that is not allowed. A missing key and null are always allowed."""
        self._seen.add(key)
        value = self._values.get(key)
        # 1 and true are equal in Python, but not in JSON.
        if value is not None and not any(value == other and type(value) is type(other) for other in allowed):
            supported = " and ".join(json.dumps(other) for other in allowed) or "null"
            raise self.error(key, reason or f"Umekomi supports {supported}")

    def ignore(self, keys: Collection[str]) -> None:
        """Accept keys that do not change the vectors, whatever their values."""
        self._seen.update(keys)

    def close(self) -> None:
        """Raise InputError if there are keys that were neither read nor ignored."""
        unknown = sorted(set(self._values) - self._seen)
        if unknown:
            raise InputError(
                f"{self._path} has the key {unknown[0]!r} ({_shorten(self._values[unknown[0]])}), which Umekomi does not know. "
                "It may change the vectors.",
                param="model",
            )

    def error(self, key: str, reason: str) -> InputError:
        """Return an error that names the file, a key and its value."""
        return InputError(f"{self._path}: {key!r} is {_shorten(self._values.get(key))}; {reason}.", param="model")

    def _take(self, key: str, types: tuple[type, ...], name: str, default: Any) -> Any:
        self._seen.add(key)
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, types):
            raise self.error(key, f"Umekomi expects {name}")
        return value


def _name(value: Any) -> str:
    return {list: "a list", str: "a text", type(None): "null", bool: "a truth value"}.get(type(value), "a number")


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
