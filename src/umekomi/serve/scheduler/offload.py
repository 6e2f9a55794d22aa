"""Work that is too long for the event loop: parsing bodies and counting tokens.

Small requests are handled in the event loop. Larger ones are handled in threads, a few at a time, and the largest have threads of
their own, so that many large bodies delay neither.
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
from ..errors import RequestError
from ..schemas.requests import MAX_INPUTS, MAX_REQUEST_TOKENS, check_total_tokens

Result = TypeVar("Result")

#: Below this size (characters, token ids or bytes), switching to another thread takes longer than the work.
INLINE = 4096
_LARGE = 65_536
_MAX_VALUES = MAX_REQUEST_TOKENS + MAX_INPUTS + 100
_BLOCK = 65_536
#: Outside of strings, each of these begins a value.
_DELIMITERS = (b",", b"[", b"{")


class Offload:
    """Runs work in threads, depending on its size. Close it at the end."""

    def __init__(self) -> None:
        # Half of the cores; the others run the models and handle small requests.
        n_threads = max(1, available_cores() // 2)
        self._medium = ThreadPoolExecutor(n_threads, thread_name_prefix="umekomi-medium")
        self._large = ThreadPoolExecutor(n_threads, thread_name_prefix="umekomi-large")

    async def run(self, work: Callable[[], Result], *, size: int) -> Result:
        """Return the result of work on ``size`` bytes or characters. Small work runs in the event loop."""
        if size <= INLINE:
            return work()
        pool = self._medium if size <= _LARGE else self._large
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    async def prepare(self, embedder: Embedder, inputs: Sequence[Input]) -> Prepared:
        """Validate inputs and count their tokens, as :meth:`umekomi.Embedder.prepare` does. Cancelling it stops the count.

        Raises:
            InputError: An input is empty or of a wrong type, or an id is not in the vocabulary.
            TokenLimitError: An input is longer than the model accepts.
            RequestError: All inputs together have more tokens than one request may have.
        """
        size = sum(map(len, inputs))
        if size <= INLINE:
            return embedder.prepare(inputs)
        return await self.count_tokens(lambda check: embedder.prepare(inputs, check=check), size=size)

    async def count_tokens(self, work: Callable[[Callable[[int], None]], Result], *, size: int) -> Result:
        """Return the result of counting the tokens of a request. Cancelling it stops the count.

        Args:
            work: Receives a function to call repeatedly with the number of tokens so far, which raises an exception to stop.
            size: Number of characters.

        Raises:
            RequestError: There are more tokens than one request may have.
        """
        is_cancelled = threading.Event()

        def check(n_tokens: int) -> None:
            if is_cancelled.is_set():
                raise asyncio.CancelledError
            check_total_tokens(n_tokens, is_complete=False)

        try:
            return await self.run(lambda: work(check), size=size)
        finally:
            is_cancelled.set()

    def close(self) -> None:
        """Start no more work. Work that is running continues in its thread."""
        for pool in (self._medium, self._large):
            pool.shutdown(wait=False, cancel_futures=True)


def check_number_of_values(body: bytes) -> None:
    """Reject a large JSON body that contains more values than any valid request, without parsing it.

    A parser creates an object for each value while no other thread can run: eight million numbers in 16 MB would stop the server
    for a second.

    Raises:
        RequestError: The body has more values than a request may have tokens and inputs.
    """
    if sum(map(body.count, _DELIMITERS)) <= _MAX_VALUES:
        return
    n_values, is_in_string, rest = 0, 0, b""
    for start in range(0, len(body), _BLOCK):
        block = rest + body[start : start + _BLOCK]
        # If an escape is split between two blocks, its first half belongs to the next block.
        rest = b"\\" if (len(block) - len(block.rstrip(b"\\"))) % 2 else b""
        block = block.removesuffix(rest).replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = block.split(b'"')
        outside = b"".join(parts[is_in_string::2])
        n_values += sum(map(outside.count, _DELIMITERS))
        is_in_string ^= (len(parts) - 1) & 1
        if n_values > _MAX_VALUES:
            raise RequestError(
                f"The body has more than {_MAX_VALUES} values; max {MAX_REQUEST_TOKENS} tokens per request",
                code="max_tokens_per_request",
                error_type="max_tokens_per_request",
            )
