"""Work with clients' bytes that is too long for the event loop: parsing bodies and counting tokens.

Small requests are handled in the event loop, where they wait for nobody. Larger ones go to threads, few at a time, and the
largest have threads of their own, so that a flood of huge bodies delays neither.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ...embedder import Embedder, Prepared
from ...inputs import Input
from ...machine import available_cores
from ..schemas import MAX_INPUTS, MAX_REQUEST_TOKENS, RequestError, check_total_tokens

Result = TypeVar("Result")

# Below this size (characters, token ids or bytes) a hop to another thread costs more than the work.
INLINE = 4096
_LARGE = 65_536
_MAX_VALUES = MAX_REQUEST_TOKENS + MAX_INPUTS + 100
_BLOCK = 65_536
_BEGINS = (b",", b"[", b"{")
"""Outside of texts, each of these begins a value."""


class Offload:
    """Runs work in threads by its size. Close it at the end."""

    def __init__(self) -> None:
        # Half of the cores: the others run the models and answer the small requests.
        n_threads = max(1, available_cores() // 2)
        self._medium = ThreadPoolExecutor(n_threads, thread_name_prefix="umekomi-medium")
        self._large = ThreadPoolExecutor(n_threads, thread_name_prefix="umekomi-large")

    async def run(self, work: Callable[[], Result], *, size: int) -> Result:
        """Run work on ``size`` bytes or characters: here if it is small, else in a thread."""
        if size <= INLINE:
            return work()
        pool = self._medium if size <= _LARGE else self._large
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    async def prepare(self, embedder: Embedder, inputs: Sequence[Input]) -> Prepared:
        """Check inputs and count their tokens, as :meth:`umekomi.Embedder.prepare` does. Cancel it to stop the counting.

        Raises:
            InputError: An input is empty or of a wrong type, or an id is not in the vocabulary.
            TokenLimitError: An input is longer than the model takes.
            RequestError: All inputs together have more tokens than one request may have.
        """
        size = sum(map(len, inputs))
        if size <= INLINE:
            return embedder.prepare(inputs)
        is_cancelled = threading.Event()

        def check(n_tokens: int) -> None:
            if is_cancelled.is_set():
                raise asyncio.CancelledError
            check_total_tokens(n_tokens, is_complete=False)

        try:
            return await self.run(lambda: embedder.prepare(inputs, check=check), size=size)
        finally:
            is_cancelled.set()

    def close(self) -> None:
        """Start no further work; what runs goes on in its thread."""
        for pool in (self._medium, self._large):
            pool.shutdown(wait=False, cancel_futures=True)


def check_number_of_values(body: bytes) -> None:
    """Reject a large body of JSON that holds more values than any good request, without parsing it.

    A parser makes an object of each value, and no other thread runs meanwhile: eight million numbers in 16 MB would stop the
    server for a second.

    Raises:
        RequestError: The body has more values than a request may have tokens and inputs.
    """
    if sum(map(body.count, _BEGINS)) <= _MAX_VALUES:
        return
    n_values, is_inside, rest = 0, 0, b""
    for start in range(0, len(body), _BLOCK):
        block = rest + body[start : start + _BLOCK]
        # Half of an escape at the end of a block belongs to the next block.
        rest = b"\\" if (len(block) - len(block.rstrip(b"\\"))) % 2 else b""
        block = block.removesuffix(rest).replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = block.split(b'"')
        outside = b"".join(parts[is_inside::2])
        n_values += sum(map(outside.count, _BEGINS))
        is_inside ^= (len(parts) - 1) & 1
        if n_values > _MAX_VALUES:
            raise RequestError(
                f"The body has more than {_MAX_VALUES} values; max {MAX_REQUEST_TOKENS} tokens per request",
                code="max_tokens_per_request",
                kind="max_tokens_per_request",
            )
