"""A folder in an object store has one writer. fsspec's memory file system represents the object store."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from umekomi.errors import InputError, OutputLockedError, UmekomiError
from umekomi.files import filesystem_lock
from umekomi.files.filesystem import atomic_stream, claim_output_folder, open_filesystem, put_text, read_json
from umekomi.files.filesystem_lock import STALE_S, locked_folder


@pytest.fixture
def folder() -> tuple[pafs.FileSystem, str]:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.rm("/locked", recursive=True) if memory.exists("/locked") else None
    return open_filesystem("memory://locked/out")


def locks(system: pafs.FileSystem, path: str) -> list[str]:
    return [row.path for row in system.get_file_info(pafs.FileSelector(f"{path}/_lock", allow_not_found=True))]


def test_a_second_writer_is_rejected_with_the_process_id_of_the_first(folder: tuple[pafs.FileSystem, str]) -> None:
    with locked_folder(*folder, purpose="one"):
        for _ in range(2):
            with (
                pytest.raises(OutputLockedError, match=f"process {os.getpid()} on .* .one, since 20"),
                locked_folder(*folder, purpose="two"),
            ):
                pass
        assert len(locks(*folder)) == 1
    assert locks(*folder) == []


def leave_lock(system: pafs.FileSystem, path: str, pid: int, host: str) -> None:
    system.create_dir(f"{path}/_lock", recursive=True)
    put_text(system, f"{path}/_lock/other.json", json.dumps({"pid": pid, "host": host, "renewed": time.time()}))


def test_the_lock_of_an_ended_process_on_this_machine_is_released(folder: tuple[pafs.FileSystem, str]) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave_lock(*folder, ended.pid, socket.gethostname())
    with locked_folder(*folder, purpose="next"):
        assert len(locks(*folder)) == 1


def test_the_lock_of_another_machine_is_released_when_it_is_not_renewed(
    folder: tuple[pafs.FileSystem, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_lock(*folder, 1, "another-machine")
    with pytest.raises(OutputLockedError, match="process 1 on another-machine"), locked_folder(*folder, purpose="next"):
        pass
    monkeypatch.setattr(filesystem_lock, "STALE_S", -1.0)
    with locked_folder(*folder, purpose="next"):
        assert [path for path in locks(*folder) if path.endswith("other.json")] == []
    assert STALE_S > 4 * filesystem_lock.RENEW_INTERVAL_S


def test_a_writer_that_lost_its_lock_stops(
    folder: tuple[pafs.FileSystem, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem_lock, "RENEW_INTERVAL_S", 0.01)
    system, path = folder
    with locked_folder(system, path, purpose="one") as check:
        check()
        (own_lock,) = locks(system, path)
        before = read_json(system, own_lock)
        deadline = time.monotonic() + 20
        while read_json(system, own_lock) in (before, None) and time.monotonic() < deadline:
            time.sleep(0.01)
        renewed = read_json(system, own_lock)
        assert renewed is not None
        assert before is not None
        assert renewed["renewed"] > before["renewed"]
        system.delete_file(own_lock)
        # The thread may have written the lock again, so it is deleted repeatedly.
        while time.monotonic() < deadline:
            time.sleep(0.02)
            for leftover in locks(system, path):
                system.delete_file(leftover)
            try:
                check()
            except UmekomiError:
                break
        with pytest.raises(UmekomiError, match="taken over"):
            check()


def test_a_remote_folder_with_other_files_is_not_claimed(folder: tuple[pafs.FileSystem, str]) -> None:
    system, path = folder
    claim_output_folder(system, path, content="shards")
    claim_output_folder(system, path, content="shards")
    with pytest.raises(InputError, match="already contains shards"):
        claim_output_folder(system, path, content="something else")
    system.create_dir("/locked/mine", recursive=True)
    put_text(system, "/locked/mine/data.txt", "mine")
    with pytest.raises(InputError, match="not created by Umekomi"):
        claim_output_folder(system, "/locked/mine", content="shards")


def test_an_error_during_a_remote_write_leaves_no_file(folder: tuple[pafs.FileSystem, str]) -> None:
    system, path = folder

    def fail() -> None:
        with atomic_stream(system, f"{path}/part.parquet") as stream:
            stream.write(b"half")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert system.get_file_info(f"{path}/part.parquet").type is pafs.FileType.NotFound


def test_the_lock_of_a_local_folder_is_a_file_in_it(tmp_path: Path) -> None:
    system, path = open_filesystem(str(tmp_path))
    with locked_folder(system, path, purpose="one"):
        with pytest.raises(OutputLockedError), locked_folder(system, path, purpose="two"):
            pass
        assert [child.name for child in tmp_path.iterdir()] == [".umekomi.lock"]
    assert list(tmp_path.iterdir()) == []
