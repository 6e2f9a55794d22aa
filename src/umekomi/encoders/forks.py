"""Native libraries in forked processes.

The threads of the parent do not exist in a forked child, neither those of OpenVINO nor those that hold a lock. Waiting for
such a thread blocks forever, and destroying an object that owns one ends the process. Therefore:

- ``os.fork()`` waits until the other threads have left native code, so that no lock is held in the child;
- the child never uses or destroys inherited objects, and loads its own copy when it needs one;
- a small object that is never destroyed keeps the library's scheduler from being shut down when the child exits.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

TASKS = "/proc/self/task"
IDLE_SECONDS = 0.2
"""Seconds that ``os.fork()`` waits for the native threads to sleep."""
WAIT_SECONDS = 10.0
"""Maximum time in seconds that ``os.fork()`` and the end of the process wait for native code in other threads."""


class Forkable(Protocol):
    """An object with native state, connections or locks."""

    def after_fork(self) -> None:
        """Drop what does not survive a fork. Called in the child, before it runs any other code."""


class ForkGuard:
    """Coordinates ``os.fork()`` and the end of the process with native code, and ``os.fork()`` with the locks of objects."""

    def __init__(self) -> None:
        #: Called in the parent before each fork, after the first native work.
        self.prepare: Callable[[], None] = lambda: None
        self._objects: WeakSet[Forkable] = WeakSet()
        self._used = False
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child
            )

    def _reset(self) -> None:
        self._condition = threading.Condition()
        self._active: Counter[int] = Counter()
        self._n_forking = 0
        self._exiting: int | None = None

    def register(self, item: Forkable) -> None:
        """Call ``item.after_fork()`` in every forked child, as long as the item exists."""
        self._objects.add(item)

    @property
    def pausing(self) -> bool:
        """Whether a thread waits to fork or to exit. Other threads should finish their native work and start no more."""
        return self._n_forking > 0 or self._exiting is not None

    def enter(self) -> int:
        """Announce native work of this thread and return the argument for :meth:`leave`.

        Waits while another thread forks, unless this thread has announced work already. Never returns in a daemon thread of a
        process that is about to end.
        """
        if not self._used:
            # Handlers run in reverse order, so those that were registered before may still use a model.
            atexit.register(self._before_exit)
            self._used = True
        with self._condition:
            thread = threading.get_ident()
            if thread not in self._active:
                self._condition.wait_for(lambda: self._n_forking == 0, timeout=2 * WAIT_SECONDS)
                self._condition.wait_for(lambda: self._exiting in (None, thread))
            self._active[thread] += 1
            return thread

    def leave(self, thread: int) -> None:
        """Announce that native work of a thread is done."""
        with self._condition:
            self._active[thread] -= 1
            if self._active[thread] <= 0:
                del self._active[thread]
            self._condition.notify_all()

    @contextmanager
    def native(self) -> Iterator[None]:
        """Announce native work of this thread until the block ends."""
        thread = self.enter()
        try:
            yield
        finally:
            self.leave(thread)

    def _before(self) -> None:
        thread = threading.get_ident()
        with self._condition:
            self._n_forking += 1
            self._condition.wait_for(lambda: not set(self._active) - {thread}, timeout=WAIT_SECONDS)
        if self._used:
            self.prepare()
            _wait_for_idle_threads()

    def _before_exit(self) -> None:
        """Let daemon threads finish their native work.

        Python ends them when they next take its lock, and unwinding stacks of C++ or Rust ends the process with SIGABRT.
        """
        thread = threading.get_ident()
        with self._condition:
            self._exiting = thread
            self._condition.wait_for(lambda: not set(self._active) - {thread}, timeout=WAIT_SECONDS)

    def _after_in_parent(self) -> None:
        with self._condition:
            self._n_forking -= 1
            self._condition.notify_all()

    def _after_in_child(self) -> None:
        self._reset()
        for item in list(self._objects):
            item.after_fork()


def _wait_for_idle_threads() -> None:
    """Wait until the other threads sleep: TBB's threads hold locks for a moment after their last task.

    Gives up soon, because threads that have nothing to do with a model may be busy all the time.
    """
    deadline = time.monotonic() + IDLE_SECONDS
    while _any_thread_runs() and time.monotonic() < deadline:
        time.sleep(0.0005)


def _any_thread_runs() -> bool:
    own = str(threading.get_native_id())
    with suppress(OSError):  # not Linux
        for thread in os.listdir(TASKS):
            # The state follows the name, which is in parentheses.
            with suppress(FileNotFoundError):
                if (
                    thread != own
                    and Path(TASKS, thread, "stat").read_text("utf-8", "replace").rpartition(") ")[2][0] == "R"
                ):
                    return True
    return False


guard = ForkGuard()
"""The guard of this process."""


def never_destroy(*objects: object) -> None:
    """Keep objects until the process ends, even while the interpreter shuts down."""
    for item in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))
