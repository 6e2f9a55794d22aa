"""Compressed request bodies: ``Content-Encoding: gzip`` and ``zstd``, also several of them.

Bodies are decoded in small pieces as the routes read them. The routes' own limits count decoded bytes, so a small body that
grows without end stops at the limit and never sits in memory.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..schemas import RequestError, brief
from .request_context import error_response

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

_PIECE = 2**18  # bytes that one step decodes at most
_SLICE = 2**12  # bytes that a stream is given at a time: the rest is copied at the end of each of many small streams
_INLINE = 2**12  # compressed bytes that are decoded without a hop to another thread
_MAX_CODINGS = 3
_MAX_OVERHEAD = 2**20  # bytes by which a compressed body may be longer than the decoded one
_ZSTD_WINDOW_LOG = 24  # 16 MiB of memory; RFC 8878 asks for 8 MiB at least


class DecodingMiddleware:
    """ASGI middleware that decodes request bodies; it answers 415 to content codings that it does not know."""

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
                f"Unsupported content encoding: '{brief(', '.join(codings))}'. Send the body as it is, or encode it with gzip "
                "or zstd.",
                kind="invalid_request_error",
                code="unsupported_content_encoding",
                headers={"accept-encoding": "gzip, zstd"},
            )
            await refused(scope, receive, send)
            return
        # Changed in place: the parts around this one read the route from the same scope.
        scope["headers"] = [
            pair for pair in scope["headers"] if pair[0] not in (b"content-encoding", b"content-length")
        ]
        # The last coding was applied last and is removed first.
        decoders = [_DECODERS[name]() for name in reversed(codings)]
        await self._app(scope, _DecodedBody(receive, decoders) if decoders else receive, send)


class _DecodedBody:
    """An ASGI ``receive`` whose messages hold decoded pieces."""

    def __init__(self, receive: Receive, decoders: list[_Decoder]) -> None:
        self._receive = receive
        self._decoders = decoders
        self._pieces: Iterator[bytes] = iter(())
        self._is_last = False  # whether the last message has come
        self._is_complete = False  # whether all of it has been passed on

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()
        small = False
        while True:
            piece = next(self._pieces, b"") if small else await asyncio.to_thread(next, self._pieces, b"")
            if piece:
                return {"type": "http.request", "body": piece, "more_body": True}
            if self._is_last:
                for decoder in self._decoders:
                    decoder.finish()
                self._is_complete = True
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            body = message.get("body", b"")
            self._is_last = not message.get("more_body", False)
            small = len(body) <= _INLINE
            pieces: Iterator[bytes] = iter((body,))
            for decoder in self._decoders:
                pieces = decoder.decode(pieces)
            self._pieces = pieces


class _Decoder:
    """Decodes one content coding. A body may consist of several compressed streams, one after another.

    Args:
        name: The name of the coding.
        make: Makes the decoder of one stream.
        errors: What that decoder raises for wrong data.
    """

    def __init__(self, name: str, make: Callable[[], _Stream], errors: type[Exception]) -> None:
        self._name = name
        self._make = make
        self._errors = errors
        self._stream: _Stream | None = None
        self._surplus = 0  # bytes that came, less bytes that were decoded

    def decode(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the decoded pieces of some chunks.

        Raises:
            RequestError: The data is not of this coding.
        """
        for data in _slices(chunks):
            self._surplus += len(data)
            while data or (self._stream is not None and self._stream.has_more):
                if self._stream is None:
                    self._stream = self._make()
                try:
                    piece = self._stream.decompress(data)
                except self._errors as error:
                    raise self._wrong() from error
                self._surplus -= len(piece)
                if self._surplus > _MAX_OVERHEAD:
                    raise self._wrong()
                data = b""
                if self._stream.eof:
                    data, self._stream = self._stream.unused_data, None
                if piece:
                    yield piece

    def finish(self) -> None:
        """Check that the body ends where a stream ends. Raises RequestError."""
        if self._stream is not None:
            raise self._wrong()

    def _wrong(self) -> RequestError:
        return RequestError(
            f"We could not decode the body of your request: its header says Content-Encoding: {self._name}, but it is not "
            f"valid {self._name} data.",
            code="invalid_content_encoding",
        )


def _slices(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _SLICE):
            yield chunk[start : start + _SLICE]


class _Stream(Protocol):
    """One compressed stream. ``decompress`` gives a piece at most; while ``has_more``, it is called again without new data."""

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
        piece = self._stream.decompress(self._stream.unconsumed_tail + data, _PIECE)
        self.has_more = not self._stream.eof and (len(piece) == _PIECE or bool(self._stream.unconsumed_tail))
        return piece


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
        piece = self._stream.decompress(data, _PIECE)
        self.has_more = not self._stream.eof and not self._stream.needs_input
        return piece


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": lambda: _Decoder("gzip", _GzipStream, zlib.error),
    "x-gzip": lambda: _Decoder("gzip", _GzipStream, zlib.error),
    "zstd": lambda: _Decoder("zstd", _ZstdStream, ZstdError),
}
