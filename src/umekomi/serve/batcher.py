"""Joins the texts of concurrent requests into batches for one model, fairly.

A request is cut into slices of a few thousand tokens. One thread runs the model; each batch takes a slice of each waiting
request in turn until the batch is full, so that a short query waits for one batch at most, however long the others are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ..embedder import Embedder, Prepared
from ..errors import OverloadedError
from ..vectors import FloatArray, shorten

BATCH_TOKENS = 4096
"""Tokens in one call of the model: about a second of the default model on two cores, and enough to fill its batches."""

WAITING_TOKENS = 1_000_000
"""Tokens that may wait; a request that would pass it is refused and told when to come back."""


@dataclass(eq=False, slots=True)
class _Job:
    """One request: what it asked for, how far it has come, and where its answer goes."""

    prepared: Prepared
    rows: list[FloatArray] = field(default_factory=list)
    taken: int = 0
    finished: int = 0
    answer: asyncio.Future[FloatArray] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def tokens_left(self) -> int:
        return sum(self.prepared.n_tokens[self.taken :])


class Batcher:
    """Runs one embedder for many requests. Use it from one event loop; call :meth:`close` at the end."""

    def __init__(
        self, embedder: Embedder, *, batch_tokens: int = BATCH_TOKENS, waiting_tokens: int = WAITING_TOKENS
    ) -> None:
        self.embedder = embedder
        self.calls = 0
        self._batch_tokens = batch_tokens
        self._limit = waiting_tokens
        self._waiting_tokens = 0
        self._speed = 2000.0
        self._jobs: deque[_Job] = deque()
        self._work = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umekomi-model")
        self._loop = asyncio.create_task(self._run())

    async def prepare(self, items: Sequence[str | list[int]]) -> Prepared:
        """Check inputs and count tokens without holding up the event loop."""
        if sum(map(len, items)) < 4096:
            return self.embedder.prepare(items)
        return await asyncio.to_thread(self.embedder.prepare, items)

    async def embed(self, prepared: Prepared, *, dimensions: int | None = None) -> FloatArray:
        """Vectors of prepared inputs, ``(n, dims) float32``. Cancelling it drops the work that has not begun.

        Raises:
            OverloadedError: too much is waiting.
        """
        if dimensions is not None:
            self.embedder.check_dimensions(dimensions)
        tokens = sum(prepared.n_tokens)
        # A request that finds nobody waiting is always taken, however long.
        if self._jobs and self._waiting_tokens + tokens > self._limit:
            wait = max(1.0, self._waiting_tokens / self._speed)
            raise OverloadedError(
                f"{self._waiting_tokens:,} tokens are waiting for {self.embedder.model}; try again in {wait:.0f} s.",
                retry_after=wait,
            )
        job = _Job(prepared)
        self._jobs.append(job)
        self._waiting_tokens += tokens
        self._work.set()
        try:
            vectors = await job.answer
        finally:
            if job in self._jobs:
                self._jobs.remove(job)
                self._waiting_tokens -= job.tokens_left
        return vectors if dimensions is None else shorten(vectors, dimensions)

    async def close(self) -> None:
        """Stop; requests that are still waiting are cancelled."""
        self._loop.cancel()
        for job in self._jobs:
            job.answer.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            slices = self._next_batch()
            if not slices:
                self._work.clear()
                continue
            texts = [text for job, start, stop in slices for text in job.prepared.texts[start:stop]]
            began = loop.time()
            try:
                vectors = await loop.run_in_executor(self._thread, self.embedder.embed_texts, texts)
            except Exception as error:  # whatever a model can raise belongs to the requests, not to this loop
                for job, _, _ in slices:
                    if not job.answer.done():
                        job.answer.set_exception(error)
                continue
            self.calls += 1
            tokens = sum(sum(job.prepared.n_tokens[start:stop]) for job, start, stop in slices)
            self._speed = 0.8 * self._speed + 0.2 * tokens / max(loop.time() - began, 1e-6)
            self._hand_out(slices, vectors)

    def _next_batch(self) -> list[tuple[_Job, int, int]]:
        """Slices ``(job, start, stop)`` of the waiting jobs in turn; a job with more to do goes to the end of the line."""
        room = self._batch_tokens
        share = max(1, room // max(1, len(self._jobs)))
        slices: list[tuple[_Job, int, int]] = []
        again: list[_Job] = []
        while self._jobs and room > 0:
            job = self._jobs.popleft()
            if job.answer.done():
                self._waiting_tokens -= job.tokens_left
                continue
            start, used = job.taken, 0
            counts = job.prepared.n_tokens
            while job.taken < len(counts) and (used == 0 or used + counts[job.taken] <= min(share, room)):
                used += counts[job.taken]
                job.taken += 1
            slices.append((job, start, job.taken))
            room -= used
            self._waiting_tokens -= used
            if job.taken < len(counts):
                again.append(job)
        self._jobs.extend(again)
        return slices

    @staticmethod
    def _hand_out(slices: list[tuple[_Job, int, int]], vectors: FloatArray) -> None:
        row = 0
        for job, start, stop in slices:
            job.rows.append(vectors[row : row + stop - start])
            row += stop - start
            job.finished += stop - start
            if job.finished == len(job.prepared.texts) and not job.answer.done():
                job.answer.set_result(np.concatenate(job.rows))
