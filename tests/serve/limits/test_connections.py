"""Connections: upgrades are ignored, and half-open requests end."""

import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from umekomi.serve.limits.connections import HttpProtocol

from ..conftest import RecordingEmbedder, Serving
from ..raw import BODY, RawConnection, connected, head

# Headers of the first request that the HttpClient of Java sends to an http:// address.
JAVA = (
    "Connection: Upgrade, HTTP2-Settings",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    "Upgrade: h2c",
)
UPGRADES = {
    "h2c": JAVA,
    "websocket": (
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
    "tls": ("connection: upgrade", "upgrade: TLS/1.3, HTTP/2.0"),
    "unknown": ("Upgrade: nonsense/7", "Connection: upgrade"),
}
CHUNKED = b"5\r\n" + BODY[:5] + b"\r\n%x\r\n" % (len(BODY) - 5) + BODY[5:] + b"\r\n0\r\n\r\n"


def is_embedded(connection: RawConnection) -> bool:
    answer = connection.read()
    return answer.status == 200 and len(answer.json()["data"][0]["embedding"]) == 64


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("cut", [0, 1, 40, -2, -len(BODY), None], ids=str)
def test_an_upgrade_request_is_ignored(address: str, upgrade: tuple[str, ...], cut: int | None) -> None:
    with connected(address) as connection:
        request = head(*upgrade) + BODY
        # The division of the bytes does not matter.
        connection.send(request[:cut])
        time.sleep(0.01)
        connection.send(request[len(request[:cut]) :])
        assert is_embedded(connection)
        # The connection continues with HTTP/1.1, with and without another upgrade request.
        connection.send(head(*upgrade) + BODY)
        assert is_embedded(connection)
        connection.send(head() + BODY)
        assert is_embedded(connection)


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_a_chunked_body_after_an_upgrade_request_is_read(address: str, upgrade: tuple[str, ...]) -> None:
    with connected(address) as connection:
        for parts in ([CHUNKED], [CHUNKED[:3], CHUNKED[3:20], CHUNKED[20:]]):
            connection.send(head(*upgrade, "Transfer-Encoding: chunked", length=None), *parts)
            assert is_embedded(connection)


@pytest.mark.parametrize(
    "connection", ["Upgrade, close", "close, upgrade", "Upgrade,, X", "Upgrade\r\nConnection: close"]
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upgrade_request_among_other_connection_options_is_ignored(
    address: str, connection: str, is_chunked: bool
) -> None:
    lines = ("Upgrade: h2c, websocket", f"Connection: {connection}")
    with connected(address) as raw:
        if is_chunked:
            raw.send(head(*lines, "Transfer-Encoding: chunked", length=None), CHUNKED)
        else:
            raw.send(head(*lines), BODY)
        assert is_embedded(raw)
        if "close" in connection:
            assert raw.wait_until_closed() == b""


def test_expect_continue_works_with_an_upgrade_request(address: str) -> None:
    with connected(address) as connection:
        connection.send(head(*JAVA, "Expect: 100-continue"))
        assert connection.read().status == 100
        connection.send(BODY)
        assert is_embedded(connection)


def test_pipelined_requests_after_an_upgrade_request_are_answered(address: str) -> None:
    with connected(address) as connection:
        connection.send((head(*JAVA) + BODY) * 2 + head() + BODY + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert all(is_embedded(connection) for _ in range(3))
        assert connection.read().json()["status"] == "ok"


def test_a_get_request_with_an_upgrade_is_answered(address: str) -> None:
    with connected(address) as connection:
        for _ in range(2):
            connection.send("\r\n".join(["GET /health HTTP/1.1", "Host: localhost", *JAVA, "", ""]).encode())
            assert connection.read().json()["status"] == "ok"


def test_an_upgrade_request_with_two_body_lengths_is_rejected(address: str) -> None:
    with connected(address) as connection:
        connection.send(head(*JAVA, "Transfer-Encoding: chunked") + CHUNKED)
        assert connection.read().status == 400
        connection.wait_until_closed()


def test_connect_requests_are_rejected(address: str) -> None:
    with connected(address) as connection:
        connection.send(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n")
        answer = connection.read()
        assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        connection.wait_until_closed()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_with_http2_gets_a_response(address: str) -> None:
    version = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    if "HTTP2" not in version:
        pytest.skip("this curl has no HTTP/2")
    result = subprocess.run(
        ["curl", "-s", "--http2", f"{address}/embeddings", "-H", "Content-Type: application/json", "-d", BODY],
        capture_output=True,
        check=True,
    )
    assert b'"embedding"' in result.stdout


class ShortTimeouts(HttpProtocol):
    head_timeout = 0.3
    body_timeout = 0.6
    write_timeout = 0.3
    max_connections = 20


def send_nothing(connection: RawConnection) -> None:
    pass


def slow_head(connection: RawConnection) -> None:
    connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    try:
        while True:
            connection.send(b"a")
            time.sleep(0.02)
    except ConnectionError:
        pass


def empty_lines(connection: RawConnection) -> None:
    try:
        while True:
            connection.send(b"\r\n")
            time.sleep(0.02)
    except ConnectionError:
        pass


def slow_body(connection: RawConnection) -> None:
    connection.send(head())
    try:
        while True:
            connection.send(b" ")
            time.sleep(0.05)
    except ConnectionError:
        pass


def no_body(connection: RawConnection) -> None:
    connection.send(head())


def slow_second_head(connection: RawConnection) -> None:
    connection.send(head() + BODY)
    assert connection.read().status == 200
    slow_head(connection)


def slow_body_after_the_response(connection: RawConnection) -> None:
    connection.send(head(path="/nowhere", length=10_000_000))
    assert connection.read().status == 404
    try:
        while True:
            connection.send(b" ")
            time.sleep(0.02)
    except ConnectionError:
        pass


@pytest.mark.parametrize(
    "attack",
    [send_nothing, slow_head, empty_lines, slow_body, no_body, slow_second_head, slow_body_after_the_response],
    ids=lambda attack: attack.__name__,
)
def test_half_open_requests_are_closed(serving: Serving, attack: Callable[[RawConnection], None]) -> None:
    with serving(http=ShortTimeouts) as address, connected(address) as connection:
        attack(connection)
        connection.wait_until_closed()
        with connected(address) as other:
            other.send(head() + BODY)
            assert is_embedded(other)


def test_a_slow_request_head_gets_an_error_object(serving: Serving) -> None:
    with serving(http=ShortTimeouts) as address, connected(address) as connection:
        connection.send(b"GET /health HTTP/1.1\r\nHost: local")
        answer = connection.read()
        assert (answer.status, answer.json()["error"]["type"]) == (408, "invalid_request_error")
        connection.wait_until_closed()


def test_a_client_that_does_not_read_responses_is_disconnected(serving: Serving) -> None:
    with serving(http=ShortTimeouts) as address, connected(address) as connection:
        # The unread responses exceed the buffers of the sockets.
        request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.socket.settimeout(0.2)
        sent = 0
        try:
            while True:
                try:
                    sent += connection.socket.send(request * 1000)
                except TimeoutError:
                    time.sleep(0.05)
        except ConnectionError:
            pass
        assert sent


def test_the_number_of_connections_is_limited(serving: Serving) -> None:
    class Few(HttpProtocol):
        max_connections = 3

    with serving(http=Few) as address:
        with connected(address) as one, connected(address) as two, connected(address) as three:
            for connection in (one, two, three):
                connection.send(head() + BODY)
                assert is_embedded(connection)
            with connected(address) as fourth:
                answer = fourth.read()
                assert (answer.status, answer.json()["error"]["type"]) == (503, "server_error")
                fourth.wait_until_closed()
        # New connections are accepted again.
        while True:
            with connected(address) as later:
                later.send(head() + BODY)
                if later.read().status == 200:
                    break


def test_a_slow_response_is_not_interrupted(serving: Serving) -> None:
    recorder = RecordingEmbedder()
    recorder.gate.clear()
    with serving(load=lambda model: recorder, http=ShortTimeouts) as address:
        with connected(address) as connection:
            connection.send(head() + BODY)
            time.sleep(1.0)
            recorder.gate.set()
            assert is_embedded(connection)
