"""API keys: a file with their hashes and rate limits.

The file has one key per line, ``NAME SHA256 [rpm=N] [tpm=N]``; lines that begin with ``#`` are comments. It never contains a key
itself. A key is 32 random bytes, so that its plain SHA-256 cannot be reversed. Files written by Windows programs are accepted:
with a byte order mark, in UTF-16, or with CRLF.
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
    """The key of one client."""

    name: str
    #: SHA-256 of the key, in hexadecimal.
    digest: str
    #: None for no limit.
    requests_per_minute: int | None = None
    #: None for no limit.
    tokens_per_minute: int | None = None

    def to_line(self) -> str:
        """Return the key's line of the file."""
        limits = (("rpm", self.requests_per_minute), ("tpm", self.tokens_per_minute))
        return " ".join([self.name, self.digest, *(f"{name}={value}" for name, value in limits if value is not None)])


def digest(secret: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def parse_keys(text: str, *, source: str = "the file of keys") -> tuple[Key, ...]:
    """Return the keys of a file.

    Args:
        text: Content of the file.
        source: Name of the file, for error messages.

    Raises:
        InputError: A line is not a key, or two keys have the same name.
    """
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.lstrip("\ufeff").split()  # concatenated files have byte order marks inside
        if not words or words[0].startswith("#"):
            continue
        limits = dict(word.partition("=")[::2] for word in words[2:])
        is_key = len(words) >= 2 and _NAME.fullmatch(words[0]) and _HASH.fullmatch(words[1]) and words[0] not in keys
        if not is_key or any(
            name not in ("rpm", "tpm") or not re.fullmatch("[1-9][0-9]{0,17}", limits[name]) for name in limits
        ):
            raise InputError(
                f"Line {number} of {source} is not `NAME SHA256 [rpm=N] [tpm=N]` with a unique name; create lines with "
                "`umekomi keys new`."
            )
        rpm, tpm = (int(limits[name]) if name in limits else None for name in ("rpm", "tpm"))
        keys[words[0]] = Key(words[0], words[1], rpm, tpm)
    return tuple(keys.values())


def add_key(
    path: Path, name: str, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
) -> str:
    """Create a key and append its hash to the file, which is created with mode 0600 if it does not exist.

    Returns:
        The key.

    Raises:
        InputError: The name is invalid or already used, or the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name[:80]!r} is not a valid name for a key; use 1 to 64 letters, digits, dots, dashes and underscores."
        )
    existing = read_keys(path) if path.exists() else ()
    if name in (key.name for key in existing):
        raise InputError(f"{path} has a key named {name} already; choose another name, or delete its line first.")
    secret = "sk-umekomi-" + secrets.token_urlsafe(32)
    key = Key(name, digest(secret), requests_per_minute, tokens_per_minute)
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            content = file.read()
            encoding = _encoding(content)
            text = content.decode(encoding)
            separator = "" if not text.strip("\ufeff") or text.endswith("\n") else "\n"
            file.write(f"{separator}{key.to_line()}\n".encode(encoding))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
    return secret


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file. Raises InputError if it cannot be read or a line is invalid."""
    try:
        content = path.read_bytes()
        return parse_keys(content.decode(_encoding(content)), source=str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Create it with `umekomi keys new`.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text. Create it with `umekomi keys new`.") from error


def _encoding(content: bytes) -> str:
    """Return the encoding of a file of keys. PowerShell's ``>`` writes UTF-16."""
    if content.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    return "utf-16-be" if content.startswith(codecs.BOM_UTF16_BE) else "utf-8"


class KeyFile:
    """The keys of a file, which is read again when it changes. If it becomes unreadable, the previous keys stay valid.

    Raises:
        InputError: The file cannot be read, or contains no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = self._file_version()
        self._keys = read_keys(path)
        if not self._keys:
            raise InputError(f"{path} contains no key. Create one: umekomi keys new NAME --file {path}")

    def find(self, secret: str) -> Key | None:
        """Return the key that a client sent, or None. The time does not depend on the key."""
        if self._file_version() != self._version:
            self.reload()
        sent = digest(secret)
        match = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, sent):
                match = key
        return match

    def _file_version(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def reload(self) -> bool:
        """Read the file again, even if it seems unchanged.

        Returns:
            Whether it could be read. If not, the error is logged and the previous keys stay valid.
        """
        self._version = self._file_version()
        try:
            if not self._path.is_file():
                # Opening a pipe would block the server until somebody writes to it.
                raise InputError(f"{self._path} is not a file any more.")
            self._keys = read_keys(self._path)
        except InputError as error:
            logger.error("the previous API keys stay valid: %s", error)
            return False
        logger.warning("API keys were read again: %d", len(self._keys))
        return True
