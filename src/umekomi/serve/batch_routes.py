"""The routes of files and batches."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse

from .batches import ENDPOINT, MAX_FILE_BYTES, BatchRunner, batch_object
from .files import Batch, Shelf, Status, StoredFile
from .openapi import FILE_PARAMETERS, PAGE_PARAMETERS, operation
from .schemas import RequestError, brief, check_object, parse_object, wrong_type
from .service import Service, json_response, owner_of
from .uploads import Form, read_form

_SHORTEST, _LONGEST = 3600, 2_592_000
_FORM_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


class BatchService:
    """What the routes of files and batches share."""

    def __init__(self, service: Service, folder: Path) -> None:
        self._service = service
        self.shelf = Shelf(folder, limit=service.limits.stored_bytes)
        self.runner: BatchRunner | None = None

    async def start(self) -> None:
        """Begin to run batches, those first that were left unfinished."""
        self.runner = BatchRunner(self._service, self.shelf)
        await self.runner.start()

    async def stop(self) -> None:
        """Stop running them; what is unfinished goes on when a server starts again."""
        if self.runner is not None:
            await self.runner.stop()
        await asyncio.to_thread(self.shelf.close)

    def wake(self) -> None:
        """Say that there is something to do."""
        if self.runner is not None:
            self.runner.wake()


def add_batch_routes(app: FastAPI, service: Service, folder: Path) -> BatchService:
    """Add the routes, and give what must be started and stopped with the server."""
    batches = BatchService(service, folder)
    _add_files(app, service, batches.shelf)
    _add_batches(app, service, batches)
    return batches


def file_object(file: StoredFile) -> dict[str, Any]:
    """A file as the API shows it."""
    fields = asdict(file)
    del fields["owner"]
    return {**fields, "object": "file", "status": "processed", "status_details": None}


def _page(rows: list[dict[str, Any]], more: bool) -> Response:
    ends = {"first_id": rows[0]["id"] if rows else None, "last_id": rows[-1]["id"] if rows else None}
    return json_response({"object": "list", "data": rows, **ends, "has_more": more})


def _add_files(app: FastAPI, service: Service, shelf: Shelf) -> None:
    @app.post(
        "/v1/files",
        summary="Upload a file",
        **operation(body="FileUpload", body_media="multipart/form-data", answer="File"),
    )
    async def upload(request: Request) -> Response:
        return await service.bounded(_upload(request))

    async def _upload(request: Request) -> Response:
        await asyncio.to_thread(shelf.require_room, 0)
        target = shelf.upload()
        try:
            form = await read_form(request, target, limit=MAX_FILE_BYTES)
            seconds = _check_form(form)
            file = await asyncio.to_thread(
                shelf.add,
                target,
                owner=owner_of(request),
                filename=str(form.filename)[:255],
                purpose="batch",
                seconds=seconds,
            )
        finally:
            target.unlink(missing_ok=True)
        return json_response(file_object(file))

    @app.get("/v1/files", summary="The files", **operation(answer="FileList", parameters=FILE_PARAMETERS))
    async def files(request: Request) -> Response:
        query = _query(request, ("after", "limit", "order", "purpose"))
        order = _one_of("order", query.get("order", "desc"), ("asc", "desc"))
        found, more = await asyncio.to_thread(
            shelf.files,
            owner_of(request),
            limit=_limit(query, 10_000, default=10_000),
            after=query.get("after"),
            purpose=query.get("purpose"),
            newest_first=order == "desc",
        )
        return _page([file_object(file) for file in found], more)

    @app.get("/v1/files/{file_id}", summary="One file", **operation(answer="File"))
    async def file(request: Request, file_id: str) -> Response:
        return json_response(file_object(await asyncio.to_thread(shelf.file, file_id, owner_of(request))))

    @app.delete("/v1/files/{file_id}", summary="Delete a file", **operation(answer="DeletedFile"))
    async def delete(request: Request, file_id: str) -> Response:
        await asyncio.to_thread(shelf.delete, file_id, owner_of(request))
        return json_response({"id": file_id, "object": "file", "deleted": True})

    @app.get(
        "/v1/files/{file_id}/content",
        summary="The bytes of a file",
        **operation(answer="binary", media="application/octet-stream"),
    )
    async def content(request: Request, file_id: str) -> Response:
        file = await asyncio.to_thread(shelf.file, file_id, owner_of(request))
        # Quoted whole: a name is a client's own text.
        headers = {"content-disposition": f"attachment; filename*=utf-8''{quote(file.filename, safe='')}"}
        return FileResponse(shelf.content(file.id), media_type="application/octet-stream", headers=headers)


def _add_batches(app: FastAPI, service: Service, batches: BatchService) -> None:
    shelf = batches.shelf

    @app.post("/v1/batches", summary="Begin a batch", **operation(body="BatchRequest", answer="Batch"))
    async def create(request: Request) -> Response:
        return await service.bounded(_create(request))

    async def _create(request: Request) -> Response:
        arguments = _check_batch(await service.json_body(request))
        batch = await asyncio.to_thread(shelf.add_batch, owner_of(request), **arguments)
        batches.wake()
        return json_response(batch_object(batch))

    @app.get("/v1/batches", summary="The batches", **operation(answer="BatchList", parameters=PAGE_PARAMETERS))
    async def list_batches(request: Request) -> Response:
        query = _query(request, ("after", "limit"))
        found, more = await asyncio.to_thread(
            shelf.batches, owner_of(request), limit=_limit(query, 100, default=20), after=query.get("after")
        )
        return _page([batch_object(batch) for batch in found], more)

    @app.get("/v1/batches/{batch_id}", summary="One batch", **operation(answer="Batch"))
    async def batch(request: Request, batch_id: str) -> Response:
        return json_response(batch_object(await asyncio.to_thread(shelf.batch, batch_id, owner_of(request))))

    @app.post("/v1/batches/{batch_id}/cancel", summary="Cancel a batch", **operation(answer="Batch"))
    async def cancel(request: Request, batch_id: str) -> Response:
        await asyncio.to_thread(shelf.batch, batch_id, owner_of(request))

        def change(now: Batch) -> Batch:
            if now.status is Status.CANCELLING:
                return now
            if now.status is Status.FINALIZING or now.status.is_final:
                raise RequestError(f"Cannot cancel a batch with status '{now.status}'.", code="invalid_state")
            return now.turned(Status.CANCELLING, shelf.clock())

        changed = await asyncio.to_thread(shelf.change, batch_id, change)
        batches.wake()
        return json_response(batch_object(changed))


def _check_form(form: Form) -> int | None:
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
