"""Asking an engine's asynchronous client from synchronous code, in the thread that waits for the answer.

Clients that offer both usually run the synchronous one on a loop in a thread of its own, and each request changes threads
twice. That is a millisecond of LanceDB's search of three and a half (ARCHITECTURE.md).
"""

from __future__ import annotations

import asyncio
import os
import queue
import weakref
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Loops:
    """Event loops that are made when they are needed. It may be used from several threads, also from one that runs a loop."""

    def __init__(self) -> None:
        self._free: queue.LifoQueue[asyncio.AbstractEventLoop] = queue.LifoQueue()
        self._process = os.getpid()
        # A store that cannot be opened is never closed.
        weakref.finalize(self, _close, self._free)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns. An interrupt cancels it."""
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
        # asyncio.Runner would do all this, and take as long as a tenth of a search for its handler of signals.
        task = loop.create_task(coroutine)
        try:
            return loop.run_until_complete(task)
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    loop.run_until_complete(task)
            self._free.put(loop)

    def close(self) -> None:
        """Close the loops. They are made again if there is another request."""
        _close(self._free)


def _close(free: queue.LifoQueue[asyncio.AbstractEventLoop]) -> None:
    while not free.empty():
        free.get_nowait().close()
