"""Who waits for which texts, and which come next: short jobs first, long ones in turns, each text once.

Nothing here knows threads or time: :mod:`~umekomi.serve.scheduler.batcher` calls it under its lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from ...catalog import Role
from ...embedder import Embedder, Prepared
from ...vectors.arithmetic import FloatArray


class Priority(Enum):
    """Who waits for the answer: a client at this moment, or nobody."""

    INTERACTIVE = "interactive"
    BACKGROUND = "background"


class TextEmbedder(Protocol):
    """What a batcher runs: :class:`~umekomi.Embedder`, or anything that gives ``(n, dims) float32`` for n good texts."""

    @property
    def model(self) -> str: ...
    @property
    def dims(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def embed_texts(self, texts: Sequence[str]) -> FloatArray: ...


@dataclass(frozen=True, slots=True)
class RoleEmbedder:
    """A model that embeds texts of one side of a search. Two of one model and side are equal: their texts are joined."""

    embedder: Embedder
    role: Role

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
        """Names what a text's vector depends on."""
        return f"{self.embedder.fingerprint}:{self.role}"

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """``(n, dims) float32``."""
        return self.embedder.embed_texts(texts, role=self.role)


class EmbeddingJob:
    """One request: its texts, which of them have not been taken yet, and the vectors that have come."""

    def __init__(
        self, embedder: TextEmbedder, prepared: Prepared, priority: Priority, answer: asyncio.Future[FloatArray]
    ) -> None:
        self.embedder = embedder
        self.priority = priority
        self.texts = prepared.texts
        self.costs = prepared.n_tokens
        self.answer = answer
        self.open = set(range(len(self.texts)))
        """Places of texts that nobody has taken."""
        self.total_tokens = sum(self.costs)
        self.waiting_tokens = self.total_tokens
        self.is_over = False
        """Whether it has failed: what is left of it is not worth a call."""
        # The longest are taken first, so that a slice holds texts of about one length, which make the fullest batches.
        self._order = sorted(self.open, key=self.costs.__getitem__)
        self._missing = len(self.texts)
        self._vectors = np.empty((len(self.texts), embedder.dims), dtype=np.float32)

    def next(self) -> int | None:
        """The place of the next text to take."""
        while self._order and self._order[-1] not in self.open:
            self._order.pop()
        return self._order[-1] if self._order else None

    def claim(self, place: int) -> None:
        """Say that a text is taken."""
        self.open.remove(place)
        self.waiting_tokens -= self.costs[place]

    def release(self, place: int) -> None:
        """Say that it is not, after all."""
        self.open.add(place)
        self._order.append(place)
        self.waiting_tokens += self.costs[place]

    def put(self, places: list[int], vectors: FloatArray) -> None:
        """Keep vectors ``(len(places), dims)``; the last of them completes the answer."""
        self._vectors[places] = vectors
        self._missing -= len(places)
        if not self._missing and not self.answer.done():
            self.answer.set_result(self._vectors)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def short_job_limit(budget: int) -> int:
    """Tokens of a request that goes into the short priority at most."""
    return max(1, budget // 8)


Waiters = dict[str, list[tuple[EmbeddingJob, int]]]
"""Who waits for a text: jobs, and the text's place in each."""


@dataclass(frozen=True, slots=True)
class JobSlice:
    job: EmbeddingJob
    texts: list[str]


@dataclass(slots=True)
class ModelBatch:
    """The texts of one call of a model, each once, in the order of ``waiters``."""

    embedder: TextEmbedder
    priority: Priority
    slices: list[JobSlice]
    waiters: Waiters
    tokens: int = 0


class ModelQueue:
    """The jobs that wait for one model."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._short_limit = short_job_limit(budget)
        self._short: deque[EmbeddingJob] = deque()
        self._long: deque[EmbeddingJob] = deque()
        self._wanted: Waiters = {}

    def add(self, job: EmbeddingJob) -> None:
        """Let a job wait for all of its open texts."""
        for place in job.open:
            self._wanted.setdefault(job.texts[place], []).append((job, place))
        (self._short if job.waiting_tokens <= self._short_limit else self._long).append(job)

    def restore(self, job: EmbeddingJob, place: int) -> None:
        """Let a text that was taken wait again."""
        job.release(place)
        self._wanted.setdefault(job.texts[place], []).append((job, place))
        if job not in self._short and job not in self._long:
            self._long.append(job)

    def remove(self, job: EmbeddingJob) -> None:
        """Forget a job."""
        for place in job.open:
            text = job.texts[place]
            left = [(other, where) for other, where in self._wanted.get(text, ()) if other is not job]
            if left:
                self._wanted[text] = left
            else:
                self._wanted.pop(text, None)
        for priority in (self._short, self._long):
            if job in priority:
                priority.remove(job)

    def __bool__(self) -> bool:
        return bool(self._short or self._long)

    def next_batch(self, batch: ModelBatch) -> None:
        """Fill a batch."""
        room = self._budget
        kept = room // 4 if self._long else 0
        while self._short and self._short[0].waiting_tokens <= room - kept:
            room -= self._take_slice(self._short, room, batch)
        # The first slice of the long jobs is taken even if its text alone is longer than the room: else it might wait for ever.
        first = True
        while self._long and (first or room >= self._short_limit):
            taken = self._take_slice(self._long, min(room, self._short_limit), batch)
            room -= taken
            first = first and not taken
        while self._short and self._short[0].waiting_tokens <= room:
            room -= self._take_slice(self._short, room, batch)

    def _take_slice(self, priority: deque[EmbeddingJob], room: int, batch: ModelBatch) -> int:
        """Take texts of about ``room`` tokens of the job whose turn it is, one at least; the tokens that were taken."""
        job = priority.popleft()
        if job.is_over:
            return 0
        texts: list[str] = []
        taken = 0
        while (place := job.next()) is not None and (not texts or job.costs[place] <= room - taken):
            text = job.texts[place]
            taken += job.costs[place]
            texts.append(text)
            waiters = batch.waiters[text] = self._wanted.pop(text)
            for other, where in waiters:
                other.claim(where)
        if texts:
            batch.slices.append(JobSlice(job, texts))
            batch.tokens += taken
        if job.open:
            priority.append(job)
        return taken


class ModelQueues:
    """The lines of all models of one priority; models with work take turns."""

    def __init__(self, priority: Priority, budget: int) -> None:
        self._priority = priority
        self._budget = budget
        self._lines: dict[TextEmbedder, ModelQueue] = {}
        self._turns: deque[TextEmbedder] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    def line(self, embedder: TextEmbedder) -> ModelQueue:
        """The line of a model, made if there is none."""
        if embedder not in self._lines:
            self._lines[embedder] = ModelQueue(self._budget)
            self._turns.append(embedder)
        return self._lines[embedder]

    def next_batch(self) -> ModelBatch | None:
        """The next model's next batch."""
        while self._turns:
            embedder = self._turns.popleft()
            line = self._lines[embedder]
            batch = ModelBatch(embedder, self._priority, [], {})
            line.next_batch(batch)
            if line:
                self._turns.append(embedder)
            else:
                # Nothing is kept for a model that nobody waits for, so that it can be let go of.
                del self._lines[embedder]
            if batch.slices:
                return batch
        return None
