"""A server process on 127.0.0.1 that tests can kill and start again."""

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

_MAX_STARTS = 12


@dataclass
class Server:
    """A server process."""

    #: URL below which its collections are, such as ``redis://127.0.0.1:6400``.
    url: str
    #: Command that starts the server.
    command: Sequence[str]
    #: Returns whether the server responds.
    responds: Callable[[], bool]
    #: File for the output of the server.
    log: Path
    #: Environment variables of the process, in addition to those of the tests.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: The process while the server runs.
    process: subprocess.Popen[bytes] | None = None
    #: How long the server may take to start, in seconds.
    start_timeout_s: float = 60.0

    def start(self) -> None:
        """Start the server and wait until it responds."""
        self._launch()
        deadline = time.monotonic() + self.start_timeout_s
        remaining_starts = _MAX_STARTS
        while not self.responds():
            has_ended = self.process is None or self.process.poll() is not None
            if has_ended and remaining_starts:
                # After a kill, the child processes of some servers need a moment to end.
                remaining_starts -= 1
                time.sleep(0.25)
                self._launch()
            elif has_ended or time.monotonic() > deadline:
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
        """Kill the server and its child processes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Return whether a server accepts connections on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def find_binary(variable: str, description: str) -> Path:
    """Return the path in an environment variable, or skip the test."""
    path = os.environ.get(variable, "")
    if not path or not Path(path).exists():
        unavailable(f"{description} is not installed. .ci/needs installs it and sets {variable}.")
    return Path(path)
