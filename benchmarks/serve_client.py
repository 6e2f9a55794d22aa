"""HTTP client of benchmarks/serve.py, which uses as little CPU time as possible."""

import asyncio
import itertools
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable

MODEL = "all-MiniLM-L6-v2"
GRACE_S = 60.0
"""Seconds after the scheduled end of a measurement in which responses still count."""


class Connection(asyncio.Protocol):
    """Sends one request after another, and records the status and the duration of each response.

    Args:
        requests: Return the next request.
        has_next: Return whether there is another request.
        responses: List that statuses and seconds are appended to.
        pause: Seconds to wait after a refusal (429).
    """

    def __init__(
        self,
        requests: Callable[[], bytes],
        has_next: Callable[[], bool],
        responses: list[tuple[int, float]],
        pause: float = 0.0,
    ) -> None:
        self._requests, self._has_next, self._responses, self._pause = requests, has_next, responses, pause
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if not self._has_next():
            self._transport.close()
            return
        self._response = bytearray()
        self._length = -1
        self._start = time.perf_counter()
        self._transport.write(self._requests())

    def data_received(self, data: bytes) -> None:
        self._response += data
        if self._length < 0:
            end = self._response.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._response[:end]).lower()
            self._length = end + 4 + int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._response) >= self._length:
            status = int(self._response[9:12])
            self._responses.append((status, time.perf_counter() - self._start))
            if status == 429 and self._pause:
                asyncio.get_running_loop().call_later(self._pause, self._send)
            else:
                self._send()

    def abort(self) -> None:
        """Close the connection without waiting for the response."""
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(error)


def encode_request(texts: list[str], model: str = MODEL) -> bytes:
    """Return an embeddings request over HTTP/1.1."""
    body = json.dumps({"model": model, "input": texts if len(texts) > 1 else texts[0], "encoding_format": "base64"})
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


async def drive(
    port: int, requests: Callable[[], bytes], clients: int, has_next: Callable[[], bool], timeout: float = float("inf")
) -> list[tuple[int, float]]:
    """Send requests on several connections, and return the statuses and seconds of all responses within the timeout."""
    responses: list[tuple[int, float]] = []
    loop = asyncio.get_running_loop()
    connections = [
        await loop.create_connection(lambda: Connection(requests, has_next, responses, pause=1.0), "127.0.0.1", port)
        for _ in range(clients)
    ]
    if timeout < float("inf"):
        _, late = await asyncio.wait([protocol.done for _, protocol in connections], timeout=timeout)
        for _, protocol in connections:
            if protocol.done in late:
                protocol.abort()
        if late:
            print(f"{len(late)} of {clients} clients have no response after {timeout:.0f} s", file=sys.stderr)
    errors = [error for error in await asyncio.gather(*(protocol.done for _, protocol in connections)) if error]
    if errors:
        raise SystemExit(f"{len(errors)} connections were lost: {errors[0]}")
    return responses


def measure(port: int, make: Callable[[int], bytes], clients: int, seconds: float) -> tuple[float, float, float]:
    """Return requests per second, and the median and the 99th percentile of their latency in milliseconds.

    Args:
        port: Port of the server.
        make: Return the request with a given number.
        clients: Number of connections.
        seconds: Duration of the measurement.
    """
    numbers = itertools.count()
    ready = [make(next(numbers)) for _ in range(300)]  # prepared before the measurement
    prepared = iter(ready)

    def request() -> bytes:
        return next(prepared, None) or make(next(numbers))

    asyncio.run(drive(port, request, min(clients, 8), time_limit(0.5)))
    start = time.perf_counter()
    responses = asyncio.run(drive(port, request, clients, time_limit(seconds), timeout=seconds + GRACE_S))
    elapsed = time.perf_counter() - start
    statuses = Counter(status for status, _ in responses)
    if statuses.keys() - {200, 429}:
        raise SystemExit(f"responses have the statuses {dict(statuses)}")
    if statuses[429]:
        print(f"{clients} clients: {statuses[200]} requests answered, {statuses[429]} refused", file=sys.stderr)
    times = sorted(1000 * duration for status, duration in responses if status == 200)
    if not times:
        return 0.0, float("nan"), float("nan")
    return len(times) / elapsed, statistics.median(times), times[int(0.99 * (len(times) - 1))]


def time_limit(seconds: float) -> Callable[[], bool]:
    """Return a function that returns True until the time is over."""
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end
