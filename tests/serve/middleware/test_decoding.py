"""Compressed bodies are decoded within the limits, and invalid ones are rejected."""

import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import pytest

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from backports import zstd

from umekomi.serve.service import Limits

from ..conftest import MODEL, Serving
from ..raw import connected, head

TEXTS = [f"bean number {n}" for n in range(5000)]
SMALL = json.dumps({"model": MODEL, "input": "two beans"}).encode()
LARGE = json.dumps({"model": MODEL, "input": TEXTS[:2000]}).encode()


def post(address: str, body: bytes, encoding: str, path: str = "embeddings") -> httpx.Response:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    return httpx.post(f"{address}/{path}", content=body, headers=headers, timeout=60)


def in_two_streams(compress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return a function that compresses a body as two consecutive streams."""
    return lambda body: compress(body[:7]) + compress(body[7:])


ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "old name": ("X-GZip", gzip.compress),
    "zstd": ("zstd", zstd.compress),
    "two members": ("gzip", in_two_streams(gzip.compress)),
    "two frames": ("zstd", in_two_streams(zstd.compress)),
    "identity": ("identity", lambda body: body),
    "stacked": ("zstd, gzip", lambda body: gzip.compress(zstd.compress(body))),
    "stacked with identity": ("gzip,identity ,zstd", lambda body: zstd.compress(gzip.compress(body))),
    "empty": ("", lambda body: body),
}


@pytest.mark.parametrize(("encoding", "compress"), ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
def test_a_compressed_body_gets_the_same_response(
    address: str, encoding: str, compress: Callable[[bytes], bytes], body: bytes
) -> None:
    answer = post(address, compress(body), encoding)
    plain = httpx.post(f"{address}/embeddings", content=body, headers={"content-type": "application/json"}, timeout=60)
    assert (answer.status_code, answer.json()) == (200, plain.json())


def test_a_compressed_body_sent_byte_by_byte_is_decoded(address: str) -> None:
    for encoding, compress in (("gzip", gzip.compress), ("zstd", zstd.compress)):
        body = compress(SMALL)
        with connected(address) as connection:
            connection.send(head(f"Content-Encoding: {encoding}", length=len(body)))
            connection.send(*(body[n : n + 1] for n in range(len(body))))
            assert connection.read().status == 200


@pytest.mark.parametrize("encoding", ["br", "deflate", "compress", "gzip, br", "nonsense", "gzip," * 4, "é"])
@pytest.mark.parametrize("path", ["embeddings", "tokenize", "nowhere"])
def test_unsupported_encodings_are_rejected(address: str, encoding: str, path: str) -> None:
    answer = httpx.post(
        f"{address}/{path}", content=SMALL, headers=[(b"content-encoding", encoding.encode("latin-1"))], timeout=60
    )
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, zstd")
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_content_encoding")


INVALID = {
    "plain, declared gzip": ("gzip", SMALL),
    "plain, declared zstd": ("zstd", SMALL),
    "zstd, declared gzip": ("gzip", zstd.compress(SMALL)),
    "cut off": ("gzip", gzip.compress(LARGE)[:-9]),
    "zstd cut off": ("zstd", zstd.compress(LARGE)[:-1]),
    "wrong checksum": ("gzip", gzip.compress(SMALL)[:-8] + b"\0" * 8),
    "garbage at the end": ("gzip", gzip.compress(SMALL) + b"garbage"),
    "raw deflate": ("gzip", zlib.compress(SMALL)),
    "once, declared twice": ("gzip, gzip", gzip.compress(SMALL)),
    "only overhead": ("zstd", b"\x50\x2a\x4d\x18\xf8\x0f\0\0" + b"\0" * 4088) ,
    "endless overhead": ("gzip", gzip.compress(b"") * 100_000),
    "window of 128 MB": ("zstd", b"\x28\xb5\x2f\xfd\x00\x88" + b"\0" * 64),
}  # fmt: skip


@pytest.mark.parametrize(("encoding", "body"), INVALID.values(), ids=INVALID)
def test_invalid_compressed_bodies_are_rejected(address: str, encoding: str, body: bytes) -> None:
    answer = post(address, body, encoding)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_body_of_many_small_streams_is_decoded(address: str) -> None:
    streams = b"".join(gzip.compress(LARGE[offset : offset + 64]) for offset in range(0, len(LARGE), 64))
    assert post(address, streams, "gzip").json()["data"]
    assert post(address, gzip.compress(streams), "gzip, gzip").json()["data"]


@pytest.mark.parametrize(("encoding", "compress"), [ENCODINGS[name] for name in ("gzip", "zstd", "stacked")])
@pytest.mark.parametrize("size", [1_000_001, 50_000_000])
def test_the_size_limit_applies_to_the_decoded_body(
    address: str, encoding: str, compress: Callable[[bytes], bytes], size: int
) -> None:
    bomb = compress(b"a" * size)
    assert len(bomb) < 100_000
    answer = post(address, bomb, encoding)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_the_memory_of_decoded_bodies_is_released(serving: Serving) -> None:
    with serving(limits=Limits(max_memory_bytes=1_000_000)) as address:
        # A single request can exceed the budget. Its memory is released afterwards.
        assert post(address, gzip.compress(b" " * 2_000_000 + SMALL), "gzip").status_code == 200
        page = httpx.get(address.removesuffix("/v1") + "/metrics").text
        assert "umekomi_request_memory_bytes 0" in page
        assert "umekomi_requests_total" in page
