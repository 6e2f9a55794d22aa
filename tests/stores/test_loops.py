"""Coroutines run in the thread that waits for them, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from umekomi.stores.loops import Loops


async def answer(value: int) -> tuple[int, str]:
    await asyncio.sleep(0)
    return value, threading.current_thread().name


def test_a_coroutine_runs_in_the_callers_thread() -> None:
    loops = Loops()
    assert loops.run(answer(1)) == (1, threading.current_thread().name)
    loops.close()
    assert loops.run(answer(2))[0] == 2


def test_in_a_thread_that_runs_a_loop_it_runs_in_another() -> None:
    loops = Loops()

    async def notebook() -> tuple[int, str]:
        return loops.run(answer(3))

    value, thread = asyncio.run(notebook())
    assert value == 3
    assert thread.startswith("umekomi-store")


def test_an_error_comes_through_and_the_loop_goes_on() -> None:
    loops = Loops()

    async def fail() -> None:
        raise ValueError("as it was")

    for _ in range(3):
        with pytest.raises(ValueError, match="as it was"):
            loops.run(fail())
    assert loops.run(answer(4))[0] == 4


def test_an_interrupt_cancels_what_runs_and_the_loop_goes_on() -> None:
    loops = Loops()
    ended: list[str] = []

    async def long() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        loops.run(long())
    assert ended == ["cancelled"]
    assert loops.run(answer(5))[0] == 5
