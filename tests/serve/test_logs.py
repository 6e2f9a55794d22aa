"""The server log has one line per record. Values from requests cannot start a line or control a terminal."""

import io
import json
import logging
import unicodedata
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi.escaping import visible
from umekomi.serve.logs import LogFormat, configure_logging

Log = Callable[..., list[str]]
HOSTILE = [
    "a\nb",
    "a\r\n2026-01-01 INFO forged",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "\u2028\u2029\x85\x0b\x0c",
    "\u202eevil",
    "\ud800",
]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Function that logs one record in a format and returns the written lines."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)

    def write(form: LogFormat, message: str, *values: object, **options: object) -> list[str]:
        stream = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stderr", stream)
            configure_logging("info", form)
        logging.getLogger("umekomi.serve.test").error(message, *values, **options)  # type: ignore[arg-type]
        return stream.getvalue().splitlines()

    yield write
    root.handlers[:] = before[0]
    root.setLevel(before[1])


@pytest.mark.parametrize("form", LogFormat)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_logged_on_one_line(log: Log, form: LogFormat, text: str) -> None:
    (line,) = log(form, "key %s asks for %s", text, text, extra={"fields": {"key": text}})
    assert not [character for character in line if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
    assert "\u202e" not in line
    if form is LogFormat.JSON:
        assert json.loads(line)["key"] == text.replace("\ud800", "\ufffd")
    else:
        assert visible(text, is_one_line=True) in line


@given(st.text())
def test_escaped_text_is_one_line(text: str) -> None:
    escaped = visible(text, is_one_line=True)
    assert len(escaped.splitlines()) <= 1
    assert visible(escaped, is_one_line=True) == escaped


@pytest.mark.parametrize("form", LogFormat)
def test_an_error_is_logged_with_its_class_and_location_but_without_its_message(log: Log, form: LogFormat) -> None:
    text = "a secret\n2026-01-01 INFO forged"
    try:
        raise ValueError(text)
    except ValueError:
        lines = log(form, "it failed", exc_info=True)
    assert "ValueError" in lines[0]
    assert "secret" not in "".join(lines)
    assert all(line.startswith("    ") for line in lines[1:])
    assert ("test_logs.py" in "".join(lines)) == (form is LogFormat.TEXT)
