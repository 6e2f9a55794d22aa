"""The API on a real server, with the official client and with invalid requests."""

import base64
import json
import logging
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi import Embedder
from umekomi.errors import AssetMissingError
from umekomi.serve.service import Limits

from .conftest import MODEL, RecordingEmbedder, Serving


def post(address: str, body: object, **options: object) -> httpx.Response:
    return httpx.post(f"{address}/embeddings", json=body, timeout=60, **options)  # type: ignore[arg-type]


def test_the_official_client_receives_the_vectors_of_the_library(client: openai.OpenAI, fake: Embedder) -> None:
    answer = client.embeddings.create(model=MODEL, input=["two beans", "日本語"])
    assert [row.index for row in answer.data] == [0, 1]
    assert (np.array([row.embedding for row in answer.data], np.float32) == fake.embed(["two beans", "日本語"])).all()
    assert (answer.object, answer.model, answer.data[0].object) == ("list", MODEL, "embedding")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (18, 18)


def test_floats_and_base64_are_the_same_numbers(client: openai.OpenAI, fake: Embedder) -> None:
    as_floats = client.embeddings.create(model=MODEL, input="x", encoding_format="float").data[0].embedding
    as_text = client.embeddings.create(model=MODEL, input="x", encoding_format="base64").data[0].embedding
    assert base64.b64decode(as_text) == fake.embed(["x"]).astype("<f4").tobytes()  # type: ignore[arg-type]
    assert np.array(as_floats, np.float32).astype("<f4").tobytes() == base64.b64decode(as_text)  # type: ignore[arg-type]


def test_token_arrays_equal_texts(client: openai.OpenAI) -> None:
    text = client.embeddings.create(model=MODEL, input="hi").data[0].embedding
    assert client.embeddings.create(model=MODEL, input=[104, 105]).data[0].embedding == text
    both = client.embeddings.create(model=MODEL, input=[[104, 105], [104]])
    assert both.data[0].embedding == text
    assert (len(both.data), both.usage.prompt_tokens) == (2, 3)


def test_the_order_of_2048_inputs_is_kept(client: openai.OpenAI, fake: Embedder) -> None:
    texts = [f"text {'very ' * (index % 7)}number {index}" for index in range(2048)]
    answer = client.embeddings.create(model=MODEL, input=texts)
    assert (np.array([row.embedding for row in answer.data], np.float32) == fake.embed(texts)).all()


def test_dimensions_and_user_are_accepted(client: openai.OpenAI, fake: Embedder) -> None:
    vector = client.embeddings.create(model=MODEL, input="x", dimensions=8, user="me").data[0].embedding
    assert (np.array([vector], np.float32) == fake.embed(["x"], dimensions=8)).all()


def test_lone_surrogates_are_accepted(address: str) -> None:
    body = b'{"model": "umekomi-fake", "input": "\\ud83d and more"}'
    answer = httpx.post(f"{address}/embeddings", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200


def test_models_can_be_listed_and_retrieved(client: openai.OpenAI) -> None:
    assert "text-embedding-ada-002" in [model.id for model in client.models.list()]
    assert MODEL not in [model.id for model in client.models.list()], "hidden models are not listed"
    model = client.models.retrieve("text-embedding-ada-002")
    assert "not OpenAI's" in model.umekomi["note"]  # type: ignore[attr-defined]
    assert model.umekomi["dimensions"] == 1536  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError, match="text-embedding-ada-002"):
        client.models.retrieve("text-embedding-ada-003")


def test_the_engine_routes_of_2022_are_supported(address: str) -> None:
    answer = httpx.post(f"{address}/engines/{MODEL}/embeddings", json={"input": "x"})
    assert (answer.status_code, answer.json()["model"]) == (200, MODEL)
    assert httpx.get(f"{address}/engines/{MODEL}").json()["object"] == "engine"
    assert "text-embedding-ada-002" in [row["id"] for row in httpx.get(f"{address}/engines").json()["data"]]
    other = httpx.post(f"{address}/engines/{MODEL}/embeddings", json={"input": "x", "model": "other"})
    assert (other.status_code, other.json()["error"]["param"]) == (400, "model")


def health(address: str) -> dict[str, object]:
    answer: dict[str, object] = httpx.get(address.removesuffix("/v1") + "/health").json()
    return answer


def test_health_lists_loaded_models(address: str) -> None:
    post(address, {"model": MODEL, "input": "x"})
    assert (health(address)["status"], health(address)["loaded"]) == ("ok", [MODEL])


