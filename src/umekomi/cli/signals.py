"""Signals that stop a command or a server, or reload the files of a server."""

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
    """Raise KeyboardInterrupt on SIGTERM, as on Ctrl-C, in a ``with`` block, so that a command can clean up."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class StopRequested(BaseException):
    """A signal requested a stop before the server was ready."""


class Signals:
    """Handles SIGINT, SIGTERM and SIGHUP while it is active.

    Before :meth:`on_stop` is called, SIGINT and SIGTERM raise StopRequested in the main thread. Afterwards, the first one calls
    the given function, and the second one ends the process immediately, with the status 128 + the number of the signal.
    """

    def __init__(self) -> None:
        self._n_received = 0
        self._stop: Callable[[], None] | None = None
        self._force: Callable[[], None] | None = None
        self._reload: Callable[[], None] | None = None

    @contextmanager
    def active(self) -> Iterator[Signals]:
        """Handle the signals in a ``with`` block. Outside of the main thread, this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {number: signal.signal(number, self._handle_stop) for number in _STOP_SIGNALS}
        if _HANGUP is not None:
            previous[_HANGUP] = signal.signal(_HANGUP, self._handle_hangup)
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_stop(self, stop: Callable[[], None], *, force: Callable[[], None] | None = None) -> None:
        """Set the functions that the first signal, and the second one before the process ends, call.

        Raises:
            StopRequested: A signal was received earlier, and its exception was suppressed.
        """
        self._stop, self._force = stop, force
        if self._n_received:
            raise StopRequested

    def on_hangup(self, reload: Callable[[], None]) -> None:
        """Set the function that SIGHUP calls. By default, SIGHUP is ignored."""
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
