"""Tests of the line that shows what a command is doing, and of Ctrl-C."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pytest

from umekomi import Embedder
from umekomi.cli import main
from umekomi.cli.main import COMMANDS
from umekomi.cli.output import create_bar, echo, echo_err
from umekomi.cli.status_line import status_line
from umekomi.data.embedded_file import Space, write_embedded


def embedded(folder: Path, fake: Embedder, n: int) -> Path:
    vectors = np.random.default_rng(0).normal(size=(n, fake.dims)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    records = pa.table({"text": [f"text {row}" for row in range(n)]})
    path = folder / "e.parquet"
    write_embedded(path, vectors, records, Space(fake.model, fake.fingerprint, fake.dims, "document"))
    return path


def on_a_terminal(folder: Path, *arguments: str, interrupt_at: bytes = b"") -> tuple[int, bytes]:
    """Return the exit status, and what a terminal receives from standard error.

    Ctrl-C is sent when the terminal has shown ``interrupt_at``. It is repeated every few seconds, because ctypes ignores
    exceptions in callbacks, so that a signal during a callback has no effect.
    """
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    command = [sys.executable, "-m", "umekomi", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    received, interrupted = b"", 0.0
    while True:
        try:
            more = os.read(leader, 1024)
        except OSError:  # Linux reports a closed terminal as an error
            break
        if not more:
            break
        received += more
        if (
            interrupt_at
            and interrupt_at in (received if not interrupted else more)
            and time.monotonic() - interrupted > 5
        ):
            time.sleep(0.5)
            interrupted = time.monotonic()
            process.send_signal(signal.SIGINT)
    os.close(leader)
    return process.wait(), received


def test_a_long_layout_shows_the_elapsed_time_and_ctrl_c_prints_one_line(fake: Embedder, tmp_path: Path) -> None:
    embedded(tmp_path, fake, 5000)
    status, received = on_a_terminal(
        tmp_path, "map", "e.parquet", "-o", "m.html", "--method", "tsne", interrupt_at="Laying out … 0:".encode()
    )
    assert status == 130
    assert received.endswith(b"\r\x1b[K\r\nInterrupted.\r\n"), received
    assert received.count(b"Interrupted") == 1
    assert not (tmp_path / "m.html").exists()


def start_and_wait_for(label: bytes, program: str, folder: Path, *arguments: str) -> tuple[int, bytes]:
    """Return the exit status of a program, and what a terminal receives from standard error.

    The program waits for a line of standard input, which it receives when the terminal has shown ``label``.
    """
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", f"{program}\nfrom umekomi.cli.main import main; main()", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    assert process.stdin is not None
    received = b""
    is_waiting = True
    while True:
        if not select.select([leader], [], [], 120)[0]:
            process.kill()
            break
        try:
            received += os.read(leader, 1024)
        except OSError:  # Linux reports a closed terminal as an error
            break
        if is_waiting and label in received:
            is_waiting = False
            process.stdin.write(b"\n")
            process.stdin.flush()
    os.close(leader)
    process.stdin.close()
    return process.wait(), received


WAIT_FOR_NUMPY = """
import sys
class Wait:
    def find_spec(self, name, path, target=None):
        if name == "numpy":
            sys.meta_path.remove(self)
            sys.stdin.readline()
