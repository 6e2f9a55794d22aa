"""Models of the Hugging Face hub. The hub's own client talks to a local server that answers as the hub does."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.encoders.hub import choose_files

from .cross_encoder.test_model import GOLDEN
from .cross_encoder.tiny import make_folder as make_reranker
from .tiny_static import make_static_embedding
from .transformer.folder.test_graph_files import make_export
from .transformer.tiny import make_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    files: dict[str, bytes]
    requests: list[str]
    slow: str
    stopped: threading.Event

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._respond(with_body=False)

    def do_GET(self) -> None:
        self._respond(with_body=True)

    def _respond(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/owner/tiny/tree/"):
            entries = [
                {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": name}
                for name, content in self.files.items()
            ]
            self._send(json.dumps(entries).encode(), "application/json")
        elif path.startswith("/api/models/owner/tiny"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.files.items()]
            self._send(
                json.dumps({"id": "owner/tiny", "sha": COMMIT, "siblings": siblings}).encode(), "application/json"
            )
        elif path.startswith(f"/owner/tiny/resolve/{COMMIT}/"):
            name = path.removeprefix(f"/owner/tiny/resolve/{COMMIT}/")
            self.requests.append(name)
            self._send(self.files[name], "application/octet-stream", with_body=with_body, is_slow=name == self.slow)
        else:
            self.send_error(404)

    def _send(self, content: bytes, media_type: str, *, with_body: bool = True, is_slow: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            half = len(content) // 2 if is_slow else len(content)
            self.wfile.write(content[:half])
            if is_slow:
                self.stopped.wait(60)
            self.wfile.write(content[half:])


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_umekomi(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "umekomi", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@contextmanager
def serve_hub(folder: Path, files: dict[str, bytes], *, slow: str = "") -> Iterator[dict[str, str]]:
    """Serve the files of a model, and yield the environment in which the hub is this server, with its cache in a folder.

    Args:
        folder: Folder of the caches.
        files: Content of the files by name.
        slow: Name of a file whose second half the server sends a minute after the first.
    """
    handler = type("Hub", (_Hub,), {"files": files, "requests": [], "slow": slow, "stopped": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "UMEKOMI_CACHE": str(folder / "cache"),
    }
    environment.pop("UMEKOMI_OFFLINE", None)
    yield environment
    handler.stopped.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder of a tiny model, and the environment in which the hub is a local server with it."""
    folder = make_folder(tmp_path / "tiny", "bert")
    others = {"pytorch_model.bin": b"a pickle", "onnx/model_quantized.onnx": b"quantized", "image.png": b"image"}
    with serve_hub(tmp_path, read_files(folder) | others) as environment:
        yield folder, environment


def test_a_model_of_the_hub_is_downloaded_once_and_its_size_is_reported_first(hub: tuple[Path, dict[str, str]]) -> None:
    folder, environment = hub
    expected = Embedder(str(folder)).embed(["ab c"])
    program = (
        "import json, sys; from umekomi import Embedder\n"
        "embedder = Embedder('owner/tiny', report=lambda line: print(line, file=sys.stderr))\n"
        "print(json.dumps(embedder.embed(['ab c']).tolist()))"
    )

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)

    first = run()
    assert first.returncode == 0, first.stderr
    assert re.search(r"Fetching owner/tiny \([0-9]+ files, [0-9.]+ kB\)", first.stderr)
    assert np.array(json.loads(first.stdout)) == pytest.approx(expected, abs=1e-6)
    assert "Fetching owner/tiny" not in run().stderr
    for change in ({"UMEKOMI_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        environment.update(change)
        again = run()
        assert again.stdout == first.stdout, again.stderr
        environment["UMEKOMI_OFFLINE"] = "0"
    downloaded = {path.name for path in Path(environment["HF_HOME"]).rglob("*") if path.is_file()}
    assert not downloaded & {"pytorch_model.bin", "model_quantized.onnx", "image.png"}


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\n---\n# Tiny\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: gemma\n---\n", "gemma"),
        ("# Tiny\n", "unknown"),
    ],
)
def test_the_license_is_that_of_the_card_on_the_hub(card: str, expected: str, tmp_path: Path) -> None:
    files = read_files(make_folder(tmp_path / "tiny", "bert")) | {"README.md": card.encode()}
    with serve_hub(tmp_path, files) as environment:
        command = [sys.executable, "-m", "umekomi", "models", "check", "owner/tiny"]
        shown = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert re.search(rf"^license +{re.escape(expected)}$", shown.stdout, re.MULTILINE), shown


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["model.safetensors", "onnx/model.onnx"], ["model.safetensors"]),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (["onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_quantized.onnx"], ["onnx/model.onnx"]),
        (["onnx/model.onnx", "onnx/model.onnx_data"], ["onnx/model.onnx", "onnx/model.onnx_data"]),
        (
            ["openvino/openvino_model.bin", "openvino/openvino_model.xml", "onnx/model.onnx"],
            ["openvino/openvino_model.bin", "openvino/openvino_model.xml"],
        ),
        (["0_Transformer/model.safetensors", "onnx/model_int8.onnx"], ["0_Transformer/model.safetensors"]),
        (["onnx/model_int8.onnx", "pytorch_model.bin"], []),
    ],
)
def test_one_set_of_weights_is_chosen(names: list[str], weights: list[str]) -> None:
    others = [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "config.json",
        "tokenizer.json",
    ]
    modules = ["0_Transformer" if weights[:1] == ["0_Transformer/model.safetensors"] else "", "1_Pooling", "2_Dense"]
    every = [*names, *others, ".gitattributes", "onnx/config.json"]
    assert choose_files(every, modules=modules) == sorted({*weights, *others})


