"""Coroutines run in the thread that waits for them, also after errors and interrupts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from umekomi.stores.event_loops import EventLoopPool


async def echo(value: int) -> tuple[int, str]:
    await asyncio.sleep(0)
    return value, threading.current_thread().name


def test_a_coroutine_runs_in_the_callers_thread() -> None:
    pool = EventLoopPool()
    assert pool.run(echo(1)) == (1, threading.current_thread().name)
    pool.close()
    assert pool.run(echo(2))[0] == 2


def test_a_coroutine_runs_in_another_thread_if_the_caller_runs_a_loop() -> None:
    pool = EventLoopPool()

    async def notebook() -> tuple[int, str]:
        return pool.run(echo(3))

    value, thread = asyncio.run(notebook())
    assert value == 3
    assert thread.startswith("umekomi-store")


def test_errors_are_raised_and_the_loop_is_reused() -> None:
    pool = EventLoopPool()

    async def fail() -> None:
        raise ValueError("unchanged")

    for _ in range(3):
        with pytest.raises(ValueError, match="unchanged"):
            pool.run(fail())
    assert pool.run(echo(4))[0] == 4


INTERRUPTED = """
import asyncio, os, signal
from umekomi.stores.event_loops import EventLoopPool

pool = EventLoopPool()

async def long():
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.sleep(60)

async def echo():
    return "completed"

try:
    pool.run(long())
except KeyboardInterrupt:
    print("interrupted")
print(pool.run(echo()))
"""


def test_an_interrupt_is_raised_and_the_next_coroutine_runs() -> None:
    # The test uses another process, because libraries may have changed the signal handlers of this one.
    result = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert (result.stdout, result.stderr, result.returncode) == ("interrupted\ncompleted\n", "", 0)
