"""Signals reach a server and its workers at any time of their lives; nothing is lost and no process is left."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from umekomi.serve.limits.keys import add_key

from .conftest import MODEL
from .raw import connected, head
from .test_command import embed, served
from .test_workers import until, workers_of

COMMAND = [sys.executable, "-m", "umekomi", "serve", "-m", MODEL, "--port", "0"]


def run_script(code: str) -> str:
    """Run code in a process of its own and return what it prints: a signal that is not handled must not end the tests."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import contextlib, signal\nfrom umekomi.cli.signals import Signals, StopRequested\n{code}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_signal_before_the_server_serves_ends_what_is_going_on() -> None:
    said = run_script("""
try:
    with Signals().active():
        signal.raise_signal(signal.SIGTERM)
        print("goes on")
except StopRequested:
    print("ended")
""")
    assert said == "ended\n"


def test_a_signal_that_something_swallowed_is_not_lost() -> None:
    said = run_script("""
with Signals().active() as signals:
    # As some libraries do.
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)
    try:
        signals.on_stop(lambda: None)
    except StopRequested:
        print("not lost")
""")
    assert said == "not lost\n"


def test_the_first_signal_stops_a_server_and_others_have_their_own_meaning() -> None:
    said = run_script("""
before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
with Signals().active() as signals:
    signal.raise_signal(signal.SIGHUP)  # nothing to read again yet
    signals.on_hangup(lambda: print("reload"))
    signals.on_stop(lambda: print("stop"))
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
print((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before)
""")
    assert said.split() == ["reload", "stop", "reload", "True"]


class Marked:
    """Processes that can be found by a variable of their environment, and so can all that they start."""

    def __init__(self) -> None:
        self.mark = f"UMEKOMI_TEST_MARK={uuid.uuid4().hex}"

    def start(self, *command: str) -> subprocess.Popen[str]:
        name, value = self.mark.split("=")
        environment = {**os.environ, name: value}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def alive(self) -> set[int]:
        found = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes():
                    found.add(int(path.parent.name))
            except OSError:
                continue
        return found


@pytest.fixture
def marked() -> Iterator[Marked]:
    processes = Marked()
    yield processes
    for pid in processes.alive():
        os.kill(pid, signal.SIGKILL)


# As many moments as the start of a server has phases: Python, imports, loading, binding, serving.
DELAYS = [0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.2, 3.0]


# SIGINT has the same handler as SIGTERM.
@pytest.mark.parametrize(
    ("stop", "options"),
    [(signal.SIGTERM, []), (signal.SIGTERM, ["--workers", "2"]), (signal.SIGINT, ["--workers", "2"])],
    ids=["SIGTERM", "SIGTERM with workers", "SIGINT with workers"],
)
def test_a_server_stops_whenever_it_is_told_to(marked: Marked, options: list[str], stop: signal.Signals) -> None:
    delays = DELAYS if not options else DELAYS[1::2]
    servers = [marked.start(*COMMAND, *options) for _ in delays]
    began = time.monotonic()
    for server, delay in zip(servers, delays, strict=True):
        time.sleep(max(0.0, began + delay - time.monotonic()))
        server.send_signal(stop)
    for server in servers:
        _, log = server.communicate(timeout=60)
        # Before Umekomi's first line runs, the system or Python itself ends the process.
        early = (-stop, 1, 130) if stop is signal.SIGINT else (-stop,)
        assert server.returncode == 0 or server.returncode in early
        if server.returncode == 0:
            assert log.strip().endswith("Stopped.")
            assert "Traceback" not in log
    assert not marked.alive()


@pytest.mark.parametrize("moment", ["Loading", "Ready"])
def test_a_server_stops_at_each_line_that_it_prints(marked: Marked, moment: str) -> None:
    server = marked.start("/bin/sh", "-c", 'exec "$@" 2>&1', "sh", *COMMAND)
    assert server.stdout is not None
    line = next(line for line in server.stdout if line.startswith(moment))
    server.send_signal(signal.SIGTERM)
    rest, _ = server.communicate(timeout=60)
    assert (server.returncode, rest.strip().rpartition("\n")[2]) == (0, "Stopped."), line


def test_a_signal_in_the_last_moment_of_startup_is_not_lost(marked: Marked) -> None:
    code = (
        "import os, signal, uvicorn\n"
        "run = uvicorn.Server.run\n"
        "def late(self, *arguments, **options):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    run(self, *arguments, **options)\n"
        "uvicorn.Server.run = late\n"
        f"from umekomi.cli.main import main\nmain(['serve', '-m', '{MODEL}', '--port', '0'])\n"
    )
    server = marked.start(sys.executable, "-c", code)
    _, log = server.communicate(timeout=60)
    assert (server.returncode, log.strip().endswith("Stopped.")) == (0, True)


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_a_second_signal_stops_at_once(options: list[str]) -> None:
    with served("--drain", "600", *options) as (server, url):
        started = workers_of(server.pid)
        with connected(url) as connection:
            connection.send(head(length=1000) + b"{")  # a request that never ends
            time.sleep(0.2)
            server.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert server.poll() is None
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=30) == 128 + signal.SIGTERM
        until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()])


@pytest.mark.parametrize("delay", [0.5, 1.5])
def test_workers_end_with_a_parent_that_is_killed_at_any_time(marked: Marked, delay: float) -> None:
    server = marked.start(*COMMAND, "--workers", "2")
    time.sleep(delay)
    server.kill()
    server.communicate(timeout=60)
    until(lambda: not marked.alive())


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_a_hangup_reads_the_keys_again_and_stops_nothing(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "keys"
    old = add_key(path, "someone")
    other = tmp_path / "other"
    new = add_key(other, "someone")
    with served("--api-keys", str(path), *options) as (server, url):
        before = workers_of(server.pid)

        def status(secret: str) -> int:
            return httpx.get(f"{url}/models", headers={"authorization": f"Bearer {secret}"}, timeout=60).status_code

        assert (status(old), status(new)) == (200, 401)
        # The file looks unchanged: the same size, time and inode.
        stat = path.stat()
        path.write_bytes(other.read_bytes())
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        server.send_signal(signal.SIGHUP)
        until(lambda: all(status(new) == 200 for _ in range(4)))
        assert status(old) == 401
        assert (server.poll(), workers_of(server.pid)) == (None, before)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def test_workers_get_all_options(tmp_path: Path, umekomi: object) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "one bean"}\n{"text": "two peas"}\n')
    output = tmp_path / "out.parquet"
    subprocess.run([sys.executable, "-m", "umekomi", "embed", path, "-o", output, "-m", MODEL], check=True)
    with served("--workers", "2", "--explore", str(output), "--allow-host", "example.org") as (_, url):
        base = url.removesuffix("/v1")
        answers = [httpx.get(f"{base}/explore/api/meta", timeout=60) for _ in range(6)]
        assert {answer.status_code for answer in answers} == {200}
        assert httpx.get(f"{base}/v1/models", headers={"host": "example.org"}).status_code == 200
        assert embed(url).status_code == 200
