"""Batches texts of concurrent requests, fairly, for one thread that runs the models.

Every request waits as a job. A batch holds one model's texts up to a number of tokens. Short jobs (a query, a few sentences) go
first and undivided; long ones are cut into slices and take turns. While both wait, a quarter of each batch is reserved for long
jobs, so that neither starves the other: a query waits at most for the batch that is running. Background jobs have queues of their
own. They run in smaller batches when no client waits, and in one of every ``BACKGROUND_SHARE`` batches when some always do.

A text of several jobs is embedded once, whether it waits or is already being embedded. The bytes of a vector do not depend on the
other texts of its batch.

The thread takes its next batch by itself, under a lock, as soon as the previous one is done. The event loop, which may be busy
with other requests, only adds jobs and distributes results.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable

import numpy as np

from ...errors import OverloadedError, ShuttingDownError
from ...vectors.arithmetic import FloatArray
from .cache import VectorCache
from .queues import EmbeddingJob, ModelBatch, ModelQueues, PreparedTexts, Priority, TextEmbedder, short_job_limit

#: Tokens in one call of a model: enough to fill the transformers' own batches, and less than a second on two cores.
BATCH_TOKENS = 4096
#: Tokens of all requests together that may wait. A request that exceeds this is rejected.
MAX_WAITING_TOKENS = 1_000_000
#: Seconds that a request should wait at most. On a slow machine, fewer tokens may wait. This is also the time that the server
#: needs to finish its work after an overload.
MAX_WAIT_SECONDS = 20.0
#: Maximum of ``Retry-After``, in seconds.
MAX_RETRY_SECONDS = 60.0
#: While clients always wait, one of this many batches is a background batch.
BACKGROUND_SHARE = 20


class Batcher:
    """Runs models for many requests at once. Create and use it in one event loop, and :meth:`close` it at the end.

    Args:
        batch_tokens: Maximum number of tokens in one call of a model.
        max_waiting_tokens: Maximum number of tokens that wait. Requests that exceed it are rejected.
        max_wait_seconds: Maximum time that tokens wait, at the measured speed of this machine.
        cache: Cache of vectors; by default none.
    """

    def __init__(
        self,
        *,
        batch_tokens: int = BATCH_TOKENS,
        max_waiting_tokens: int = MAX_WAITING_TOKENS,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        cache: VectorCache | None = None,
    ) -> None:
        #: Number of calls of models.
        self.calls = 0
        self.cache = cache
        self._max_waiting_tokens = max_waiting_tokens
        self._max_wait_seconds = max_wait_seconds
        self._batch_tokens = batch_tokens
        self._tokens_per_second = 5000.0  # until it is measured
        self._jobs: set[EmbeddingJob] = set()
        self._interactive_tokens = 0  # of interactive jobs, including texts that were taken
        self._is_closing = False
        self._loop = asyncio.get_running_loop()
        # The event loop and the thread share the following attributes, under this lock.
        self._changed = threading.Condition()
        self._queues = {
            Priority.INTERACTIVE: ModelQueues(Priority.INTERACTIVE, batch_tokens),
            # Background batches are smaller so that interactive requests wait less.
            Priority.BACKGROUND: ModelQueues(Priority.BACKGROUND, max(1, batch_tokens // 4)),
        }
        self._n_since_background = 0
        self._running: ModelBatch | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="umekomi-model", daemon=True)
        self._thread.start()

    @property
    def is_closing(self) -> bool:
        """Whether :meth:`close` has been called."""
        return self._is_closing

    @property
    def waiting_tokens(self) -> int:
        """Tokens of interactive texts that no call of a model has taken yet."""
        return sum(job.waiting_tokens for job in self._jobs if job.priority is Priority.INTERACTIVE)

    async def embed(
        self, embedder: TextEmbedder, prepared: PreparedTexts, *, priority: Priority = Priority.INTERACTIVE
    ) -> FloatArray:
        """Return vectors ``(n, dims) float32`` of validated texts. If the caller is cancelled, texts that wait are dropped.

        Raises:
            OverloadedError: Too many tokens wait. ``retry_after`` estimates when there is capacity.
            ShuttingDownError: :meth:`close` has been called.
        """
        if self._is_closing:
            raise ShuttingDownError("The server is stopping; send the request again in a moment.", retry_after=5.0)
        if not prepared.texts:
            return np.empty((0, embedder.dims), dtype=np.float32)
        is_interactive = priority is Priority.INTERACTIVE
        if is_interactive:
            self._require_capacity(sum(prepared.n_tokens))
        job = EmbeddingJob(embedder, prepared, priority, self._loop.create_future())
        self._take_from_cache(job)
        if not job.pending:
            return job.result.result()
        self._jobs.add(job)
        self._interactive_tokens += job.total_tokens if is_interactive else 0
        with self._changed:
            if self._running is not None and self._running.embedder == embedder:
                self._join(job, self._running)
            if job.pending:
                self._queues[priority].queue(embedder).add(job)
                self._changed.notify()
        try:
            return await job.result
        finally:
            self._jobs.discard(job)
            self._interactive_tokens -= job.total_tokens if is_interactive else 0
            with self._changed:
                if job.pending:
                    self._queues[priority].queue(embedder).remove(job)

    def _require_capacity(self, n_tokens: int) -> None:
        limit = min(self._max_waiting_tokens, max(self._max_wait_seconds * self._tokens_per_second, self._batch_tokens))
        # An upper bound of the waiting tokens, so that most requests need not look at every job.
        if self._interactive_tokens + n_tokens <= limit:
            return
        jobs = [job for job in self._jobs if job.priority is Priority.INTERACTIVE]
        if n_tokens <= short_job_limit(self._batch_tokens):
            # Short jobs do not wait for long ones.
            jobs = [job for job in jobs if job.total_tokens <= short_job_limit(self._batch_tokens)]
        waiting = sum(job.waiting_tokens for job in jobs)
        # If nothing waits, a request is accepted whatever its length.
        if waiting and waiting + n_tokens > limit:
            seconds = min(max(waiting / self._tokens_per_second, 1.0), MAX_RETRY_SECONDS)
            raise OverloadedError(
                f"The server is busy: {waiting:,} tokens are waiting. Please try again in {math.ceil(seconds)} s.",
                retry_after=seconds,
            )

    def _take_from_cache(self, job: EmbeddingJob) -> None:
        if self.cache is None:
            return
        for index, text in enumerate(job.texts):
            vector = self.cache.get(self.cache.key(job.embedder.fingerprint, text))
            if vector is not None:
                job.take(index)
                job.set_vectors([index], vector[None, :])

    @staticmethod
    def _join(job: EmbeddingJob, running: ModelBatch) -> None:
        """Let a job wait for texts that are already being embedded."""
        for index in [index for index in job.pending if job.texts[index] in running.waiters]:
            job.take(index)
            running.waiters[job.texts[index]].append((job, index))

    async def close(self) -> None:
        """Accept no more jobs, finish the present ones, and stop the thread."""
        self._is_closing = True
        if self._jobs:
            await asyncio.wait([job.result for job in self._jobs])
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while (batch := self._wait_for_batch()) is not None:
            self._execute(batch)

    def _wait_for_batch(self) -> ModelBatch | None:
        """Return the next batch when there is one, or None when the batcher has been closed."""
        with self._changed:
            while not self._is_stopped:
                batch = self._next_batch()
                if batch is not None:
                    self._running = batch
                    return batch
                self._changed.wait()
            return None

    def _next_batch(self) -> ModelBatch | None:
        first, second = self._queues[Priority.INTERACTIVE], self._queues[Priority.BACKGROUND]
        if self._n_since_background >= BACKGROUND_SHARE:
            first, second = second, first
        batch = first.next_batch() or second.next_batch()
        if batch is not None:
            is_background = batch.priority is Priority.BACKGROUND
            self._n_since_background = 0 if is_background else self._n_since_background + 1
        return batch

    def _execute(self, batch: ModelBatch) -> None:
        start = time.monotonic()
        try:
            self.calls += 1
            vectors = batch.embedder.embed_texts(list(batch.waiters))
        except Exception as error:  # Every error of a model belongs to its requests and must not end this thread.
            self._handle_error(batch, error)
            return
        with self._changed:
            self._running = None
        self._call_in_loop(self._deliver, batch, vectors, time.monotonic() - start)

    def _handle_error(self, batch: ModelBatch, error: Exception) -> None:
        """Run each slice of a failed batch alone, so that one bad text does not fail other requests."""
        if len(batch.slices) > 1:
            for part in batch.slices:
                alone = ModelBatch(
                    batch.embedder, batch.priority, [part], {text: batch.waiters[text] for text in part.texts}
                )
                if part.job.has_failed:
                    self._put_back(alone)
                    continue
                with self._changed:
                    self._running = alone
                self._execute(alone)
            return
        job = batch.slices[0].job
        job.has_failed = True
        self._put_back(batch)
        self._call_in_loop(job.fail, error)

    def _put_back(self, batch: ModelBatch) -> None:
        """Let other jobs that joined a failed job wait again, because the bad text may not be one of theirs."""
        failed = batch.slices[0].job
        with self._changed:
            self._running = None
            for job, index in [waiter for waiters in batch.waiters.values() for waiter in waiters]:
                if job is not failed and not job.result.done():
                    self._queues[job.priority].queue(batch.embedder).put_back(job, index)

    def _call_in_loop(self, function: Callable[..., None], *arguments: object) -> None:
        # If the server was killed, the loop may be closed, and nobody waits for the result.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    # ------------------------------------------------------------ in the event loop again

    def _deliver(self, batch: ModelBatch, vectors: FloatArray, seconds: float) -> None:
        self._tokens_per_second += 0.2 * (batch.tokens / max(seconds, 1e-6) - self._tokens_per_second)
        by_job: dict[EmbeddingJob, tuple[list[int], list[int]]] = {}
        for row, (text, waiters) in enumerate(batch.waiters.items()):
            for job, index in waiters:
                indices, rows = by_job.setdefault(job, ([], []))
                indices.append(index)
                rows.append(row)
            if self.cache is not None and batch.priority is Priority.INTERACTIVE:
                self.cache.put(self.cache.key(batch.embedder.fingerprint, text), vectors[row])
        for job, (indices, rows) in by_job.items():
            job.set_vectors(indices, vectors[rows])
