"""Coroutines run in the thread that waits for them, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from umekomi.stores.event_loops import EventLoopPool


async def answer(value: int) -> tuple[int, str]:
    await asyncio.sleep(0)
    return value, threading.current_thread().name


def test_a_coroutine_runs_in_the_callers_thread() -> None:
    loops = EventLoopPool()
    assert loops.run(answer(1)) == (1, threading.current_thread().name)
    loops.close()
    assert loops.run(answer(2))[0] == 2


def test_in_a_thread_that_runs_a_loop_it_runs_in_another() -> None:
    loops = EventLoopPool()

    async def notebook() -> tuple[int, str]:
        return loops.run(answer(3))

    value, thread = asyncio.run(notebook())
    assert value == 3
    assert thread.startswith("umekomi-store")


def test_an_error_comes_through_and_the_loop_goes_on() -> None:
    loops = EventLoopPool()

    async def fail() -> None:
        raise ValueError("as it was")

    for _ in range(3):
        with pytest.raises(ValueError, match="as it was"):
            loops.run(fail())
    assert loops.run(answer(4))[0] == 4


INTERRUPTED = """
import asyncio, os, signal
from umekomi.stores.event_loops import EventLoopPool

loops = EventLoopPool()

async def long():
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.sleep(60)

async def answer():
    return "goes on"

try:
    loops.run(long())
except KeyboardInterrupt:
    print("interrupted")
print(loops.run(answer()))
"""


def test_an_interrupt_comes_through_and_the_next_one_runs() -> None:
    # In a process of its own: what a library has made of this one's signals is not for this test.
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\ngoes on\n", "", 0)
