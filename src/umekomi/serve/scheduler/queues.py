"""Queues of texts that wait for a model: short jobs first, long ones in turns, each text once.

Nothing here uses threads or time: :mod:`~umekomi.serve.scheduler.batcher` calls it under its lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np

from ...embedder import Embedder
from ...vectors.arithmetic import FloatArray


class Priority(Enum):
    """Whether a client waits for the vectors."""

    INTERACTIVE = "interactive"
    BACKGROUND = "background"


class TextEmbedder(Protocol):
    """A model that a batcher runs: an :class:`~umekomi.Embedder` or another object that embeds validated texts."""

    @property
    def model(self) -> str: ...
    @property
    def dims(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def embed_texts(self, texts: Sequence[Any]) -> FloatArray: ...


class PreparedTexts(Protocol):
    """Validated texts: those of :class:`~umekomi.embedder.Prepared`, or tokenized pairs for a reranker."""

    @property
    def texts(self) -> tuple[Hashable, ...]: ...
    @property
    def n_tokens(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class RoleEmbedder:
    """A model that embeds texts with a role. Two with the same model and role are equal, so that their texts are batched."""

    embedder: Embedder
    #: A :class:`~umekomi.Role`, or the name of a prompt of the model.
    role: str

    @property
    def model(self) -> str:
        """The id of the model."""
        return self.embedder.model

    @property
    def dims(self) -> int:
        """The length of every vector."""
        return self.embedder.dims

    @property
    def fingerprint(self) -> str:
        """Identifies everything that a text's vector depends on."""
        return f"{self.embedder.fingerprint}:{self.role}"

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Return vectors ``(n, dims) float32`` of validated texts."""
        return self.embedder.embed_texts(texts, role=self.role)


class EmbeddingJob:
    """The texts of one request, and the vectors that have been computed so far."""

    def __init__(
        self, embedder: TextEmbedder, prepared: PreparedTexts, priority: Priority, result: asyncio.Future[FloatArray]
    ) -> None:
        self.embedder = embedder
        self.priority = priority
        self.texts = prepared.texts
        self.token_counts = prepared.n_tokens
        #: ``(n, dims) float32`` when the job is complete.
        self.result = result
        #: Indices of texts that wait.
        self.pending = set(range(len(self.texts)))
        self.total_tokens = sum(self.token_counts)
        self.waiting_tokens = self.total_tokens
        #: Whether a text of the job has failed. The others are then not embedded for this job.
        self.has_failed = False
        # The longest texts are taken first, so that a slice holds texts of similar length, which make the fullest batches.
        self._order = sorted(self.pending, key=self.token_counts.__getitem__)
        self._n_missing = len(self.texts)
        self._vectors = np.empty((len(self.texts), embedder.dims), dtype=np.float32)

    def next_index(self) -> int | None:
        """Return the index of the next text to take, or None if no text waits."""
        while self._order and self._order[-1] not in self.pending:
            self._order.pop()
        return self._order[-1] if self._order else None

    def take(self, index: int) -> None:
        """Remove a text from those that wait."""
        self.pending.remove(index)
        self.waiting_tokens -= self.token_counts[index]

    def put_back(self, index: int) -> None:
        """Let a text that was taken wait again."""
        self.pending.add(index)
        self._order.append(index)
        self.waiting_tokens += self.token_counts[index]

    def set_vectors(self, indices: list[int], vectors: FloatArray) -> None:
        """Store vectors ``(len(indices), dims)``. The last of them completes the job."""
        self._vectors[indices] = vectors
        self._n_missing -= len(indices)
        if not self._n_missing and not self.result.done():
            self.result.set_result(self._vectors)

    def fail(self, error: Exception) -> None:
        """Complete the job with an error."""
        if not self.result.done():
            self.result.set_exception(error)


def short_job_limit(batch_tokens: int) -> int:
    """Return the maximum number of tokens of a short job."""
    return max(1, batch_tokens // 8)


#: The jobs that wait for each text, and the text's index in each job.
Waiters = dict[Hashable, list[tuple[EmbeddingJob, int]]]


@dataclass(frozen=True, slots=True)
class JobSlice:
    """The texts of one job in a batch."""

    job: EmbeddingJob
    texts: list[Hashable]


@dataclass(slots=True)
class ModelBatch:
    """The texts of one call of a model, each once, in the order of ``waiters``."""

    embedder: TextEmbedder
    priority: Priority
    slices: list[JobSlice]
    waiters: Waiters
    tokens: int = 0


class ModelQueue:
    """The jobs that wait for one model.

    Args:
        batch_tokens: Maximum number of tokens in a batch.
    """

    def __init__(self, batch_tokens: int) -> None:
        self._batch_tokens = batch_tokens
        self._short_limit = short_job_limit(batch_tokens)
        self._short: deque[EmbeddingJob] = deque()
        self._long: deque[EmbeddingJob] = deque()
        self._waiters: Waiters = {}

    def add(self, job: EmbeddingJob) -> None:
        """Add a job with all of its pending texts."""
        for index in job.pending:
            self._waiters.setdefault(job.texts[index], []).append((job, index))
        (self._short if job.waiting_tokens <= self._short_limit else self._long).append(job)

    def put_back(self, job: EmbeddingJob, index: int) -> None:
        """Let a text that was taken wait again."""
        job.put_back(index)
        self._waiters.setdefault(job.texts[index], []).append((job, index))
        if job not in self._short and job not in self._long:
            self._long.append(job)

    def remove(self, job: EmbeddingJob) -> None:
        """Remove a job."""
        for index in job.pending:
            text = job.texts[index]
            others = [waiter for waiter in self._waiters.get(text, ()) if waiter[0] is not job]
            if others:
                self._waiters[text] = others
            else:
                self._waiters.pop(text, None)
        for queue in (self._short, self._long):
            if job in queue:
                queue.remove(job)

    def __bool__(self) -> bool:
        return bool(self._short or self._long)

    def fill(self, batch: ModelBatch) -> None:
        """Take texts for a batch. While long jobs wait, a quarter of the batch is reserved for them."""
        remaining = self._batch_tokens
        reserved = remaining // 4 if self._long else 0
        while self._short and self._short[0].waiting_tokens <= remaining - reserved:
            remaining -= self._take_slice(self._short, remaining, batch)
        # The first slice of the long jobs may exceed the batch; otherwise, a very long text would wait forever.
        is_first = True
        while self._long and (is_first or remaining >= self._short_limit):
            taken = self._take_slice(self._long, min(remaining, self._short_limit), batch)
            remaining -= taken
            is_first = is_first and not taken
        while self._short and self._short[0].waiting_tokens <= remaining:
            remaining -= self._take_slice(self._short, remaining, batch)

    def _take_slice(self, queue: deque[EmbeddingJob], max_tokens: int, batch: ModelBatch) -> int:
        """Take at least one text and about ``max_tokens`` tokens of the next job. Returns the number of tokens taken."""
        job = queue.popleft()
        if job.has_failed:
            return 0
        texts: list[Hashable] = []
        n_tokens = 0
        while (index := job.next_index()) is not None and (
            not texts or job.token_counts[index] <= max_tokens - n_tokens
        ):
            text = job.texts[index]
            n_tokens += job.token_counts[index]
            texts.append(text)
            waiters = batch.waiters[text] = self._waiters.pop(text)
            for waiting_job, waiting_index in waiters:
                waiting_job.take(waiting_index)
        if texts:
            batch.slices.append(JobSlice(job, texts))
            batch.tokens += n_tokens
        if job.pending:
            queue.append(job)
        return n_tokens


class ModelQueues:
    """The queues of all models for one priority. Models with pending texts take turns."""

    def __init__(self, priority: Priority, batch_tokens: int) -> None:
        self._priority = priority
        self._batch_tokens = batch_tokens
        self._queues: dict[TextEmbedder, ModelQueue] = {}
        self._turns: deque[TextEmbedder] = deque()

    def queue(self, embedder: TextEmbedder) -> ModelQueue:
        """Return the queue of a model. It is created if it does not exist."""
        if embedder not in self._queues:
            self._queues[embedder] = ModelQueue(self._batch_tokens)
            self._turns.append(embedder)
        return self._queues[embedder]

    def next_batch(self) -> ModelBatch | None:
        """Return the next batch of the model whose turn it is, or None if nothing waits."""
        while self._turns:
            embedder = self._turns.popleft()
            queue = self._queues[embedder]
            batch = ModelBatch(embedder, self._priority, [], {})
            queue.fill(batch)
            if queue:
                self._turns.append(embedder)
            else:
                # An empty queue is deleted, so that it does not keep the model alive.
                del self._queues[embedder]
            if batch.slices:
                return batch
        return None
