"""The command ``umekomi serve``."""

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
    """Start a server on a free port, and return its process and base URL. Kill it at the end."""
    command = [sys.executable, "-m", "umekomi", "serve", "-m", MODEL, "--port", "0", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server, json.loads(server.stdout.readline())["base_url"]
        finally:
            server.kill()


def test_a_local_model_is_served_under_the_name_of_its_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "tiny-bert", "bert")
    with served("-m", str(folder)) as (_, url):
        listed = {model["id"]: model for model in httpx.get(f"{url}/models").json()["data"]}
        model_info = listed["tiny-bert"]
        assert (model_info["owned_by"], model_info["umekomi"]["dimensions"]) == ("local", 32)
        assert httpx.get(f"{url}/models/tiny-bert").json() == model_info
        assert str(tmp_path) not in json.dumps(listed)
        answers = [
            httpx.post(f"{url}/embeddings", json={"model": "tiny-bert", "input": input_value}, timeout=60).json()
            for input_value in ("one two", [4, 5])
        ]
        # Token ids belong to the vocabulary of the model.
        assert answers[0] == answers[1]
        assert len(answers[0]["data"][0]["embedding"]) == 32
        assert (answers[0]["model"], answers[0]["usage"]["total_tokens"]) == ("tiny-bert", 2)
        assert embed(url).status_code == 200
        # Clients cannot make the server read a folder or query the hub.
        for other in (str(folder), "nobody/nothing"):
            rejected = httpx.post(f"{url}/embeddings", json={"model": other, "input": "x"}, timeout=60)
            assert (rejected.status_code, rejected.json()["error"]["code"]) == (404, "model_not_found")


def test_a_model_is_served_under_its_aliases(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "tiny-bert", "bert")
    with served("--alias", f"text-embedding-3-small={folder}", "--alias", f"mine={MODEL}") as (_, url):
        listed = {model["id"]: model for model in httpx.get(f"{url}/models").json()["data"]}
        assert {"tiny-bert", "text-embedding-3-small", "mine"} <= listed.keys()
        assert (listed["text-embedding-3-small"]["dimensions"], listed["mine"]["max_model_len"]) == (32, 8191)
        answers = [
            httpx.post(f"{url}/embeddings", json={"model": model, "input": "one two"}, timeout=60).json()
            for model in ("text-embedding-3-small", "tiny-bert")
        ]
        assert answers[0]["data"] == answers[1]["data"]
        assert answers[0]["model"] == "text-embedding-3-small"


def test_a_store_of_a_local_model_can_be_searched(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "tiny-bert", "bert")
    embedder = Embedder(str(folder))
    space = Space(embedder.model, embedder.fingerprint, embedder.dims)
    create_store(f"lance://{tmp_path}/texts", space).upsert(["a", "b"], embedder.embed(["one", "seven seven"]))
    with served("-m", str(folder), "--store", f"texts=lance://{tmp_path}/texts") as (_, url):
        response = httpx.post(f"{url}/search", json={"store": "texts", "query": "seven seven", "n": 1}, timeout=60)
    assert (response.status_code, response.json()["data"][0]["id"]) == (200, "b")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("none", "There is no folder"),
        ("pickle", "has only pickled weights"),
        ("type", "of type 'bart'; Umekomi supports"),
        ("name", "Another model already has the name 'text-embedding-ada-002'"),
        ("hub", "cannot be downloaded from the Hugging Face hub"),
    ],
)
def test_local_and_hub_models_that_cannot_be_served_are_a_clear_error(
    umekomi: Run, tmp_path: Path, change: str, sentence: str
) -> None:
    folder = make_folder(tmp_path / ("text-embedding-ada-002" if change == "name" else "m"), "bert")
    if change == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif change == "type":
        (folder / "config.json").write_text('{"model_type": "bart"}')
    model = {"none": "./nothing", "hub": "nobody/nothing"}.get(change, str(folder))
    result = umekomi("serve", "--port", "0", "-m", model, UMEKOMI_OFFLINE="1")
    assert (result.returncode, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def embed(url: str, text: str = "hello") -> httpx.Response:
    return httpx.post(f"{url}/embeddings", json={"model": MODEL, "input": text}, timeout=60)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_server_logs_no_texts_and_stops_with_status_0(stop: signal.Signals) -> None:
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


def test_running_requests_are_answered_before_the_server_stops() -> None:
    with served() as (server, url):
        body = {"model": MODEL, "input": [f"{index} " * 20 for index in range(2048)]}
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/embeddings", json=body, timeout=60)))
        thread.start()
        while httpx.get(url.removesuffix("/v1") + "/health").json()["waiting_tokens"] == 0:
            assert not answers, "the request was answered before the server was stopped"
        server.send_signal(signal.SIGTERM)
        thread.join(timeout=60)
        assert server.wait(timeout=30) == 0
    assert answers[0].status_code == 200
    assert len(answers[0].json()["data"]) == 2048


def test_a_port_in_use_is_a_one_line_error(umekomi: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = umekomi("serve", "-m", MODEL, "--port", port)
    assert (result.returncode, result.stdout) == (2, "")
    assert (
        result.stderr
        == f"Error: Port {port} of 127.0.0.1 is in use. Choose another with --port, or --port 0 for a free one.\n"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.invalid", ""])
def test_a_public_address_needs_allow_remote(umekomi: Run, host: str) -> None:
    result = umekomi("serve", "-m", MODEL, "--port", "0", "--host", host)
    assert result.returncode == 2
    assert "--allow-remote" in result.stderr
    assert "Traceback" not in result.stderr


def test_allow_remote_permits_all_addresses() -> None:
    with served("--host", "0.0.0.0", "--allow-remote") as (_, url):
        assert embed(url.replace("0.0.0.0", "127.0.0.1")).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", "nope"], "The model `nope` does not exist"),
        (["-m", MODEL, "--port", "70000"], "70000"),
        (["--alias", "best"], "is not of the form NAME=MODEL"),
        (["--alias", f"best={MODEL}", "--alias", "best=nope"], "names 'best' twice"),
        (["--alias", "best=nope"], "The model `nope` does not exist"),
        (["-m", MODEL, "--host", "192.0.2.1", "--allow-remote"], "cannot listen on 192.0.2.1"),
    ],
)
def test_invalid_options_are_a_clear_error(umekomi: Run, arguments: list[str], sentence: str) -> None:
    result = umekomi("serve", *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_without_keys_accepts_only_its_own_host_names(umekomi: Run) -> None:
    with served("--allow-host", "Embed.internal") as (_, url):
        port = url.removesuffix("/v1").rpartition(":")[2]

        def status(host: str) -> int:
            return httpx.get(f"{url}/models", headers={"host": host}, timeout=60).status_code

        names = ("localhost", "127.0.0.1", "[::1]", "embed.internal")
        assert {status(name) for name in names} == {status(f"{name}:{port}") for name in names} == {200}
        for wrong in ("evil.example", f"evil.example:{port}", "localhost.evil.example", ""):
            assert status(wrong) == 403
        rejected = httpx.post(f"{url}/embeddings", content=b"{", headers={"host": "evil.example"}, timeout=60)
        assert list(rejected.json()["error"]) == ["message", "type", "param", "code"]
        assert (rejected.json()["error"]["code"], "--allow-host" in rejected.text) == ("wrong_host", True)
    wrong_name = umekomi("serve", "-m", MODEL, "--port", 0, "--allow-host", "http://a")
    assert (wrong_name.returncode, "--allow-host" in wrong_name.stderr) == (2, True)
