"""Compressed request bodies: ``Content-Encoding: gzip`` and ``zstd``, and combinations of them.

Bodies are decoded in small chunks as the routes read them. The limits of the routes count decoded bytes, so that a small body
that expands to a huge one stops at the limit and is never in memory as a whole.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import RequestError, error_response
from ..schemas.fields import abbreviate

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

#: Maximum number of bytes that one step decodes.
_MAX_OUTPUT = 2**18
#: Bytes that a stream receives at a time. They are small, because the rest is copied at the end of each of many small streams.
_MAX_INPUT = 2**12
#: Compressed bytes that are decoded without switching to another thread.
_INLINE = 2**12
_MAX_CODINGS = 3
#: Maximum number of bytes by which a compressed body may be longer than the decoded one.
_MAX_OVERHEAD = 2**20
#: 16 MiB of memory. RFC 8878 requires at least 8 MiB.
_ZSTD_WINDOW_LOG = 24


class DecodingMiddleware:
    """Decodes request bodies, and rejects unknown content codings with status 415."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or all(name != b"content-encoding" for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        names = [
            word.strip().lower()
            for name, value in scope["headers"]
            if name == b"content-encoding"
            for word in value.decode("latin-1").split(",")
        ]
        codings = [name for name in names if name not in ("", "identity")]
        unknown = next((name for name in codings if name not in _DECODERS), None)
        if unknown is not None or len(codings) > _MAX_CODINGS:
            refused = error_response(
                415,
                f"Unsupported content encoding: '{abbreviate(', '.join(codings))}'. Send the body as it is, or encode it with "
                "gzip or zstd.",
                code="unsupported_content_encoding",
                headers={"accept-encoding": "gzip, zstd"},
            )
            await refused(scope, receive, send)
            return
        # The scope is changed in place, because the outer middleware reads the route from it.
        scope["headers"] = [
            pair for pair in scope["headers"] if pair[0] not in (b"content-encoding", b"content-length")
        ]
        # The last coding was applied last and is removed first.
        decoders = [_DECODERS[name]() for name in reversed(codings)]
        await self._app(scope, _DecodedBody(receive, decoders) if decoders else receive, send)


class _DecodedBody:
    """An ASGI ``receive`` whose messages contain decoded chunks."""

    def __init__(self, receive: Receive, decoders: list[_Decoder]) -> None:
        self._receive = receive
        self._decoders = decoders
        self._chunks: Iterator[bytes] = iter(())
        self._is_received = False  # whether the last message has arrived
        self._is_complete = False  # whether everything has been passed on

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()
        is_small = False
        while True:
            chunk = next(self._chunks, b"") if is_small else await asyncio.to_thread(next, self._chunks, b"")
            if chunk:
                return {"type": "http.request", "body": chunk, "more_body": True}
            if self._is_received:
                for decoder in self._decoders:
                    decoder.finish()
                self._is_complete = True
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            body = message.get("body", b"")
            self._is_received = not message.get("more_body", False)
            is_small = len(body) <= _INLINE
            self._chunks = iter((body,))
            for decoder in self._decoders:
                self._chunks = decoder.decode(self._chunks)


class _Decoder:
    """Decodes one content coding. A body may consist of several concatenated streams.

    Args:
        name: Name of the coding.
        create_stream: Returns the decoder of one stream.
        error_type: Exception that this decoder raises for invalid data.
    """

    def __init__(self, name: str, create_stream: Callable[[], _Stream], error_type: type[Exception]) -> None:
        self._name = name
        self._create_stream = create_stream
        self._error_type = error_type
        self._stream: _Stream | None = None
        self._overhead = 0  # bytes received minus bytes decoded

    def decode(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield decoded chunks. Raises RequestError if the data is invalid."""
        for data in _split(chunks):
            self._overhead += len(data)
            while data or (self._stream is not None and self._stream.has_more):
                if self._stream is None:
                    self._stream = self._create_stream()
                try:
                    chunk = self._stream.decompress(data)
                except self._error_type as error:
                    raise self._error() from error
                self._overhead -= len(chunk)
                if self._overhead > _MAX_OVERHEAD:
                    raise self._error()
                data = b""
                if self._stream.eof:
                    data, self._stream = self._stream.unused_data, None
                if chunk:
                    yield chunk

    def finish(self) -> None:
        """Raise RequestError if the last stream is incomplete."""
        if self._stream is not None:
            raise self._error()

    def _error(self) -> RequestError:
        return RequestError(
            f"We could not decode the body of your request: its header says Content-Encoding: {self._name}, but it is not "
            f"valid {self._name} data.",
            code="invalid_content_encoding",
        )


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _MAX_INPUT):
            yield chunk[start : start + _MAX_INPUT]


class _Stream(Protocol):
    """One compressed stream. ``decompress`` returns one chunk; while ``has_more``, call it again without new data."""

    has_more: bool

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes) -> bytes: ...


class _GzipStream:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.has_more = False

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes) -> bytes:
        chunk = self._stream.decompress(self._stream.unconsumed_tail + data, _MAX_OUTPUT)
        self.has_more = not self._stream.eof and (len(chunk) == _MAX_OUTPUT or bool(self._stream.unconsumed_tail))
        return chunk


class _ZstdStream:
    def __init__(self) -> None:
        self._stream = ZstdDecompressor(options={DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})
        self.has_more = False

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes) -> bytes:
        chunk = self._stream.decompress(data, _MAX_OUTPUT)
        self.has_more = not self._stream.eof and not self._stream.needs_input
        return chunk


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": lambda: _Decoder("gzip", _GzipStream, zlib.error),
    "x-gzip": lambda: _Decoder("gzip", _GzipStream, zlib.error),
    "zstd": lambda: _Decoder("zstd", _ZstdStream, ZstdError),
}
