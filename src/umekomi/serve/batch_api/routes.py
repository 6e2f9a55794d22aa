"""The routes of files and batches."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from ..errors import StorageBusyError
from ..json_text import write_json
from ..middleware.request_context import error_response
from ..openapi import FILE_PARAMETERS, PAGE_PARAMETERS, operation
from ..schemas import RequestError, brief, check_object, parse_object, wrong_type
from ..service import Service, json_response, key_name
from .batches import MAX_FILE_BYTES, BatchRunner, batch_object
from .input import ENDPOINT
from .records import Batch, BatchStatus, StoredFile
from .state_folder import WRITE_PATIENCE, sync
from .storage import BatchStorage
from .uploads import UploadForm, read_form

Result = TypeVar("Result")
_SHORTEST, _LONGEST = 3600, 2_592_000
_FORM_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


class BatchService:
    """What the routes of files and batches share.

    Reads and writes have one thread each, so that a write that waits for another process delays neither a read nor any other
    work of the server.
    """

    def __init__(self, service: Service, folder: Path) -> None:
        self._service = service
        limits = service.limits
        self.storage = BatchStorage(
            folder, limit=limits.stored_bytes, key_limit=limits.key_bytes, key_batches=limits.key_batches
        )
        self.runner: BatchRunner | None = None
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umekomi-read")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umekomi-write")
        self._turn = asyncio.Lock()
        self._uploading: Counter[str] = Counter()

    async def start(self) -> None:
        """Begin to run batches, those first that were left unfinished."""
        self.runner = BatchRunner(self._service, self.storage)
        await self.runner.start()

    async def stop(self) -> None:
        """Stop running them; what is unfinished goes on when a server starts again."""
        if self.runner is not None:
            await self.runner.stop()
        for threads in (self._reader, self._writer):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self.storage.close)

    def wake(self) -> None:
        """Say that there is something to do."""
        if self.runner is not None:
            self.runner.wake()

    async def read(self, work: Callable[[], Result]) -> Result:
        """Return the result of work that only reads."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    async def write(self, work: Callable[[], Result]) -> Result:
        """Return the result of work that writes.

        Raises:
            StorageBusyError: Other writes took too long.
        """
        try:
            async with asyncio.timeout(WRITE_PATIENCE):
                await self._turn.acquire()
        except TimeoutError as error:
            raise StorageBusyError(
                "The server's storage of files and batches is busy. Please try again in 5 s."
            ) from error
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work)
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def upload(self, owner: str, available: int) -> Iterator[Callable[[int], None]]:
        """Count the bytes of an upload, with those of the key's other uploads at this moment, until it is stored.

        Gives a function that takes the number of new bytes and raises RequestError if there are too many.
        """
        counted = 0

        def admit(n_bytes: int) -> None:
            nonlocal counted
            counted += n_bytes
            self._uploading[owner] += n_bytes
            if self._uploading[owner] > available:
                raise self.storage.over_limit()

        try:
            yield admit
        finally:
            self._uploading[owner] -= counted


def add_batch_routes(app: FastAPI, service: Service, folder: Path) -> BatchService:
    """Add the routes, and give what must be started and stopped with the server."""
    batches = BatchService(service, folder)
    _add_files(app, service, batches)
    _add_batches(app, service, batches)
    return batches


def file_object(file: StoredFile) -> dict[str, Any]:
    """A file as the API shows it."""
    fields = asdict(file)
    del fields["owner"]
    return {**fields, "object": "file", "status": "processed", "status_details": None}


