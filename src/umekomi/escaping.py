"""Escapes for control characters in untrusted text, which could move a terminal's cursor or forge a line of a log."""

from __future__ import annotations

import re

# C0, DEL, C1, line and paragraph separators, marks and overrides of direction, the byte order mark, tags, lone surrogates.
# These are patterns, which re.sub compiles when they are first used and caches, because compiling them takes a millisecond.
_CONTROLS = (
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
_CONTROLS_IN_TEXT = _CONTROLS.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f")

_SHORT_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, *, is_one_line: bool = False) -> str:
    r"""Replace control characters by visible escapes. Newlines and tabs stay, unless the result must be one line.

    >>> visible("a\x1b[2Jb\u202e"), visible("a\nb", is_one_line=True)
    ('a\\x1b[2Jb\\u202e', 'a\\nb')
    """
    return re.sub(_CONTROLS if is_one_line else _CONTROLS_IN_TEXT, _escape, text)


def json_visible(document: str) -> str:
    r"""Escape control characters in a JSON document on one line. Its value stays the same.

    >>> json_visible('"a\x9bb"')
    '"a\\u009bb"'
    """
    return re.sub(_CONTROLS, _json_escape, document)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    # JSON writes characters above U+FFFF as two UTF-16 units.
    units = match.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))
