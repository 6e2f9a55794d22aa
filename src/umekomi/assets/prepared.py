"""Files that are derived from assets once on each machine, such as compiled models, and read by every later process.

They are in the folder ``prepared`` of the cache, one folder for each key. A key describes everything that the files depend on,
so files of another version or machine are never used. A folder gets its name only when it is complete. The folders that have not
been used for the longest time are deleted when there are more than :data:`MAX_FOLDERS`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from ..files.ownership import claim_folder, folder_content, remove_folder
from ..settings import Settings

T = TypeVar("T")

CONTENT = "prepared files"
MAX_FOLDERS = 24
_TEMPORARY = ".tmp-"
_MAX_SECONDS = 3600.0


class PreparedFiles:
    """The prepared files of a cache folder. Several processes may use it at the same time.

    Args:
        settings: The cache folder, and whether files are prepared. If the folder cannot be written, nothing is stored.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.cache / "prepared"
        self._is_enabled = settings.prepare

    def find(self, key: object) -> Path | None:
        """Return the folder with the files of a key, or None.

        Args:
            key: What the files depend on, as JSON data.
        """
        folder = self._folder / _digest(key)
        if not self._is_enabled or not folder.is_dir():
            return None
        with suppress(OSError):  # the cache may be read-only
            os.utime(folder)
        return folder

    def store(self, key: object, write: Callable[[Path], None]) -> Path | None:
        """Store files and return their folder, or None if the cache cannot be written.

        Args:
            key: What the files depend on, as JSON data.
            write: Writes the files into an empty folder.
        """
        if not self._is_enabled:
            return None
        target = self._folder / _digest(key)
        try:
            claim_folder(self._folder, content=CONTENT)
            temporary = self._folder / f"{_TEMPORARY}{target.name}-{secrets.token_hex(4)}"
            temporary.mkdir()
            try:
                write(temporary)
                with suppress(OSError):  # another process was faster
                    temporary.rename(target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            self._delete_old()
        except (OSError, InputError):
            return None
        return target if target.is_dir() else None

    def load(
        self, key: object, *, read: Callable[[Path], T], build: Callable[[], T], write: Callable[[T, Path], None]
    ) -> T:
        """Return what the files of a key contain. If they are missing or damaged, build it and store it for the next time.

        Args:
            key: What the files depend on, as JSON data.
            read: Reads the files in a folder. It raises OSError or ValueError if they are damaged.
            build: Builds the value without the files.
            write: Writes the value into an empty folder.
        """
        folder = self.find(key)
        if folder is not None:
            try:
                return read(folder)
            except (OSError, ValueError):
                self.discard(key)
        value = build()
        self.store(key, partial(write, value))
        return value

    def discard(self, key: object) -> None:
        """Delete the files of a key, for example because they are damaged."""
        shutil.rmtree(self._folder / _digest(key), ignore_errors=True)

    def clean(self) -> int:
        """Delete all prepared files and return their size in bytes."""
        if folder_content(self._folder) != CONTENT:
            return 0
        size = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        remove_folder(self._folder, content=CONTENT)
        return size

    def _delete_old(self) -> None:
        """Delete the folders that have not been used for the longest time, and those that killed processes left."""
        folders = sorted(
            (path for path in self._folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
        )
        complete = [path for path in folders if not path.name.startswith(_TEMPORARY)]
        abandoned = [
            path
            for path in folders
            if path.name.startswith(_TEMPORARY) and time.time() - path.stat().st_mtime > _MAX_SECONDS
        ]
        for path in [*complete[: max(0, len(complete) - MAX_FOLDERS)], *abandoned]:
            shutil.rmtree(path, ignore_errors=True)


def _digest(key: object) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
