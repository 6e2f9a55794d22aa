"""The requests and failing batches of one client do not affect other clients."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import httpx
import openai
import pytest
from starlette.testclient import TestClient

from umekomi import Embedder
from umekomi.errors import AssetMissingError, MissingExtraError, RemoteError, RemoteUnavailableError
from umekomi.serve.app import create_app
from umekomi.serve.batch_api import runner
from umekomi.serve.batch_api.records import Batch, BatchStatus
from umekomi.serve.batch_api.storage import BatchStorage
from umekomi.serve.limits.keys import KeyFile, add_key
from umekomi.serve.models import Models
from umekomi.serve.service import Limits
from umekomi.vectors.arithmetic import FloatArray

from .batch_api.test_batches import as_file, begin, connect, counts, line, rows, wait
from .conftest import MODEL, RecordingEmbedder, Serving

OTHER = "text-embedding-ada-002"


def line_of_model(model: str) -> dict[str, object]:
    return line("a", "x", body={"model": model, "input": "x"})


def upload(client: openai.OpenAI, lines: list[object]) -> openai.types.FileObject:
    return client.files.create(file=as_file(lines), purpose="batch")


def create(client: openai.OpenAI, file_id: str) -> openai.types.Batch:
    return client.batches.create(input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h")


@pytest.fixture
def clients(
    tmp_path: Path, serving: Serving
) -> Iterator[Callable[..., contextlib.AbstractContextManager[list[openai.OpenAI]]]]:
    """Context manager that starts a server with two keys: ``with clients(load=…) as (alice, bob)``."""

    @contextlib.contextmanager
    def start(**options: object) -> Iterator[list[openai.OpenAI]]:
        keys = [add_key(tmp_path / "keys.txt", name) for name in ("alice", "bob")]
        with serving(keys=KeyFile(tmp_path / "keys.txt"), state=tmp_path / "state", **options) as address:
            with contextlib.ExitStack() as stack:
                yield [stack.enter_context(connect(address, key)) for key in keys]

    return start  # type: ignore[return-value]


Clients = Callable[..., contextlib.AbstractContextManager[list[openai.OpenAI]]]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AssetMissingError("No source has the file model.safetensors."), "No source has the file"),
        (MissingExtraError("Install umekomi[gpu]."), "Install umekomi"),
        (RuntimeError("a secret of the loader"), "is not available on this server."),
    ],
)
def test_a_batch_with_an_unavailable_model_does_not_stop_other_batches(
    clients: Clients, error: Exception, message: str
) -> None:
    def load(model: str) -> Embedder:
        if model == OTHER:
            raise error
        return Embedder(model)

    with clients(load=load) as (alice, bob):
        broken = [begin(alice, [line_of_model(OTHER)]).id for _ in range(3)]
        assert wait(bob, begin(bob, [line("a", "x")]).id).status == "completed"
        assert wait(alice, begin(alice, [line("a", "x")]).id).status == "completed"
        for batch_id in broken:
            batch = wait(alice, batch_id)
            assert (batch.status, batch.output_file_id) == ("failed", None)
            assert batch.errors is not None
            assert batch.errors.data is not None
            assert [one.code for one in batch.errors.data] == ["model_not_available"]
            assert message in str(batch.errors.data[0].message)
            assert "secret" not in str(batch.errors.data[0].message)


def test_a_slowly_loading_model_does_not_delay_other_batches(clients: Clients) -> None:
    slow = RecordingEmbedder()

    def load(model: str) -> Embedder:
        if model == OTHER:
            assert slow.gate.wait(timeout=60)
        return Embedder(MODEL)

    slow.gate.clear()
    with clients(load=load) as (alice, bob):
        assert wait(bob, begin(bob, [line("a", "x")]).id).status == "completed"
        waiting_id = begin(alice, [line_of_model(OTHER)]).id
        for client in (alice, bob):
            assert wait(client, begin(client, [line("a", "x")]).id).status == "completed"
        assert alice.batches.retrieve(waiting_id).status == "validating"
        cancelled_id = begin(alice, [line_of_model(OTHER)]).id
        alice.batches.cancel(cancelled_id)
        assert wait(alice, cancelled_id).status == "cancelled"
        slow.gate.set()
        assert wait(alice, waiting_id).status == "completed"


def test_a_batch_expires_while_its_model_is_loading(tmp_path: Path, serving: Serving) -> None:
    slow = RecordingEmbedder()

    def load(model: str) -> Embedder:
        assert slow.gate.wait(timeout=60)
        return Embedder(MODEL)

    storage = BatchStorage(tmp_path, max_bytes=10**9, clock=lambda: time.time() - 86_400 + 2)
    target = storage.upload_path()
    target.write_bytes(as_file([line_of_model(OTHER)])[1])
    file = storage.add(target, owner="", filename="x", purpose="batch", seconds=None)
    options = {"endpoint": "/v1/embeddings", "completion_window": "24h", "metadata": None, "output_seconds": None}
    batch = storage.add_batch("", input_file_id=file.id, **options)  # type: ignore[arg-type]
    storage.close()
    slow.gate.clear()
    with serving(load=load, state=tmp_path) as address, connect(address) as client:
        try:
            finished = wait(client, batch.id)
            assert finished.status == "expired"
            assert [row["error"]["code"] for row in rows(client, finished.error_file_id)] == ["batch_expired"]  # type: ignore[index]
        finally:
            slow.gate.set()


class UnavailableEmbedder(Embedder):
    """A remote model that is unavailable at first."""

    errors: ClassVar[list[RemoteError]] = []

    def embed_texts(self, texts: Sequence[str], **options: object) -> FloatArray:
        if self.errors:
            raise self.errors.pop()
        return super().embed_texts(texts, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("error", "n_failed"), [(RemoteUnavailableError("down"), 0), (RemoteError("refused"), 1)])
def test_a_batch_retries_while_a_remote_model_is_unavailable(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, error: RemoteError, n_failed: int
) -> None:
    monkeypatch.setattr(runner, "_MIN_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(UnavailableEmbedder, "errors", [error] * (7 if not n_failed else 1))
    with clients(load=UnavailableEmbedder) as (alice, _):
        finished = wait(alice, begin(alice, [line("a", "x")]).id)
        assert (finished.status, finished.request_counts.failed) == ("completed", n_failed)


def test_damaged_files_fail_only_their_batch(clients: Clients, tmp_path: Path) -> None:
    recorder = RecordingEmbedder()
    with clients(load=lambda model: recorder) as (alice, bob):
        assert wait(bob, begin(bob, [line("a", "x")]).id).status == "completed"
        recorder.gate.clear()
        names = ("missing", "truncated", "changed")
        damaged = {name: begin(alice, [line(f"{n}", f"text {n}") for n in range(600)]).id for name in names}
        work = tmp_path / "state/work"
        while not all(counts(alice, batch_id)["total"] for batch_id in damaged.values()) and len(recorder.calls) < 2:
            time.sleep(0.005)
        (work / damaged["missing"]).unlink()
        os.truncate(work / damaged["truncated"], 30_000)
        (work / damaged["changed"]).write_bytes(b"\xff{]\n" * 10_000)
        recorder.gate.set()
        assert wait(bob, begin(bob, [line("a", "x")]).id).status == "completed"
        for batch_id in damaged.values():
            batch = wait(alice, batch_id)
            assert batch.status == "failed"
            assert batch.errors is not None
            assert batch.errors.data
            assert batch.errors.data[0].code in ("input_file_unreadable", "invalid_json_line")


def test_a_line_of_several_megabytes_fails_only_its_batch(clients: Clients) -> None:
    with clients(limits=Limits(max_body_bytes=100_000)) as (alice, bob):
        broken = begin(alice, [line("a", "x"), line("long", "x" * 3_000_000), line("b", "x" * 99_999)]).id
        assert wait(bob, begin(bob, [line("a", "x")]).id).status == "completed"
        batch = wait(alice, broken)
        assert batch.errors is not None
        assert [(error.line, error.message) for error in batch.errors.data or ()] == [
            (2, "This line is too long."),
            (3, "This line is too long."),
        ]


class BrokenStorage(BatchStorage):
    """Storage that raises an unexpected error for one key."""

    def require_capacity(self, owner: str) -> None:
        if owner == "alice":
            raise ZeroDivisionError("what a text says")
        super().require_capacity(owner)


def test_a_batch_fails_after_repeated_unexpected_errors(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "_MIN_RETRY_SECONDS", 0.01)
    monkeypatch.setattr("umekomi.serve.batch_api.routes.BatchStorage", BrokenStorage)
    with clients() as (alice, bob):
        broken = begin(alice, [line("a", "x")]).id
        assert wait(bob, begin(bob, [line("a", "x")]).id).status == "completed"
        batch = wait(alice, broken)
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors.data
        assert batch.errors.data[0].code == "server_error"
    assert "ZeroDivisionError" in caplog.text
    assert "what a text says" not in caplog.text


class RecordingStorage(BatchStorage):
    """Storage that records the owners of finished batches, in order."""

    finished: ClassVar[list[str]] = []

    def finish(self, batch: Batch) -> Batch:
        self.finished.append(batch.owner)
        return super().finish(batch)


def test_a_key_with_many_batches_does_not_delay_another_key(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umekomi.serve.batch_api.routes.BatchStorage", RecordingStorage)
    RecordingStorage.finished.clear()
    recorder = RecordingEmbedder()
    recorder.gate.clear()
    with clients(load=lambda model: recorder) as (alice, bob):
        many = [begin(alice, [line(f"{n}", f"{batch_index} {n}") for n in range(300)]).id for batch_index in range(6)]
        only = begin(bob, [line(f"{n}", f"bob {n}") for n in range(300)]).id
        recorder.gate.set()
        assert {
            wait(client, batch_id).status for client, batch_id in ((bob, only), *((alice, one) for one in many))
        } == {"completed"}
    assert len(RecordingStorage.finished) == 7
    assert RecordingStorage.finished.index("bob") <= 2, "bob waited for alice's batches"


def test_a_key_has_a_limit_of_unfinished_batches(clients: Clients) -> None:
    recorder = RecordingEmbedder()
    recorder.gate.clear()
    with clients(load=lambda model: recorder, limits=Limits(max_key_batches=2)) as (alice, bob):
        file = upload(alice, [line("a", "x")])
        running = [create(alice, file.id).id for _ in range(2)]
        with pytest.raises(openai.RateLimitError, match="2 unfinished batches") as caught:
            create(alice, file.id)
        assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("batch_limit_exceeded", "60")
        others = begin(bob, [line("a", "x")]).id
        recorder.gate.set()
        for client, batch_id in ((alice, running[0]), (alice, running[1]), (bob, others)):
            assert wait(client, batch_id).status == "completed"
        assert wait(alice, create(alice, file.id).id).status == "completed"


def test_a_key_has_a_limit_of_stored_bytes(clients: Clients, tmp_path: Path) -> None:
    limits = Limits(max_key_bytes=3000)
    with clients(limits=limits) as (alice, bob):
        file = upload(alice, [{"a": "x" * 1900}])
        with pytest.raises(openai.BadRequestError, match="3,000 bytes") as caught:
            upload(alice, [{"a": "x" * 1900}])
        assert caught.value.code == "storage_limit_exceeded"
        upload(bob, [{"a": "x" * 1900}])
        alice.files.delete(file.id)
        # Results also count: 20 responses of about 1,000 bytes exceed the limit.
        batch = wait(alice, begin(alice, [line(f"{n}", f"{n}") for n in range(10)]).id)
        assert batch.status == "completed"
        again = next(file.id for file in alice.files.list() if file.purpose == "batch")
        with pytest.raises(openai.BadRequestError):
            upload(alice, [line("a", "x")])
        batch = wait(alice, create(alice, again).id)
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors.data
        assert batch.errors.data[0].code == "storage_limit_exceeded"
    assert not [path for path in (tmp_path / "state/files").iterdir() if path.name.endswith(".part")]


def test_concurrent_uploads_share_the_limit_of_stored_bytes(clients: Clients, tmp_path: Path) -> None:
    megabyte, resume = b"x" * 2**20, threading.Event()

    def send_slowly() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        yield (
            b'--b\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\n'
            + megabyte * 2
            + megabyte[: 2**19]
        )
        assert resume.wait(timeout=60)
        yield b"\r\n--b--\r\n"

    with clients(limits=Limits(max_key_bytes=3 * 2**20)) as (alice, bob):
        answers: list[int] = []
        headers = {**alice.auth_headers, "content-type": "multipart/form-data; boundary=b"}

        def send() -> None:
            answers.append(
                httpx.post(f"{alice.base_url}files", content=send_slowly(), headers=headers, timeout=60).status_code
            )

        first = threading.Thread(target=send)
        first.start()
        while not any(path.stat().st_size > 2**21 for path in (tmp_path / "state/files").glob("*.part")):
            assert first.is_alive()
            time.sleep(0.005)
        with pytest.raises(openai.BadRequestError) as caught:
            alice.files.create(file=("x", megabyte + b"x"), purpose="batch")
        assert caught.value.code == "storage_limit_exceeded"
        bob.files.create(file=("x", megabyte + b"x"), purpose="batch")
        resume.set()
        first.join()
        assert answers == [200]


def test_a_deleted_input_counts_until_its_batch_is_finished(tmp_path: Path) -> None:
    storage = BatchStorage(tmp_path, max_bytes=10_000, max_key_bytes=3000)
    target = storage.upload_path()
    target.write_bytes(b"x" * 2000)
    file = storage.add(target, owner="alice", filename="x", purpose="batch", seconds=None)
    batch = storage.add_batch(
        "alice", input_file_id=file.id, endpoint="", completion_window="24h", metadata=None, output_seconds=None
    )
    assert (storage.available_bytes("alice"), storage.available_bytes("bob")) == (1000, 3000)
    storage.delete(file.id, "alice")
    assert storage.available_bytes("alice") == 1000
    storage.change(batch.id, lambda now: replace(now, output_bytes=500, error_bytes=100))
    assert storage.available_bytes("alice") == 400
    storage.change(batch.id, lambda now: replace(now, output_bytes=0, error_bytes=0, outcome=BatchStatus.FAILED))
    storage.finish(replace(batch, outcome=BatchStatus.FAILED))
    assert storage.available_bytes("alice") == 3000
    storage.close()


@pytest.mark.parametrize("exists", [True, False])
def test_objects_of_another_key_look_like_missing_objects(clients: Clients, exists: bool) -> None:
    with clients() as (alice, bob), httpx.Client(headers=bob.auth_headers) as client:
        batch = wait(alice, begin(alice, [line("a", "x")]).id)
        files = [str(batch.input_file_id), str(batch.output_file_id)]
        if not exists:
            files, batch.id = ["file-0123"] * 2, "batch_0123"
        new = {"endpoint": "/v1/embeddings", "completion_window": "24h"}
        requests = [
            (method, f"files/{file}{rest}", None)
            for file in files
            for method, rest in (("GET", ""), ("GET", "/content"), ("DELETE", ""))
        ]
        requests += [("GET", f"batches/{batch.id}", None), ("POST", f"batches/{batch.id}/cancel", None)]
        requests += [("POST", "batches", {**new, "input_file_id": file}) for file in files]
        for method, path, body in requests:
            answer = client.request(method, f"{bob.base_url}{path}", json=body)
            assert answer.status_code == 404, (method, path)
            name = next(one for one in (*files, batch.id) if one in answer.text)
            assert answer.json()["error"]["message"].replace(name, "ID") in (
                "No such File object: ID", "No batch found with id 'ID'.",
            )  # fmt: skip
        for path, name in (("files", files[0]), ("batches", batch.id)):
            answer = client.get(f"{bob.base_url}{path}?after={name}")
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")
            assert client.get(f"{bob.base_url}{path}").json()["data"] == []
        if exists:
            assert alice.batches.retrieve(batch.id).status == "completed"
            assert rows(alice, batch.output_file_id)


def test_keys_are_not_logged(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with clients() as (alice, _):
        wait(alice, begin(alice, [line("a", "x")]).id)
        for key in ("sk-another-secret", alice.api_key):
            for header in ({"authorization": f"Bearer {key}"}, {"api-key": key}):
                httpx.get(f"{alice.base_url}files/{key[:5]}", headers=header)
        assert caplog.records
        assert alice.api_key not in caplog.text
        assert "sk-another-secret" not in caplog.text


@pytest.mark.parametrize("model", [OTHER, "nope", "all-MiniLM-L6-v2", "text-search-ada-doc-001"])
def test_models_that_are_not_listed_are_not_served(tmp_path: Path, model: str) -> None:
    models = Models(only=[MODEL])
    models.preload([MODEL])
    app = create_app(models, state=tmp_path)
    client: httpx.Client = TestClient(app)  # type: ignore[assignment]
    with client:
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == [MODEL]
        assert [one["id"] for one in client.get("/v1/engines").json()["data"]] == [MODEL]
        assert client.post("/v1/embeddings", json={"model": MODEL, "input": "x"}).status_code == 200
        body = {"model": model, "input": "x"}
        answers = [
            client.get(f"/v1/models/{model}"),
            client.get(f"/v1/engines/{model}"),
            client.post("/v1/embeddings", json=body),
            client.post("/v1/tokenize", json=body),
            client.post(f"/v1/engines/{model}/embeddings", json={"input": "x"}),
        ]
        for answer in answers:
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
            assert OTHER not in error["message"].replace(f"`{model}`", "")
        name, content = as_file([line_of_model(model)])
        file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": (name, content)}).json()
        new = {"input_file_id": file["id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
        batch = client.post("/v1/batches", json=new).json()
        while batch["status"] not in ("completed", "failed"):
            time.sleep(0.005)
            batch = client.get(f"/v1/batches/{batch['id']}").json()
        assert [error["code"] for error in batch["errors"]["data"]] == ["model_not_found"]
