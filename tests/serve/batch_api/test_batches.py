"""Files and batches with the official client, and after kills of the server."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from umekomi import Embedder
from umekomi.serve.batch_api.records import BatchStatus
from umekomi.serve.batch_api.storage import BatchStorage
from umekomi.serve.limits.keys import KeyFile, add_key
from umekomi.serve.service import Limits

from ..conftest import MODEL, RecordingEmbedder, Serving, run_server
from ..test_command import served

FINAL = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_server(state=tmp_path_factory.mktemp("state"), limits=Limits(max_body_bytes=1_000_000)) as url:
        yield url


def connect(url: str, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def line(custom_id: str, text: object, **changes: object) -> dict[str, object]:
    body = {"model": MODEL, "input": text}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body, **changes}


def as_file(lines: Sequence[object]) -> tuple[str, bytes]:
    return "requests.jsonl", "".join(json.dumps(one) + "\n" for one in lines).encode()


def begin(client: openai.OpenAI, lines: Sequence[object]) -> openai.types.Batch:
    file = client.files.create(file=as_file(lines), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")


def wait(client: openai.OpenAI, batch_id: str, seconds: float = 60) -> openai.types.Batch:
    end = time.monotonic() + seconds
    while (batch := client.batches.retrieve(batch_id)).status not in FINAL:
        assert time.monotonic() < end, batch
        time.sleep(0.02)
    return batch


def counts(client: openai.OpenAI, batch_id: str) -> dict[str, int]:
    result = client.batches.retrieve(batch_id).request_counts
    assert result is not None
    return {"total": result.total, "completed": result.completed, "failed": result.failed}


def rows(client: openai.OpenAI, file_id: str | None) -> list[dict[str, object]]:
    assert file_id is not None
    return [json.loads(row) for row in client.files.content(file_id).text.splitlines()]


def test_files_can_be_uploaded_read_listed_and_deleted(address: str) -> None:
    with connect(address) as client:
        content = as_file([line("a", "x")])[1]
        file = client.files.create(file=("r\u00e9.jsonl", content), purpose="batch")
        assert (file.object, file.purpose, file.filename) == ("file", "batch", "r\u00e9.jsonl")
        assert (file.bytes, file.status) == (len(content), "processed")
        assert client.files.retrieve(file.id) == file
        assert client.files.content(file.id).content == content
        assert file.id in [one.id for one in client.files.list(purpose="batch")]
        deleted = client.files.delete(file.id)
        assert (deleted.id, deleted.deleted) == (file.id, True)
        for request in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError, match="No such File object"):
                request(file.id)


def test_lists_are_paginated(address: str) -> None:
    with connect(address) as client:
        file_ids = [client.files.create(file=as_file([line(str(n), "x")]), purpose="batch").id for n in range(5)]
        page = client.files.list(limit=2)
        assert [file.id for file in page.data] == file_ids[:2:-1]
        assert page.has_more
        all_ids = [file.id for file in client.files.list(limit=2)]
        assert all_ids[:5] == file_ids[::-1]
        assert len(all_ids) == len(set(all_ids))
        assert [file.id for file in client.files.list(order="asc", after=file_ids[0], limit=10).data][:4] == file_ids[
            1:
        ]
        batches = [begin(client, [line("a", "x")]).id for _ in range(3)]
        assert [batch.id for batch in client.batches.list(limit=1)][:3] == batches[::-1]


def test_a_batch_returns_the_responses_of_single_requests(address: str) -> None:
    inputs: list[object] = ["hello", ["two", "texts"], [104, 105], [[104], [105]], "日本語"]
    with connect(address) as client:
        lines = [line(f"request {n}", one) for n, one in enumerate(inputs)]
        lines.append(line("short", "hello", body={"model": MODEL, "input": "hello", "dimensions": 8}))
        lines.append(line("base64", "hello", body={"model": MODEL, "input": "hello", "encoding_format": "base64"}))
        file = client.files.create(file=as_file(lines), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h", metadata={"for": "a test"}
        )
        assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"for": "a test"})
        assert batch.expires_at == batch.created_at + 86_400
        client.files.delete(file.id)
        batch = wait(client, batch.id)
        assert batch.status == "completed"
        assert counts(client, batch.id) == {"total": 7, "completed": 7, "failed": 0}
        assert (batch.error_file_id, batch.errors, batch.model) == (None, None, MODEL)
        assert None not in (batch.in_progress_at, batch.finalizing_at, batch.completed_at)
        answers = rows(client, batch.output_file_id)
        assert [answer["custom_id"] for answer in answers] == [one["custom_id"] for one in lines]
        for answer, one in zip(answers, lines, strict=True):
            assert set(answer) == {"id", "custom_id", "response", "error"}
            assert answer["response"]["status_code"] == 200  # type: ignore[index]
            alone = httpx.post(f"{address}/embeddings", json=one["body"]).json()
            assert answer["response"]["body"] == alone  # type: ignore[index]
        assert batch.usage is not None
        assert batch.usage.total_tokens == sum(a["response"]["body"]["usage"]["total_tokens"] for a in answers)  # type: ignore[index]
        output = client.files.retrieve(str(batch.output_file_id))
        assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")


def test_failed_requests_are_in_the_error_file(address: str) -> None:
    bad = [line("long", "x" * 9000), line("empty", ""), line("bad", "bad luck"), line("f", "x", body={"model": MODEL})]
    with connect(address) as client:
        batch = wait(client, begin(client, [line("good", "x"), *bad]).id)
        assert batch.status == "completed"
        assert counts(client, batch.id) == {"total": 5, "completed": 1, "failed": 4}
        assert [row["custom_id"] for row in rows(client, batch.output_file_id)] == ["good"]
        errors = {str(row["custom_id"]): row["response"] for row in rows(client, batch.error_file_id)}
        assert {name: row["status_code"] for name, row in errors.items()} == {  # type: ignore[index]
            "long": 400, "empty": 400, "bad": 500, "f": 400,
        }  # fmt: skip
        assert "maximum context length" in errors["long"]["body"]["error"]["message"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ([], "empty_file", None),
        ([line("a", "x"), "not an object"], "invalid_json_line", 2),
        ([line("a", "x"), line("a", "x")], "duplicate_custom_id", 2),
        ([line("a", "x", method="GET")], "invalid_method", 1),
        ([line("a", "x", url="/v1/chat/completions")], "mismatched_url", 1),
        ([line("a", "x", body={"model": "nope", "input": "x"})], "model_not_found", 1),
        (
            [line("a", "x"), line("b", "x", body={"model": "text-embedding-ada-002", "input": "x"})],
            "mismatched_model",
            2,
        ),
        ([{"method": "POST", "url": "/v1/embeddings", "body": {}}], "missing_required_parameter", 1),
        ([line(str(n), ["x"] * 2048) for n in range(25)], "too_many_inputs", 25),
        ([line(str(n), "x") for n in range(50_001)], "too_many_requests", 50_001),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_input_file_fails_the_batch_with_its_line_number(
    address: str, lines: list[object], code: str, number: int | None
) -> None:
    with connect(address) as client:
        batch = wait(client, begin(client, lines).id)
        assert batch.status == "failed"
        assert batch.failed_at
        assert batch.output_file_id is None
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert (batch.errors.data[0].code, batch.errors.data[0].line) == (code, number)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input_file_id": "file-nope"}, "id"),
        ({"endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ({"input_file_id": 3}, "input_file_id"),
        ({"more": 1}, None),
    ],
)
def test_invalid_batch_requests_are_rejected(address: str, fields: dict[str, object], param: str | None) -> None:
    with connect(address) as client:
        file = client.files.create(file=as_file([line("a", "x")]), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h", **fields}
    answer = httpx.post(f"{address}/batches", json=body)
    assert answer.status_code in (400, 404)
    assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"data": {"purpose": "fine-tune"}, "files": {"file": b"x"}}, 400),
        ({"data": {"purpose": "batch"}, "files": {"other": b"x"}}, 400),
        ({"files": {"file": b"x"}}, 400),
        ({"data": {"purpose": "batch", "more": "x"}, "files": {"file": b"x"}}, 400),
        ({"data": {"purpose": "batch", "expires_after[seconds]": "7"}, "files": {"file": b"x"}}, 400),
        ({"data": {"purpose": "batch"}, "files": [("file", b"x"), ("file", b"y")]}, 400),
        ({"json": {"purpose": "batch"}}, 400),
        ({"content": b"--b\r\nnonsense", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400),
        ({"content": b"x" * 9999, "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400),
        ({"content": b"", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"content": b"x", "headers": {"content-type": f"multipart/form-data; boundary={'b' * 20_000}"}}, 400),
        ({"data": {"purpose": "batch", "x" * 20_000: "x"}, "files": {"file": b"x"}}, 400),
        ({"data": {"purpose": "x" * 20_000}, "files": {"file": b"x"}}, 400),
    ],
)
def test_invalid_uploads_are_rejected(address: str, options: dict[str, object], status: int) -> None:
    answer = httpx.post(f"{address}/files", **options)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["batches", "search"])
def test_bodies_with_too_many_values_are_rejected_on_every_route(address: str, path: str) -> None:
    content = b'{"metadata": [' + (b"[" * 500 + b"]" * 500 + b",") * 700 + b"1]}"
    answer = httpx.post(f"{address}/{path}", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "max_tokens_per_request")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=-1", "after=nope", "order=up", "other=1"])
@pytest.mark.parametrize("path", ["files", "batches"])
def test_invalid_page_parameters_are_rejected(address: str, path: str, query: str) -> None:
    answer = httpx.get(f"{address}/{path}?{query}")
    assert (answer.status_code, list(answer.json()["error"])) == (400, ["message", "type", "param", "code"])


def test_a_cancelled_batch_returns_its_results_and_lists_the_remaining_requests(
    serving: Serving, tmp_path: Path
) -> None:
    recorder = RecordingEmbedder()
    recorder.gate.clear()
    with serving(load=lambda model: recorder, state=tmp_path) as address, connect(address) as client:
        batch = begin(client, [line(str(n), f"text {n}") for n in range(600)])
        while not recorder.calls:
            time.sleep(0.005)
        cancelled = client.batches.cancel(batch.id)
        assert cancelled.status == "cancelling"
        assert client.batches.cancel(batch.id).status == "cancelling"
        recorder.gate.set()
        batch = wait(client, batch.id)
        assert (batch.status, batch.cancelling_at, batch.cancelled_at) == (
            "cancelled", cancelled.cancelling_at, batch.cancelled_at,
        )  # fmt: skip
        done, remaining = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
        assert [row["custom_id"] for row in (*done, *remaining)] == [str(n) for n in range(600)]
        assert {row["error"]["code"] for row in remaining} == {"batch_cancelled"}  # type: ignore[index]
        with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status 'cancelled'"):
            client.batches.cancel(batch.id)


def test_an_unfinished_batch_expires_after_a_day(tmp_path: Path, serving: Serving) -> None:
    yesterday = time.time() - 90_000
    storage = BatchStorage(tmp_path, max_bytes=10**9, clock=lambda: yesterday)
    upload = storage.upload_path()
    upload.write_bytes(as_file([line(str(n), "x") for n in range(3)])[1])
    file = storage.add(upload, owner="", filename="x", purpose="batch", seconds=None)
    options = {"endpoint": "/v1/embeddings", "completion_window": "24h", "metadata": None, "output_seconds": None}
    batch = storage.add_batch("", input_file_id=file.id, **options)  # type: ignore[arg-type]
    storage.close()
    with serving(state=tmp_path) as address, connect(address) as client:
        result = wait(client, batch.id)
        assert (result.status, result.output_file_id) == ("expired", None)
        assert [row["error"]["code"] for row in rows(client, result.error_file_id)] == ["batch_expired"] * 3  # type: ignore[index]


def test_files_can_expire(tmp_path: Path) -> None:
    now = 1000.0
    storage = BatchStorage(tmp_path, max_bytes=100, clock=lambda: now)
    upload = storage.upload_path()
    upload.write_bytes(b"x")
    file = storage.add(upload, owner="", filename="x", purpose="batch", seconds=3600)
    assert storage.file(file.id, "") == file
    now = 4601.0
    assert storage.files("", limit=10, after=None, purpose=None, newest_first=True) == ([], False)
    storage.close()


def test_a_key_cannot_access_files_and_batches_of_another_key(tmp_path: Path, serving: Serving) -> None:
    keys = [add_key(tmp_path / "keys.txt", name) for name in ("alice", "bob")]
    with serving(keys=KeyFile(tmp_path / "keys.txt"), state=tmp_path / "state") as address:
        alice, bob = (connect(address, key) for key in keys)
        batch = wait(alice, begin(alice, [line("a", "x")]).id)
        assert [file.id for file in bob.files.list()] == []
        assert [one.id for one in bob.batches.list()] == []
        for request in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError):
                request(str(batch.output_file_id))
        for other in (bob.batches.retrieve, bob.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                other(batch.id)
        with pytest.raises(openai.NotFoundError):
            bob.batches.create(input_file_id=batch.input_file_id, endpoint="/v1/embeddings", completion_window="24h")
        alice.close()
        bob.close()


def test_a_query_has_priority_over_a_batch(tmp_path: Path, serving: Serving) -> None:
    recorder = RecordingEmbedder()
    recorder.gate.clear()
    limits = Limits(batch_tokens=400)
    with serving(load=lambda model: recorder, state=tmp_path, limits=limits) as address, connect(address) as client:
        batch = begin(client, [line(str(n), f"batch {n}".ljust(50)) for n in range(100)])
        while not recorder.calls:
            time.sleep(0.005)
        thread = threading.Thread(target=lambda: client.embeddings.create(model=MODEL, input="a query"))
        thread.start()
        while httpx.get(address.removesuffix("/v1") + "/health").json()["waiting_tokens"] == 0:
            time.sleep(0.005)
        recorder.gate.set()
        thread.join()
        assert wait(client, batch.id).status == "completed"
    assert recorder.calls[1] == ["a query"]


def test_repeated_kills_neither_lose_nor_duplicate_results(tmp_path: Path, fake: Embedder) -> None:
    """The server runs in its own process and is killed with SIGKILL at random times."""
    count = 4000
    lines = [line(f"r{n}", f"text number {n} " + "word " * (n % 50)) for n in range(count)]
    lines[1234]["body"] = {"model": MODEL, "input": ""}
    batch_id, random_source = "", random.Random(11)
    seen = [0]
    for _ in range(6):
        with served("--state", str(tmp_path / "state")) as (server, url), connect(url) as client:
            batch_id = batch_id or begin(client, lines).id
            while (done := counts(client, batch_id)["completed"]) <= seen[-1]:
                time.sleep(0.005)
            time.sleep(random_source.uniform(0.0, 0.05))
            os.kill(server.pid, signal.SIGKILL)
            seen.append(done)
    assert seen[-1] < count - 1, "the batch finished before the last kill"
    with served("--state", str(tmp_path / "state")) as (_, url), connect(url) as client:
        batch = wait(client, batch_id)
        assert batch.status == "completed"
        assert counts(client, batch_id) == {"total": count, "completed": count - 1, "failed": 1}
        answers = rows(client, batch.output_file_id)
        errors = rows(client, batch.error_file_id)
    assert [answer["custom_id"] for answer in answers] == [f"r{n}" for n in range(count) if n != 1234]
    assert [answer["custom_id"] for answer in errors] == ["r1234"]
    result = np.array([a["response"]["body"]["data"][0]["embedding"] for a in answers[:50]], np.float32)  # type: ignore[index]
    assert (result == fake.embed([one["body"]["input"] for one in lines[:50]])).all()  # type: ignore[index]


def test_concurrent_changes_of_a_batch_are_not_lost(tmp_path: Path) -> None:
    one, other = (BatchStorage(tmp_path, max_bytes=10**6) for _ in range(2))
    upload = one.upload_path()
    upload.write_bytes(b"{}\n")
    file = one.add(upload, owner="", filename="x", purpose="batch", seconds=None)
    options = {"endpoint": "/v1/embeddings", "completion_window": "24h", "metadata": None, "output_seconds": None}
    batch = one.add_batch("", input_file_id=file.id, **options)  # type: ignore[arg-type]
    other.change(batch.id, lambda now: now.with_status(BatchStatus.CANCELLING, 1.0))
    assert one.change(batch.id, lambda now: now).status is BatchStatus.CANCELLING
    one.close()
    other.close()
