"""The routes of files and batches."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from ..errors import RequestError, StorageBusyError, error_response
from ..schemas.openapi import operation
from ..schemas.requests import BATCH_LIST, FILE_LIST, parse_batch_request, parse_file_form
from ..service import Service, json_response, key_name
from .records import Batch, BatchStatus, StoredFile
from .runner import BatchRunner
from .state_folder import WRITE_TIMEOUT, sync
from .storage import BatchStorage
from .uploads import read_form

Result = TypeVar("Result")
#: Maximum number of bytes of an input file.
MAX_FILE_BYTES = 200 * 2**20


class BatchService:
    """State that the routes of files and batches share.

    Reads and writes have one thread each, so that a write that waits for another process delays neither reads nor other work.
    """

    def __init__(self, service: Service, folder: Path) -> None:
        self._service = service
        limits = service.limits
        self.storage = BatchStorage(
            folder,
            max_bytes=limits.max_stored_bytes,
            max_key_bytes=limits.max_key_bytes,
            max_key_batches=limits.max_key_batches,
        )
        self.runner: BatchRunner | None = None
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umekomi-read")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umekomi-write")
        self._write_lock = asyncio.Lock()
        self._upload_bytes: Counter[str] = Counter()

    async def start(self) -> None:
        """Start to run batches."""
        self.runner = BatchRunner(self._service, self.storage)
        await self.runner.start()

    async def stop(self) -> None:
        """Stop to run batches. Unfinished batches continue when a server starts again."""
        if self.runner is not None:
            await self.runner.stop()
        for threads in (self._reader, self._writer):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self.storage.close)

    async def read(self, work: Callable[[], Result]) -> Result:
        """Return the result of work that only reads."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    async def write(self, work: Callable[[], Result]) -> Result:
        """Return the result of work that writes.

        Raises:
            StorageBusyError: Other writes took too long.
        """
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                await self._write_lock.acquire()
        except TimeoutError as error:
            raise StorageBusyError(
                "The server's storage of files and batches is busy. Please try again in 5 s."
            ) from error
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work)
        finally:
            self._write_lock.release()

    @contextlib.contextmanager
    def upload(self, owner: str, available: int) -> Iterator[Callable[[int], None]]:
        """Count the bytes of an upload, together with the key's other uploads, until it is stored.

        Yields:
            A function that counts more bytes, and raises RequestError if there are too many.
        """
        n_bytes = 0

        def admit(amount: int) -> None:
            nonlocal n_bytes
            n_bytes += amount
            self._upload_bytes[owner] += amount
            if self._upload_bytes[owner] > available:
                raise self.storage.limit_error()

        try:
            yield admit
        finally:
            self._upload_bytes[owner] -= n_bytes


def add_batch_routes(app: FastAPI, service: Service, folder: Path) -> BatchService:
    """Add the routes to an application. The result must be started and stopped with the server."""
    batches = BatchService(service, folder)
    _add_file_routes(app, service, batches)
    _add_batch_routes(app, service, batches)
    return batches


def _page_response(rows: list[StoredFile] | list[Batch], has_more: bool) -> Response:
    data = [row.to_response() for row in rows]
    ids = {"first_id": rows[0].id if rows else None, "last_id": rows[-1].id if rows else None}
    return json_response({"object": "list", "data": data, **ids, "has_more": has_more})


