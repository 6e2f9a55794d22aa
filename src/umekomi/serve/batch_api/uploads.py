"""Forms with a file in them, written to disk as they come: a file of 200 MB never sits in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..errors import BodyTooLargeError, StorageError
from ..schemas import RequestError, brief
from .state_folder import create_private

_BUFFER = 2**20
_MAX_FIELD_BYTES = 10_000
_MAX_PARTS = 32
_MAX_HEADER_BYTES = 10_000


@dataclass(slots=True)
class UploadForm:
    """The fields of a form, and the name of its file if there was one."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


async def read_form(request: Request, target: Path, *, limit: int, admit: Callable[[int], None]) -> UploadForm:
    """Read a form; the part named ``file`` is written to ``target``.

    Args:
        request: The request whose body is the form.
        target: A file that does not exist yet.
        limit: Bytes that the file may have.
        admit: Called with the number of bytes before they are written; raises RequestError if there are too many.

    Raises:
        RequestError: the body is not such a form.
        BodyTooLargeError: the file has more than ``limit`` bytes.
        StorageError: the disk does not take it.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        shown = brief(request.headers.get("content-type", ""))
        raise RequestError(
            f"Unsupported content type: '{shown}'. This API method only accepts 'multipart/form-data' requests.",
            code="unsupported_content_type",
        )
    try:
        with create_private(target) as file:
            parts = _Parts(boundary, limit)
            async for chunk in request.stream():
                parts.feed(chunk)
                if len(parts.waiting) >= _BUFFER:
                    admit(len(parts.waiting))
                    await asyncio.to_thread(_write, file, parts.take())
            parts.end()
            admit(len(parts.waiting))
            await asyncio.to_thread(_write, file, parts.take())
    except OSError as error:
        raise StorageError(f"The server cannot store files at this moment: {error.strerror}.") from error
    return parts.form


def _write(file: BinaryIO, content: bytes) -> None:
    file.write(content)


class _Parts:
    """Sorts the bytes of a form into fields and the file."""

    def __init__(self, boundary: bytes, limit: int) -> None:
        self.form = UploadForm()
        self.waiting = bytearray()
        self._limit = limit
        self._size = 0
        self._n_parts = 0
        self._n_header_bytes = 0
        self._is_complete = False
        self._is_file = False
        self._field_name = ""
        self._header, self._value, self._field = bytearray(), bytearray(), bytearray()
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self._part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:  # the boundary is too long
            raise _bad_form() from error

    def feed(self, chunk: bytes) -> None:
        """Take more bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _bad_form() from error

    def take(self) -> bytes:
        """The bytes of the file that have come since the last call."""
        content = bytes(self.waiting)
        self.waiting.clear()
        return content

    def end(self) -> None:
        """Say that the body has ended."""
        if not self._is_complete:
            raise _bad_form()

    def _begin(self) -> None:
        self._n_parts += 1
        if self._n_parts > _MAX_PARTS:
            raise RequestError(f"A form may have {_MAX_PARTS} fields at most.")
        self._n_header_bytes = 0
        self._disposition = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, amount: int) -> None:
        self._n_header_bytes += amount
        if self._n_header_bytes > _MAX_HEADER_BYTES:
            raise _bad_form()

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field_name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._field_name == "file"
        if self._is_file:
            if self.form.filename is not None:
                raise RequestError("Give one file at a time.", param="file")
            self.form.filename = options.get(b"filename", b"upload").decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            if len(self._field) + end - start > _MAX_FIELD_BYTES:
                raise RequestError(f"The field '{brief(self._field_name)}' is too long.", param=brief(self._field_name))
            self._field += data[start:end]
            return
        self._size += end - start
        if self._size > self._limit:
            raise BodyTooLargeError(f"A file may have {self._limit:,} bytes at most. Split it into several batches.")
        self.waiting += data[start:end]

    def _part_end(self) -> None:
        if not self._is_file:
            self.form.fields[self._field_name] = self._field.decode("utf-8", "replace")
            self._field.clear()

    def _on_end(self) -> None:
        self._is_complete = True


def _bad_form() -> RequestError:
    return RequestError("We could not parse the form of your request: it is not valid multipart/form-data.")
