"""API keys and their limits: the key file, the token buckets, and a real server that requires a key."""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen

import httpx
import openai
import pytest

from umekomi.errors import InputError
from umekomi.serve.errors import RateLimitError
from umekomi.serve.limits.buckets import REFILL_SECONDS, Account
from umekomi.serve.limits.keys import Key, KeyFile, add_key, digest, parse_keys, read_keys
from umekomi.serve.limits.shared_buckets import SharedBuckets, create_shared_file
from umekomi.serve.service import Limits

from ..conftest import MODEL, RecordingEmbedder, Serving

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.txt"


def request_embedding(address: str, key: str | None, text: str = "abc") -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    return httpx.post(f"{address}/embeddings", json={"model": MODEL, "input": text}, headers=headers, timeout=60)


def test_the_key_file_contains_only_digests_and_is_private(path: Path) -> None:
    secret = add_key(path, "alice", requests_per_minute=5)
    assert secret not in path.read_text()
    assert path.read_text() == f"alice {digest(secret)} rpm=5\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_added_on_a_new_line_after_a_line_without_end(path: Path) -> None:
    path.write_text(f"bob {digest('x')}")
    add_key(path, "alice")
    assert [key.name for key in parse_keys(path.read_text())] == ["bob", "alice"]


@pytest.mark.parametrize(
    "text",
    ["alice", "alice sk-umekomi-plain", f"a/b {digest('x')}", f"a {digest('x')} rpm=0", f"a {digest('x')} rpm",
     f"a {digest('x')} rps=3", f"a {digest('x')}\na {digest('y')}"],
)  # fmt: skip
def test_an_invalid_line_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(InputError, match=r"Line \d of the file of keys is not"):
        parse_keys(text)


def test_a_file_without_keys_is_rejected(path: Path) -> None:
    path.write_text("# nobody\n")
    with pytest.raises(InputError, match="contains no key"):
        KeyFile(path)
    with pytest.raises(InputError, match="cannot be read"):
        KeyFile(path.with_name("missing"))


def test_added_and_deleted_keys_take_effect_and_an_invalid_file_is_ignored(path: Path) -> None:
    first = add_key(path, "first")
    keys = KeyFile(path)
    second = add_key(path, "second")
    assert keys.find(second) is not None
    path.write_text("not a file of keys at all\n")
    assert keys.find(first) is not None
    path.write_text(f"second {digest(second)}\n")
    assert keys.find(first) is None
    assert keys.find(second) is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_or_folder_instead_of_the_key_file_is_ignored(path: Path) -> None:
    secret = add_key(path, "first")
    keys = KeyFile(path)
    path.unlink()
    os.mkfifo(path)
    assert keys.find(secret) is not None
    path.unlink()
    path.mkdir()
    assert keys.find(secret) is not None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_with_windows_encodings_and_line_ends_are_supported(path: Path, encoding: str, end: str) -> None:
    text = end.join(["# keys", "", f"bob {digest('x')} rpm=5", "  ", f"carol {digest('y')}"])
    mark = "\ufeff" if encoding == "utf-16-be" else ""  # utf-16 and utf-8-sig add the mark themselves
    path.write_bytes((mark + text).encode(encoding))
    secret = add_key(path, "alice")
    keys = KeyFile(path)
    assert [key.name for key in map(keys.find, ("x", "y", secret)) if key] == ["bob", "carol", "alice"]


def test_concatenated_files_with_byte_order_marks_are_read(path: Path) -> None:
    one, other = (f"{name} {digest(name)}\n".encode("utf-8-sig") for name in ("alice", "bob"))
    path.write_bytes(one + other)
    assert [key.name for key in read_keys(path)] == ["alice", "bob"]


