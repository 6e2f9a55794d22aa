"""Embedders in other processes: forked, spawned, pickled and copied. Each script runs in its own process."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.transformer.tiny import make_folder
from umekomi import Embedder
from umekomi.errors import SpaceMismatchError
from umekomi.settings import SECRETS, Settings, current

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

PREAMBLE = """
import os, sys, time, threading
import numpy as np
from umekomi import Embedder

TEXTS = ["one two three", "four", "five six " * 9]

def vectors(embedder):
    return embedder.embed(TEXTS).tobytes()

def in_child(work):
    # The child exits like any Python process and destroys its objects.
    child = os.fork()
    if child == 0:
        work()
        sys.exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the child ended with status {status}"

def load():
    return Embedder(sys.argv[1])
"""
Script = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("models") / "bert", "bert")


@pytest.fixture
def script(tmp_path: Path, folder: Path) -> Script:
    """Return a function that runs Python code in a process and returns its output."""

    def run(code: str, *, model: str = str(folder)) -> str:
        file = tmp_path / "script.py"
        file.write_text(PREAMBLE + code, "utf-8")
        result = subprocess.run(
            [sys.executable, str(file), model], capture_output=True, text=True, timeout=120, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_a_forked_child_uses_the_embedder_of_its_parent(script: Script) -> None:
    script("""
embedder = load()
usual = vectors(embedder)
def work():
    assert vectors(embedder) == usual
in_child(work)
assert vectors(embedder) == usual
""")


def test_a_forked_child_loads_a_new_embedder(script: Script) -> None:
    script("""
usual = vectors(load())  # destroyed before the fork
embedder = load()
vectors(embedder)
def work():
    assert vectors(load()) == usual
in_child(work)
in_child(lambda: None)
""")


def test_grandchildren_use_the_embedder(script: Script) -> None:
    script("""
embedder = load()
usual = vectors(embedder)
def work():
    assert vectors(embedder) == usual
    in_child(lambda: vectors(embedder) == usual or sys.exit(3))
in_child(work)
in_child(lambda: in_child(work))
""")


def test_a_fork_while_other_threads_embed_leaves_both_processes_working(script: Script) -> None:
    script("""
embedder = load()
usual = vectors(embedder)
stop = threading.Event()
def embed():
    while not stop.is_set():
        assert vectors(embedder) == usual
threads = [threading.Thread(target=embed) for _ in range(3)]
for thread in threads:
    thread.start()
def work():
    assert vectors(embedder) == usual
    os._exit(0)  # the threads of the parent do not exist here, and cannot be joined
for _ in range(5):
    in_child(work)
stop.set()
for thread in threads:
    thread.join()
""")


def test_a_fork_during_a_call_is_an_error_in_the_child_only(script: Script) -> None:
    script("""
from umekomi.errors import UmekomiError
embedder = load()
texts = ["one " * n for n in range(1, 30)]
usual = embedder.embed(texts).tobytes()
child = None
def fork(count):
    global child
    if child is None:
        child = os.fork()
try:
    again = embedder.embed(texts, progress=fork).tobytes()
except UmekomiError as error:
    assert child == 0 and "spawn" in str(error)
    assert embedder.embed(texts).tobytes() == usual
    sys.exit(0)
assert child and again == usual
assert os.waitpid(child, 0)[1] == 0
""")


def test_a_process_can_end_while_daemon_threads_embed(script: Script) -> None:
    script("""
import atexit
embedder = load()
usual = vectors(embedder)
def embed():
    while True:
        vectors(embedder)
for _ in range(2):
    threading.Thread(target=embed, daemon=True).start()
def still_works():
    assert vectors(embedder) == usual
atexit.register(still_works)
time.sleep(0.2)
""")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pools_embed(script: Script, method: str) -> None:
    script(f"""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

def main():
    embedder = load()
    usual = vectors(embedder)
    context = multiprocessing.get_context({method!r})
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert list(pool.map(vectors, [embedder] * 2)) == [usual] * 2
    process = context.Process(target=vectors, args=(embedder,))
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    main()
""")


@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_joblib_workers_embed(script: Script, backend: str) -> None:
    pytest.importorskip("joblib")
    script(f"""
