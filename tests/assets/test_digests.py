"""Model files are used only if their digest is correct, and are read once to compute it."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umekomi.assets import digests as asset_digests
from umekomi.assets.digests import Digests
from umekomi.assets.store import AssetStore
from umekomi.catalog import Asset, Source
from umekomi.errors import AssetCorruptError, OutputLockedError
from umekomi.files.ownership import OutputLock
from umekomi.settings import Settings

CONTENT = bytes(range(256)) * 64


@pytest.fixture
def asset() -> Asset:
    source = Source(type="hub", path="model.bin", repository="nobody/nothing")
    return Asset("tiny", "model.bin", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "MIT", "a test", (source,))


@pytest.fixture
def cached(settings: Settings, asset: Asset) -> Path:
    """Path of the asset in the cache."""
    path = settings.cache / "assets" / asset.sha256 / asset.file
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """List of the files that are read to compute their digest."""
    files: list[Path] = []
    original = asset_digests.compute_sha256
    monkeypatch.setattr(asset_digests, "compute_sha256", lambda path: files.append(path) or original(path))
    return files


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Function that clears the cache in memory, like a new process."""
    return lambda: monkeypatch.setattr(asset_digests, "_cached", {})


def overwrite_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(len(CONTENT)))


def flip_one_bit(path: Path) -> None:
    path.write_bytes(CONTENT[:5000] + bytes([CONTENT[5000] ^ 1]) + CONTENT[5001:])


def overwrite_and_restore_time(path: Path) -> None:
    before = path.stat()
    overwrite_with_zeros(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_file(path: Path) -> None:
    other = path.with_name("other")
    overwrite_with_zeros(other)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("damage", [overwrite_with_zeros, flip_one_bit, overwrite_and_restore_time, replace_file])
def test_a_damaged_file_of_the_right_size_is_an_error_that_names_the_repair_command(
    damage: Callable[[Path], None], cached: Path, asset: Asset, settings: Settings, new_process: Callable[[], None]
) -> None:
    assert AssetStore(settings).path(asset) == cached
    damage(cached)
    for _ in range(2):
        with pytest.raises(AssetCorruptError) as error:
            AssetStore(settings).path(asset)
        assert str(error.value) == (
            f"{cached} is damaged: it does not have the SHA-256 of tiny. Run `umekomi models verify --repair` to fetch it again."
        )
        assert AssetStore(settings).find(asset) is None
        new_process()
    cached.write_bytes(CONTENT)
    assert AssetStore(settings).path(asset) == cached


def test_later_processes_do_not_read_a_file_again(
    cached: Path, asset: Asset, settings: Settings, reads: list[Path], new_process: Callable[[], None]
) -> None:
    for _ in range(3):
        new_process()
        AssetStore(settings).path(asset)
    assert reads == [cached]


def test_a_file_in_the_asset_path_is_read_once(
    asset: Asset, tmp_path: Path, reads: list[Path], new_process: Callable[[], None]
) -> None:
    file = tmp_path / "mine" / asset.sha256 / asset.file
    file.parent.mkdir(parents=True)
    overwrite_with_zeros(file)
    settings = Settings(cache=tmp_path / "cache", asset_path=(tmp_path / "mine",), offline=True)
    for _ in range(2):
        new_process()
        with pytest.raises(AssetCorruptError, match="does not match the SHA-256 in its name"):
            AssetStore(settings).path(asset)
    file.write_bytes(CONTENT)
    for _ in range(2):
        new_process()
        assert AssetStore(settings).path(asset) == file
    assert [reads.count(file), len(set(reads))] == [2, 1]


def test_an_unwritable_digest_cache_is_not_an_error(cached: Path, asset: Asset, settings: Settings) -> None:
    (settings.cache / asset_digests.FILE).mkdir()
    assert AssetStore(settings).path(asset) == cached
    overwrite_with_zeros(cached)
    assert AssetStore(settings).find(asset) is None
    assert sorted(path.name for path in settings.cache.iterdir()) == ["assets", asset_digests.FILE]


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"a": 1}', '{"a": ["b", "c"]}', "\x00"])
def test_an_unreadable_digest_cache_is_created_again(
    content: str, cached: Path, settings: Settings, new_process: Callable[[], None]
) -> None:
    table = settings.cache / asset_digests.FILE
    table.write_text(content)
    assert Digests(settings.cache).sha256(cached) == hashlib.sha256(CONTENT).hexdigest()
    new_process()
    assert Digests(settings.cache).sha256(cached) == hashlib.sha256(CONTENT).hexdigest()
    assert str(cached) in table.read_text()


def test_a_bundle_has_one_writer(cached: Path, asset: Asset, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    store = AssetStore(settings)
    with (
        OutputLock(folder, purpose="another pull"),
        pytest.raises(OutputLockedError, match=rf"process {os.getpid()} \(another pull"),
    ):
        store.bundle([asset], folder)
    assert not folder.exists()
    assert store.bundle([asset], folder)[0].read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == sorted([asset.sha256, "MANIFEST.json"])


BUNDLE = """
import hashlib, sys
from pathlib import Path
from umekomi.assets.store import AssetStore
from umekomi.catalog import Asset
from umekomi.settings import Settings

cache, folder = map(Path, sys.argv[1:])
assets = []
for number in range(40):
    content = bytes([number]) * 3_000_000
    digest = hashlib.sha256(content).hexdigest()
    path = cache / "assets" / digest / "model.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assets.append(Asset(f"tiny{number}", "model.bin", digest, len(content), "MIT", "a test", ()))
print("begin", flush=True)
AssetStore(Settings(cache=cache, offline=True)).bundle(assets, folder)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_pull_leaves_only_complete_files_and_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    command = [sys.executable, "-c", BUNDLE, str(tmp_path / "cache"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None and len(list(folder.glob("*/model.bin"))) < 3:
            time.sleep(0.001)
        process.kill()
    files = list(folder.glob("*/model.bin"))
    assert files
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.parent.name
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    assert len(list(folder.glob("*/model.bin"))) == 40
    assert (folder / "MANIFEST.json").is_file()
    assert not (folder / ".fetching").exists()
    assert not list(tmp_path.glob(".*.lock"))
