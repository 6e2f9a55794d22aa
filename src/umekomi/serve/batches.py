"""Batches: thousands of requests in a file, answered into a file, in the background.

One process of those that share the folder runs them. A chunk of lines is answered, the results are appended and synced, and
only then the batch's row says how far it has come; after a kill the next process drops what is past that and goes on from
there. So each line has one result, however often the server is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock

from ..errors import AssetError, MissingExtraError, ModelNotFoundError, OverloadedError, UmekomiError
from .failures import StorageError, error_answer
from .files import Batch, Shelf, Status, append
from .openapi import STATUSES
from .schemas import FIELDS, RequestError, brief, check_embeddings_request, check_object, parse_json
from .service import Service

logger = logging.getLogger(__name__)

ENDPOINT = "/v1/embeddings"
MAX_REQUESTS = 50_000
"""Requests in a batch."""
MAX_BATCH_INPUTS = 50_000
"""Inputs of all requests of a batch together."""
MAX_FILE_BYTES = 200 * 2**20
"""Bytes of an input file."""
_MAX_ERRORS = 100
_CHUNK_LINES, _CHUNK_INPUTS, _CHUNK_BYTES = 256, 1024, 2**18
_PAUSE = 1.0
_RETRY = 5.0
_SWEEP = 600.0


def batch_object(batch: Batch) -> dict[str, Any]:
    """A batch as the API shows it."""
    done = batch.status.is_final
    times = {f"{status}_at": batch.times.get(f"{status}_at") for status in STATUSES if status != Status.VALIDATING}
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


@dataclass(frozen=True, slots=True)
class _Line:
    """A request of a batch; ``start`` and ``end`` are its place in the input, in bytes."""

    start: int
    end: int
    fields: dict[str, Any]

    @property
    def custom_id(self) -> str:
        return str(self.fields["custom_id"])


class BatchRunner:
    """Answers the requests of batches, one chunk of each open batch in turn."""

    def __init__(self, service: Service, shelf: Shelf) -> None:
        self._service = service
        self._shelf = shelf
        # Held as long as this process runs the batches; the system lets go of it when the process is killed.
        self._lock = filelock.FileLock(shelf.folder / "runner.lock", thread_local=False)
        self._new = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, with what was left unfinished first."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Leave the rest to the next process. A chunk that is not done is dropped whole."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._lock.release()

    def wake(self) -> None:
        """Say that there is something new."""
        self._new.set()

    async def _run(self) -> None:
        swept = -_SWEEP
        while True:
            pause = _PAUSE
            try:
                if self._is_mine():
                    now = asyncio.get_running_loop().time()
                    if now - swept >= _SWEEP:
                        swept = now
                        await asyncio.to_thread(self._shelf.sweep)
                    open_batches = await asyncio.to_thread(self._shelf.open_batches)
                    for batch in open_batches:
                        await self._step(batch)
                    pause = 0 if open_batches else _PAUSE
            except (StorageError, AssetError, MissingExtraError, OverloadedError) as error:
                # A full disk, a model whose files cannot be had: the batches wait until that is mended, or they expire.
                logger.error("batches wait because of %s", type(error).__name__)
                pause = _RETRY
            except Exception as error:
                logger.error("batches wait because of %s", type(error).__name__)
                pause = _RETRY
            if pause:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._new.wait(), pause)
            self._new.clear()

    def _is_mine(self) -> bool:
        """Whether it is this process that runs the batches."""
        with contextlib.suppress(filelock.Timeout):
            if not self._lock.is_locked:
                self._lock.acquire(timeout=0)
        return self._lock.is_locked

    async def _step(self, batch: Batch) -> None:
        """Bring a batch a little further."""
        now = self._shelf.clock()
        if batch.status is Status.VALIDATING:
            await asyncio.to_thread(self._validate, batch)
        elif batch.status is Status.FINALIZING:
            await asyncio.to_thread(self._shelf.finish, batch)
        elif batch.status is Status.CANCELLING:
            await asyncio.to_thread(self._drop_rest, batch, Status.CANCELLED)
        elif now >= batch.expires_at:
            await asyncio.to_thread(self._drop_rest, batch, Status.EXPIRED)
        else:
            await self._answer_chunk(batch)

    # ------------------------------------------------------------ states

    def _validate(self, batch: Batch) -> None:
        check = _Check(self._service)
        for number, line, _ in _lines(self._shelf.input(batch), 0):
            check.line(number, line, too_long=len(line) > self._service.limits.body_bytes)
            if len(check.errors) >= _MAX_ERRORS:
                break
        check.end()

        def change(now: Batch) -> Batch:
            if now.status is not Status.VALIDATING:
                return now  # Cancelled meanwhile.
            seen = replace(now, errors=check.errors, model=check.model, total=check.total)
            if not check.errors:
                return seen.turned(Status.IN_PROGRESS, self._shelf.clock())
            return replace(seen, status=Status.FINALIZING, outcome=Status.FAILED)

        changed = self._shelf.change(batch.id, change)
        if changed.status is Status.FINALIZING:
            self._shelf.finish(changed)

    def _drop_rest(self, batch: Batch, outcome: Status) -> None:
        """Say of each line that was not answered that it will not be."""
        code, message = {
            Status.CANCELLED: ("batch_cancelled", "This request was not executed: the batch was cancelled before."),
            Status.EXPIRED: (
                "batch_expired",
                "This request could not be executed before the completion window expired.",
            ),
        }[outcome]
        lines = []
        end = batch.offset
        # A batch that was cancelled before it was found good has no lines that could be named.
        for line in self._rest(batch) if batch.total else ():
            row = {"id": _request_id(batch, line), "custom_id": line.custom_id, "response": None}
            lines.append(json.dumps({**row, "error": {"code": code, "message": message}}).encode() + b"\n")
            end = line.end
        size = append(self._shelf.content(batch.error_file_id), batch.error_bytes, lines)

        def change(now: Batch) -> Batch:
            failed = now.failed + len(lines)
            return replace(now, offset=end, error_bytes=size, failed=failed, status=Status.FINALIZING, outcome=outcome)

        changed = self._shelf.change(batch.id, change)
        self._shelf.finish(changed)

    async def _answer_chunk(self, batch: Batch) -> None:
        lines = await asyncio.to_thread(self._chunk, batch)
        answers = await _all(self._answer(batch, line) for line in lines)
        good = [answer for _, answer, tokens in answers if tokens is not None]
        bad = [answer for _, answer, tokens in answers if tokens is None]

        def save() -> None:
            output_bytes = append(self._shelf.content(batch.output_file_id), batch.output_bytes, good)
            error_bytes = append(self._shelf.content(batch.error_file_id), batch.error_bytes, bad)

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
                if not is_last or further.status is not Status.IN_PROGRESS:
                    return further
                return further.turned(Status.FINALIZING, self._shelf.clock())

            self._shelf.change(batch.id, change)

        await asyncio.to_thread(save)

    def _rest(self, batch: Batch) -> Iterator[_Line]:
        start = batch.offset
        for _, text, end in _lines(self._shelf.input(batch), batch.offset):
            yield _Line(start, end, json.loads(text))
            start = end

    def _chunk(self, batch: Batch) -> list[_Line]:
        lines: list[_Line] = []
        n_inputs = 0
        for line in self._rest(batch):
            lines.append(line)
            n_inputs += _n_inputs(line.fields.get("body"))
            if len(lines) >= _CHUNK_LINES or n_inputs >= _CHUNK_INPUTS or line.end - batch.offset >= _CHUNK_BYTES:
                break
        return lines

    async def _answer(self, batch: Batch, line: _Line) -> tuple[_Line, bytes, int | None]:
        """The line of the output, and the tokens of the request; None if it failed."""
        status, tokens = 200, None
        try:
            asked = check_embeddings_request(check_object(line.fields["body"], FIELDS))
            body, tokens = await self._service.background(asked)
        except (AssetError, MissingExtraError, OverloadedError):
            raise  # Not this request's fault: it is tried again.
        except UmekomiError as error:
            status, body, _ = error_answer(error)
        except Exception as error:
            logger.error("a request of a batch failed with %s", type(error).__name__)
            status, body, _ = error_answer(RuntimeError("The model failed to embed this request."))
        name = _request_id(batch, line)
        head = json.dumps({"id": name, "custom_id": line.custom_id}).encode()[:-1]
        request = b'"response": {"status_code": %d, "request_id": "req_%b", "body": ' % (status, name[10:].encode())
        return line, head + b", " + request + body + b'}, "error": null}\n', tokens


class _Check:
    """Looks at each line of an input before any is answered."""

    def __init__(self, service: Service) -> None:
        self._models = service.models
        self._ids: set[str] = set()
        self._n_inputs = 0
        self.errors: list[dict[str, Any]] = []
        self.model: str | None = None
        self.total = 0

    def line(self, number: int, text: bytes, *, too_long: bool) -> None:
        """Check one line; ``number`` is counted from 1."""
        self.total += 1
        if self.total == MAX_REQUESTS + 1:
            self._error("too_many_requests", f"A batch may have {MAX_REQUESTS:,} requests at most.", number)
        try:
            fields = None if too_long else parse_json(text)
        except RequestError:
            fields = None
        if not isinstance(fields, dict):
            what = "This line is too long." if too_long else "This line is not parseable as valid JSON."
            self._error("invalid_json_line", what, number)
            return
        for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            if not isinstance(fields.get(name), kind):
                missing = fields.get(name) is None
                code = "missing_required_parameter" if missing else "invalid_type"
                what = f"Missing required parameter: '{name}'." if missing else f"Invalid type for '{name}'."
                self._error(code, what, number, name)
                return
        self._fields(fields, number)

    def _fields(self, fields: dict[str, Any], number: int) -> None:
        custom_id, body = fields["custom_id"], fields["body"]
        if custom_id in self._ids:
            what = f"The custom_id '{brief(custom_id)}' for this request is a duplicate of another request."
            what += " The custom_id parameter must be unique for each request in a batch."
            self._error("duplicate_custom_id", what, number, "custom_id")
        self._ids.add(custom_id)
        if fields["method"] != "POST":
            self._error("invalid_method", "The method must be 'POST'.", number, "method")
        if fields["url"] != ENDPOINT:
            what = f"The URL provided for this request does not match the batch endpoint, '{ENDPOINT}'."
            self._error("mismatched_url", what, number, "url")
        model = body.get("model")
        if not isinstance(model, str):
            self._error("missing_required_parameter", "Missing required parameter: 'body.model'.", number, "body.model")
        elif self.model is None:
            self.model = model
            try:
                self._models.card(model)
            except ModelNotFoundError:
                what = f"The provided model '{brief(model)}' is not supported by the Batch API."
                self._error("model_not_found", what, number, "body.model")
        elif model != self.model:
            what = f"The provided model '{brief(model)}' does not match the model of the first request."
            self._error("mismatched_model", what + " All requests of a batch must use one.", number, "body.model")
        before = self._n_inputs
        self._n_inputs += _n_inputs(body)
        if before <= MAX_BATCH_INPUTS < self._n_inputs:
            what = f"A batch may have {MAX_BATCH_INPUTS:,} embedding inputs at most, all requests together."
            self._error("too_many_inputs", what, number)

    def end(self) -> None:
        """Check what only the whole file shows."""
        if not self.total:
            self._error("empty_file", "The batch input file is empty. Please provide at least one request.", None)

    def _error(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        self.errors.append({"code": code, "line": line, "message": message, "param": param})


def _lines(path: Path, offset: int) -> Iterator[tuple[int, bytes, int]]:
    """Lines that are not blank, with their numbers (from 1, counted from the offset) and the places where they end."""
    with path.open("rb") as file:
        file.seek(offset)
        for number, line in enumerate(file, start=1):
            offset += len(line)
            if line.strip():
                yield number, line, offset


def _n_inputs(body: object) -> int:
    inputs = body.get("input") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or (inputs and type(inputs[0]) is int):
        return 1
    return len(inputs)


def _request_id(batch: Batch, line: _Line) -> str:
    """The same, however often the line is tried."""
    return "batch_req_" + hashlib.sha256(f"{batch.id} {line.start}".encode()).hexdigest()[:32]


async def _all(work: Any) -> list[tuple[_Line, bytes, int | None]]:
    """The results of all, in order; if one fails the others are dropped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