def test_every_response_has_an_id_and_a_processing_time(address: str) -> None:
    seen = set()
    for path in ("/models", "/nothing", "/models"):
        headers = httpx.get(address + path).headers
        seen.add(headers["x-request-id"])
        assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])
        assert int(headers["openai-processing-ms"]) >= 0
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("fields", "error", "param", "code"),
    [
        ({"model": "nope", "input": "x"}, openai.NotFoundError, "model", "model_not_found"),
        ({"model": "m" * 100_000, "input": "x"}, openai.NotFoundError, "model", "model_not_found"),
        ({"model": "remote:gpt@http://localhost", "input": "x"}, openai.NotFoundError, "model", "model_not_found"),
        ({"model": 3, "input": "x"}, openai.BadRequestError, "model", "invalid_type"),
        ({"model": MODEL, "input": ""}, openai.BadRequestError, "input", "empty_string"),
        ({"model": MODEL, "input": []}, openai.BadRequestError, "input", "empty_array"),
        ({"model": MODEL, "input": [[]]}, openai.BadRequestError, "input", "empty_array"),
        ({"model": MODEL, "input": ["x", ""]}, openai.BadRequestError, "input", "empty_string"),
        ({"model": MODEL, "input": ["x"] * 2049}, openai.BadRequestError, "input", "array_above_max_length"),
        ({"model": MODEL, "input": [1, "x"]}, openai.BadRequestError, "input", "invalid_type"),
        ({"model": MODEL, "input": [1, True]}, openai.BadRequestError, "input[1]", "invalid_type"),
        ({"model": MODEL, "input": [[1], [1.0]]}, openai.BadRequestError, "input[1]", "invalid_type"),
        ({"model": MODEL, "input": ["x", None]}, openai.BadRequestError, "input[1]", "invalid_type"),
        ({"model": MODEL, "input": 3}, openai.BadRequestError, "input", "invalid_type"),
        ({"model": MODEL, "input": {"text": "x"}}, openai.BadRequestError, "input", "invalid_type"),
        ({"model": MODEL, "input": [[1, 999]]}, openai.BadRequestError, "input", None),
        ({"model": MODEL, "input": [-1]}, openai.BadRequestError, "input", None),
        ({"model": MODEL, "input": "x" * 8192}, openai.BadRequestError, None, None),
        ({"model": MODEL, "input": ["x" * 8000] * 40}, openai.BadRequestError, None, "max_tokens_per_request"),
        ({"model": MODEL, "input": "x", "dimensions": 65}, openai.BadRequestError, "dimensions", None),
        ({"model": MODEL, "input": "x", "dimensions": 0}, openai.BadRequestError, "dimensions", "integer_below_min_value"),
        ({"model": MODEL, "input": "x", "dimensions": "8"}, openai.BadRequestError, "dimensions", "invalid_type"),
        ({"model": MODEL, "input": "x", "encoding_format": "hex"}, openai.BadRequestError, "encoding_format", "invalid_value"),
        ({"model": MODEL, "input": "x", "user": 7}, openai.BadRequestError, "user", "invalid_type"),
        ({"model": MODEL, "input": "x", "extra_body": {"role": "query"}}, openai.BadRequestError, None, None),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else None,
)  # fmt: skip
def test_invalid_requests_raise_the_errors_of_the_official_client(
    client: openai.OpenAI, fields: dict[str, object], error: type[openai.APIStatusError], param: str, code: str | None
) -> None:
    with pytest.raises(error) as caught:
        client.embeddings.create(**fields)  # type: ignore[arg-type]
    assert (caught.value.param, caught.value.code) == (param, code)
    assert len(caught.value.message) < 500


def test_a_too_long_text_gets_the_message_of_the_hosted_api(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=MODEL, input="x" * 9000)
    assert caught.value.body["message"] == (  # type: ignore[index]
        "This model's maximum context length is 8191 tokens, however you requested 9000 tokens (9000 in your prompt; "
        "0 for the completion). Please reduce your prompt; or completion length."
    )


