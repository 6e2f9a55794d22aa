"""Multipart forms with a file, which is written to disk as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..errors import BodyTooLargeError, RequestError
from ..schemas.fields import abbreviate
from .state_folder import create_private, storage_errors

_BUFFER_SIZE = 2**20
_MAX_FIELD_BYTES = 10_000
_MAX_PARTS = 32
_MAX_HEADER_BYTES = 10_000


@dataclass(slots=True)
class UploadForm:
    """A form."""

    #: The fields besides the file.
    fields: dict[str, str] = field(default_factory=dict)
    #: Name of the file, or None if the form has no file.
    filename: str | None = None


async def read_form(request: Request, target: Path, *, limit: int, admit: Callable[[int], None]) -> UploadForm:
    """Read a form, and write the part named ``file`` to ``target``.

    Args:
        request: The request whose body is the form.
        target: Path of a file that does not exist yet.
        limit: Maximum number of bytes of the file.
        admit: Called with the number of bytes before they are written. Raises RequestError if there are too many.

    Raises:
        RequestError: The body is not a valid form.
        BodyTooLargeError: The file has more than ``limit`` bytes.
        StorageError: The file cannot be written.
    """
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if media_type != b"multipart/form-data" or not boundary:
        shown = abbreviate(request.headers.get("content-type", ""))
        raise RequestError(
            f"Unsupported content type: '{shown}'. This API method only accepts 'multipart/form-data' requests.",
            code="unsupported_content_type",
        )
    parser = _FormParser(boundary, limit)
    with storage_errors(), create_private(target) as file:
        async for chunk in request.stream():
            parser.feed(chunk)
            if len(parser.buffer) >= _BUFFER_SIZE:
                await _flush(parser, file, admit)
        parser.finish()
        await _flush(parser, file, admit)
    return parser.form


async def _flush(parser: _FormParser, file: BinaryIO, admit: Callable[[int], None]) -> None:
    content = bytes(parser.buffer)
    parser.buffer.clear()
    admit(len(content))
    await asyncio.to_thread(file.write, content)


class _FormParser:
    """Separates the fields of a form from its file."""

    def __init__(self, boundary: bytes, limit: int) -> None:
        self.form = UploadForm()
        #: Bytes of the file that have not been written yet.
        self.buffer = bytearray()
        self._limit = limit
        self._size = 0
        self._n_parts = 0
        self._n_header_bytes = 0
        self._is_complete = False
        self._is_file = False
        self._field_name = ""
        self._header_field, self._header_value, self._value = bytearray(), bytearray(), bytearray()
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:  # the boundary is too long
            raise _form_error() from error

    def feed(self, chunk: bytes) -> None:
        """Parse more bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _form_error() from error

    def finish(self) -> None:
        """Raise RequestError if the body is incomplete."""
        if not self._is_complete:
            raise _form_error()

    def _on_part_begin(self) -> None:
        self._n_parts += 1
        if self._n_parts > _MAX_PARTS:
            raise RequestError(f"A form may have {_MAX_PARTS} fields at most.")
        self._n_header_bytes = 0
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self._header_field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self._header_value += data[start:end]

    def _count_header_bytes(self, amount: int) -> None:
        self._n_header_bytes += amount
        if self._n_header_bytes > _MAX_HEADER_BYTES:
            raise _form_error()

    def _on_header_end(self) -> None:
        if self._header_field.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_field.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field_name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._field_name == "file"
        if self._is_file:
            if self.form.filename is not None:
                raise RequestError("Give one file at a time.", param="file")
            self.form.filename = options.get(b"filename", b"upload").decode("utf-8", "replace")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            if len(self._value) + end - start > _MAX_FIELD_BYTES:
                raise RequestError(
                    f"The field '{abbreviate(self._field_name)}' is too long.", param=abbreviate(self._field_name)
                )
            self._value += data[start:end]
            return
        self._size += end - start
        if self._size > self._limit:
            raise BodyTooLargeError(f"A file may have {self._limit:,} bytes at most. Split it into several batches.")
        self.buffer += data[start:end]

    def _on_part_end(self) -> None:
        if not self._is_file:
            self.form.fields[self._field_name] = self._value.decode("utf-8", "replace")
            self._value.clear()

    def _on_end(self) -> None:
        self._is_complete = True


def _form_error() -> RequestError:
    return RequestError("We could not parse the form of your request: it is not valid multipart/form-data.")
