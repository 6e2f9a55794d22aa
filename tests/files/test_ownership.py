"""An output has one writer, and Umekomi deletes only what it created."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from umekomi.errors import InputError, OutputLockedError
from umekomi.files.ownership import MARKER, OutputLock, claim_folder, folder_content, remove_folder

HOLD = """
import sys, time
from pathlib import Path
from umekomi.files.ownership import OutputLock
with OutputLock(Path(sys.argv[1]), purpose="a test"):
    print("locked", flush=True)
    time.sleep(60)
"""


def start_holder(output: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(output)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_process_is_rejected_with_the_process_id_of_the_first(tmp_path: Path) -> None:
    with start_holder(tmp_path / "out.parquet") as process:
        with pytest.raises(OutputLockedError, match=f"process {process.pid} .a test, since 20"):
            OutputLock(tmp_path / "out.parquet", purpose="another").acquire()
        process.kill()


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    with start_holder(tmp_path / "out.parquet") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with OutputLock(tmp_path / "out.parquet", purpose="the next"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_and_its_target_share_a_lock(tmp_path: Path) -> None:
    (tmp_path / "link.parquet").symlink_to(tmp_path / "out.parquet")
    with OutputLock(tmp_path / "out.parquet", purpose="a test"), pytest.raises(OutputLockedError):
        OutputLock(tmp_path / "link.parquet", purpose="a test").acquire()


def test_a_lock_can_be_acquired_again_after_its_release(tmp_path: Path) -> None:
    for _ in range(3):
        with OutputLock(tmp_path / "out", purpose="a test"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_only_one_of_several_processes_holds_a_lock_at_a_time(tmp_path: Path) -> None:
    code = """
import os, sys, time
from pathlib import Path
from umekomi.errors import OutputLockedError
from umekomi.files.ownership import OutputLock
folder, turns = Path(sys.argv[1]), 0
while turns < 50:
    try:
        with OutputLock(folder / "out", purpose="a test"):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
            os.unlink(folder / "inside")
            turns += 1
    except OutputLockedError:
        time.sleep(0.0005)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]


def test_a_folder_that_another_process_is_claiming_can_be_claimed(tmp_path: Path) -> None:
    # The other process has written its marker, but not yet renamed it.
    (tmp_path / f"{MARKER}.4711.tmp").write_text("{}")
    claim_folder(tmp_path, content="embedding shards")
    assert folder_content(tmp_path) == "embedding shards"


def test_claiming_a_new_folder_twice_has_no_further_effect(tmp_path: Path) -> None:
    claim_folder(tmp_path / "a" / "b", content="shards")
    claim_folder(tmp_path / "a" / "b", content="shards")
    assert folder_content(tmp_path / "a" / "b") == "shards"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [MARKER]


def test_a_folder_with_other_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="not created by Umekomi"):
        claim_folder(tmp_path, content="shards")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_with_other_content_is_rejected(tmp_path: Path) -> None:
    claim_folder(tmp_path / "a", content="shards")
    with pytest.raises(InputError, match="already contains shards"):
        claim_folder(tmp_path / "a", content="a code index")


@pytest.mark.parametrize("marker", ["", "[]", '{"created_by": "me"}', "\xff"])
def test_a_folder_without_a_valid_marker_is_not_deleted(tmp_path: Path, marker: str) -> None:
    (tmp_path / MARKER).write_text(marker, "latin-1")
    with pytest.raises(InputError, match="was not created by Umekomi"):
        remove_folder(tmp_path, content="shards")
    assert tmp_path.is_dir()


def test_other_files_in_a_folder_are_not_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    claim_folder(folder, content="shards")
    (folder / "1.parquet").write_text("x")
    (folder / "mine.txt").write_text("x")
    assert remove_folder(folder, content="shards", names=["*.parquet"]) == ["mine.txt"]
    assert (folder / "mine.txt").is_file()
    (folder / "mine.txt").unlink()
    assert remove_folder(folder, content="shards", names=["*.parquet"]) == []
    assert not folder.exists()
