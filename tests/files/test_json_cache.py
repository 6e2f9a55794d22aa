import json
from pathlib import Path

import pytest

from umekomi.files.json_cache import JsonCache


def numbers(path: Path) -> JsonCache:
    return JsonCache(path, is_valid=lambda value: isinstance(value, int), is_current=lambda name: name != "old")


def test_added_values_are_read_by_another_cache(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "numbers.json"
    numbers(path).add("one", 1)
    numbers(path).add("two", 2)
    assert numbers(path).read() == {"one": 1, "two": 2}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"one": "text"}'])
def test_damaged_content_is_ignored_and_replaced(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    path.write_bytes(content)
    assert numbers(path).read() == {}
    numbers(path).add("two", 2)
    assert json.loads(path.read_text()) == {"two": 2}


def test_names_that_are_not_current_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    path.write_text('{"old": 1}')
    numbers(path).add("new", 2)
    assert numbers(path).read() == {"new": 2}


def test_an_unwritable_file_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "numbers.json").mkdir()
    numbers(tmp_path / "numbers.json").add("one", 1)
    assert numbers(tmp_path / "numbers.json").read() == {}
