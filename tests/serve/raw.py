"""HTTP over a raw socket, for requests that no client library sends."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .conftest import MODEL

BODY = json.dumps({"model": MODEL, "input": "two beans"}).encode()


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class RawConnection:
    """A connection to a server."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def close(self) -> None:
        self._file.close()

    def read(self) -> Answer:
        """Read one response."""
        first = self._file.readline()
        if not first:
            raise EOFError
        headers: dict[str, str] = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        content = self._file.read(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers, content)

    def wait_until_closed(self) -> bytes:
        """Read until the server closes the connection."""
        try:
            return self._file.read()
        except ConnectionError:
            return b""


@contextmanager
def connected(address: str) -> Iterator[RawConnection]:
    host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        raw = RawConnection(connection)
        try:
            yield raw
        finally:
            raw.close()


def head(*lines: str, length: int | None = len(BODY), path: str = "/v1/embeddings") -> bytes:
    """Return the head of a POST request."""
    fixed = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    own = [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([*fixed, *lines, *own, "", ""]).encode()
