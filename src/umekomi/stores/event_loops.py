"""Run an engine's asynchronous client from synchronous code, in the thread that waits for the result.

Clients that offer both interfaces usually run the synchronous one on an event loop in another thread. Each request then
switches threads twice, which is a large part of the latency of a LanceDB search (docs/lab/vector-search.md).
"""

from __future__ import annotations

import asyncio
import os
import queue
import weakref
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

T = TypeVar("T")

_MAX_INTERRUPTED = 8
"""Interrupted loops that a pool keeps. An engine answers an abandoned request long before that many more follow."""


class EventLoopPool:
    """Event loops that are created on demand and reused.

    A pool can be used from several threads, including threads that already run an event loop.
    """

    def __init__(self) -> None:
        self._idle: queue.LifoQueue[asyncio.AbstractEventLoop] = queue.LifoQueue()
        self._process = os.getpid()
        self._interrupted: deque[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = deque(maxlen=_MAX_INTERRUPTED)
        # A store that fails to open is never closed.
        weakref.finalize(self, _close_loops, self._idle, self._process)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result."""
        if asyncio._get_running_loop() is None:
            return self._run(coroutine)
        # A thread that already runs a loop, such as a notebook's, cannot run another one.
        with ThreadPoolExecutor(1, thread_name_prefix="umekomi-store") as executor:
            return executor.submit(self._run, coroutine).result()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._process != os.getpid():
            # A forked process shares its parent's loops: each would receive the other's wake-ups.
            self._idle, self._process = queue.LifoQueue(), os.getpid()
        try:
            loop = self._idle.get_nowait()
        except queue.Empty:
            loop = asyncio.new_event_loop()
        # asyncio.Runner would cancel the task on an interrupt, but installing its signal handler takes longer than a
        # request.
        task = loop.create_task(coroutine)
        try:
            result = loop.run_until_complete(task)
        except Exception:
            self._idle.put(loop)
            raise
        except BaseException:
            # An interrupt can arrive inside the loop's own code, so this loop never runs again. The pool keeps a
            # reference because the engine's threads may still deliver a result to it. asyncio must not log that the
            # task was never retrieved.
            if task.done() and not task.cancelled():
                task.exception()
            cast(Any, task)._log_destroy_pending = False
            self._interrupted.append((loop, task))
            raise
        self._idle.put(loop)
        return result

    def close(self) -> None:
        """Close the idle loops. A later request creates new ones."""
        _close_loops(self._idle, self._process)


def _close_loops(idle: queue.LifoQueue[asyncio.AbstractEventLoop], process: int) -> None:
    # A forked process shares its parent's epoll descriptors, so closing a loop there would break the parent's loop.
    while process == os.getpid() and not idle.empty():
        idle.get_nowait().close()
