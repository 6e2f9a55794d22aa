"""What a command shows on a terminal while it has no count of its work, and what Ctrl-C does to it."""

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
    """The exit status, and what came to a terminal on standard error; Ctrl-C when it has shown ``interrupt_at``.

    Again after some seconds in which it still shows that: what calls Python back from C loses an interruption (ctypes says so).
    """
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "umekomi", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    seen, told = b"", 0.0
    while True:
        try:
            more = os.read(leader, 1024)
        except OSError:  # how Linux says that the other end is closed
            break
        if not more:
            break
        seen += more
        if interrupt_at and interrupt_at in (seen if not told else more) and time.monotonic() - told > 5:
            time.sleep(0.5)
            told = time.monotonic()
            process.send_signal(signal.SIGINT)
    os.close(leader)
    return process.wait(), seen


def test_a_long_layout_tells_its_time_and_ctrl_c_is_one_line(fake: Embedder, tmp_path: Path) -> None:
    embedded(tmp_path, fake, 5000)
    status, seen = on_a_terminal(
        tmp_path, "map", "e.parquet", "-o", "m.html", "--method", "tsne", interrupt_at="Laying out … 0:".encode()
    )
    assert status == 130
    assert seen.endswith(b"\r\x1b[K\r\nInterrupted.\r\n"), seen
    assert seen.count(b"Interrupted") == 1
    assert not (tmp_path / "m.html").exists()


def test_where_standard_error_is_no_terminal_there_is_no_such_line(fake: Embedder, tmp_path: Path) -> None:
    embedded(tmp_path, fake, 500)
    command = [sys.executable, "-m", "umekomi", "cluster", "e.parquet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "\r" not in done.stderr
    assert "silhouette by k" in done.stderr
