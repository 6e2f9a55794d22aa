"""Joins the texts of concurrent requests into batches, fairly, for one thread that runs the models.

Every request waits as a job. A batch holds one model's texts up to a budget of tokens, from two lanes: short jobs (a
query, a few sentences) go first and whole; long ones are cut into slices and take turns. While both wait, a quarter of each
batch is kept for the long lane, so neither can starve the other: a query waits for the batch that is running and no
more, whatever else is queued. As the same text gives the same bytes whatever its neighbours, nobody can tell that texts
were joined; a text that several jobs of a batch hold is embedded once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..embedder import Prepared
from ..errors import OverloadedError, ShuttingDownError
from ..vectors import FloatArray

BATCH_TOKENS = 4096
"""Tokens in one call of a model: enough to fill the transformers' own batches, and under a second on two cores."""
WAITING_TOKENS = 1_000_000
"""Tokens that may wait, all requests together: a request that would go past it is refused."""
LONGEST_RETRY = 60.0
"""Seconds that a refused client is told to wait at most."""


class TextEmbedder(Protocol):
    """What a batcher runs: :class:`~umekomi.Embedder`, or anything that gives ``(n, dims) float32`` for n good texts."""

    @property
    def model(self) -> str: ...
    @property
    def dims(self) -> int: ...
    def embed_texts(self, texts: Sequence[str]) -> FloatArray: ...


class _Job:
    """One request: its texts, which of them have not been taken yet, and the vectors that have come."""

    def __init__(self, embedder: TextEmbedder, prepared: Prepared, answer: asyncio.Future[FloatArray]) -> None:
        self.embedder = embedder
        self.texts = prepared.texts
        self.costs = prepared.n_tokens
        self.answer = answer
        self.waiting_tokens = sum(self.costs)
        # The longest are taken first, so that a slice holds texts of about one length, which make the fullest batches.
        self._left = sorted(range(len(self.texts)), key=self.costs.__getitem__)
        self._missing = len(self.texts)
        self._vectors: FloatArray | None = None

    def take(self, room: int) -> list[int]:
        """The places of texts to embed now, of about ``room`` tokens; one at least."""
        places: list[int] = []
        while self._left and (not places or self.costs[self._left[-1]] <= room):
            place = self._left.pop()
            places.append(place)
            room -= self.costs[place]
            self.waiting_tokens -= self.costs[place]
        return places

    @property
    def is_taken(self) -> bool:
        return not self._left

    def put(self, places: list[int], vectors: FloatArray) -> None:
        """Keep vectors ``(len(places), dims)``; the last of them completes the answer."""
        if self._vectors is None:
            self._vectors = np.empty((len(self.texts), vectors.shape[1]), dtype=np.float32)
        self._vectors[places] = vectors
        self._missing -= len(places)
        if not self._missing and not self.answer.done():
            self.answer.set_result(self._vectors)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Slice:
    job: _Job
    places: list[int]

    @property
    def tokens(self) -> int:
        return sum(self.job.costs[place] for place in self.places)

    @property
    def texts(self) -> list[str]:
        return [self.job.texts[place] for place in self.places]