@pytest.mark.parametrize(
    ("method", "path", "content", "content_type", "status"),
    [
        ("POST", "/embeddings", b"", "application/json", 400),
        ("POST", "/embeddings", b"{bad", "application/json", 400),
        ("POST", "/embeddings", b"\xff\xfe\xfd", "application/json", 400),
        ("POST", "/embeddings", b"[" * 100_000, "application/json", 400),
        ("POST", "/embeddings", b'{"model": "umekomi-fake", "input": [' + b"9" * 5000 + b"]}", "application/json", 400),
        ("POST", "/embeddings", b'{"model": "umekomi-fake", "input": [NaN]}', "application/json", 400),
        ("POST", "/embeddings", b"[]", "application/json", 400),
        ("POST", "/embeddings", b"null", "application/json", 400),
        ("POST", "/embeddings", b"{}", "application/json", 400),
        ("POST", "/embeddings", b'{"model": "umekomi-fake"}', "application/json", 400),
        ("POST", "/embeddings", b"input=x", "application/x-www-form-urlencoded", 400),
        ("POST", "/embeddings", b'{"model": "umekomi-fake", "input": "x"}', "", 400),
        ("POST", "/embeddings", b" " * 1_000_001, "application/json", 413),
        ("POST", "/embeddings/", b"{}", "application/json", 404),
        ("POST", "/engines/nothing/embeddings", b'{"input": "x"}', "application/json", 404),
        ("GET", "/embeddings", b"", "", 405),
        ("GET", "/nothing", b"", "", 404),
        ("GET", "/models/nothing", b"", "", 404),
        ("GET", "/models/no/thing", b"", "", 404),
        ("GET", "/models/" + "m" * 5000, b"", "", 404),
        ("GET", "/models/%ff%00", b"", "", 404),
        ("GET", "/engines/nothing", b"", "", 404),
        ("DELETE", "/models", b"", "", 405),
        ("OPTIONS", "/embeddings", b"", "", 405),
        ("PATCH", "/embeddings", b"", "", 405),
        ("GET", "/../docs", b"", "", 404),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_error_response_is_the_error_object_of_the_api(
    address: str, method: str, path: str, content: bytes, content_type: str, status: int
) -> None:
    answer = httpx.request(
        method, address + path, content=content, headers={"content-type": content_type} if content_type else {}
    )
    assert answer.status_code == status
    assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["content-type"] == "application/json"
    assert ("allow" in answer.headers) == (status == 405)


def test_a_chunked_body_above_the_limit_is_rejected(address: str) -> None:
    def chunks():  # type: ignore[no-untyped-def]
        for _ in range(20):
            yield b" " * 100_000

    answer = httpx.post(f"{address}/embeddings", content=chunks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)
FIELDS = {"encoding_format": JSON, "dimensions": JSON | st.integers(1, 64), "user": JSON, "other": JSON}
BODIES = (
    st.binary()
    | JSON.map(json.dumps).map(str.encode)
    | st.fixed_dictionaries({"model": st.just(MODEL) | JSON, "input": JSON}, optional=FIELDS).map(json.dumps).map(str.encode)
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(BODIES)
def test_random_bodies_never_cause_a_server_error(address: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{address}/embeddings", content=body, headers=headers, timeout=60)
    assert answer.status_code in (200, 400, 404)
    assert (answer.status_code == 200) == ("error" not in answer.json())


def test_64_clients_share_model_calls_and_get_their_own_vectors(
    serving: Serving, recorder: RecordingEmbedder, fake: Embedder
) -> None:
    texts = [f"text number {index}" for index in range(64)]
    recorder.gate.clear()

    def request_vector(text: str) -> bytes:
        with openai.OpenAI(base_url=address, api_key="any", max_retries=0) as client:
            row = client.embeddings.create(model=MODEL, input=text, encoding_format="base64").data[0]
            return base64.b64decode(row.embedding)  # type: ignore[arg-type]

    with serving(load=lambda model: recorder) as address, ThreadPoolExecutor(64) as threads:
        answers = threads.map(request_vector, texts)
        # The first call waits until other requests have arrived, so that batches are shared on every machine.
        while not recorder.calls:
            time.sleep(0.005)
        time.sleep(0.2)
        recorder.gate.set()
        results = list(answers)
    assert results == [fake.embed([text]).astype("<f4").tobytes() for text in texts]
    assert len(recorder.calls) < 64
    assert sorted(text for call in recorder.calls for text in call) == sorted(texts)


def test_requests_beyond_the_queue_limit_get_429_with_retry_after(
    serving: Serving, recorder: RecordingEmbedder
) -> None:
    recorder.gate.clear()
    with (
        serving(load=lambda model: recorder, limits=Limits(max_waiting_tokens=100)) as address,
        ThreadPoolExecutor(2) as threads,
    ):
        running = threads.submit(post, address, {"model": MODEL, "input": "a" * 60})
        while not recorder.calls:
            time.sleep(0.005)
        waiting = threads.submit(post, address, {"model": MODEL, "input": "b" * 60})
        while health(address)["waiting_tokens"] < 60:
            time.sleep(0.005)
        rejected = post(address, {"model": MODEL, "input": "c" * 60})
        assert int(rejected.headers["retry-after"]) >= 1
        assert rejected.json()["error"]["code"] == "rate_limit_exceeded"
        with (
            openai.OpenAI(base_url=address, api_key="any", max_retries=0) as client,
            pytest.raises(openai.RateLimitError),
        ):
            client.embeddings.create(model=MODEL, input="d" * 60)
        recorder.gate.set()
        assert (running.result().status_code, waiting.result().status_code) == (200, 200)
        assert post(address, {"model": MODEL, "input": "e" * 60}).status_code == 200


def test_too_many_concurrent_requests_get_429(serving: Serving, recorder: RecordingEmbedder) -> None:
    recorder.gate.clear()
    with (
        serving(load=lambda model: recorder, limits=Limits(max_requests=1)) as address,
        ThreadPoolExecutor(1) as threads,
    ):
        first = threads.submit(post, address, {"model": MODEL, "input": "a"})
        while not recorder.calls:
            time.sleep(0.005)
        rejected = post(address, {"model": MODEL, "input": "b"})
        assert (rejected.status_code, rejected.headers["retry-after"]) == (429, "1")
        recorder.gate.set()
        assert first.result().status_code == 200


def test_the_work_of_a_disconnected_client_is_dropped(serving: Serving, recorder: RecordingEmbedder) -> None:
    recorder.gate.clear()
    body = json.dumps({"model": MODEL, "input": [f"text {index} " + "x" * 90 for index in range(200)]}).encode()
    with serving(load=lambda model: recorder, limits=Limits(batch_tokens=400)) as address:
        host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\n" + head.encode() + body)
            while not recorder.calls:
                time.sleep(0.005)
        time.sleep(0.2)
        recorder.gate.set()
        assert post(address, {"model": MODEL, "input": "still here"}).status_code == 200
    done = {text for call in recorder.calls for text in call}
    assert "still here" in done
    assert len(done) < 20


def test_a_failing_model_gives_500_and_texts_are_not_logged(
    serving: Serving, recorder: RecordingEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), serving(load=lambda model: recorder) as address:
        answers = [post(address, {"model": MODEL, "input": text}) for text in ("good", "bad luck", "good")]
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    error = answers[1].json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, None)
    assert answers[1].headers["x-request-id"] in error["message"]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(("umekomi", "uvicorn"))]
    assert any(answers[1].headers["x-request-id"] in line and "RuntimeError" in line for line in lines)
    assert not [line for line in lines if "luck" in line or "good" in line]


def test_a_model_with_missing_files_gives_503_until_it_can_be_loaded(serving: Serving) -> None:
    loads: list[str] = []

    def load(model: str) -> Embedder:
        loads.append(model)
        if len(loads) == 1:
            raise AssetMissingError("No source has model.safetensors; run `umekomi models pull`.")
        return Embedder(model)

    with serving(load=load) as address:
        first = post(address, {"model": MODEL, "input": "x"})
        assert (first.status_code, first.json()["error"]["code"]) == (503, "model_not_ready")
        assert [post(address, {"model": MODEL, "input": "x"}).status_code for _ in range(2)] == [200, 200]
    assert loads == [MODEL, MODEL]


def test_requests_during_loading_share_one_load_of_the_model(serving: Serving) -> None:
    loads: list[str] = []

    def load(model: str) -> Embedder:
        loads.append(model)
        time.sleep(0.2)
        return Embedder(model)

    with serving(load=load) as address, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda text: post(address, {"model": MODEL, "input": text}), "abcdefgh"))
    assert {answer.status_code for answer in answers} == {200}
    assert loads == [MODEL]


def test_stopping_finishes_running_requests(serving: Serving, recorder: RecordingEmbedder) -> None:
    recorder.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        with serving(load=lambda model: recorder) as address:
            answer = threads.submit(post, address, {"model": MODEL, "input": "x"})
            while not recorder.calls:
                time.sleep(0.005)
            recorder.gate.set()
        assert answer.result().status_code == 200


def test_openapi_describes_every_route(address: str) -> None:
    paths = httpx.get(address.removesuffix("/v1") + "/openapi.json").json()["paths"]
    assert {"/v1/embeddings", "/v1/models", "/v1/models/{model}", "/v1/engines/{model}/embeddings", "/health"} <= set(
        paths
    )