def _add_file_routes(app: FastAPI, service: Service, batches: BatchService) -> None:
    storage = batches.storage

    @app.post(
        "/v1/files",
        summary="Upload a file",
        **operation(body="FileUpload", body_media_type="multipart/form-data", response="File"),
    )
    async def upload(request: Request) -> Response:
        return await service.with_limits(_upload(request))

    async def _upload(request: Request) -> Response:
        owner = key_name(request)
        available = await batches.read(lambda: storage.available_bytes(owner))
        path = storage.upload_path()
        try:
            with batches.upload(owner, available) as admit:
                form = await read_form(request, path, limit=MAX_FILE_BYTES, admit=admit)
                seconds = parse_file_form(form.fields)
                if form.filename is None:
                    raise RequestError(
                        "Missing required parameter: 'file'.", param="file", code="missing_required_parameter"
                    )
                # Synced before the write, because other writes wait for that thread.
                await asyncio.to_thread(sync, path)
                name = form.filename[:255]
                file = await batches.write(
                    lambda: storage.add(path, owner=owner, filename=name, purpose="batch", seconds=seconds)
                )
        finally:
            path.unlink(missing_ok=True)
        return json_response(file.to_response())

    @app.get("/v1/files", summary="List files", **operation(response="FileList", query=FILE_LIST))
    async def list_files(request: Request) -> Response:
        query = FILE_LIST.parse_strings(request.query_params)
        newest_first = query.pop("order") == "desc"
        owner = key_name(request)
        return await batches.read(lambda: _page_response(*storage.files(owner, newest_first=newest_first, **query)))

    @app.get("/v1/files/{file_id}", summary="Get a file", **operation(response="File"))
    async def get_file(request: Request, file_id: str) -> Response:
        owner = key_name(request)
        return json_response((await batches.read(lambda: storage.file(file_id, owner))).to_response())

    @app.delete("/v1/files/{file_id}", summary="Delete a file", **operation(response="DeletedFile"))
    async def delete_file(request: Request, file_id: str) -> Response:
        owner = key_name(request)
        # Read first, so that a 404 does not wait for the lock.
        await batches.read(lambda: storage.file(file_id, owner))
        await batches.write(lambda: storage.delete(file_id, owner))
        return json_response({"id": file_id, "object": "file", "deleted": True})

    @app.get(
        "/v1/files/{file_id}/content",
        summary="Get the content of a file",
        **operation(response="binary", media_type="application/octet-stream"),
    )
    async def get_content(request: Request, file_id: str) -> Response:
        owner = key_name(request)
        file, status = await batches.read(lambda: storage.file_with_stat(file_id, owner))
        # Quoted completely, because a client chose the name.
        headers = {"content-disposition": f"attachment; filename*=utf-8''{quote(file.filename, safe='')}"}
        path = storage.content_path(file.id)
        return _ContentResponse(path, media_type="application/octet-stream", headers=headers, stat_result=status)


class _ContentResponse(FileResponse):
    """A file, or a range of it. The response to an invalid range is the error object instead of Starlette's plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_rejected = False

        async def send_or_reject(message: Message) -> None:
            nonlocal is_rejected
            if message["type"] == "http.response.start" and message["status"] >= 400:
                is_rejected = True
                text = "The header 'Range' is not a range of bytes that the file has."
                await error_response(message["status"], text, code="invalid_range")(scope, receive, send)
            elif not is_rejected:
                await send(message)

        await super().__call__(scope, receive, send_or_reject)


def _add_batch_routes(app: FastAPI, service: Service, batches: BatchService) -> None:
    storage = batches.storage

    @app.post("/v1/batches", summary="Create a batch", **operation(body="BatchRequest", response="Batch"))
    async def create_batch(request: Request) -> Response:
        return await service.with_limits(_create_batch(request))

    async def _create_batch(request: Request) -> Response:
        fields = await service.parse_body(request, parse_batch_request)
        owner = key_name(request)
        await batches.read(lambda: storage.file(fields["input_file_id"], owner))
        batch = await batches.write(lambda: storage.add_batch(owner, **fields))
        if batches.runner is not None:
            batches.runner.wake()
        return json_response(batch.to_response())

    @app.get("/v1/batches", summary="List batches", **operation(response="BatchList", query=BATCH_LIST))
    async def list_batches(request: Request) -> Response:
        query = BATCH_LIST.parse_strings(request.query_params)
        owner = key_name(request)
        return await batches.read(lambda: _page_response(*storage.batches(owner, **query)))

    @app.get("/v1/batches/{batch_id}", summary="Get a batch", **operation(response="Batch"))
    async def get_batch(request: Request, batch_id: str) -> Response:
        owner = key_name(request)
        return json_response((await batches.read(lambda: storage.batch(batch_id, owner))).to_response())

    @app.post("/v1/batches/{batch_id}/cancel", summary="Cancel a batch", **operation(response="Batch"))
    async def cancel_batch(request: Request, batch_id: str) -> Response:
        owner = key_name(request)
        await batches.read(lambda: storage.batch(batch_id, owner))

        def change(current: Batch) -> Batch:
            if current.status is BatchStatus.CANCELLING:
                return current
            if current.status is BatchStatus.FINALIZING or current.status.is_final:
                raise RequestError(f"Cannot cancel a batch with status '{current.status}'.", code="invalid_state")
            return current.with_status(BatchStatus.CANCELLING, storage.clock())

        changed = await batches.write(lambda: storage.change(batch_id, change))
        if batches.runner is not None:
            batches.runner.expedite(batch_id)
        return json_response(changed.to_response())
