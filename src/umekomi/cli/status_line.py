"""The last line of the terminal, which says what a command is doing and for how long.

It is a sign of life: it is shown before the command's modules are imported and before a model is loaded. All other output erases
it first. Nothing is shown if standard error is not a terminal.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..escaping import visible

DELAY, INTERVAL = 0.3, 0.2
"""Seconds until the line is shown, so that fast commands do not flicker, and between two updates."""


@dataclass(eq=False, slots=True)
class _Step:
    label: str
    #: Whether the first result on standard output ends the step. A pager may show the results on the same terminal.
    until_result: bool
    start: float = field(default_factory=time.monotonic)


class StatusLine:
    """Shows the innermost step that is running, and its elapsed time. It may be used from several threads."""

    def __init__(self) -> None:
        # Reentrant, because the handler of a signal may print.
        self._lock = threading.RLock()
        self._steps: list[_Step] = []
        self._bars: set[int] = set()
        self._is_visible = False

    @contextmanager
    def step(self, label: str, *, until_result: bool = False) -> Iterator[None]:
        """Show a label while the block runs."""
        if not _is_terminal():
            yield
            return
        step = _Step(visible(label, is_one_line=True), until_result)
        ended = threading.Event()
        thread = threading.Thread(target=self._update, args=(step, ended), daemon=True)
        with self._lock:
            self._steps.append(step)
        try:
            thread.start()
            yield
        finally:
            ended.set()
            with self._lock:
                self._drop(step)

    def _drop(self, step: _Step) -> None:
        if step in self._steps:
            self._steps.remove(step)
        self._erase()

    def _update(self, step: _Step, ended: threading.Event) -> None:
        pause = DELAY
        while not ended.wait(pause):
            pause = INTERVAL
            with self._lock:
                if self._steps and self._steps[-1] is step and not self._bars and not ended.is_set():
                    seconds = int(time.monotonic() - step.start)
                    # A line that is wider than the terminal could not be erased.
                    label = step.label[: max(0, shutil.get_terminal_size().columns - 12)]
                    sys.stderr.write(f"\r{label} … {seconds // 60}:{seconds % 60:02} \x1b[K")
                    sys.stderr.flush()
                    self._is_visible = True

    def _erase(self) -> None:
        if self._is_visible:
            self._is_visible = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    @contextmanager
    def hidden(self, *, is_result: bool = False) -> Iterator[None]:
        """Erase the line, and keep it off the terminal while the block prints. It appears again below the output."""
        with self._lock:
            if is_result:
                self.end()
            self._erase()
            yield

    def end(self) -> None:
        """End the steps that last until the first result, for commands that wait for clients afterwards."""
        with self._lock:
            for step in [step for step in self._steps if step.until_result]:
                self._drop(step)

    def show_bar(self, bar: object) -> None:
        """Keep the line off the terminal until :meth:`hide_bar`, because a progress bar is shown instead."""
        with self._lock:
            self._bars.add(id(bar))
            self._erase()

    def hide_bar(self, bar: object) -> None:
        """Show the line again, if no other progress bar is shown."""
        with self._lock:
            self._bars.discard(id(bar))


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (ValueError, OSError):
        return False


status_line = StatusLine()
