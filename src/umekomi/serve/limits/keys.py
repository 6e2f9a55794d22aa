"""API keys: a file of their hashes, and how much each may ask for.

One key a line, ``NAME SHA256 [rpm=N] [tpm=N]``; a line that begins with ``#`` is a comment. The file never holds a key itself. A
key is 32 random bytes, so a plain SHA-256 cannot be searched back. Files that Windows programs wrote are accepted: with a byte
order mark, in UTF-16, with CRLF.
"""

from __future__ import annotations

import codecs
import hashlib
import hmac
import logging
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError

logger = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Key:
    """One client: its name, the SHA-256 of its key, and its limits in requests and tokens a minute (None: no limit)."""

    name: str
    digest: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def line(self) -> str:
        """The key as a line of the file."""
        limits = (("rpm", self.requests_per_minute), ("tpm", self.tokens_per_minute))
        return " ".join([self.name, self.digest, *(f"{name}={value}" for name, value in limits if value is not None)])


def digest(secret: str) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def parse_keys(text: str, *, where: str = "the file of keys") -> tuple[Key, ...]:
    """The keys of a file.

    Raises:
        InputError: a line is not a key; two keys have one name.
    """
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.lstrip("\ufeff").split()  # files that were joined have byte order marks inside
        if not words or words[0].startswith("#"):
            continue
        limits = dict(word.partition("=")[::2] for word in words[2:])
        good = len(words) >= 2 and _NAME.fullmatch(words[0]) and _HASH.fullmatch(words[1]) and words[0] not in keys
        if not good or any(
            name not in ("rpm", "tpm") or not re.fullmatch("[1-9][0-9]{0,17}", limits[name]) for name in limits
        ):
            raise InputError(
                f"Line {number} of {where} is not `NAME SHA256 [rpm=N] [tpm=N]` with a name of its own; make lines "
                "with `umekomi keys new`."
            )
        rpm, tpm = (int(limits[name]) if name in limits else None for name in ("rpm", "tpm"))
        keys[words[0]] = Key(words[0], words[1], rpm, tpm)
    return tuple(keys.values())


def add_key(
    path: Path, name: str, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
) -> str:
    """Make a key, append its hash to the file (made if it is not there, for its owner's eyes only), and give the key.

    Raises:
        InputError: the name is taken or not a good one, or the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{name[:80]!r} cannot name a key; use 1 to 64 letters, digits, dots, dashes and underscores.")
    before = read_keys(path) if path.exists() else ()
    if name in (key.name for key in before):
        raise InputError(f"{path} has a key named {name} already; choose another name, or delete its line first.")
    secret = "sk-umekomi-" + secrets.token_urlsafe(32)
    key = Key(name, digest(secret), requests_per_minute, tokens_per_minute)
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            content = file.read()
            encoding = _encoding(content)
            text = content.decode(encoding)
            gap = "" if not text.strip("\ufeff") or text.endswith("\n") else "\n"
            file.write(f"{gap}{key.line()}\n".encode(encoding))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
    return secret


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file. Raises InputError if it cannot be read or a line is wrong."""
    try:
        content = path.read_bytes()
        return parse_keys(content.decode(_encoding(content)), where=str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Make it with `umekomi keys new`.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text. Make it with `umekomi keys new`.") from error


def _encoding(content: bytes) -> str:
    """Return the encoding of a file of keys. PowerShell's ``>`` writes UTF-16."""
    if content.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    return "utf-16-be" if content.startswith(codecs.BOM_UTF16_BE) else "utf-8"


class KeyFile:
    """The keys of a file, read again when it changes. A file that has become bad changes nothing: the old keys hold.

    Raises:
        InputError: the file cannot be used, or holds no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._now()
        self._keys = read_keys(path)
        if not self._keys:
            raise InputError(f"{path} holds no key. Make one: umekomi keys new NAME --file {path}")

    def find(self, secret: str) -> Key | None:
        """The key that a client sent, if it is one. Takes the same time whichever it is."""
        self._refresh()
        sent = digest(secret)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, sent):
                found = key
        return found

    def _now(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def reload(self) -> bool:
        """Read the file now, whether it seems to have changed or not.

        Returns:
            Whether it could be read. If not, the error is logged and the previous keys stay valid.
        """
        self._stamp = self._now()
        try:
            if not self._path.is_file():
                # A pipe would stop the server until somebody writes to it.
                raise InputError(f"{self._path} is not a file any more.")
            self._keys = read_keys(self._path)
        except InputError as error:
            logger.error("the previous API keys stay valid: %s", error)
            return False
        logger.warning("API keys were read again: %d", len(self._keys))
        return True

    def _refresh(self) -> None:
        if self._now() != self._stamp:
            self.reload()
