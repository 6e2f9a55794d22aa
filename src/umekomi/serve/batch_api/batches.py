"""Batches: thousands of requests in a file, answered into a file, in the background.

One process of those that share the folder runs them. A chunk of lines is answered, the results are appended and synced, and
only then the batch's row says how far it has come; after a kill the next process drops what is past that and goes on from
there. So each line has one result, however often the server is killed.

Keys take turns, and the batches of a key do. Whatever goes wrong with one batch, that batch alone waits, and is tried again
after a time that doubles, or fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import filelock

from ...errors import AssetError, MissingExtraError, OverloadedError, RemoteUnavailableError, UmekomiError
from ..errors import StorageError, error_answer
from ..json_text import write_json
from ..openapi import STATUSES
from ..schemas import FIELDS, RequestError, brief, check_embeddings_request, check_object
from ..service import Service
from .input import MAX_ERRORS, BatchInputError, BatchLine, InputValidator, checked_lines, count_inputs, raw_lines
from .records import Batch, BatchStatus
from .storage import BatchStorage, append

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

MAX_FILE_BYTES = 200 * 2**20
"""Bytes of an input file."""
_CHUNK_LINES, _CHUNK_INPUTS, _CHUNK_BYTES = 256, 1024, 2**18
_SLOTS = 4
"""Batches, each of another key, that are worked on at a time."""
_PAUSE = 1.0
_PAUSE_AFTER_ERROR = 5.0
_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0
_MAX_ATTEMPTS = 5
"""Attempts after which a batch fails, if the error is not one that passes."""
_PASSING = (StorageError, AssetError, MissingExtraError, OverloadedError, RemoteUnavailableError)
"""A full disk, missing files of a model, too much work, an API out of reach: the batch waits until it expires."""
_SWEEP = 600.0


def batch_object(batch: Batch) -> dict[str, Any]:
    """A batch as the API shows it."""
    done = batch.status.is_final
    times = {f"{status}_at": batch.times.get(f"{status}_at") for status in STATUSES if status != BatchStatus.VALIDATING}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id if done and batch.output_bytes else None,
        "error_file_id": batch.error_file_id if done and batch.error_bytes else None,
        "created_at": batch.created_at,
        "expires_at": batch.expires_at,
        **times,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": {
            "input_tokens": batch.tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.tokens,
        },
        "metadata": batch.metadata,
    }


@dataclass(slots=True)
class _Pause:
    """How often a batch has failed in a row, and when it is tried again, in seconds of the event loop's clock."""

    attempts: int = 0
    until: float = 0.0


