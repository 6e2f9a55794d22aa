"""Tests of the spinner that is shown while the amount of work is unknown, and of Ctrl-C."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from umekomi import Embedder
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


def test_there_is_no_spinner_if_standard_error_is_not_a_terminal(fake: Embedder, tmp_path: Path) -> None:
    embedded(tmp_path, fake, 500)
    command = [sys.executable, "-m", "umekomi", "cluster", "e.parquet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\r" not in done.stderr
    assert "silhouette by k" in done.stderr
