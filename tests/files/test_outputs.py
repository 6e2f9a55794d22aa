"""Outputs are written atomically, through symbolic links and with the right mode, and only to regular files."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from umekomi.errors import InputError, OutputLockedError
from umekomi.files.outputs import atomic_write, locked_output, require_suffix, resolve_output, write_text


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_an_error_keeps_the_old_file_and_removes_the_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_symbolic_links_are_kept_and_their_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target, link, second = tmp_path / "data" / "real.txt", tmp_path / "link.txt", tmp_path / "second.txt"
    link.symlink_to(target)
    second.symlink_to(link)
    for text in ("written through a dangling link", "written again"):
        write_text(second, text)
        assert target.read_text() == text
        assert (second.is_symlink(), link.is_symlink(), target.is_symlink()) == (True, True, False)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_of_a_new_file_follows_the_umask(tmp_path: Path, mask: int) -> None:
    previous = os.umask(mask)
    try:
        write_text(tmp_path / "new.txt", "x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_an_existing_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(mode)
    write_text(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is a named pipe"),
        (os.mkdir, "is a folder"),
        (make_socket, "is a socket"),
        (lambda path: path.symlink_to("/dev/null"), "is a device"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ],
)
def test_outputs_that_are_not_regular_files_are_rejected_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path("out")
    make(path)
    previous = os.lstat(path)
    with pytest.raises(InputError, match=message):
        write_text(path, "x")
    assert os.lstat(path) == previous


def test_a_missing_folder_and_a_file_used_as_folder_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"folder .*nowhere does not exist"):
        resolve_output(tmp_path / "nowhere" / "out.txt")
    with pytest.raises(InputError, match=r"out\.txt"):
        resolve_output(tmp_path / "file" / "out.txt")
    assert not (tmp_path / "nowhere").exists()


def test_file_names_up_to_the_maximum_length_are_written(tmp_path: Path) -> None:
    write_text(tmp_path / f"{'x' * 251}.txt", "x")
    with pytest.raises(InputError, match="File name too long"):
        write_text(tmp_path / f"{'x' * 252}.txt", "x")


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    """A limit on the file size represents a full disk: writing fails in the middle of the file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(InputError, match=r"big\.txt cannot be written: File too large"):
            write_text(tmp_path / "big.txt", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_an_unsupported_suffix_is_an_error_that_lists_the_supported_ones() -> None:
    require_suffix("A.PARQUET", (".parquet", ".pq"))
    for name in ("a.csv", "a", "a.parquet.gz", ".parquet"):
        with pytest.raises(InputError, match=r"must end with \.parquet or \.pq"):
            require_suffix(name, (".parquet", ".pq"))


WAIT = """
import sys, time
from umekomi.files.outputs import atomic_write, locked_output
with locked_output(sys.argv[1], purpose="test"), atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    # Short sleeps: a signal that arrives just before a sleep begins does not interrupt it.
    for _ in range(600):
        time.sleep(0.1)
"""


def start_writer(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WAIT, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_temporary_file_and_no_lock(tmp_path: Path, signal_number: signal.Signals) -> None:
    process = start_writer(tmp_path / "out.txt")
    process.send_signal(signal_number)
    process.communicate(timeout=30)
    assert process.returncode in (-signal_number, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_is_rejected_for_every_path_of_the_output(tmp_path: Path) -> None:
    path, link = tmp_path / "out.txt", tmp_path / "link.txt"
    link.symlink_to("out.txt")
    process = start_writer(path)
    try:
        for name in (path, link, tmp_path / "." / "out.txt"):
            with (
                pytest.raises(OutputLockedError, match=f"process {process.pid} .*since"),
                locked_output(name, purpose="b"),
            ):
                pass
    finally:
        process.kill()
        process.communicate()
    assert leftovers(tmp_path) != []
    with locked_output(link, purpose="b"):
        pass
    assert leftovers(tmp_path) == [], "the next writer removes the temporary file of a killed writer"


def test_threads_write_without_touching_signals(tmp_path: Path) -> None:
    previous = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: write_text(tmp_path / f"{number % 3}.txt", str(number)), range(40)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.txt", "1.txt", "2.txt"]
    assert signal.getsignal(signal.SIGTERM) is previous