def test_modules_may_have_any_folder() -> None:
    names = ["modules.json", "table/model.safetensors", "table/tokenizer.json", "after/dense/config.json"]
    names += ["after/dense/model.safetensors"]
    others = ["model.safetensors", "2_Dense/model.safetensors", "2_Dense/config.json"]
    assert choose_files([*names, *others], modules=["table", "after/dense"]) == sorted(names)


def test_a_static_model_is_downloaded_from_the_folder_of_its_module(tmp_path: Path) -> None:
    folder = make_static_embedding(tmp_path / "static")
    with serve_hub(tmp_path, read_files(folder)) as environment:
        done = run_umekomi(environment, "models", "pull", "owner/tiny")
        assert done.returncode == 0, done.stderr
        environment["UMEKOMI_OFFLINE"] = "1"
        shown = run_umekomi(environment, "models", "show", "owner/tiny")
    assert Embedder(str(folder)).fingerprint in shown.stdout, shown


def test_nothing_is_downloaded_to_show_a_model(hub: tuple[Path, dict[str, str]]) -> None:
    done = run_umekomi(hub[1], "models", "show", "owner/tiny")
    assert (done.returncode, done.stdout) == (2, "")
    assert "owner/tiny is not on this machine. `umekomi models pull owner/tiny` downloads it." in done.stderr


def test_the_size_of_a_reranker_is_reported_before_its_download(tmp_path: Path) -> None:
    folder = make_reranker(tmp_path / "reranker", "bert", GOLDEN["bert"])
    program = "from umekomi import Reranker; Reranker('owner/tiny', report=print)"
    with serve_hub(tmp_path, read_files(folder)) as environment:
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("Fetching owner/tiny ("), done


def test_ctrl_c_interrupts_a_download(tmp_path: Path) -> None:
    files = read_files(make_folder(tmp_path / "tiny", "bert"))
    with serve_hub(tmp_path, files, slow="model.safetensors") as environment:
        command = [sys.executable, "-m", "umekomi", "models", "pull", "owner/tiny"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            while "Fetching" not in process.stderr.readline():
                pass
            # The largest file is the last one.
            cache = Path(environment["HF_HOME"])
            while not (list(cache.rglob("tokenizer.json")) and list(cache.rglob("*.incomplete"))):
                sleep(0.05)
            process.send_signal(signal.SIGINT)
            start = monotonic()
            assert process.wait(timeout=30) == 130
            assert monotonic() - start < 20
    with serve_hub(tmp_path, files) as environment:
        again = run_umekomi(environment, "models", "pull", "owner/tiny")
    assert "Fetching owner/tiny (1 file, " in again.stderr, again


def test_a_graph_file_is_chosen_for_an_unknown_architecture() -> None:
    names = ["config.json", "model.safetensors", "onnx/model.onnx"]
    assert choose_files(names, prefer_graph=True) == ["config.json", "onnx/model.onnx"]
    # The error names the architecture if there is no other file.
    assert choose_files(names[:2], prefer_graph=True) == names[:2]


def test_the_onnx_file_of_an_unknown_architecture_is_downloaded(tmp_path: Path) -> None:
    folder = make_export(tmp_path / "export", "convbert")
    expected = Embedder(str(folder)).embed(["one two"])
    program = "from umekomi import Embedder; print(Embedder('owner/tiny').embed(['one two']).tolist())"
    with serve_hub(tmp_path, {**read_files(folder), "model.safetensors": b"tensors"}) as environment:
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.array(json.loads(done.stdout)) == pytest.approx(expected, abs=1e-6)
    downloaded = {path.name for path in Path(environment["HF_HOME"]).rglob("*") if path.is_file()}
    assert "model.onnx" in downloaded
    assert "model.safetensors" not in downloaded


def test_a_named_file_is_fetched_instead_of_the_safetensors_with_the_files_of_its_weights() -> None:
    names = ["config.json", "model.safetensors", "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_quint8.onnx"]
    names += ["openvino/openvino_model.xml", "openvino/openvino_model_q.bin", "openvino/openvino_model_q.xml"]
    assert choose_files(names, file="onnx/model.onnx") == ["config.json", "onnx/model.onnx", "onnx/model.onnx_data"]
    assert choose_files(names, file="onnx/model_quint8.onnx") == ["config.json", "onnx/model_quint8.onnx"]
    quantized = ["openvino/openvino_model_q.bin", "openvino/openvino_model_q.xml"]
    assert choose_files(names, file="openvino/openvino_model_q.xml") == ["config.json", *quantized]
