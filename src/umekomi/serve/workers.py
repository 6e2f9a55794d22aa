"""Several servers behind one port: processes that are started, watched, started again and stopped together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from ..errors import UmekomiError

_POLL = 0.2
_SHORT_LIFE = 10.0
_MOST_SHORT_LIVES = 3
_GRACE = 10.0


class Workers:
    """Processes of one command, each of which prints a line of JSON when it is ready.

    Args:
        command: what each process runs.
        count: how many.
        environment: what they find in the environment, beside what is there.
        drain: seconds that one may take to stop.
        hand_down: descriptors of files that they find open under the same numbers.
        report: told of what happens, in one line.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        count: int,
        environment: Mapping[str, str],
        drain: float,
        report: Callable[[str], None],
        hand_down: Sequence[int] = (),
    ) -> None:
        self._command = list(command)
        self._count = count
        self._environment = {**os.environ, **environment}
        self._drain = drain
        self._report = report
        self._hand_down = tuple(hand_down)
        self._stopping = threading.Event()
        self._processes: list[tuple[subprocess.Popen[str], float]] = []

    def start(self) -> dict[str, Any]:
        """Start all, wait until they are ready, and give what the last one printed.

        Raises:
            UmekomiError: one ended before it was ready; the others are stopped.
        """
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, self._told_to_stop)
        self._processes = [self._begin() for _ in range(self._count)]
        lines = [_first_line(process) for process, _ in self._processes]
        if not all(lines):
            self._stop()
            raise UmekomiError("A worker ended before it was ready; its own message says why.")
        ready: dict[str, Any] = json.loads(lines[-1])
        return ready

    def watch(self) -> None:
        """Start those again that end, until this process is told to stop; then stop all.

        Raises:
            UmekomiError: one ends again and again.
        """
        short_lives = 0
        while not self._stopping.wait(_POLL):
            for place, (process, began) in enumerate(self._processes):
                if process.poll() is None:
                    continue
                short_lives = short_lives + 1 if time.monotonic() - began < _SHORT_LIFE else 0
                if short_lives >= _MOST_SHORT_LIVES:
                    self._stop()
                    raise UmekomiError("The workers end as soon as they are started; their own messages say why.")
                self._report(f"Worker {process.pid} ended with status {process.returncode}; another is started.")
                self._processes[place] = self._begin()
                _first_line(self._processes[place][0])
        # Ctrl-C reaches the workers too. What reached this process alone must be passed on, but not at the same instant.
        time.sleep(_POLL)
        self._stop()

    def _begin(self) -> tuple[subprocess.Popen[str], float]:
        process = subprocess.Popen(  # noqa: S603
            self._command, env=self._environment, stdout=subprocess.PIPE, text=True, pass_fds=self._hand_down
        )
        return process, time.monotonic()

    def _stop(self) -> None:
        for process, _ in self._processes:
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + self._drain + _GRACE
        for process, _ in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            if process.poll() is None:
                process.kill()

    def _told_to_stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping.set()


def end_with(parent: int) -> None:
    """Stop this process, gently, when its parent is no more (killed, say)."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="umekomi-parent", daemon=True).start()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    return process.stdout.readline()