def _page(rows: list[dict[str, Any]], more: bool) -> bytes:
    ends = {"first_id": rows[0]["id"] if rows else None, "last_id": rows[-1]["id"] if rows else None}
    return write_json({"object": "list", "data": rows, **ends, "has_more": more})


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _add_files(app: FastAPI, service: Service, batches: BatchService) -> None:
    storage = batches.storage

    @app.post(
        "/v1/files",
        summary="Upload a file",
        **operation(body="FileUpload", body_media="multipart/form-data", answer="File"),
    )
    async def upload(request: Request) -> Response:
        return await service.with_limits(_upload(request))

    async def _upload(request: Request) -> Response:
        owner = key_name(request)
        available = await batches.read(lambda: storage.available_bytes(owner))
        target = storage.upload()
        try:
            with batches.upload(owner, available) as admit:
                form = await read_form(request, target, limit=MAX_FILE_BYTES, admit=admit)
                seconds = _check_form(form)
                # The bytes first, and not in the thread in which others wait to write.
                await asyncio.to_thread(sync, target)
                name = str(form.filename)[:255]
                file = await batches.write(
                    lambda: storage.add(target, owner=owner, filename=name, purpose="batch", seconds=seconds)
                )
        finally:
            target.unlink(missing_ok=True)
        return json_response(file_object(file))

    @app.get("/v1/files", summary="The files", **operation(answer="FileList", parameters=FILE_PARAMETERS))
    async def files(request: Request) -> Response:
        query = _query(request, ("after", "limit", "order", "purpose"))
        newest_first = _one_of("order", query.get("order", "desc"), ("asc", "desc")) == "desc"
        limit, after, purpose = _limit(query, 10_000, default=10_000), query.get("after"), query.get("purpose")
        owner = key_name(request)

        def page() -> bytes:
            found, more = storage.files(owner, limit=limit, after=after, purpose=purpose, newest_first=newest_first)
            return _page([file_object(file) for file in found], more)

        return _json(await batches.read(page))

    @app.get("/v1/files/{file_id}", summary="One file", **operation(answer="File"))
    async def file(request: Request, file_id: str) -> Response:
        owner = key_name(request)
        return json_response(file_object(await batches.read(lambda: storage.file(file_id, owner))))

    @app.delete("/v1/files/{file_id}", summary="Delete a file", **operation(answer="DeletedFile"))
    async def delete(request: Request, file_id: str) -> Response:
        owner = key_name(request)
        # First without a lock: nobody waits to hear that there is no such file.
        await batches.read(lambda: storage.file(file_id, owner))
        await batches.write(lambda: storage.delete(file_id, owner))
        return json_response({"id": file_id, "object": "file", "deleted": True})

    @app.get(
        "/v1/files/{file_id}/content",
        summary="The bytes of a file",
        **operation(answer="binary", media="application/octet-stream"),
    )
    async def content(request: Request, file_id: str) -> Response:
        owner = key_name(request)
        file, status = await batches.read(lambda: storage.readable(file_id, owner))
        # Quoted whole: a name is a client's own text.
        headers = {"content-disposition": f"attachment; filename*=utf-8''{quote(file.filename, safe='')}"}
        path = storage.content(file.id)
        return _Download(path, media_type="application/octet-stream", headers=headers, stat_result=status)


