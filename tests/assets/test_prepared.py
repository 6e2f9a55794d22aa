"""Files that are derived from assets: stored once, never incomplete, and deleted only if Umekomi created them."""

import os
from pathlib import Path

import pytest

from umekomi.assets import prepared
from umekomi.assets.prepared import PreparedFiles
from umekomi.settings import Settings


def test_files_are_found_under_their_key_only(tmp_path: Path) -> None:
    files = PreparedFiles(Settings(cache=tmp_path))
    assert files.find(["model", 1]) is None
    folder = files.store(["model", 1], lambda folder: (folder / "a").write_text("x") and None)
    assert folder is not None
    assert files.find(["model", 1]) == folder
    assert (folder / "a").read_text() == "x"
    assert files.find(["model", 2]) is None
    files.discard(["model", 1])
    assert files.find(["model", 1]) is None


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise OSError(28, "No space left on device")

    files = PreparedFiles(Settings(cache=tmp_path))
    assert files.store("key", fail) is None
    assert files.find("key") is None
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == [".umekomi.json"]


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    files = PreparedFiles(Settings(cache=tmp_path))

    def write(folder: Path) -> None:
        files.store("key", lambda other: (other / "a").write_text("first") and None)
        (folder / "a").write_text("second")

    folder = files.store("key", write)
    assert folder is not None
    assert (folder / "a").read_text() == "first"


def test_the_folders_unused_for_the_longest_time_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "MAX_FOLDERS", 2)
    files = PreparedFiles(Settings(cache=tmp_path))
    for age, key in enumerate(["new", "used", "old"]):
        folder = files.store(key, lambda folder: None)
        assert folder is not None
        os.utime(folder, (1e9 - age, 1e9 - age))
        monkeypatch.setattr(prepared, "MAX_FOLDERS", 3)
    monkeypatch.setattr(prepared, "MAX_FOLDERS", 2)
    assert files.find("old") is not None  # used now
    files.store("newest", lambda folder: None)
    assert [files.find(key) is not None for key in ("new", "used", "old", "newest")] == [False, False, True, True]


def test_a_cache_that_cannot_be_written_stores_nothing(tmp_path: Path) -> None:
    (tmp_path / "prepared").write_text("a file")
    assert PreparedFiles(Settings(cache=tmp_path)).store("key", lambda folder: None) is None
    assert PreparedFiles(Settings(cache=tmp_path)).clean() == 0


def test_clean_deletes_only_what_umekomi_created(tmp_path: Path) -> None:
    files = PreparedFiles(Settings(cache=tmp_path))
    files.store("key", lambda folder: (folder / "a").write_bytes(b"12345") and None)
    assert files.clean() >= 5
    assert not (tmp_path / "prepared").exists()
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "mine").write_text("x")
    assert files.clean() == 0
    assert files.store("key", lambda folder: None) is None
    assert (tmp_path / "prepared" / "mine").exists()


def test_nothing_is_stored_or_found_if_it_is_disabled(tmp_path: Path) -> None:
    PreparedFiles(Settings(cache=tmp_path)).store("key", lambda folder: None)
    files = PreparedFiles(Settings(cache=tmp_path, prepare=False))
    assert files.find("key") is None
    assert files.store("other", lambda folder: None) is None


def test_a_value_is_built_once_and_again_if_its_files_are_damaged(tmp_path: Path) -> None:
    built: list[int] = []

    def build() -> int:
        built.append(7)
        return 7

    def load() -> int:
        return PreparedFiles(Settings(cache=tmp_path)).load(
            "key",
            read=lambda folder: int((folder / "number").read_text()),
            build=build,
            write=lambda number, folder: (folder / "number").write_text(str(number)) and None,
        )

    assert [load(), load()] == [7, 7]
    assert len(built) == 1
    folder = PreparedFiles(Settings(cache=tmp_path)).find("key")
    assert folder is not None
    (folder / "number").write_text("seven")
    assert [load(), load()] == [7, 7]
    assert len(built) == 2