class BatchRunner:
    """Answers the requests of batches, a chunk at a time."""

    def __init__(self, service: Service, storage: BatchStorage) -> None:
        self._service = service
        self._storage = storage
        # Held as long as this process runs the batches; the system lets go of it when the process is killed.
        self._lock = filelock.FileLock(storage.folder / "runner.lock", thread_local=False, mode=0o600)
        self._threads = ThreadPoolExecutor(max_workers=_SLOTS + 1, thread_name_prefix="umekomi-batches")
        self._stopping = threading.Event()
        self._new = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._turn = itertools.count(1)
        self._served: dict[str, int] = {}
        """The last turn of each key and of each batch."""
        self._pauses: dict[str, _Pause] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        """The task of each key that has one."""
        self._loading: dict[str, asyncio.Task[None]] = {}
        """Batches that wait for their model. They take no slot."""
        self._load_errors: dict[str, Exception] = {}

    async def start(self) -> None:
        """Begin, with what was left unfinished first."""
        self._main = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Leave the rest to the next process. A chunk that is not done is dropped whole."""
        self._stopping.set()
        if self._main is not None:
            tasks = [self._main, *self._running.values(), *self._loading.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._lock.release()

    def wake(self) -> None:
        """Say that there is something new."""
        self._new.set()

    def hurry(self, batch_id: str) -> None:
        """Look at a batch now, even if it waits for its model or for another attempt."""
        self._pauses.pop(batch_id, None)
        if batch_id in self._loading:
            self._loading[batch_id].cancel()  # the load itself goes on
        self.wake()

    async def _run(self) -> None:
        swept = -_SWEEP
        loop = asyncio.get_running_loop()
        while True:
            pause = _PAUSE
            try:
                if self._is_mine():
                    if loop.time() - swept >= _SWEEP:
                        swept = loop.time()
                        await self._sweep()
                    self._choose(await self._in_thread(self._storage.open_owners))
                    # One that is due already waits for a slot, and whoever frees one wakes this loop.
                    waits = [one.until - loop.time() for one in self._pauses.values()]
                    pause = min([_PAUSE, *(seconds for seconds in waits if seconds > 0)])
            except Exception as error:
                logger.error("batches wait because of %s", type(error).__name__)
                pause = _PAUSE_AFTER_ERROR
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._new.wait(), pause)
            self._new.clear()

    def _is_mine(self) -> bool:
        """Whether it is this process that runs the batches."""
        with contextlib.suppress(filelock.Timeout):
            if not self._lock.is_locked:
                self._lock.acquire(timeout=0)
        return self._lock.is_locked

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Return the result of work in a thread that is for batches only."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _sweep(self) -> None:
        try:
            await self._in_thread(self._storage.sweep)
        except Exception as error:
            logger.error("files that have expired stay because of %s", type(error).__name__)

    # ------------------------------------------------------------ turns

    def _choose(self, owners: dict[str, str]) -> None:
        """Begin the next step of as many batches as there are slots, given the keys of all open batches."""
        now = asyncio.get_running_loop().time()
        known = {*owners, *owners.values()}
        self._served = {name: turn for name, turn in self._served.items() if name in known}
        self._pauses = {batch: pause for batch, pause in self._pauses.items() if batch in owners}
        self._load_errors = {batch: error for batch, error in self._load_errors.items() if batch in owners}
        ready = [
            batch
            for batch in owners
            if batch not in self._loading and (batch not in self._pauses or self._pauses[batch].until <= now)
        ]
        # Who was served longest ago comes first: first among the keys, then among the batches of a key.
        for batch in sorted(ready, key=lambda batch: (self._turn_of(owners[batch]), self._turn_of(batch))):
            owner = owners[batch]
            if len(self._running) >= _SLOTS:
                return
            if owner not in self._running:
                self._served[owner] = self._served[batch] = next(self._turn)
                self._running[owner] = asyncio.create_task(self._work(batch, owner))
                self._running[owner].add_done_callback(partial(self._ended, self._running, owner))

    def _turn_of(self, name: str) -> int:
        return self._served.get(name, 0)

    def _ended(self, tasks: dict[str, asyncio.Task[None]], name: str, _: asyncio.Task[None]) -> None:
        del tasks[name]
        self.wake()

    async def _work(self, batch_id: str, owner: str) -> None:
        """Bring a batch a little further. Nothing that goes wrong with it concerns the others."""
        try:
            await self._step(await self._in_thread(self._storage.batch, batch_id, owner))
            self._pauses.pop(batch_id, None)
        except Exception as error:
            pause = self._pauses.setdefault(batch_id, _Pause())
            pause.attempts += 1
            seconds = min(_FIRST_RETRY * 2 ** min(pause.attempts - 1, 16), _LONGEST_RETRY)
            pause.until = asyncio.get_running_loop().time() + seconds
            reason = self._final_reason(error, pause.attempts)
            if reason is None:
                logger.error("batch %s waits %g s because of %s", batch_id, seconds, type(error).__name__)
            else:
                logger.error("batch %s fails with %s because of %s", batch_id, reason[0], type(error).__name__)
                with contextlib.suppress(Exception):  # it is tried again after the pause
                    await self._in_thread(self._fail, batch_id, *reason)

    @staticmethod
    def _final_reason(error: Exception, attempts: int) -> tuple[str, str] | None:
        """Return the code and the message with which a batch fails, or None if it is tried again."""
        if isinstance(error, RequestError) and error.code is not None:
            return error.code, str(error)
        if isinstance(error, BatchInputError):
            return "input_file_unreadable", "The input file of this batch cannot be read. Upload it again."
        if attempts >= _MAX_ATTEMPTS and not isinstance(error, _PASSING):
            return "server_error", f"The server failed {attempts} times to process this batch. Its log names the error."
        return None

    async def _step(self, batch: Batch) -> None:
        if batch.status is BatchStatus.VALIDATING and not batch.total:
            batch = await self._in_thread(self._check_input, batch)
        if batch.status.is_final:
            return
        if batch.status is BatchStatus.FINALIZING:
            await self._in_thread(self._storage.finish, batch)
        elif batch.status is BatchStatus.CANCELLING:
            await self._in_thread(self._drop_rest, batch, BatchStatus.CANCELLED)
        elif self._storage.clock() >= batch.expires_at:
            await self._in_thread(self._drop_rest, batch, BatchStatus.EXPIRED)
        elif self._has_model(batch):
            if batch.status is BatchStatus.VALIDATING:
                await self._in_thread(self._begin_answers, batch.id)
            else:
                await self._in_thread(self._storage.require_results, batch.owner)
                await self._answer_chunk(batch)

    def _has_model(self, batch: Batch) -> bool:
        """Whether a batch's model is in memory. If not, it is loaded while others are worked on.

        Raises:
            RequestError: It could not be loaded, and the batch has not begun.
            Exception: It could not be loaded after a restart of the server.
        """
        model = str(batch.model)
        if self._service.models.ready(model) is not None:
            return True
        error = self._load_errors.pop(batch.id, None)
        if error is None:
            self._loading[batch.id] = asyncio.create_task(self._load(batch, model))
            self._loading[batch.id].add_done_callback(partial(self._ended, self._loading, batch.id))
            return False
        if batch.status is not BatchStatus.VALIDATING:
            raise error
        why = f": {error}" if isinstance(error, UmekomiError) else "."
        raise RequestError(
            f"The model '{brief(model)}' is not available on this server{why}", code="model_not_available"
        )

    async def _load(self, batch: Batch, model: str) -> None:
        """Wait for a model, until the batch expires."""
        try:
            async with asyncio.timeout(max(0.0, batch.expires_at - self._storage.clock())) as patience:
                await self._service.models.get(model)  # if nobody waits for it any more, the load still goes on
        except Exception as error:
            if not patience.expired():
                self._load_errors[batch.id] = error

    # ------------------------------------------------------------ states

    def _check_input(self, batch: Batch) -> Batch:
        """Check all lines. Returns the batch as it is now: with its model and its number of requests, or failed."""
        limit = self._service.limits.body_bytes
        check = InputValidator(self._service.models)
        for number, line, _ in raw_lines(self._storage.input(batch), 0, limit=limit):
            check.line(number, line, too_long=len(line) > limit)
            if len(check.errors) >= MAX_ERRORS:
                break
            self._require_running()
        check.end()

        def change(now: Batch) -> Batch:
            if now.status is not BatchStatus.VALIDATING:
                return now  # Cancelled meanwhile.
            seen = replace(now, errors=check.errors, model=check.model, total=check.total)
            return replace(seen, status=BatchStatus.FINALIZING, outcome=BatchStatus.FAILED) if check.errors else seen

        changed = self._storage.change(batch.id, change)
        return self._storage.finish(changed) if changed.status is BatchStatus.FINALIZING else changed

    def _begin_answers(self, batch_id: str) -> None:
        def change(now: Batch) -> Batch:
            # Cancelled meanwhile?
            return (
                now.turned(BatchStatus.IN_PROGRESS, self._storage.clock())
                if now.status is BatchStatus.VALIDATING
                else now
            )

        self._storage.change(batch_id, change)

    def _fail(self, batch_id: str, code: str, message: str) -> None:
        """End a batch with an error. The answers that it has stay."""

        def change(now: Batch) -> Batch:
            if now.status.is_final:
                return now
            error = {"code": code, "line": None, "message": message, "param": None}
            return replace(now, errors=[error], status=BatchStatus.FINALIZING, outcome=BatchStatus.FAILED)

        changed = self._storage.change(batch_id, change)
        if not changed.status.is_final:
            self._storage.finish(changed)

    def _require_running(self) -> None:
        if self._stopping.is_set():
            raise asyncio.CancelledError

    def _drop_rest(self, batch: Batch, outcome: BatchStatus) -> None:
        """Say of each line that was not answered that it will not be."""
        code, message = {
            BatchStatus.CANCELLED: (
                "batch_cancelled",
                "This request was not executed: the batch was cancelled before.",
            ),
            BatchStatus.EXPIRED: (
                "batch_expired",
                "This request could not be executed before the completion window expired.",
            ),
        }[outcome]
        lines = []
        end = batch.offset
        # A batch that was cancelled before it was found good has no lines that could be named.
        for line in self._rest(batch) if batch.total else ():
            row = {"id": _request_id(batch, line), "custom_id": line.custom_id, "response": None}
            lines.append(write_json({**row, "error": {"code": code, "message": message}}) + b"\n")
            end = line.end
        size = append(self._storage.content(batch.error_file_id), batch.error_bytes, lines)

        def change(now: Batch) -> Batch:
            failed = now.failed + len(lines)
            return replace(
                now, offset=end, error_bytes=size, failed=failed, status=BatchStatus.FINALIZING, outcome=outcome
            )

        changed = self._storage.change(batch.id, change)
        self._storage.finish(changed)

    async def _answer_chunk(self, batch: Batch) -> None:
        lines = await self._in_thread(self._chunk, batch)
        answers = await _all(self._answer(batch, line) for line in lines)
        good = [answer for _, answer, tokens in answers if tokens is not None]
        bad = [answer for _, answer, tokens in answers if tokens is None]

        def save() -> None:
            output_bytes = append(self._storage.content(batch.output_file_id), batch.output_bytes, good)
            error_bytes = append(self._storage.content(batch.error_file_id), batch.error_bytes, bad)

            def change(now: Batch) -> Batch:
                further = replace(
                    now,
                    offset=lines[-1].end if lines else now.offset,
                    output_bytes=output_bytes,
                    error_bytes=error_bytes,
                    completed=now.completed + len(good),
                    failed=now.failed + len(bad),
                    tokens=now.tokens + sum(tokens or 0 for _, _, tokens in answers),
                )
                is_last = not lines or further.completed + further.failed >= further.total
                if not is_last or further.status is not BatchStatus.IN_PROGRESS:
                    return further
                return further.turned(BatchStatus.FINALIZING, self._storage.clock())

            self._storage.change(batch.id, change)

        await self._in_thread(save)

    def _rest(self, batch: Batch) -> Iterator[BatchLine]:
        return checked_lines(self._storage.input(batch), batch.offset, limit=self._service.limits.body_bytes)

    def _chunk(self, batch: Batch) -> list[BatchLine]:
        lines: list[BatchLine] = []
        n_inputs = 0
        for line in self._rest(batch):
            lines.append(line)
            n_inputs += count_inputs(line.fields.get("body"))
            if len(lines) >= _CHUNK_LINES or n_inputs >= _CHUNK_INPUTS or line.end - batch.offset >= _CHUNK_BYTES:
                break
        return lines

    async def _answer(self, batch: Batch, line: BatchLine) -> tuple[BatchLine, bytes, int | None]:
        """The line of the output, and the tokens of the request; None if it failed."""
        status, tokens = 200, None
        try:
            asked = check_embeddings_request(check_object(line.fields["body"], FIELDS))
            body, tokens = await self._service.background(asked)
        except (AssetError, MissingExtraError, OverloadedError, RemoteUnavailableError):
            raise  # Not this request's fault: it is tried again.
        except UmekomiError as error:
            status, body, _ = error_answer(error)
        except Exception as error:
            logger.error("a request of a batch failed with %s", type(error).__name__)
            status, body, _ = error_answer(RuntimeError("The model failed to embed this request."))
        name = _request_id(batch, line)
        head = write_json({"id": name, "custom_id": line.custom_id})[:-1]
        request = b'"response": {"status_code": %d, "request_id": "req_%b", "body": ' % (status, name[10:].encode())
        return line, head + b", " + request + body + b'}, "error": null}\n', tokens


def _request_id(batch: Batch, line: BatchLine) -> str:
    """The same, however often the line is tried."""
    return "batch_req_" + hashlib.sha256(f"{batch.id} {line.start}".encode()).hexdigest()[:32]


async def _all(work: Any) -> list[tuple[BatchLine, bytes, int | None]]:
    """The results of all, in order; if one fails the others are dropped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
