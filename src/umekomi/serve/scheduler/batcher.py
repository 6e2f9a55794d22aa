"""Joins the texts of concurrent requests into batches, fairly, for one thread that runs the models.

Every request waits as a job. A batch holds one model's texts up to a budget of tokens, from two lanes: short jobs (a
query, a few sentences) go first and whole; long ones are cut into slices and take turns. While both wait, a quarter of each
batch is kept for the long priority, so neither can starve the other: a query waits for the batch that is running and no
more, whatever else is queued. Work in the background has lines of its own: it runs, in smaller batches, when nobody waits,
and once in a while when somebody always does.

A text that several jobs hold is embedded once, whether it waits or runs already: the others follow the one that was taken.
As the same text gives the same bytes whatever its neighbours, nobody can tell that texts were joined.

The thread takes its next batch by itself, under a lock, as soon as the last one is done; the event loop, which may be busy
with other clients' bytes, only puts jobs in and hands results out.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable

import numpy as np

from ...embedder import Prepared
from ...errors import OverloadedError, ShuttingDownError
from ...vectors.arithmetic import FloatArray
from .cache import VectorCache
from .queues import EmbeddingJob, ModelBatch, ModelQueues, Priority, TextEmbedder, short_job_limit

BATCH_TOKENS = 4096
"""Tokens in one call of a model: enough to fill the transformers' own batches, and under a second on two cores."""
WAITING_TOKENS = 1_000_000
"""Tokens that may wait, all requests together: a request that would go past it is refused."""
LONGEST_WAIT = 20.0
"""Seconds that a request should wait at most, at the speed of this machine: fewer tokens may wait where it is slow. So long, too,
is what is left to do after an overload."""
LONGEST_RETRY = 60.0
"""Seconds that a refused client is told to wait at most."""
BACKGROUND_SHARE = 20
"""While there is always other work, one batch in so many is the background's."""