from joblib import Parallel, delayed, hash

def main():
    embedder = load()
    usual = vectors(embedder)
    assert Parallel(2, backend={backend!r})(delayed(vectors)(embedder) for _ in range(3)) == [usual] * 3
    assert hash(embedder) == hash(load())

if __name__ == "__main__":
    main()
""")


def test_the_default_model_works_in_a_forked_child_and_after_pickling(script: Script, ada: Embedder) -> None:
    script(
        """
import pickle
embedder = load()
usual = vectors(embedder)
def work():
    assert vectors(embedder) == usual
    assert vectors(pickle.loads(pickle.dumps(embedder))) == usual
in_child(work)
""",
        model=ada.model,
    )


def test_a_forked_child_does_not_share_the_connection_of_a_remote_model(script: Script) -> None:
    pytest.importorskip("openai")
    script("""
import base64, json, pickle
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from umekomi.settings import current

class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        # The vector depends on the length of the key that was sent.
        key = len(self.headers["Authorization"])
        rows = [np.array([len(text), key], "<f4") for text in texts]
        data = [{"index": i, "embedding": base64.b64encode(row).decode(), "object": "embedding"} for i, row in enumerate(rows)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        body = json.dumps({"object": "list", "data": data, "model": "m", "usage": usage}).encode()
        connections.add(self.client_address)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass

connections = set()
server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
secret = "sk-very-secret"
settings = replace(current(), remote_api_key=secret)
embedder = Embedder(f"remote:m@http://127.0.0.1:{server.server_port}/v1", settings=settings)
usual = vectors(embedder)
assert len(connections) == 1
def work():
    assert vectors(embedder) == usual
    os._exit(0)
in_child(work)
assert len(connections) == 2
assert vectors(embedder) == usual
assert len(connections) == 2
data = pickle.dumps(embedder)
assert secret.encode() not in data
os.environ["OPENAI_API_KEY"] = "sk-other-secret"
assert vectors(pickle.loads(data)) != usual
os._exit(0)
""")


@pytest.mark.parametrize("model", ["umekomi-fake", "fake-query,without=gender"])
def test_unpickling_returns_the_same_model(model: str, pair_catalog: object) -> None:
    catalog = pair_catalog if model.startswith("fake-") else None
    embedder = Embedder(model, catalog=catalog)  # type: ignore[arg-type]
    restored = pickle.loads(pickle.dumps(embedder))
    assert (restored.model, restored.fingerprint) == (embedder.model, embedder.fingerprint)
    assert restored.embed(["beans"]).tobytes() == embedder.embed(["beans"]).tobytes()


def test_copies_are_the_embedder_itself(fake: Embedder) -> None:
    assert copy.copy(fake) is fake
    assert copy.deepcopy([fake])[0] is fake


def test_a_pickle_of_a_folder_is_small_and_works_in_another_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder.parent)
    embedder = Embedder("./bert")
    data = pickle.dumps(embedder)
    monkeypatch.chdir(tmp_path)
    restored = pickle.loads(data)
    assert len(data) < 2_000
    assert (restored.model, restored.fingerprint) == ("./bert", embedder.fingerprint)
    assert np.array_equal(restored.embed(["one"]), embedder.embed(["one"]))


def test_a_pickle_of_a_folder_that_has_changed_is_an_error(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", "bert")
    data = pickle.dumps(Embedder(str(folder)))
    make_folder(folder, "bert", pooling="cls")
    with pytest.raises(SpaceMismatchError, match="The pickle holds vectors of another space"):
        pickle.loads(data)


def test_a_pickle_contains_no_secrets(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = replace(settings, remote_api_key="sk-key", secrets=(("REDIS_PASSWORD", "hunter2"),))
    data = pickle.dumps(Embedder("umekomi-fake", settings=secret))
    assert b"sk-key" not in data
    assert b"hunter2" not in data
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REDIS_PASSWORD", "another")
    restored = pickle.loads(data)
    assert restored._settings == replace(secret, remote_api_key=None, secrets=(("REDIS_PASSWORD", "another"),))


def test_unpickling_uses_the_current_settings() -> None:
    assert pickle.loads(pickle.dumps(Embedder("umekomi-fake")))._settings == current()
