"""Every error is printed as one sentence with an exit status, without a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from umekomi.cli.main import root, run


def umekomi(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    settings: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    command = [sys.executable, "-m", "umekomi", *arguments]
    return subprocess.run(command, check=False, **(settings | options))  # type: ignore[call-overload,no-any-return]


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(root, "main", fail)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyError("x"), 70, "Unexpected error in Umekomi .*KeyError: 'x'.*UMEKOMI_DEBUG=1.*report"),
        (RecursionError("maximum recursion depth exceeded"), 70, "Unexpected error .*RecursionError"),
        (MemoryError(), 70, "Not enough memory"),
        (PermissionError(13, "Permission denied", "/secret"), 2, r"Error: /secret: Permission denied\."),
        (IsADirectoryError(21, "Is a directory", "folder"), 2, r"Error: folder: Is a directory\."),
        (OSError(36, "File name too long", "a" * 5000), 2, r"File name too long\."),
        (OSError(28, "No space left on device"), 2, r"reported an error: No space left on device\."),
        (RuntimeError("Could not determine home directory."), 2, "home directory"),
        (ModuleNotFoundError("No module named 'pymilvus'", name="pymilvus"), 2, r"umekomi\[milvus\]"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (SystemExit(3), 3, ""),
    ],
)
def test_an_error_prints_one_sentence_and_sets_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, message: str
) -> None:
    fails_with(monkeypatch, error)
    monkeypatch.delenv("UMEKOMI_DEBUG", raising=False)
    assert run(["tokens", "x"]) == status
    text = capsys.readouterr().err
    assert len(text.splitlines()) == (1 if message else 0)
    assert len(text) < 1000
    if message:
        assert re.search(message, text)


def test_a_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(monkeypatch, KeyError("x"))
    monkeypatch.setenv("UMEKOMI_DEBUG", "1")
    assert run(["tokens", "x"]) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["serch"], "'search'"),
        (["embd"], "'embed'"),
        (["store", "serch"], "'search'"),
        (["models", "lst"], "'list'"),
        (["search", "a", "b", "--wher", "x"], "'--where'"),
    ],
)
def test_a_misspelled_name_is_suggested(
    arguments: list[str], suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert "Did you mean" in capsys.readouterr().err.splitlines()[-1].replace("(", "")
    assert run(arguments) == 2
    assert suggestion in capsys.readouterr().err


def test_an_argument_with_a_nul_character_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tokens", "a\0b"]) == 2
    assert capsys.readouterr().err == "Error: An argument contains a NUL character. Remove it.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments", [("tokens", "-m", "umekomi-fake", "x"), ("--help",), ("models", "list", "--json")]
)
def test_the_command_fails_if_its_result_cannot_be_written(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = umekomi(*arguments, stdout=full)
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_the_command_succeeds_if_its_reader_exits_early() -> None:
    read, write = os.pipe()
    os.close(read)
    done = umekomi("models", "list", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("redirection", [">&-", "2>/dev/full", "<&- >&- 2>&-", "<&- 2>&-"])
def test_closed_streams_do_not_cause_a_traceback(tmp_path: Path, redirection: str) -> None:
    (tmp_path / "a.csv").write_text("text\ntea\n")
    command = f"{sys.executable} -m umekomi embed a.csv -o a.parquet -m umekomi-fake {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == (2 if " >&-" in f" {redirection}" else 0)
    assert b"Traceback" not in done.stderr
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 1


def test_characters_outside_the_encoding_of_a_stream_are_escaped(tmp_path: Path) -> None:
    encoding = "cp1252"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    (tmp_path / "a.csv").write_text("text\n旨い珈琲 🍵\n", "utf-8")
    embedded = tmp_path / "旨い.parquet"
    done = umekomi("embed", "a.csv", "-o", str(embedded), "-m", "umekomi-fake", cwd=tmp_path, env=environment)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    done = umekomi("search", str(embedded), "旨い", "--json", env=environment)
    assert json.loads(done.stdout.decode(encoding))["hits"][0]["record"]["text"] == "旨い珈琲 🍵"
    done = umekomi("search", str(embedded), "旨い", env=environment)
    assert rb"\u65e8\u3044" in done.stdout
    done = umekomi("search", "無い.parquet", "旨い", env=environment)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_a_deleted_current_folder_is_an_error_with_a_reason(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"rmdir {gone}; exec {sys.executable} -m umekomi code search tea"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=gone, check=False)
    assert done.returncode == 2
    assert b"current folder no longer exists" in done.stderr