def test_reload_returns_whether_it_succeeded(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = add_key(path, "alice")
    keys = KeyFile(path)
    assert keys.reload()
    for content in (b"\xff\xfe\x00", b"\x80\x81", f"alice {secret}".encode()):
        path.write_bytes(content)
        assert not keys.reload()
        assert keys.find(secret) is not None
    path.unlink()
    assert not keys.reload()
    assert keys.find(secret) is not None
    assert "previous API keys stay valid" in caplog.text
    assert secret not in caplog.text


def test_buckets_refill_at_a_constant_rate() -> None:
    now = 0.0
    account = Account(Key("a", "", 60, 100), clock=lambda: now)
    for _ in range(60):
        account.take("requests", 1)
    with pytest.raises(RateLimitError, match=r"Limit 60, Used 60, Requested 1. Please try again in 1s") as caught:
        account.take("requests", 1)
    assert caught.value.retry_after == 1.0
    now = 2.0
    account.take("requests", 2)
    with pytest.raises(RateLimitError):
        account.take("requests", 1)
    with pytest.raises(RateLimitError, match="fewer inputs"):
        account.take("tokens", 101)
    headers = dict(account.headers())
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers[b"x-ratelimit-reset-requests"] == b"1m0s"
    assert headers[b"x-ratelimit-remaining-tokens"] == b"100"


@pytest.fixture
def table() -> Iterator[int]:
    """File descriptor of a table of eight buckets."""
    with create_shared_file(8) as table:
        yield table.fileno()


def test_processes_share_the_limits_of_a_key(table: int) -> None:
    now = 1000.0
    accounts = [Account(Key("a", "", 3), SharedBuckets(table), clock=lambda: now) for _ in range(2)]
    accounts[0].take("requests", 1)
    accounts[1].take("requests", 2)
    for account in accounts:
        with pytest.raises(RateLimitError, match="Limit 3, Used 3, Requested 1"):
            account.take("requests", 1)
        assert dict(account.headers())[b"x-ratelimit-remaining-requests"] == b"0"
    now += 20
    accounts[0].take("requests", 1)
    with pytest.raises(RateLimitError):
        accounts[1].take("requests", 1)


def test_a_full_table_replaces_refilled_buckets(table: int) -> None:
    now = 1000.0
    shared_buckets = SharedBuckets(table)

    def account(name: str) -> Account:
        return Account(Key(name, "", 1), shared_buckets, clock=lambda: now)

    for number in range(7):
        account(f"early {number}").take("requests", 1)
    now += REFILL_SECONDS + 1
    account("late").take("requests", 1)
    for number in range(5):
        account(f"later {number}").take("requests", 1)
    with pytest.raises(RateLimitError):
        account("late").take("requests", 1)
    account("early 0").take("requests", 1)


COUNTER = """
import os, sys
from umekomi.serve.limits.keys import Key
from umekomi.serve.limits.shared_buckets import SharedBuckets
from umekomi.serve.errors import RateLimitError
from umekomi.serve.limits.buckets import Account
account = Account(Key("a", "", 500), SharedBuckets(int(sys.argv[1])), clock=lambda: 1000.0)
taken = 0
for _ in range(400):
    try:
        account.take("requests", 1)
        taken += 1
    except RateLimitError:
        pass
print(taken)
"""


def test_two_concurrent_processes_do_not_exceed_a_limit(table: int) -> None:
    command = [sys.executable, "-c", COUNTER, str(table)]
    counters = [Popen(command, pass_fds=[table], stdout=PIPE, text=True) for _ in range(2)]
    assert sum(int(counter.communicate(timeout=60)[0]) for counter in counters) == 500


def test_requests_without_a_valid_key_are_rejected(path: Path, serving: Serving) -> None:
    secret = add_key(path, "alice")
    with serving(keys=KeyFile(path)) as address:
        for wrong in (None, "sk-wrong", secret + "x"):
            answer = request_embedding(address, wrong)
            assert answer.status_code == 401
            assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
            assert "x-request-id" in answer.headers
        strange = httpx.get(f"{address}/models", headers={b"authorization": b"Bearer \xe6\x97\xff"})
        assert strange.status_code == 401
        with (
            openai.OpenAI(base_url=address, api_key="sk-wrong") as client,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            client.models.list()
        assert caught.value.code == "invalid_api_key"
        assert "sk-wrong" not in caught.value.message
        assert request_embedding(address, secret).status_code == 200
        root = address.removesuffix("/v1")
        assert httpx.get(f"{root}/health").status_code == 200
        assert httpx.get(f"{root}/ready").json() == {"status": "ready"}
        assert httpx.get(f"{root}/metrics").status_code == 401


def test_each_key_has_its_own_limits(path: Path, serving: Serving) -> None:
    few = add_key(path, "few", requests_per_minute=2)
    small = add_key(path, "small", tokens_per_minute=5)
    free = add_key(path, "free")
    with serving(keys=KeyFile(path)) as address:
        assert [request_embedding(address, few).status_code for _ in range(3)] == [200, 200, 429]
        rejected = request_embedding(address, few)
        assert rejected.json()["error"]["type"] == "requests"
        assert 1 <= int(rejected.headers["retry-after"]) <= 60
        assert rejected.headers["x-ratelimit-limit-requests"] == "2"
        assert rejected.headers["x-ratelimit-remaining-requests"] == "0"
        assert request_embedding(address, small).headers["x-ratelimit-remaining-tokens"] == "2"
        rejected = request_embedding(address, small)
        assert (rejected.status_code, rejected.json()["error"]["type"]) == (429, "tokens")
        answer = request_embedding(address, free)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_a_request_that_exceeds_its_deadline_gets_503(serving: Serving) -> None:
    recorder = RecordingEmbedder()
    recorder.gate.clear()
    with serving(load=lambda model: recorder, limits=Limits(deadline=0.2)) as address:
        answer = request_embedding(address, None)
        recorder.gate.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "deadline_exceeded")


def test_tokenize_returns_token_ids_and_counts(address: str) -> None:
    answer = httpx.post(f"{address}/tokenize", json={"model": MODEL, "input": ["hi", "x"]}).json()
    assert [(row["tokens"], row["n_tokens"]) for row in answer["data"]] == [([104, 105], 2), ([120], 1)]
    rejected = httpx.post(f"{address}/tokenize", json={"model": MODEL, "input": ""})
    assert (rejected.status_code, rejected.json()["error"]["code"]) == (400, "empty_string")


def test_metrics_count_requests_by_route_and_contain_no_request_data(address: str) -> None:
    request_embedding(address, None, "a secret text")
    httpx.get(f"{address}/secret/path")
    page = httpx.get(address.removesuffix("/v1") + "/metrics").text
    assert 'umekomi_requests_total{method="POST",route="/v1/embeddings",status="200"}' in page
    assert f'umekomi_tokens_total{{model="{MODEL}"}}' in page
    assert 'umekomi_request_seconds_bucket{route="/v1/embeddings",le="+Inf"}' in page
    assert "secret" not in page


def test_the_command_creates_keys_and_lists_their_names(umekomi: Run, tmp_path: Path) -> None:
    created = umekomi("keys", "new", "alice", "--file", "keys.txt", "--rpm", 5, "--json")
    secret = json.loads(created.stdout)["key"]
    assert KeyFile(tmp_path / "keys.txt").find(secret) is not None
    assert umekomi("keys", "list", "--file", "keys.txt").stdout == "alice  rpm=5  tpm=any\n"
    again = umekomi("keys", "new", "alice", "--file", "keys.txt")
    assert (again.returncode, again.stdout) == (2, "")
    assert "a key named alice already" in again.stderr
