"""Signals: an orderly stop of a command, and of a server at any time of its life, and reloading."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on Windows


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does, inside of a ``with`` block, so that a command ends in order."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class StopRequested(BaseException):
    """A signal asked this process to stop before it had begun to serve."""


class Signals:
    """Handles SIGINT, SIGTERM and SIGHUP while it is active.

    Until :meth:`on_stop` is called, a signal to stop raises StopRequested wherever the main thread is. Afterwards the first one
    calls the function that was given. The second one ends the process at once, with status 128 + the signal's number.
    """

    def __init__(self) -> None:
        self._n_received = 0
        self._stop: Callable[[], None] | None = None
        self._force: Callable[[], None] | None = None
        self._reload: Callable[[], None] | None = None

    @contextmanager
    def active(self) -> Iterator[Signals]:
        """Handle the signals inside of a ``with`` block. Outside of the main thread nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._handle_stop) for number in _STOP_SIGNALS}
        if _HANGUP is not None:
            before[_HANGUP] = signal.signal(_HANGUP, self._handle_hangup)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_stop(self, stop: Callable[[], None], *, force: Callable[[], None] | None = None) -> None:
        """Set what the first signal to stop calls, and what the second one calls before the process ends.

        Raises:
            StopRequested: A signal came before, and something swallowed the exception that it raised.
        """
        self._stop, self._force = stop, force
        if self._n_received:
            raise StopRequested

    def on_hangup(self, reload: Callable[[], None]) -> None:
        """Set what SIGHUP calls. Without it, SIGHUP does nothing."""
        self._reload = reload

    def _handle_stop(self, number: int, frame: FrameType | None) -> None:
        self._n_received += 1
        if self._n_received > 1:
            if self._force is not None:
                self._force()
            os._exit(128 + number)
        if self._stop is None:
            raise StopRequested
        self._stop()

    def _handle_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._reload is not None:
            self._reload()
