"""Asking an engine's asynchronous client from synchronous code, in the thread that waits for the answer.

Clients that offer both usually run the synchronous one on a loop in a thread of its own, and each request changes threads
twice, which is much of a search of LanceDB's (ARCHITECTURE.md).
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

_MOST_INTERRUPTED = 8
"""Interrupted loops that a store keeps: an engine answers an abandoned request long before that many more are interrupted."""


class Loops:
    """Event loops that are made when they are needed. It may be used from several threads, also from one that runs a loop."""

    def __init__(self) -> None:
        self._free: queue.LifoQueue[asyncio.AbstractEventLoop] = queue.LifoQueue()
        self._process = os.getpid()
        self._interrupted: deque[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = deque(maxlen=_MOST_INTERRUPTED)
        # A store that cannot be opened is never closed.
        weakref.finalize(self, _close, self._free, self._process)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns."""
        if asyncio._get_running_loop() is None:
            return self._run(coroutine)
        # A thread that runs a loop, as a notebook's does, cannot run another.
        with ThreadPoolExecutor(1, thread_name_prefix="umekomi-store") as other:
            return other.submit(self._run, coroutine).result()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._process != os.getpid():
            # A forked process would be woken by its parent's answers, and the other way round.
            self._free, self._process = queue.LifoQueue(), os.getpid()
        try:
            loop = self._free.get_nowait()
        except queue.Empty:
            loop = asyncio.new_event_loop()
        # asyncio.Runner would cancel what is interrupted, but its handler of signals takes longer than all else here.
        task = loop.create_task(coroutine)
        try:
            found = loop.run_until_complete(task)
        except Exception:
            self._free.put(loop)
            raise
        except BaseException:
            # An interrupt comes anywhere, in the middle of the loop's own work too: it is never run again. It is kept, since the
            # engine's threads may still have an answer for it; asyncio would print what becomes of the task.
            if task.done() and not task.cancelled():
                task.exception()
            cast(Any, task)._log_destroy_pending = False
            self._interrupted.append((loop, task))
            raise
        self._free.put(loop)
        return found

    def close(self) -> None:
        """Close the loops. They are made again if there is another request."""
        _close(self._free, self._process)


def _close(free: queue.LifoQueue[asyncio.AbstractEventLoop], process: int) -> None:
    # A forked process shares its parent's epoll descriptors: closing a loop there would deafen the parent's.
    while process == os.getpid() and not free.empty():
        free.get_nowait().close()