class Batcher:
    """Runs models for many requests at once. Make and use it in one event loop; :meth:`close` it at the end.

    Args:
        batch_tokens: tokens in one call of a model.
        waiting_tokens: tokens that may wait before requests are refused.
        waiting_seconds: the same as time, at the speed of this machine.
        cache: vectors of texts that were asked for before; by default none are kept.
    """

    def __init__(
        self,
        *,
        batch_tokens: int = BATCH_TOKENS,
        waiting_tokens: int = WAITING_TOKENS,
        waiting_seconds: float = LONGEST_WAIT,
        cache: VectorCache | None = None,
    ) -> None:
        self.calls = 0
        """Calls of a model so far."""
        self.cache = cache
        self._limit = waiting_tokens
        self._longest_wait = waiting_seconds
        self._batch_tokens = batch_tokens
        self._tokens_per_second = 5000.0  # until it is measured
        self._jobs: set[EmbeddingJob] = set()
        self._held_tokens = 0  # of the interactive jobs, those that were taken included
        self._closing = False
        self._loop = asyncio.get_running_loop()
        # What the event loop and the thread share, under the lock.
        self._changed = threading.Condition()
        self._lines = {
            Priority.INTERACTIVE: ModelQueues(Priority.INTERACTIVE, batch_tokens),
            # Smaller, so that who comes while one runs waits less.
            Priority.BACKGROUND: ModelQueues(Priority.BACKGROUND, max(1, batch_tokens // 4)),
        }
        self._since_background = 0
        self._running: ModelBatch | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="umekomi-model", daemon=True)
        self._thread.start()

    @property
    def is_closing(self) -> bool:
        """Whether :meth:`close` has been called."""
        return self._closing

    @property
    def waiting_tokens(self) -> int:
        """Tokens of texts that no call of a model has taken yet, those of the background left out."""
        return sum(job.waiting_tokens for job in self._jobs if job.priority is Priority.INTERACTIVE)

    async def embed(
        self, embedder: TextEmbedder, prepared: Prepared, *, priority: Priority = Priority.INTERACTIVE
    ) -> FloatArray:
        """Vectors of good texts, ``(n, dims) float32``. If the caller is cancelled, what has not begun is dropped.

        Raises:
            OverloadedError: too much is waiting; ``retry_after`` is when there should be room.
            ShuttingDownError: :meth:`close` has been called.
        """
        if self._closing:
            raise ShuttingDownError("The server is stopping; send the request again in a moment.", retry_after=5.0)
        if not prepared.texts:
            return np.empty((0, embedder.dims), dtype=np.float32)
        if priority is Priority.INTERACTIVE:
            self._require_room(sum(prepared.n_tokens))
        job = EmbeddingJob(embedder, prepared, priority, self._loop.create_future())
        self._recall(job)
        if not job.open:
            return job.answer.result()
        self._jobs.add(job)
        self._held_tokens += job.total_tokens if priority is Priority.INTERACTIVE else 0
        with self._changed:
            if self._running is not None and self._running.embedder == embedder:
                self._follow(job, self._running)
            if job.open:
                self._lines[priority].line(embedder).add(job)
                self._changed.notify()
        try:
            return await job.answer
        finally:
            self._jobs.discard(job)
            self._held_tokens -= job.total_tokens if priority is Priority.INTERACTIVE else 0
            with self._changed:
                if job.open:
                    self._lines[priority].line(embedder).remove(job)

    def _require_room(self, n_tokens: int) -> None:
        limit = min(self._limit, max(self._longest_wait * self._tokens_per_second, self._batch_tokens))
        # No more waits than is held, so that most requests need not look at every job.
        if self._held_tokens + n_tokens <= limit:
            return
        jobs = [job for job in self._jobs if job.priority is Priority.INTERACTIVE]
        if n_tokens <= short_job_limit(self._batch_tokens):
            # It has a priority of its own, so that the long ones are not in its way.
            jobs = [job for job in jobs if job.total_tokens <= short_job_limit(self._batch_tokens)]
        waiting = sum(job.waiting_tokens for job in jobs)
        # When nothing waits a request is always taken, however long it is.
        if waiting and waiting + n_tokens > limit:
            seconds = min(max(waiting / self._tokens_per_second, 1.0), LONGEST_RETRY)
            raise OverloadedError(
                f"The server is busy: {waiting:,} tokens are waiting. Please try again in {math.ceil(seconds)} s.",
                retry_after=seconds,
            )

    def _recall(self, job: EmbeddingJob) -> None:
        """Give a job what the cache knows."""
        if self.cache is None:
            return
        space = job.embedder.fingerprint
        for place, text in enumerate(job.texts):
            vector = self.cache.get(self.cache.key(space, text))
            if vector is not None:
                job.claim(place)
                job.put([place], vector[None, :])

    @staticmethod
    def _follow(job: EmbeddingJob, running: ModelBatch) -> None:
        """Let a job wait for texts that are being embedded already."""
        for place in [place for place in job.open if job.texts[place] in running.waiters]:
            job.claim(place)
            running.waiters[job.texts[place]].append((job, place))

    async def close(self) -> None:
        """Take no new work, finish what is here, and stop the thread."""
        self._closing = True
        if self._jobs:
            await asyncio.wait([job.answer for job in self._jobs])
        with self._changed:
            self._stopped = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    # ------------------------------------------------------------ in the thread

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            self._execute(batch)

    def _take(self) -> ModelBatch | None:
        """The next batch, waited for; None at the end."""
        with self._changed:
            while True:
                if self._stopped:
                    return None
                batch = self._next_batch()
                if batch is not None:
                    self._running = batch
                    return batch
                self._changed.wait()

    def _next_batch(self) -> ModelBatch | None:
        first, second = self._lines[Priority.INTERACTIVE], self._lines[Priority.BACKGROUND]
        if self._since_background >= BACKGROUND_SHARE:
            first, second = second, first
        batch = first.next_batch() or second.next_batch()
        if batch is not None:
            self._since_background = 0 if batch.priority is Priority.BACKGROUND else self._since_background + 1
        return batch

    def _execute(self, batch: ModelBatch) -> None:
        began = time.monotonic()
        try:
            self.calls += 1
            vectors = batch.embedder.embed_texts(list(batch.waiters))
        except Exception as error:  # Whatever a model can raise belongs to the requests, never to this thread.
            self._fail(batch, error)
            return
        with self._changed:
            self._running = None
        self._tell(self._deliver, batch, vectors, time.monotonic() - began)

    def _fail(self, batch: ModelBatch, error: Exception) -> None:
        """One bad text must not fail its neighbours' requests: of several slices, each is tried alone."""
        if len(batch.slices) > 1:
            for piece in batch.slices:
                alone = ModelBatch(
                    batch.embedder, batch.priority, [piece], {text: batch.waiters[text] for text in piece.texts}
                )
                if piece.job.is_over:
                    self._restore(alone)
                    continue
                with self._changed:
                    self._running = alone
                self._execute(alone)
            return
        bad = batch.slices[0].job
        bad.is_over = True
        self._restore(batch)
        self._tell(bad.fail, error)

    def _restore(self, batch: ModelBatch) -> None:
        """Those who followed a job that failed may have nothing to do with the bad text: they wait again, on their own."""
        bad = batch.slices[0].job
        with self._changed:
            self._running = None
            for job, place in [pair for pairs in batch.waiters.values() for pair in pairs]:
                if job is not bad and not job.answer.done():
                    self._lines[job.priority].line(batch.embedder).restore(job, place)

    def _tell(self, tell: Callable[..., None], *arguments: object) -> None:
        # The loop may be gone if the server was stopped the hard way; then nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(tell, *arguments)

    # ------------------------------------------------------------ in the event loop again

    def _deliver(self, batch: ModelBatch, vectors: FloatArray, seconds: float) -> None:
        self._tokens_per_second += 0.2 * (batch.tokens / max(seconds, 1e-6) - self._tokens_per_second)
        wanted: dict[EmbeddingJob, tuple[list[int], list[int]]] = {}
        for row, (text, waiters) in enumerate(batch.waiters.items()):
            for job, place in waiters:
                places, rows = wanted.setdefault(job, ([], []))
                places.append(place)
                rows.append(row)
            if self.cache is not None and batch.priority is Priority.INTERACTIVE:
                self.cache.put(self.cache.key(batch.embedder.fingerprint, text), vectors[row])
        for job, (places, rows) in wanted.items():
            job.put(places, vectors[rows])
