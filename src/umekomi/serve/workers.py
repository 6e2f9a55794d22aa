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
from typing import Any

from ..errors import UmekomiError

_POLL = 0.1
_SHORT_LIFE = 10.0
_MOST_SHORT_LIVES = 3
_GRACE = 10.0


class _Worker:
    """One process, and the first line that it prints."""

    def __init__(
        self, command: Sequence[str], options: str, environment: Mapping[str, str], fds: Sequence[int]
    ) -> None:
        self.began = time.monotonic()
        self.ready: dict[str, Any] | None = None
        # A group of its own: Ctrl-C in a terminal reaches the parent alone, which stops the workers in its own way.
        self.process = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=fds,
            process_group=0,
        )
        threading.Thread(target=self._talk, args=(options,), name="umekomi-worker", daemon=True).start()

    def _talk(self, options: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - both are pipes
        assert self.process.stdout is not None  # noqa: S101
        with suppress(OSError, ValueError):
            with self.process.stdin as pipe:
                pipe.write(options)
            for line in self.process.stdout:
                self.ready = self.ready or json.loads(line)

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


class Workers:
    """Processes of one command, each of which reads its options from standard input and prints a line of JSON when it is ready.

    Args:
        command: The command of each process.
        options: What each process reads.
        count: The number of processes.
        environment: Additional environment variables.
        drain: Seconds that a process may take to stop.
        report: Callback that receives one line about each event.
        pass_fds: File descriptors that the processes inherit.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        options: str,
        count: int,
        environment: Mapping[str, str],
        drain: float,
        report: Callable[[str], None],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._command = list(command)
        self._options = options
        self._count = count
        self._environment = {**os.environ, **environment}
        self._drain = drain
        self._report = report
        self._pass_fds = tuple(pass_fds)
        self._is_stopping = False
        self._workers: list[_Worker] = []

    def stop(self) -> None:
        """Make :meth:`run` stop all processes and return. Called by signal handlers."""
        self._is_stopping = True

    def kill(self) -> None:
        """Kill all processes at once. Called by signal handlers."""
        for worker in self._workers:
            worker.signal(signal.SIGKILL)

    def reload(self) -> None:
        """Pass SIGHUP on to all processes. Called by signal handlers."""
        for worker in self._workers:
            # Before it is ready a process may not handle the signal yet, and reads the newest files anyway.
            if worker.ready is not None:
                worker.signal(signal.SIGHUP)

    def run(self, on_ready: Callable[[dict[str, Any]], None]) -> None:
        """Start all processes and start those again that end, until :meth:`stop` is called; then stop all.

        Args:
            on_ready: Called once, when all processes are ready, with what one of them printed.

        Raises:
            UmekomiError: A process ended before it was ready, or processes end again and again.
        """
        try:
            for _ in range(self._count):
                if not self._is_stopping:
                    self._workers.append(self._start())
            self._watch(on_ready)
        finally:
            self._stop_all()

    def _watch(self, on_ready: Callable[[dict[str, Any]], None]) -> None:
        were_ready = False
        short_lives = 0
        while not self._is_stopping:
            if not were_ready and all(worker.ready for worker in self._workers):
                were_ready = True
                on_ready(self._workers[-1].ready or {})
            for index, worker in enumerate(self._workers):
                if worker.process.poll() is None or self._is_stopping:
                    continue
                if not were_ready:
                    raise UmekomiError("A worker ended before it was ready; its own message says why.")
                short_lives = short_lives + 1 if time.monotonic() - worker.began < _SHORT_LIFE else 0
                if short_lives >= _MOST_SHORT_LIVES:
                    raise UmekomiError("The workers end as soon as they are started; their own messages say why.")
                self._report(
                    f"Worker {worker.process.pid} ended with status {worker.process.returncode}; another is started."
                )
                self._workers[index] = self._start()
            time.sleep(_POLL)

    def _start(self) -> _Worker:
        return _Worker(self._command, self._options, self._environment, self._pass_fds)

    def _stop_all(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        end = time.monotonic() + self._drain + _GRACE
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, end - time.monotonic()))
            worker.signal(signal.SIGKILL)
            worker.process.wait()


def stop_with_parent(parent: int) -> None:
    """Stop this process, gently, when its parent no longer exists (was killed, say)."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="umekomi-parent", daemon=True).start()
