"""HTTP connections: timeouts and limits of one connection, and the error object for invalid HTTP."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import INVALID_REQUEST, SERVER_ERROR, error_body

_MAX_HEAD_BYTES = 65_536


class HttpProtocol(HttpToolsProtocol):
    """One connection. Subclasses can change the limits."""

    #: Seconds in which the head of a request (the request line and headers) must arrive.
    head_timeout = 20.0
    #: Seconds in which the body of a request must arrive after its head.
    body_timeout = 660.0
    #: Seconds in which a client must read 64 KiB of a response.
    write_timeout = 120.0
    #: Number of concurrent connections.
    max_connections = 2048

    _is_in_head = False
    _head_bytes = 0
    _read_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._reject(HTTPStatus.SERVICE_UNAVAILABLE, "The server has too many connections.", SERVER_ERROR)
        else:
            self._start_read_timer(self.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_read_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_write_timer()
        self._write_timer = self.loop.call_later(self.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    # ------------------------------------------------------------ requests

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        size = len(data)
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as error:
                if self.parser.get_method() == b"CONNECT":
                    self.send_400_response("This server is not a proxy.")
                    return
                data = self._head_without_upgrade() + data[error.args[0] :]
                # After a complete request with `Connection: close`, the old parser would ignore everything that follows.
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError:
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("Invalid HTTP request received.")
                return
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._head_bytes += size
            if self._head_bytes > _MAX_HEAD_BYTES:
                self.send_400_response("The headers of a request may have 65,536 bytes at most.")
                return
        if self._read_timer is None and (self.cycle is None or self.cycle.response_complete):
            # No request is being answered: these bytes begin a request, or belong to one that has already been answered.
            self._start_read_timer(self.head_timeout)

    def on_message_begin(self) -> None:
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        if self.parser.should_upgrade():
            # httptools expects another protocol after this head. data_received parses the request again.
            return
        self._stop_read_timer()
        self._start_read_timer(self.body_timeout)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._stop_read_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            # The response was sent before the end of the body, the rest of which is ignored.
            self._stop_read_timer()
            self._start_read_timer(self.head_timeout)

    def _head_without_upgrade(self) -> bytes:
        """Return the head of the request that was just parsed, without its request to upgrade to another protocol.

        A server that does not know the protocol ignores such a request (RFC 9110, section 7.8) and responds over HTTP/1.1.
        Java's HttpClient and curl --http2 request h2c in their first request, whatever it is.
        """
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in (b"upgrade", b"http2-settings"))
            if name not in (b"upgrade", b"http2-settings"):
                lines.append(name + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    # ------------------------------------------------------------ errors

    def send_400_response(self, msg: str) -> None:
        self._reject(HTTPStatus.BAD_REQUEST, msg)

    def _reject(self, status: HTTPStatus, message: str, error_type: str = INVALID_REQUEST) -> None:
        content = error_body(message, error_type=error_type)
        lines = [
            b"HTTP/1.1 %d %s" % (status, status.phrase.encode()),
            *(name + b": " + value for name, value in self.server_state.default_headers),
            b"content-type: application/json",
            b"content-length: %d" % len(content),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + content)
        self.transport.close()

    # ------------------------------------------------------------ timers

    def _start_read_timer(self, seconds: float) -> None:
        self._read_timer = self.loop.call_later(seconds, self._read_timed_out)

    def _read_timed_out(self) -> None:
        self._read_timer = None
        if self.transport.is_closing():
            return
        if self._is_in_head and (self.cycle is None or self.cycle.response_complete):
            self._reject(HTTPStatus.REQUEST_TIMEOUT, "The headers of the request did not arrive in time.")
        else:
            self.transport.abort()

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