class _Download(FileResponse):
    """A file, or a range of it. Starlette answers a range that cannot be had with plain text; here it gets the error object."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_refused = False

        async def send_or_refuse(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start" and message["status"] >= 400:
                is_refused = True
                refusal = error_response(
                    message["status"],
                    "The header 'Range' is not a range of bytes that the file has.",
                    kind="invalid_request_error",
                    code="invalid_range",
                )
                await refusal(scope, receive, send)
            elif not is_refused:
                await send(message)

        await super().__call__(scope, receive, send_or_refuse)


def _add_batches(app: FastAPI, service: Service, batches: BatchService) -> None:
    storage = batches.storage

    @app.post("/v1/batches", summary="Begin a batch", **operation(body="BatchRequest", answer="Batch"))
    async def create(request: Request) -> Response:
        return await service.with_limits(_create(request))

    async def _create(request: Request) -> Response:
        arguments = await service.parsed_body(request, _check_batch)
        owner = key_name(request)
        await batches.read(lambda: storage.file(arguments["input_file_id"], owner))
        batch = await batches.write(lambda: storage.add_batch(owner, **arguments))
        batches.wake()
        return json_response(batch_object(batch))

    @app.get("/v1/batches", summary="The batches", **operation(answer="BatchList", parameters=PAGE_PARAMETERS))
    async def list_batches(request: Request) -> Response:
        query = _query(request, ("after", "limit"))
        owner, limit, after = key_name(request), _limit(query, 100, default=20), query.get("after")

        def page() -> bytes:
            found, more = storage.batches(owner, limit=limit, after=after)
            return _page([batch_object(batch) for batch in found], more)

        return _json(await batches.read(page))

    @app.get("/v1/batches/{batch_id}", summary="One batch", **operation(answer="Batch"))
    async def batch(request: Request, batch_id: str) -> Response:
        owner = key_name(request)
        return json_response(batch_object(await batches.read(lambda: storage.batch(batch_id, owner))))

    @app.post("/v1/batches/{batch_id}/cancel", summary="Cancel a batch", **operation(answer="Batch"))
    async def cancel(request: Request, batch_id: str) -> Response:
        owner = key_name(request)
        await batches.read(lambda: storage.batch(batch_id, owner))

        def change(now: Batch) -> Batch:
            if now.status is BatchStatus.CANCELLING:
                return now
            if now.status is BatchStatus.FINALIZING or now.status.is_final:
                raise RequestError(f"Cannot cancel a batch with status '{now.status}'.", code="invalid_state")
            return now.turned(BatchStatus.CANCELLING, storage.clock())

        changed = await batches.write(lambda: storage.change(batch_id, change))
        if batches.runner is not None:
            batches.runner.hurry(batch_id)
        return json_response(batch_object(changed))


def _check_form(form: UploadForm) -> int | None:
    """How long to keep the file, in seconds. Raises RequestError if the form is not a good one."""
    for name in form.fields:
        if name not in _FORM_FIELDS:
            raise RequestError(f"Unrecognized request argument supplied: {brief(name)}")
    if form.filename is None:
        raise RequestError("Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise RequestError("Missing required parameter: 'purpose'.", param="purpose", code="missing_required_parameter")
    if purpose != "batch":
        raise RequestError(f"'{brief(purpose)}' is not one of ['batch'] - 'purpose'", param="purpose")
    anchor, seconds = form.fields.get("expires_after[anchor]"), form.fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    number = int(seconds) if seconds is not None and re.fullmatch("[0-9]{1,9}", seconds) else seconds
    return _expiry("expires_after", {"anchor": anchor, "seconds": number})


def _expiry(name: str, value: Mapping[str, object]) -> int:
    _one_of(f"{name}.anchor", value.get("anchor"), ("created_at",))
    seconds = value.get("seconds")
    if type(seconds) is not int or not _SHORTEST <= seconds <= _LONGEST:
        raise RequestError(
            f"Invalid '{name}.seconds': expected a whole number from {_SHORTEST} to {_LONGEST}.",
            param=f"{name}.seconds",
            code="invalid_value",
        )
    return seconds


def _check_batch(body: bytes) -> dict[str, Any]:
    fields = parse_object(body, ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"))
    for name in ("input_file_id", "endpoint", "completion_window"):
        if fields.get(name) is None:
            raise RequestError(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
        if not isinstance(fields[name], str):
            raise wrong_type(name, "a string", fields[name])
    _one_of("endpoint", fields["endpoint"], (ENDPOINT,))
    _one_of("completion_window", fields["completion_window"], ("24h",))
    expiry = fields.get("output_expires_after")
    seconds = None
    if expiry is not None:
        seconds = _expiry("output_expires_after", check_object(expiry, ("anchor", "seconds")))
    return {
        "input_file_id": fields["input_file_id"],
        "endpoint": fields["endpoint"],
        "window": fields["completion_window"],
        "metadata": _metadata(fields.get("metadata")),
        "output_seconds": seconds,
    }


def _metadata(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("metadata", "an object", value)
    if len(value) > 16:
        raise RequestError(
            "Invalid 'metadata': at most 16 pairs.", param="metadata", code="object_above_max_properties"
        )
    for name, text in value.items():
        if not isinstance(text, str):
            raise wrong_type(f"metadata.{brief(name)}", "a string", text)
        if len(name) > 64 or len(text) > 512:
            raise RequestError(
                "Invalid 'metadata': names have 64 characters at most, values 512.",
                param="metadata",
                code="string_above_max_length",
            )
    return value


def _query(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise RequestError(f"Unknown query parameter: '{brief(unknown[0])}'.", code="unknown_parameter")
    return dict(request.query_params)


def _limit(query: Mapping[str, str], most: int, *, default: int) -> int:
    text = query.get("limit")
    if text is None:
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise RequestError(
            f"Invalid 'limit': expected a whole number from 1 to {most}.", param="limit", code="invalid_value"
        )
    return int(text)


def _one_of(param: str, value: object, known: tuple[str, ...]) -> str:
    if value not in known or not isinstance(value, str):
        shown = brief(value) if isinstance(value, str) else "null"
        supported = " and ".join(f"'{one}'" for one in known)
        raise RequestError(
            f"Invalid value: '{shown}'. Supported values are: {supported}.", param=param, code="invalid_value"
        )
    return value
