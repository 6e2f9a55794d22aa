"""Runs batches in the background: files with thousands of requests.

One of the processes that share a folder runs the batches. It answers a chunk of lines, appends and syncs the results, and then
stores the progress in the batch's row. After a kill, the next process drops results beyond the stored progress and continues
from there, so that each line has exactly one result.

Keys take turns, and so do the batches of a key. An error affects only its own batch, which fails or is tried again after a delay
that doubles.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import filelock

from ...errors import AssetError, MissingExtraError, OverloadedError, RemoteUnavailableError, UmekomiError
from ..errors import RequestError, StorageError, response_to
from ..schemas.fields import abbreviate
from ..schemas.json_text import write_json
from ..schemas.requests import check_embeddings_request
from ..service import Service
from .input_file import MAX_ERRORS, BatchInputError, BatchLine, InputValidator, count_inputs, read_lines, read_requests
from .records import Batch, BatchStatus
from .storage import BatchStorage, append

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

#: Limits of a chunk of lines that is answered and stored at once.
_CHUNK_LINES, _CHUNK_INPUTS, _CHUNK_BYTES = 256, 1024, 2**18
#: Number of batches, each of another key, that are processed at a time.
_SLOTS = 4
_POLL_SECONDS = 1.0
_POLL_SECONDS_AFTER_ERROR = 5.0
_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 60.0
#: Attempts after which a batch fails, unless its error is temporary.
_MAX_ATTEMPTS = 5
#: Errors of a single request that are temporary: the request is tried again.
_TEMPORARY_ERRORS = (AssetError, MissingExtraError, OverloadedError, RemoteUnavailableError)
_SWEEP_SECONDS = 600.0


@dataclass(slots=True)
class _Retry:
    """When a batch is tried again."""

    #: Number of consecutive failures.
    attempts: int = 0
    #: Time of the event loop's clock in seconds.
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class _LineResult:
    #: A line of the output or error file.
    content: bytes
    #: Tokens of the request, or None if it failed.
    n_tokens: int | None


class BatchRunner:
    """Answers the requests of batches, one chunk at a time."""

    def __init__(self, service: Service, storage: BatchStorage) -> None:
        self._service = service
        self._storage = storage
        # Held while this process runs the batches. The system releases it if the process is killed.
        self._lock = filelock.FileLock(storage.folder / "runner.lock", thread_local=False, mode=0o600)
        self._threads = ThreadPoolExecutor(max_workers=_SLOTS + 1, thread_name_prefix="umekomi-batches")
        self._is_stopping = threading.Event()
        self._wake_up = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._turns = itertools.count(1)
        #: The last turn of each key and of each batch.
        self._last_turns: dict[str, int] = {}
        self._retries: dict[str, _Retry] = {}
        #: The running task of each key.
        self._running: dict[str, asyncio.Task[None]] = {}
        #: Batches that wait for their model. They occupy no slot.
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._load_errors: dict[str, Exception] = {}

    async def start(self) -> None:
        """Start, first with unfinished batches."""
        self._main = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop. The next process continues; an unfinished chunk is dropped as a whole."""
        self._is_stopping.set()
        if self._main is not None:
            tasks = [self._main, *self._running.values(), *self._loading.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._lock.release()

    def wake(self) -> None:
        """Look for new batches now."""
        self._wake_up.set()

    def expedite(self, batch_id: str) -> None:
        """Process a batch now, even if it waits for its model or for a retry."""
        self._retries.pop(batch_id, None)
        if batch_id in self._loading:
            self._loading[batch_id].cancel()  # the load itself continues
        self.wake()

    async def _run(self) -> None:
        last_sweep = -_SWEEP_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            delay = _POLL_SECONDS
            try:
                if self._acquire_lock():
                    if loop.time() - last_sweep >= _SWEEP_SECONDS:
                        last_sweep = loop.time()
                        await self._sweep()
                    self._start_steps(await self._in_thread(self._storage.open_owners))
                    # A batch that is due waits for a slot, and the task that frees one wakes this loop.
                    delays = [retry.at - loop.time() for retry in self._retries.values()]
                    delay = min([_POLL_SECONDS, *(seconds for seconds in delays if seconds > 0)])
            except Exception as error:
                logger.error("batches wait because of %s", type(error).__name__)
                delay = _POLL_SECONDS_AFTER_ERROR
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake_up.wait(), delay)
            self._wake_up.clear()

    def _acquire_lock(self) -> bool:
        """Return whether this process runs the batches."""
        with contextlib.suppress(filelock.Timeout):
            if not self._lock.is_locked:
                self._lock.acquire(timeout=0)
        return self._lock.is_locked

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Return the result of work in one of the runner's own threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _sweep(self) -> None:
        try:
            await self._in_thread(self._storage.sweep)
        except Exception as error:
            logger.error("expired files were not deleted because of %s", type(error).__name__)

    # ------------------------------------------------------------ turns

    def _start_steps(self, owners: dict[str, str]) -> None:
        """Start the next step of as many batches as there are slots. ``owners`` are the keys of all open batches."""
        now = asyncio.get_running_loop().time()
        names = {*owners, *owners.values()}
        self._last_turns = {name: turn for name, turn in self._last_turns.items() if name in names}
        self._retries = {batch: retry for batch, retry in self._retries.items() if batch in owners}
        self._load_errors = {batch: error for batch, error in self._load_errors.items() if batch in owners}
        ready = [
            batch
            for batch in owners
            if batch not in self._loading and (batch not in self._retries or self._retries[batch].at <= now)
        ]
        # The key that has waited longest comes first, and then the batch of that key that has waited longest.
        ready.sort(key=lambda batch: (self._last_turns.get(owners[batch], 0), self._last_turns.get(batch, 0)))
        for batch in ready:
            owner = owners[batch]
            if len(self._running) >= _SLOTS:
                return
            if owner not in self._running:
                self._last_turns[owner] = self._last_turns[batch] = next(self._turns)
                self._running[owner] = asyncio.create_task(self._process(batch, owner))
                self._running[owner].add_done_callback(partial(self._end_task, self._running, owner))

    def _end_task(self, tasks: dict[str, asyncio.Task[None]], name: str, _: asyncio.Task[None]) -> None:
        del tasks[name]
        self.wake()

    async def _process(self, batch_id: str, owner: str) -> None:
        """Run one step of a batch. Its errors do not affect other batches."""
        try:
            await self._step(await self._in_thread(self._storage.batch, batch_id, owner))
            self._retries.pop(batch_id, None)
        except Exception as error:
            retry = self._retries.setdefault(batch_id, _Retry())
            retry.attempts += 1
            seconds = min(_MIN_RETRY_SECONDS * 2 ** min(retry.attempts - 1, 16), _MAX_RETRY_SECONDS)
            retry.at = asyncio.get_running_loop().time() + seconds
            reason = self._failure_reason(error, retry.attempts)
            if reason is None:
                logger.error("batch %s waits %g s because of %s", batch_id, seconds, type(error).__name__)
            else:
                logger.error("batch %s fails with %s because of %s", batch_id, reason[0], type(error).__name__)
                with contextlib.suppress(Exception):  # it is tried again after the delay
                    await self._in_thread(self._fail, batch_id, *reason)

    @staticmethod
    def _failure_reason(error: Exception, attempts: int) -> tuple[str, str] | None:
        """Return the code and the message with which a batch fails, or None if it is tried again."""
        if isinstance(error, RequestError) and error.code is not None:
            return error.code, str(error)
        if isinstance(error, BatchInputError):
            return "input_file_unreadable", "The input file of this batch cannot be read. Upload it again."
        # With a temporary error, such as a full disk, the batch waits until it expires.
        if attempts >= _MAX_ATTEMPTS and not isinstance(error, (*_TEMPORARY_ERRORS, StorageError)):
            return "server_error", f"The server failed {attempts} times to process this batch. Its log names the error."
        return None

    async def _step(self, batch: Batch) -> None:
        if batch.status is BatchStatus.VALIDATING and not batch.total:
            batch = await self._in_thread(self._validate_input, batch)
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
                await self._in_thread(self._set_in_progress, batch.id)
            else:
                await self._in_thread(self._storage.require_capacity, batch.owner)
                await self._answer_chunk(batch)

    def _has_model(self, batch: Batch) -> bool:
        """Return whether a batch's model is in memory. If not, it is loaded while other batches run.

        Raises:
            RequestError: It could not be loaded, and no line has been answered yet.
            Exception: It could not be loaded after a restart of the server.
        """
        model = str(batch.model)
        if self._service.models.get_loaded(model) is not None:
            return True
        error = self._load_errors.pop(batch.id, None)
        if error is None:
            self._loading[batch.id] = asyncio.create_task(self._load(batch, model))
            self._loading[batch.id].add_done_callback(partial(self._end_task, self._loading, batch.id))
            return False
        if batch.status is not BatchStatus.VALIDATING:
            raise error
        cause = f": {error}" if isinstance(error, UmekomiError) else "."
        raise RequestError(
            f"The model '{abbreviate(model)}' is not available on this server{cause}", code="model_not_available"
        )

    async def _load(self, batch: Batch, model: str) -> None:
        """Wait for a model until the batch expires."""
        try:
            async with asyncio.timeout(max(0.0, batch.expires_at - self._storage.clock())) as timeout:
                await self._service.models.get(model)  # the load continues even if nobody waits for it
        except Exception as error:
            if not timeout.expired():
                self._load_errors[batch.id] = error

    # ------------------------------------------------------------ states

    def _validate_input(self, batch: Batch) -> Batch:
        """Validate all lines. Returns the batch with its model and number of requests, or failed."""
        limit = self._service.limits.max_body_bytes
        validator = InputValidator(self._service.models)
        for number, line, _ in read_lines(self._storage.input_path(batch), 0, limit=limit):
            validator.check(number, line, is_too_long=len(line) > limit)
            if len(validator.errors) >= MAX_ERRORS:
                break
            if self._is_stopping.is_set():
                raise asyncio.CancelledError
        validator.finish()

        def change(current: Batch) -> Batch:
            if current.status is not BatchStatus.VALIDATING:
                return current  # it has been cancelled
            changed = replace(current, errors=validator.errors, model=validator.model, total=validator.total)
            if not validator.errors:
                return changed
            return replace(changed, status=BatchStatus.FINALIZING, outcome=BatchStatus.FAILED)

        changed = self._storage.change(batch.id, change)
        return self._storage.finish(changed) if changed.status is BatchStatus.FINALIZING else changed

    def _set_in_progress(self, batch_id: str) -> None:
        def change(current: Batch) -> Batch:
            if current.status is not BatchStatus.VALIDATING:
                return current  # it has been cancelled
            return current.with_status(BatchStatus.IN_PROGRESS, self._storage.clock())

        self._storage.change(batch_id, change)

    def _fail(self, batch_id: str, code: str, message: str) -> None:
        """End a batch with an error. Its existing answers remain."""

        def change(current: Batch) -> Batch:
            if current.status.is_final:
                return current
            error = {"code": code, "line": None, "message": message, "param": None}
            return replace(current, errors=[error], status=BatchStatus.FINALIZING, outcome=BatchStatus.FAILED)

        changed = self._storage.change(batch_id, change)
        if not changed.status.is_final:
            self._storage.finish(changed)

    def _drop_rest(self, batch: Batch, outcome: BatchStatus) -> None:
        """Write an error for each line that has not been answered, and end the batch."""
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
        # The lines of a batch that was cancelled before its validation ended cannot be named.
        for line in self._rest(batch) if batch.total else ():
            row = {"id": _request_id(batch, line), "custom_id": line.custom_id, "response": None}
            lines.append(write_json({**row, "error": {"code": code, "message": message}}) + b"\n")
            end = line.end
        size = append(self._storage.content_path(batch.error_file_id), batch.error_bytes, lines)

        def change(current: Batch) -> Batch:
            failed = current.failed + len(lines)
            status = BatchStatus.FINALIZING
            return replace(current, offset=end, error_bytes=size, failed=failed, status=status, outcome=outcome)

        self._storage.finish(self._storage.change(batch.id, change))

    async def _answer_chunk(self, batch: Batch) -> None:
        lines = await self._in_thread(self._next_chunk, batch)
        results = await _gather(self._answer(batch, line) for line in lines)
        await self._in_thread(self._store_results, batch, lines, results)

    def _store_results(self, batch: Batch, lines: list[BatchLine], results: list[_LineResult]) -> None:
        output = [result.content for result in results if result.n_tokens is not None]
        errors = [result.content for result in results if result.n_tokens is None]
        output_bytes = append(self._storage.content_path(batch.output_file_id), batch.output_bytes, output)
        error_bytes = append(self._storage.content_path(batch.error_file_id), batch.error_bytes, errors)

        def change(current: Batch) -> Batch:
            changed = replace(
                current,
                offset=lines[-1].end if lines else current.offset,
                output_bytes=output_bytes,
                error_bytes=error_bytes,
                completed=current.completed + len(output),
                failed=current.failed + len(errors),
                tokens=current.tokens + sum(result.n_tokens or 0 for result in results),
            )
            is_last = not lines or changed.completed + changed.failed >= changed.total
            if not is_last or changed.status is not BatchStatus.IN_PROGRESS:
                return changed
            return changed.with_status(BatchStatus.FINALIZING, self._storage.clock())

        self._storage.change(batch.id, change)

    def _rest(self, batch: Batch) -> Iterator[BatchLine]:
        limit = self._service.limits.max_body_bytes
        return read_requests(self._storage.input_path(batch), batch.offset, limit=limit)

    def _next_chunk(self, batch: Batch) -> list[BatchLine]:
        lines: list[BatchLine] = []
        n_inputs = 0
        for line in self._rest(batch):
            lines.append(line)
            n_inputs += count_inputs(line.fields.get("body"))
            if len(lines) >= _CHUNK_LINES or n_inputs >= _CHUNK_INPUTS or line.end - batch.offset >= _CHUNK_BYTES:
                break
        return lines

    async def _answer(self, batch: Batch, line: BatchLine) -> _LineResult:
        status, n_tokens = 200, None
        try:
            body, n_tokens = await self._service.embed_in_background(check_embeddings_request(line.fields["body"]))
        except _TEMPORARY_ERRORS:
            raise
        except Exception as error:
            if not isinstance(error, UmekomiError):
                logger.error("a request of a batch failed with %s", type(error).__name__)
                error = RuntimeError("The model failed to embed this request.")
            response = response_to(error)
            status, body = response.status_code, bytes(response.body)
        request_id = _request_id(batch, line)
        head = write_json({"id": request_id, "custom_id": line.custom_id})[:-1]
        start = b'"response": {"status_code": %d, "request_id": "req_%b", "body": ' % (status, request_id[10:].encode())
        return _LineResult(head + b", " + start + body + b'}, "error": null}\n', n_tokens)


def _request_id(batch: Batch, line: BatchLine) -> str:
    """Return an id that is the same for every attempt."""
    return "batch_req_" + hashlib.sha256(f"{batch.id} {line.start}".encode()).hexdigest()[:32]


async def _gather(answers: Iterable[Coroutine[Any, Any, _LineResult]]) -> list[_LineResult]:
    """Return all results in order. If one fails, the others are cancelled and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer) for answer in answers]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
