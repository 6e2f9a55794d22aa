"""``umekomi serve`` as a user starts and stops it."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.encoders.transformer.tiny import make_folder
from umekomi import Embedder
from umekomi.data.embedded_file import Space
from umekomi.stores import create_store

from .conftest import MODEL

Run = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, and its base URL; killed at the end if it is still there."""
    command = [sys.executable, "-m", "umekomi", "serve", "-m", MODEL, "--port", "0", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server, json.loads(server.stdout.readline())["base_url"]
        finally:
            server.kill()


def test_a_folder_is_served_under_its_name(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "tiny-bert", "bert")
    with served("-m", str(folder)) as (_, url):
        listed = {model["id"]: model for model in httpx.get(f"{url}/models").json()["data"]}
        about = listed["tiny-bert"]
        assert (about["owned_by"], about["umekomi"]["dimensions"]) == ("local", 32)
        assert httpx.get(f"{url}/models/tiny-bert").json() == about
        assert str(tmp_path) not in json.dumps(listed)
        answers = [
            httpx.post(f"{url}/embeddings", json={"model": "tiny-bert", "input": given}, timeout=60).json()
            for given in ("one two", [4, 5])
        ]
        # Token ids are of the folder's own vocabulary.
        assert answers[0] == answers[1]
        assert len(answers[0]["data"][0]["embedding"]) == 32
        assert (answers[0]["model"], answers[0]["usage"]["total_tokens"]) == ("tiny-bert", 2)
        assert embed(url).status_code == 200
        # Only what was named at the start: no client makes the server read a folder or ask the hub.
        for other in (str(folder), "nobody/nothing"):
            refused = httpx.post(f"{url}/embeddings", json={"model": other, "input": "x"}, timeout=60)
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


def test_a_store_of_a_folder_is_searched_by_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "tiny-bert", "bert")
    embedder = Embedder(str(folder))
    space = Space(embedder.model, embedder.fingerprint, embedder.dims)
    create_store(f"lance://{tmp_path}/texts", space).upsert(["a", "b"], embedder.embed(["one", "seven seven"]))
    with served("-m", str(folder), "--store", f"texts=lance://{tmp_path}/texts") as (_, url):
        found = httpx.post(f"{url}/search", json={"store": "texts", "query": "seven seven", "n": 1}, timeout=60)
    assert (found.status_code, found.json()["data"][0]["id"]) == (200, "b")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("none", "There is no folder"),
        ("pickle", "as a pickle only"),
        ("type", "of type 't5'; Umekomi supports bert, roberta"),
        ("name", "would go by the name 'text-embedding-ada-002', which is another's; rename the folder."),
        ("hub", "the Hugging Face cannot be downloaded from the Hugging Face hub"),
    ],
)
def test_what_is_not_of_the_catalogue_and_cannot_be_served(
    umekomi: Run, tmp_path: Path, change: str, sentence: str
) -> None:
    folder = make_folder(tmp_path / ("text-embedding-ada-002" if change == "name" else "m"), "bert")
    if change == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif change == "type":
        (folder / "config.json").write_text('{"model_type": "t5"}')
    model = {"none": "./nothing", "hub": "nobody/nothing"}.get(change, str(folder))
    done = umekomi("serve", "--port", "0", "-m", model, UMEKOMI_OFFLINE="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def embed(url: str, text: str = "hello") -> httpx.Response:
    return httpx.post(f"{url}/embeddings", json={"model": MODEL, "input": text}, timeout=60)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_logs_no_text_and_stops_with_status_0(stop: signal.Signals) -> None:
    with served("--log-level", "debug") as (server, url):
        assert embed(url, "a secret text").status_code == 200
        assert httpx.get(f"{url}/models/another-secret").status_code == 404
        server.send_signal(stop)
        _, log = server.communicate(timeout=30)
        assert server.returncode == 0
    assert "POST /v1/embeddings 200" in log
    assert "secret" not in log
    assert "Traceback" not in log
    assert log.strip().endswith("Stopped.")


def test_requests_in_flight_when_it_is_told_to_stop_are_answered() -> None:
    with served() as (server, url):
        body = {"model": MODEL, "input": [f"{place} " * 20 for place in range(2048)]}
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/embeddings", json=body, timeout=60)))
        asking.start()
        while httpx.get(url.removesuffix("/v1") + "/health").json()["waiting_tokens"] == 0:
            assert not answers, "the request was answered before the server could be told to stop"
        server.send_signal(signal.SIGTERM)
        asking.join(timeout=60)
        assert server.wait(timeout=30) == 0
    assert answers[0].status_code == 200
    assert len(answers[0].json()["data"]) == 2048


def test_a_port_in_use_is_one_sentence(umekomi: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = umekomi("serve", "-m", MODEL, "--port", port)
    assert (result.returncode, result.stdout) == (2, "")
    assert (
        result.stderr
        == f"Error: Port {port} of 127.0.0.1 is in use. Choose another with --port, or --port 0 for a free one.\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.invalid", ""])
def test_other_machines_are_kept_out_unless_it_is_said(umekomi: Run, host: str) -> None:
    result = umekomi("serve", "-m", MODEL, "--port", "0", "--host", host)
    assert result.returncode == 2
    assert "--allow-remote" in result.stderr
    assert "Traceback" not in result.stderr


def test_all_addresses_when_it_is_said() -> None:
    with served("--host", "0.0.0.0", "--allow-remote") as (_, url):
        assert embed(url.replace("0.0.0.0", "127.0.0.1")).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", "nope"], "The model `nope` does not exist"),
        (["-m", MODEL, "--port", "70000"], "70000"),
        (["-m", MODEL, "--host", "192.0.2.1", "--allow-remote"], "cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(umekomi: Run, arguments: list[str], sentence: str) -> None:
    result = umekomi("serve", *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_without_keys_it_answers_under_its_own_names_only(umekomi: Run) -> None:
    with served("--allow-host", "Embed.internal") as (_, url):
        port = url.removesuffix("/v1").rpartition(":")[2]

        def status(host: str) -> int:
            return httpx.get(f"{url}/models", headers={"host": host}, timeout=60).status_code

        names = ("localhost", "127.0.0.1", "[::1]", "embed.internal")
        assert {status(name) for name in names} == {status(f"{name}:{port}") for name in names} == {200}
        for wrong in ("evil.example", f"evil.example:{port}", "localhost.evil.example", ""):
            assert status(wrong) == 403
        refused = httpx.post(f"{url}/embeddings", content=b"{", headers={"host": "evil.example"}, timeout=60)
        assert list(refused.json()["error"]) == ["message", "type", "param", "code"]
        assert (refused.json()["error"]["code"], "--allow-host" in refused.text) == ("wrong_host", True)
    wrong_name = umekomi("serve", "-m", MODEL, "--port", 0, "--allow-host", "http://a")
    assert (wrong_name.returncode, "--allow-host" in wrong_name.stderr) == (2, True)
