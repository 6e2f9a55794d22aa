"""Hosted models: the real client with an HTTP server that responds as APIs do, correctly or not."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.assets.store import AssetStore
from umekomi.encoders.remote import RemoteEncoder, remote_model
from umekomi.errors import InputError, RemoteError
from umekomi.settings import Settings
from umekomi.vectors.arithmetic import FloatArray

DIMS = 8
Request = dict[str, Any]


class Response:
    """A status, a body and headers."""

    def __init__(self, status: int, body: object, **headers: str) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def vector(text: str, dims: int = DIMS) -> FloatArray:
    digest = hashlib.sha256(text.encode()).digest()
    return np.frombuffer(digest, dtype=np.uint8)[:dims].astype(np.float32) + 1


def row(index: int, values: FloatArray, form: str = "base64") -> dict[str, Any]:
    packed = base64.b64encode(values.astype("<f4").tobytes()).decode()
    return {"object": "embedding", "index": index, "embedding": packed if form == "base64" else values.tolist()}


def valid(request: Request) -> Response:
    rows = [row(index, vector(text), request["encoding_format"]) for index, text in enumerate(request["input"])]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return Response(200, {"object": "list", "data": rows, "model": request["model"], "usage": usage})


def failure(status: int, message: str, **headers: str) -> Response:
    return Response(status, {"error": {"message": message, "type": "x", "param": None, "code": None}}, **headers)


class Api:
    """An embeddings API on a free port. ``script`` contains the responses to the next requests; later responses are valid."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.keys: list[str] = []
        self.script: list[Callable[[Request], Response]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.requests.append(request)
                api.keys.append(self.headers["Authorization"])
                response = api.script.pop(0)(request) if api.script else valid(request)
                self.send_response(response.status)
                for name, value in {"Content-Type": "application/json", **response.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                self.wfile.write(response.body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def encoder(self, **options: Any) -> RemoteEncoder:
        return RemoteEncoder("m", **{"base_url": self.url, "api_key": "sk-secret", **options})

    def sizes(self) -> list[int]:
        """The number of texts of each request, without the first one, which determines the dimensions."""
        return [len(request["input"]) for request in self.requests[1:]]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()


def normalized_vectors(texts: list[str]) -> FloatArray:
    rows = np.stack([vector(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_vectors_have_the_order_of_the_texts(api: Api) -> None:
    encoder = api.encoder()
    texts = [f"text {number} 梅" for number in range(50)]
    assert encoder.dims == DIMS
    assert encoder.encode(texts) == pytest.approx(normalized_vectors(texts), abs=1e-6)
    assert api.requests[-1]["encoding_format"] == "base64"
    assert set(api.keys) == {"Bearer sk-secret"}


def test_order_is_kept_when_the_api_shuffles_its_rows(api: Api) -> None:
    encoder = api.encoder()

    def shuffled(request: Request) -> Response:
        content = json.loads(valid(request).body)
        content["data"].reverse()
        return Response(200, content)

    api.script = [shuffled]
    texts = ["one", "two", "three"]
    assert encoder.encode(texts) == pytest.approx(normalized_vectors(texts), abs=1e-6)


def test_an_api_may_return_decimal_numbers(api: Api) -> None:
    encoder = api.encoder()
    api.script = [lambda request: valid({**request, "encoding_format": "float"})]
    assert encoder.encode(["one"]) == pytest.approx(normalized_vectors(["one"]), abs=1e-6)


def test_requests_respect_both_limits(api: Api) -> None:
    done: list[int] = []
    encoder = api.encoder(request_items=10)
    encoder.encode(["text"] * 25, progress=done.append)
    assert (api.sizes(), done) == ([10, 10, 5], [10, 10, 5])
    # A token has at least one byte, so bytes limit the tokens in every script: an emoji may have four tokens.
    big = api.encoder(request_bytes=40)
    api.requests = api.requests[:1]
    texts = ["🫠" * 5, "b" * 20, "c" * 20, "d" * 100, "e"]
    assert big.encode(texts) == pytest.approx(normalized_vectors(texts), abs=1e-6)
    assert api.sizes() == [2, 1, 1, 1]


def test_the_official_limits_are_the_defaults(api: Api) -> None:
    encoder = api.encoder()
    encoder.encode(["a"] * 2049)
    # Two bytes for each character: 200,000 bytes for each text.
    encoder.encode(["é" * 100_000] * 2)
    assert api.sizes() == [2048, 1, 1, 1]


def test_retry_after_is_respected(api: Api) -> None:
    encoder = api.encoder()
    api.script = [
        lambda request: failure(429, "slow down", Retry_After="1"),
        lambda request: failure(429, "slow down", Retry_After="0.01"),
    ]
    started = time.monotonic()
    assert encoder.encode(["one"]) == pytest.approx(normalized_vectors(["one"]), abs=1e-6)
    assert len(api.requests) == 4
    # By default the client waits at most half a second before the first retry.
    assert time.monotonic() - started >= 1


def test_a_server_error_is_retried_and_then_reported(api: Api) -> None:
    encoder = api.encoder(max_retries=1)
    api.script = [lambda request: failure(500, "boom", Retry_After="0.01")]
    assert encoder.encode(["one"]).shape == (1, DIMS)
    api.script = [lambda request: failure(503, "boom", Retry_After="0.01")] * 2
    with pytest.raises(RemoteError, match="503: boom"):
        encoder.encode(["one"])


def test_an_invalid_key_is_reported_with_its_variable(api: Api) -> None:
    unauthorized = failure(401, "Incorrect API key provided: sk-secret")
    for key, advice in (("sk-secret", "the key in OPENAI_API_KEY"), (None, "set OPENAI_API_KEY")):
        api.script = [lambda request: unauthorized]
        with pytest.raises(RemoteError, match=advice) as caught:
            api.encoder(api_key=key)
        assert "sk-secret" not in str(caught.value)


def test_a_key_with_invalid_characters_is_rejected(api: Api) -> None:
    for key in ("sk-secret\n", "sk-梅"):
        with pytest.raises(RemoteError, match="OPENAI_API_KEY contains") as caught:
            api.encoder(api_key=key)
        assert "sk-" not in str(caught.value)
    assert api.requests == []


def test_an_unknown_model_is_an_error_that_names_it(api: Api) -> None:
    api.script = [lambda request: failure(404, "The model `m` does not exist")]
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1:\d+.*'m'.*does not exist"):
        api.encoder()


def test_an_unreachable_address_is_an_error_that_names_it() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(RemoteError, match=f"127.0.0.1:{port}"):
        RemoteEncoder("m", base_url=f"http://127.0.0.1:{port}/v1", api_key=None, max_retries=0)


def test_a_request_times_out(api: Api) -> None:
    encoder = api.encoder(timeout=0.2, max_retries=0)
    release = threading.Event()

    def hang(request: Request) -> Response:
        release.wait(30)
        return valid(request)

    api.script = [hang]
    try:
        with pytest.raises(RemoteError, match="did not answer"):
            encoder.encode(["one"])
    finally:
        release.set()


def changed(**fields: Any) -> Callable[[Request], Response]:
    """A valid response whose first row is changed."""

    def response(request: Request) -> Response:
        content = json.loads(valid(request).body)
        content["data"][0].update(fields)
        return Response(200, content)

    return response


NANS = np.full(DIMS, np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (changed(embedding=[1.0, 2.0]), "dimensions"),
        (changed(embedding=row(0, NANS)["embedding"]), "finite"),
        (changed(embedding=[0.0] * DIMS), "a vector of zeros"),
        (changed(embedding="?not base64?"), "base64"),
        (changed(embedding=None), "embedding|numbers"),
        (changed(embedding=["a"] * DIMS), "numbers"),
        (changed(index=1), "indexes"),
        (changed(index=None), "indexes"),
        (lambda request: Response(200, {"object": "list", "data": []}), "0 vectors"),
        (lambda request: Response(200, {"hello": 1}), "0 vectors"),
        (lambda request: Response(200, b"<html>login</html>", Content_Type="text/html"), "0 vectors"),
        (lambda request: Response(200, b"{broken"), "cannot be read"),
        (lambda request: Response(200, [1, 2]), "0 vectors"),
        (lambda request: valid({**request, "input": request["input"][:1]}), "1 vectors for 2 texts"),
    ],
)
def test_an_invalid_response_is_rejected(api: Api, response: Callable[[Request], Response], message: str) -> None:
    encoder = api.encoder(max_retries=0)
    api.script = [response]
    with pytest.raises(RemoteError, match=message):
        encoder.encode(["one", "two"])


def settings(api: Api, **fields: Any) -> Settings:
    return Settings(cache=Path("/nonexistent"), remote_base_url=api.url, remote_api_key="sk-secret", **fields)


def test_a_model_id_may_contain_the_address(api: Api) -> None:
    plain = Settings(cache=Path("/nonexistent"))
    for model in ("m", "@cf/baai/bge-base-en", "org/m@v2"):
        card, encoder = remote_model(f"remote:{model}@{api.url}", plain)
        assert (card.id, card.dimensions, encoder.dims) == (f"remote:{model}@{api.url}", DIMS, DIMS)
        assert api.requests[-1]["model"] == model
        assert api.keys[-1] != "Bearer sk-secret"
        remote_model(f"remote:{model}", settings(api))
        assert (api.requests[-1]["model"], api.keys[-1]) == (model, "Bearer sk-secret")


@pytest.mark.parametrize(
    "model",
    ["remote:", "remote:@http://h/v1", "remote:m@http://", "remote:m@http://user:pw@h/v1", "remote:m@http://[/v1"],
)
def test_invalid_ids_are_rejected(model: str) -> None:
    with pytest.raises(InputError, match="remote:") as caught:
        remote_model(model, Settings(cache=Path("/nonexistent")))
    assert "pw" not in str(caught.value)


def test_the_batch_setting_limits_the_texts_of_a_request(api: Api) -> None:
    _, encoder = remote_model("remote:m", settings(api, remote_batch=3))
    encoder.encode(["a"] * 7)
    assert api.sizes() == [3, 3, 1]


def test_the_key_is_never_shown(api: Api) -> None:
    configured = settings(api)
    card, encoder = remote_model("remote:m", configured)
    for shown in (repr(configured), repr(card), repr(encoder), json.dumps(encoder.identity())):
        assert "sk-secret" not in shown


@pytest.mark.assets
def test_an_embedder_of_a_hosted_model_works_like_any_other(api: Api, assets_here: AssetStore) -> None:
    embedder = Embedder("remote:m", settings=_with_assets(assets_here, api.url))
    assert embedder.embed(["one", "two"]) == pytest.approx(normalized_vectors(["one", "two"]), abs=1e-6)
    assert embedder.prepare(["hello world"]).n_tokens == (2,)
    assert embedder.embed([[15339, 1917]]) == pytest.approx(normalized_vectors(["hello world"]), abs=1e-6)
    # The space depends on the host, the model and the dimensions, not on where the host is configured.
    named = Embedder(f"remote:m@{api.url}", settings=_with_assets(assets_here, None))
    assert named.fingerprint == embedder.fingerprint
    other = Embedder(f"remote:n@{api.url}", settings=_with_assets(assets_here, None))
    assert other.fingerprint != embedder.fingerprint
    other_api = Api()
    try:
        other_host = Embedder("remote:m", settings=_with_assets(assets_here, other_api.url))
        assert other_host.fingerprint != embedder.fingerprint
    finally:
        other_api.close()


def _with_assets(store: AssetStore, url: str | None) -> Settings:
    store_settings = store._settings
    return Settings(cache=store_settings.cache, asset_path=store_settings.asset_path, offline=True, remote_base_url=url)


def test_a_missing_client_is_an_error_that_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from umekomi import Embedder\n"
        "try: Embedder('remote:m@http://127.0.0.1:9/v1')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("MissingExtraError")
    assert "pip install 'umekomi[remote]'" in shown
