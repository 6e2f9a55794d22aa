"""Worker processes behind one port: started, monitored, restarted and stopped together."""

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

_POLL_SECONDS = 0.1
#: A worker that ends within this time has failed to start.
_MIN_LIFETIME = 10.0
_MAX_FAILED_STARTS = 3
#: Seconds after the drain time, after which a worker is killed.
_GRACE_SECONDS = 10.0


class _Worker:
    """One process."""

    def __init__(
        self, command: Sequence[str], options: str, environment: Mapping[str, str], fds: Sequence[int]
    ) -> None:
        self.started_at = time.monotonic()
        #: The JSON object that the process prints when it is ready.
        self.ready: dict[str, Any] | None = None
        # A process group of its own, so that Ctrl-C in a terminal reaches only the parent, which then stops the workers.
        self.process = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=fds,
            process_group=0,
        )
        threading.Thread(target=self._communicate, args=(options,), name="umekomi-worker", daemon=True).start()

    def _communicate(self, options: str) -> None:
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
    """Processes of one command. Each reads its options from standard input and prints a line of JSON when it is ready.

    Args:
        command: The command of each process.
        options: Standard input of each process.
        count: Number of processes.
        environment: Additional environment variables.
        drain: Seconds in which a process must stop.
        report: Callback that receives one line about each event.
        pass_fds: File descriptors that each process inherits.
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
        """Kill all processes immediately. Called by signal handlers."""
        for worker in self._workers:
            worker.signal(signal.SIGKILL)

    def reload(self) -> None:
        """Pass SIGHUP on to all processes. Called by signal handlers."""
        for worker in self._workers:
            # A process that is not ready may not handle the signal yet, and reads the current files anyway.
            if worker.ready is not None:
                worker.signal(signal.SIGHUP)

    def run(self, on_ready: Callable[[dict[str, Any]], None]) -> None:
        """Start all processes, restart those that end, and stop all when :meth:`stop` is called.

        Args:
            on_ready: Called once, when all processes are ready, with the JSON object that one of them printed.

        Raises:
            UmekomiError: A process ended before it was ready, or processes end repeatedly.
        """
        try:
            for _ in range(self._count):
                if not self._is_stopping:
                    self._workers.append(self._start())
            self._monitor(on_ready)
        finally:
            self._stop_all()

    def _monitor(self, on_ready: Callable[[dict[str, Any]], None]) -> None:
        is_announced = False
        n_failed_starts = 0
        while not self._is_stopping:
            if not is_announced and all(worker.ready for worker in self._workers):
                is_announced = True
                on_ready(self._workers[-1].ready or {})
            for index, worker in enumerate(self._workers):
                if worker.process.poll() is None or self._is_stopping:
                    continue
                if not is_announced:
                    raise UmekomiError("A worker ended before it was ready. Its own message names the cause.")
                n_failed_starts = n_failed_starts + 1 if time.monotonic() - worker.started_at < _MIN_LIFETIME else 0
                if n_failed_starts >= _MAX_FAILED_STARTS:
                    raise UmekomiError(
                        "The workers end as soon as they are started. Their own messages name the cause."
                    )
                self._report(
                    f"Worker {worker.process.pid} ended with status {worker.process.returncode}; another is started."
                )
                self._workers[index] = self._start()
            time.sleep(_POLL_SECONDS)

    def _start(self) -> _Worker:
        return _Worker(self._command, self._options, self._environment, self._pass_fds)

    def _stop_all(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        end = time.monotonic() + self._drain + _GRACE_SECONDS
        for worker in self._workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, end - time.monotonic()))
            worker.signal(signal.SIGKILL)
            worker.process.wait()


def stop_with_parent(parent: int) -> None:
    """Send SIGTERM to this process when its parent process no longer exists, for example because it was killed."""

    def monitor() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=monitor, name="umekomi-parent", daemon=True).start()
