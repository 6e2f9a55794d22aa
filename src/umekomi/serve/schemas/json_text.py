"""The server's only JSON parser and only JSON serializer.

Both are orjson, which is strict: no NaN, no infinity, no invalid UTF-8, no lone surrogates, at most 1,024 levels of nesting.
All bodies and batch files pass the same parser, so that every stored value can be part of a response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from ...tokens import well_formed

_BOM = b"\xef\xbb\xbf"
_MAX_REPLACED = 100_000  # each replacement takes a microsecond, and a real text does not need more
# Matches everything up to the next lone surrogate: characters, escapes that are not surrogates, and pairs of surrogates. The
# quantifier is possessive and the end of the text matches as well, so that the time is linear.
_LONE_SURROGATE = re.compile(
    rb"((?:[^\\]|\\(?:[^u]|\Z)|\\u(?![dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+)(\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\Z)",
    re.DOTALL,
)


def read_json(content: bytes) -> Any:
    """Return the value of a JSON text in UTF-8. An initial byte order mark is ignored. The last of repeated keys counts.

    Raises:
        ValueError: The text is not valid JSON.
    """
    return orjson.loads(content.removeprefix(_BOM))


def replace_lone_surrogates(content: bytes, replacement: str = "\ufffd") -> bytes:
    """Return a JSON text in which each escaped lone surrogate, such as ``\\ud800``, is replaced by an escaped character.

    >>> replace_lone_surrogates(b'["\\\\ud800 \\\\ud83d\\\\ude00"]')
    b'["\\\\ufffd \\\\ud83d\\\\ude00"]'
    """
    escaped = b"\\u%04x" % ord(replacement)
    return _LONE_SURROGATE.sub(lambda match: match[1] + (escaped if match[2] else b""), content, count=_MAX_REPLACED)


def write_json(value: object) -> bytes:
    """Return a value as JSON text in UTF-8.

    Values that JSON cannot represent raise no error: NaN and infinity become null; integers beyond 64 bits, decimals and other
    objects become strings; bytes and lone surrogates are decoded with U+FFFD.
    """
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return orjson.dumps(_cleaned(value), default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, Decimal):
        return str(value)
    return _cleaned(str(value))


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, Mapping):
        return {_cleaned(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
