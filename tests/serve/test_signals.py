"""Signals to a server and its workers at any time are handled, and no process is left."""

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
from .test_workers import wait_until, workers_of

COMMAND = [sys.executable, "-m", "umekomi", "serve", "-m", MODEL, "--port", "0"]


def run_script(code: str) -> str:
    """Run code in another process and return its output, so that an unhandled signal does not end the tests."""
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import contextlib, signal\nfrom umekomi.cli.signals import Signals, StopRequested\n{code}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_a_signal_before_serving_stops_the_startup() -> None:
    output = run_script("""
try:
    with Signals().active():
        signal.raise_signal(signal.SIGTERM)
        print("goes on")
except StopRequested:
    print("ended")
""")
    assert output == "ended\n"


def test_a_suppressed_signal_is_not_lost() -> None:
    output = run_script("""
with Signals().active() as signals:
    # Some libraries suppress all exceptions.
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)
    try:
        signals.on_stop(lambda: None)
    except StopRequested:
        print("not lost")
""")
    assert output == "not lost\n"


def test_sigterm_stops_and_sighup_reloads() -> None:
    output = run_script("""
before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
with Signals().active() as signals:
    signal.raise_signal(signal.SIGHUP)  # there is no handler yet
    signals.on_hangup(lambda: print("reload"))
    signals.on_stop(lambda: print("stop"))
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
print((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before)
""")
    assert output.split() == ["reload", "stop", "reload", "True"]


class MarkedProcesses:
    """Processes, and their children, that are identified by an environment variable."""

    def __init__(self) -> None:
        self.mark = f"UMEKOMI_TEST_MARK={uuid.uuid4().hex}"

    def start(self, *command: str) -> subprocess.Popen[str]:
        name, value = self.mark.split("=")
        environment = {**os.environ, name: value}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def alive(self) -> set[int]:
        pids = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes():
                    pids.add(int(path.parent.name))
            except OSError:
                continue
        return pids


@pytest.fixture
def marked() -> Iterator[MarkedProcesses]:
    processes = MarkedProcesses()
    yield processes
    for pid in processes.alive():
        os.kill(pid, signal.SIGKILL)


# Delays in seconds that cover the phases of the startup: Python, imports, loading, binding, serving.
DELAYS = [0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.2, 3.0]


# SIGINT has the same handler as SIGTERM.
@pytest.mark.parametrize(
    ("stop", "options"),
    [(signal.SIGTERM, []), (signal.SIGTERM, ["--workers", "2"]), (signal.SIGINT, ["--workers", "2"])],
    ids=["SIGTERM", "SIGTERM with workers", "SIGINT with workers"],
)
def test_a_server_can_be_stopped_at_any_time(marked: MarkedProcesses, options: list[str], stop: signal.Signals) -> None:
    delays = DELAYS if not options else DELAYS[1::2]
    servers = [marked.start(*COMMAND, *options) for _ in delays]
    started_at = time.monotonic()
    for server, delay in zip(servers, delays, strict=True):
        time.sleep(max(0.0, started_at + delay - time.monotonic()))
        server.send_signal(stop)
    for server in servers:
        _, log = server.communicate(timeout=60)
        # Before the first line of Umekomi runs, the system or Python ends the process.
        early = (-stop, 1, 130) if stop is signal.SIGINT else (-stop,)
        assert server.returncode == 0 or server.returncode in early
        if server.returncode == 0:
            assert log.strip().endswith("Stopped.")
            assert "Traceback" not in log
    assert not marked.alive()


@pytest.mark.parametrize("moment", ["Loading", "Ready"])
def test_a_server_can_be_stopped_after_each_printed_line(marked: MarkedProcesses, moment: str) -> None:
    server = marked.start("/bin/sh", "-c", 'exec "$@" 2>&1', "sh", *COMMAND)
    assert server.stdout is not None
    line = next(line for line in server.stdout if line.startswith(moment))
    server.send_signal(signal.SIGTERM)
    rest, _ = server.communicate(timeout=60)
    assert (server.returncode, rest.strip().rpartition("\n")[2]) == (0, "Stopped."), line


def test_a_signal_at_the_end_of_startup_is_not_lost(marked: MarkedProcesses) -> None:
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
def test_a_second_signal_stops_immediately(options: list[str]) -> None:
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
        wait_until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()])


@pytest.mark.parametrize("delay", [0.5, 1.5])
def test_workers_end_when_their_parent_is_killed_at_any_time(marked: MarkedProcesses, delay: float) -> None:
    server = marked.start(*COMMAND, "--workers", "2")
    time.sleep(delay)
    server.kill()
    server.communicate(timeout=60)
    wait_until(lambda: not marked.alive())


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["one process", "workers"])
def test_sighup_reloads_the_keys_without_a_restart(tmp_path: Path, options: list[str]) -> None:
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
        wait_until(lambda: all(status(new) == 200 for _ in range(4)))
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
