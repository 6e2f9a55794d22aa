"""What all the real servers have in common: a process on this machine's own address that can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import unavailable

_TRIES = 12


@dataclass
class Server:
    """A running server.

    Args:
        url: where its collections are, as ``redis://127.0.0.1:6400``.
        command: what starts it.
        answers: whether it serves.
        log: the file that its output goes to.
    """

    url: str
    command: Sequence[str]
    answers: Callable[[], bool]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    start_s: float = 60.0

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._launch()
        until = time.monotonic() + self.start_s
        tries = _TRIES
        while not self.answers():
            ended = self.process is None or self.process.poll() is not None
            if ended and tries:
                # After a kill the children of some servers need a moment to go.
                tries -= 1
                time.sleep(0.25)
                self._launch()
            elif ended or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"{self.command[0]} did not start: {self.log.read_text(errors='replace')[-800:]}")
            time.sleep(0.05)

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it, and what it started, as a power cut would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def binary(variable: str, what: str) -> Path:
    """The file or folder that a variable of the environment names; else the test says what is missing."""
    path = os.environ.get(variable, "")
    if not path or not Path(path).exists():
        unavailable(f"{what} is not here: .ci/needs installs it and sets {variable}")
    return Path(path)