sys.meta_path.insert(0, Wait())
"""
WAIT_FOR_MODEL = """
import sys
import umekomi.embedder
load_model = umekomi.embedder.load_model
umekomi.embedder.load_model = lambda *arguments: sys.stdin.readline() and load_model(*arguments)
"""


def test_a_command_is_named_before_its_libraries_are_imported(fake: Embedder, tmp_path: Path) -> None:
    embedded(tmp_path, fake, 10)
    status, received = start_and_wait_for(
        "umekomi recommend … 0:0".encode(), WAIT_FOR_NUMPY, tmp_path, "recommend", "e.parquet", "0"
    )
    assert status == 0
    assert b"\r\x1b[KSimilar to row 0" in received


def test_a_model_is_named_before_it_is_loaded(fake: Embedder, tmp_path: Path) -> None:
    embedded(tmp_path, fake, 10)
    status, received = start_and_wait_for(
        "Loading umekomi-fake … 0:0".encode(), WAIT_FOR_MODEL, tmp_path, "search", "e.parquet", "text 3"
    )
    assert status == 0
    assert received.endswith(b"\r\x1b[K")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_is_shown_before_the_module_of_a_command_is_imported(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @contextmanager
    def step(label: str, *, until_result: bool = False) -> Iterator[None]:
        events.append(label)
        yield
        events.append("end")

    def import_module(module: str, package: str | None = None) -> NoReturn:
        events.append("import")
        raise SystemExit(0)

    monkeypatch.setattr(main.status_line, "step", step)
    monkeypatch.setattr(main.importlib, "import_module", import_module)
    assert main.run([name]) == 0
    assert events == [f"umekomi {name}", "import"]


class Terminal(io.StringIO):
    """A stream that notifies others of writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)

    def wait_for_line(self) -> str:
        assert self.written.wait(30)
        with status_line.hidden():
            self.written.clear()
        return self.getvalue()


def test_other_output_erases_the_line_which_appears_again_below_it() -> None:
    terminal = Terminal()
    with redirect_stderr(terminal), status_line.step("Working"):
        terminal.wait_for_line()
        echo_err("a message")
        terminal.written.clear()
        lines = terminal.wait_for_line()
    assert re.fullmatch(
        r"(\rWorking … 0:\d\d \x1b\[K)+\r\x1b\[Ka message\n(\rWorking … 0:\d\d \x1b\[K)+\r\x1b\[K", lines
    )


def test_the_line_ends_with_the_first_result_because_a_pager_may_show_it() -> None:
    terminal = Terminal()
    with redirect_stderr(terminal), status_line.step("umekomi search", until_result=True):
        terminal.wait_for_line()
        echo("a result")
        with status_line.step("Drawing"):
            terminal.written.clear()
            assert "Drawing" in terminal.wait_for_line()
        before = terminal.getvalue()
        terminal.written.clear()
        assert not terminal.written.wait(1)
    assert "umekomi search" not in before[before.index("Drawing") :]


def test_a_progress_bar_replaces_the_line_until_it_is_complete() -> None:
    terminal = Terminal()
    with redirect_stderr(terminal), status_line.step("Embedding"), create_bar(2) as bar:
        terminal.wait_for_line()
        bar.refresh()
        terminal.written.clear()
        # Several times as long as the pause between two updates of the line.
        assert not terminal.written.wait(1)
        assert "0/2" in terminal.getvalue()
        bar.update(2)
        bar.refresh()
        shown = len(terminal.getvalue())
        terminal.written.clear()
        terminal.wait_for_line()
        assert "Embedding" in terminal.getvalue()[shown:]
    assert "2/2" in terminal.getvalue().rpartition("\x1b[K")[2]


@pytest.mark.parametrize("stage", [b"Reading", b"Embedding:", b"Learning:"])
def test_ctrl_c_while_customizing_writes_nothing(stage: bytes, tmp_path: Path) -> None:
    source = tmp_path / "pairs.csv"
    words = ["coffee", "tea", "juice", "milk"]
    lines = [
        f"{words[n % 4]} {n} {n * 7},{words[n // 4 % 4]} {n * 3},{int(n % 4 == n // 4 % 4)}" for n in range(20_000)
    ]
    source.write_text("\n".join(["a,b,label", *lines]), "utf-8")
    columns = ["-a", "a", "-b", "b", "--label", "label"]
    status, received = on_a_terminal(
        tmp_path, "customize", "pairs.csv", *columns, "-m", "umekomi-fake", "-o", "my.safetensors", interrupt_at=stage
    )
    assert status == 130
    assert "Reading pairs.csv …\r\n".encode() in received
    assert received.endswith(b"Interrupted.\r\n"), received
    assert received.count(b"Interrupted") == 1
    assert list(tmp_path.iterdir()) == [source]


def test_there_is_no_line_if_standard_error_is_not_a_terminal(fake: Embedder, tmp_path: Path) -> None:
    embedded(tmp_path, fake, 500)
    command = [sys.executable, "-m", "umekomi", "cluster", "e.parquet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\r" not in done.stderr
    assert "silhouette by k" in done.stderr
