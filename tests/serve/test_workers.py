"""Several worker processes on one port, JSON logs, and other options of ``umekomi serve``."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import httpx

from umekomi.serve.limits.keys import add_key

from .conftest import MODEL
from .test_command import embed, served

Run = Callable[..., CompletedProcess[str]]


def workers_of(pid: int) -> set[int]:
    """Return the ids of the running child processes of a process."""
    pids = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            pids.add(int(path.parent.name))
    return pids


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_workers_share_a_port_and_are_restarted_and_stopped_together() -> None:
    with served("--workers", "2") as (server, url):
        first = workers_of(server.pid)
        assert len(first) == 2
        assert all(embed(url, f"text {n}").status_code == 200 for n in range(20))
        os.kill(min(first), signal.SIGKILL)
        wait_until(lambda: len(workers_of(server.pid) - first) == 1 and len(workers_of(server.pid)) == 2)
        # Requests may fail until the replacement of the killed worker runs.
        wait_until(lambda: all(embed(url).status_code == 200 for _ in range(5)))
        second = workers_of(server.pid)
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=60)
        assert server.returncode == 0
        assert "another is started" in log
        assert log.strip().endswith("Stopped.")
        assert not [pid for pid in second if Path(f"/proc/{pid}").exists()]


def test_workers_share_the_limits_of_a_key(tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys", "few", requests_per_minute=6)
    headers = {"authorization": f"Bearer {secret}"}
    with served("--workers", "2", "--api-keys", str(tmp_path / "keys")) as (_, url):
        # The system assigns the connection of each request to one of the workers.
        answers = [httpx.get(f"{url}/models", headers=headers, timeout=60) for _ in range(7)]
    assert [answer.status_code for answer in answers].count(200) == 6
    remaining = [int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers]
    assert remaining == [5, 4, 3, 2, 1, 0, 0]


def test_workers_do_not_outlive_a_killed_parent() -> None:
    with served("--workers", "2") as (server, _):
        workers = workers_of(server.pid)
        server.kill()
        server.wait()
        wait_until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()])


def test_workers_that_cannot_start_are_a_clear_error(umekomi_process: Run) -> None:
    result = umekomi_process("serve", "-m", MODEL, "--port", 0, "--workers", 2, "--api-keys", "nothing.txt")
    assert result.returncode == 2
    assert "nothing.txt cannot be read" in result.stderr
    assert "Traceback" not in result.stderr


def test_json_logs_contain_no_texts() -> None:
    with served("--log-level", "info", "--log-format", "json") as (server, url):
        assert embed(url, "a secret text").status_code == 200
        httpx.get(f"{url}/secret")
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=60)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line.get("route") == "/v1/embeddings"]
    assert [(line["method"], line["status"], line["level"]) for line in requests] == [("POST", 200, "info")]
    assert requests[0]["request_id"].startswith("req_")
    assert "secret" not in log


def test_the_cache_returns_the_same_vectors() -> None:
    with served("--cache-mb", "1") as (_, url):
        first, second = embed(url, "embedded twice").json(), embed(url, "embedded twice").json()
        metrics = httpx.get(url.removesuffix("/v1") + "/metrics").text
    assert first == second
    assert "umekomi_cache_hits 1" in metrics
    assert "umekomi_model_calls 1" in metrics


def test_a_store_is_served_under_its_name(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "one bean"}\n{"text": "two peas"}\n')
    assert umekomi("embed", "in.jsonl", "-o", "out.parquet", "-m", MODEL).returncode == 0
    with served("--store", f"garden={tmp_path / 'out.parquet'}") as (_, url):
        answer = httpx.post(f"{url}/search", json={"store": "garden", "query": "a bean", "n": 1}, timeout=60).json()
    assert answer["data"][0]["record"]["text"] == "one bean"
    rejected = umekomi("serve", "-m", MODEL, "--store", "no-url")
    assert (rejected.returncode, "NAME=URL" in rejected.stderr) == (2, True)


def test_an_unwritable_state_folder_is_a_clear_error(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = umekomi("serve", "-m", MODEL, "--port", 0, "--state", tmp_path / "file" / "state")
    assert result.returncode == 2
    assert "cannot be used" in result.stderr
    assert "Traceback" not in result.stderr