class _Line:
    """The jobs that wait for one model."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._short_limit = max(1, budget // 8)
        self._short: deque[_Job] = deque()
        self._long: deque[_Job] = deque()

    def add(self, job: _Job) -> None:
        (self._short if job.waiting_tokens <= self._short_limit else self._long).append(job)

    def remove(self, job: _Job) -> None:
        for lane in (self._short, self._long):
            if job in lane:
                lane.remove(job)

    def __bool__(self) -> bool:
        return bool(self._short or self._long)

    def next_batch(self) -> list[_Slice]:
        room = self._budget
        kept = room // 4 if self._long else 0
        slices: list[_Slice] = []
        while self._short and self._short[0].waiting_tokens <= room - kept:
            room -= self._turn(self._short, room, slices)
        # The first turn of the long lane is taken even if its text alone is longer than the room: else it might wait for ever.
        first = True
        while self._long and (first or room >= self._short_limit):
            room -= self._turn(self._long, min(room, self._short_limit), slices)
            first = False
        while self._short and self._short[0].waiting_tokens <= room:
            room -= self._turn(self._short, room, slices)
        return slices

    @staticmethod
    def _turn(lane: deque[_Job], room: int, slices: list[_Slice]) -> int:
        job = lane.popleft()
        if job.answer.done():
            return 0
        taken = _Slice(job, job.take(room))
        slices.append(taken)
        if not job.is_taken:
            lane.append(job)
        return taken.tokens


class Batcher:
    """Runs models for many requests at once. Make and use it in one event loop; :meth:`close` it at the end.

    Args:
        batch_tokens: tokens in one call of a model.
        waiting_tokens: tokens that may wait before requests are refused.
    """

    def __init__(self, *, batch_tokens: int = BATCH_TOKENS, waiting_tokens: int = WAITING_TOKENS) -> None:
        self.calls = 0
        """Calls of a model so far."""
        self._batch_tokens = batch_tokens
        self._limit = waiting_tokens
        self._tokens_per_second = 2000.0
        self._jobs: set[_Job] = set()
        self._lines: dict[TextEmbedder, _Line] = {}
        self._turns: deque[TextEmbedder] = deque()
        self._closing = False
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umekomi-model")
        self._runner = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_closing(self) -> bool:
        """Whether :meth:`close` has been called."""
        return self._closing

    @property
    def waiting_tokens(self) -> int:
        """Tokens of texts that no call of a model has taken yet."""
        return sum(job.waiting_tokens for job in self._jobs)

    async def embed(self, embedder: TextEmbedder, prepared: Prepared) -> FloatArray:
        """Vectors of good texts, ``(n, dims) float32``. If the caller is cancelled, what has not begun is dropped.

        Raises:
            OverloadedError: too much is waiting; ``retry_after`` is when there should be room.
            ShuttingDownError: :meth:`close` has been called.
        """
        if self._closing:
            raise ShuttingDownError("The server is stopping; send the request again in a moment.", retry_after=5.0)
        if not prepared.texts:
            return np.empty((0, embedder.dims), dtype=np.float32)
        waiting = self.waiting_tokens
        # When nothing waits a request is always taken, however long it is.
        if waiting and waiting + sum(prepared.n_tokens) > self._limit:
            seconds = min(max(waiting / self._tokens_per_second, 1.0), LONGEST_RETRY)
            raise OverloadedError(
                f"The server is busy: {waiting:,} tokens are waiting. Please try again in {math.ceil(seconds)} s.",
                retry_after=seconds,
            )
        job = _Job(embedder, prepared, asyncio.get_running_loop().create_future())
        self._jobs.add(job)
        if embedder not in self._lines:
            self._lines[embedder] = _Line(self._batch_tokens)
            self._turns.append(embedder)
        self._lines[embedder].add(job)
        self._wake.set()
        try:
            return await job.answer
        finally:
            self._jobs.discard(job)
            if not job.is_taken and embedder in self._lines:
                self._lines[embedder].remove(job)

    async def close(self) -> None:
        """Take no new work, finish what is here, and stop the thread."""
        self._closing = True
        if self._jobs:
            await asyncio.wait([job.answer for job in self._jobs])
        self._runner.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            slices = self._next_batch()
            if slices:
                await self._embed(slices)
            else:
                self._wake.clear()

    def _next_batch(self) -> list[_Slice]:
        """The next model's next batch; models with work take turns."""
        while self._turns:
            embedder = self._turns.popleft()
            slices = self._lines[embedder].next_batch()
            if self._lines[embedder]:
                self._turns.append(embedder)
            else:
                # Nothing is kept for a model that nobody waits for, so that it can be let go of.
                del self._lines[embedder]
            if slices:
                return slices
        return []

    async def _embed(self, slices: list[_Slice]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        embedder = slices[0].job.embedder
        texts = [text for piece in slices for text in piece.texts]
        try:
            self.calls += 1
            vectors = await loop.run_in_executor(self._thread, _embed_distinct, embedder, texts)
        except Exception as error:  # Whatever a model can raise belongs to the requests, never to this loop.
            await self._fail(slices, error)
            return
        tokens = sum(piece.tokens for piece in slices)
        self._tokens_per_second += 0.2 * (tokens / max(loop.time() - began, 1e-6) - self._tokens_per_second)
        row = 0
        for piece in slices:
            piece.job.put(piece.places, vectors[row : row + len(piece.places)])
            row += len(piece.places)

    async def _fail(self, slices: list[_Slice], error: Exception) -> None:
        """One bad text must not fail its neighbours' requests: of several slices, each is tried alone."""
        if len(slices) == 1:
            slices[0].job.fail(error)
            return
        for piece in slices:
            if not piece.job.answer.done():
                await self._embed([piece])


def _embed_distinct(embedder: TextEmbedder, texts: list[str]) -> FloatArray:
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = embedder.embed_texts(list(rows))
    return vectors if len(rows) == len(texts) else vectors[[rows[text] for text in texts]]
