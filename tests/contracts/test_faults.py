"""Failures between a store and its server: kills, timeouts, wrong passwords and TLS."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from tests.contracts.engines import Servers, unique_name
from tests.servers import postgres, redis, tls_proxy
from tests.servers.process import free_port

from umekomi.data.embedded_file import Space
from umekomi.errors import InputError, StoreError, StoreUnavailableError
from umekomi.stores import Store, create_store, list_stores, open_store

DIMS = 16
SPACE = Space("umekomi-fake", "0123456789abcdef", DIMS)
PASSWORD = "s3cr3t/p@ss word"
SERVERS = ["milvus", "postgres", "redis", "redis_vectors"]
SCHEMES = ["milvus", "postgresql", "redis"]


def make_batch(number: int, size: int = 200) -> tuple[list[str], np.ndarray, pa.Table]:
    """Return the rows of a batch, which are the same in every call."""
    vectors = np.random.default_rng(number).standard_normal((size, DIMS), dtype=np.float32)
    ids = [f"{number} {row}" for row in range(size)]
    return ids, vectors, pa.table({"batch": pa.array([number] * size, pa.int64())})


def check_rows(store: Store, n_batches: int) -> None:
    assert store.count() == 200 * n_batches
    for number in range(n_batches):
        ids, vectors, _ = make_batch(number)
        (hit,) = store.search(vectors[7], k=1)[0]
        assert (hit.id, hit.record) == (ids[7], {"batch": number})
        assert store.count(f"batch = {number}") == 200


@pytest.mark.parametrize("name", SERVERS)
def test_a_load_survives_a_kill_of_the_server(servers: Servers, name: str) -> None:
    server = servers.get(name)
    url = f"{server.url}/{unique_name()}"
    store = create_store(f"{url}?timeout=300", SPACE)
    loaded: list[int] = []
    failed: list[Exception] = []

    def load() -> None:
        try:
            for number in range(8):
                store.upsert(*make_batch(number))
                loaded.append(number)
        except Exception as error:
            failed.append(error)

    loader = threading.Thread(target=load, daemon=True)
    loader.start()
    while len(loaded) < 2 and loader.is_alive():
        time.sleep(0.01)
    server.kill()
    server.start()
    loader.join(timeout=300)
    assert not failed
    check_rows(store, 8)
    store.close()
    with open_store(f"{url}?timeout=60") as reopened:
        check_rows(reopened, 8)
        reopened.drop()


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_failed_load_is_reported_in_one_sentence_and_can_be_repeated(tmp_path: Path, name: str) -> None:
    serve = {"postgres": postgres, "redis": redis}[name].serve
    with serve(tmp_path / "own") as server:
        store = create_store(f"{server.url}/reviews?timeout=0.5", SPACE)
        store.upsert(*make_batch(0))
        server.kill()
        with pytest.raises(StoreUnavailableError, match=r"does not respond.*Check that the server is running"):
            store.upsert(*make_batch(1))
        with pytest.raises(StoreUnavailableError, match="does not respond"):
            store.search(np.ones(DIMS), k=1)
        with pytest.raises(StoreUnavailableError, match="does not respond"):
            open_store(f"{server.url}/reviews?timeout=0.5")
        server.start()
        for number in range(3):
            store.upsert(*make_batch(number))
        check_rows(store, 3)
        store.close()


@contextmanager
def unresponsive_port() -> Iterator[int]:
    """Port of a server that accepts connections but never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("server", ["no server", "unresponsive server"])
def test_the_error_for_a_missing_server_has_the_address_but_no_secret(scheme: str, server: str) -> None:
    with unresponsive_port() as unresponsive:
        port = free_port() if server == "no server" else unresponsive
        url = f"{scheme}://me:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/reviews?timeout=1"
        for call in (open_store, list_stores, lambda url: create_store(url, SPACE)):
            with pytest.raises(StoreUnavailableError, match=f"{scheme}://me@127.0.0.1:{port}/reviews") as caught:
                call(url)
            assert "does not respond" in str(caught.value)
            assert "\n" not in str(caught.value)
            assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(("name", "user"), [("postgres", "postgres"), ("redis", "")])
def test_a_password_opens_the_store_and_is_never_shown(
    tmp_path: Path, name: str, user: str, umekomi, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = {"postgres": postgres, "redis": redis}[name].serve
    with serve(tmp_path / "own", password=PASSWORD) as server:
        base_url = server.url if "@" in server.url else server.url.replace("://", f"://{user}@" if user else "://")
        scheme, rest = base_url.split("://")
        rest = rest.rpartition("@")[2]
        url = f"{scheme}://{user}:{quote(PASSWORD, safe='')}@{rest}/reviews"
        with create_store(url, SPACE) as store:
            store.upsert(*make_batch(0))
            assert PASSWORD not in str(store.info())
            assert PASSWORD not in store.url
        for rejected_url in (f"{scheme}://{user}:wr0ng@{rest}/reviews", base_url + "/reviews"):
            with pytest.raises(StoreError, match="rejects the credentials") as caught:
                open_store(rejected_url)
            assert not isinstance(caught.value, StoreUnavailableError)
            assert "wr0ng" not in str(caught.value)
        variable = {"postgres": "PGPASSWORD", "redis": "REDIS_PASSWORD"}[name]
        result = umekomi("store", "info", base_url + "/reviews", **{variable: PASSWORD})
        assert result.returncode == 0, result.stderr
        assert "rows         200" in result.stdout
        shown = umekomi("store", "list", url.rpartition("/")[0])
        assert shown.stdout == f"{base_url}/reviews\n"
        for command in (["info", url], ["drop", url, "--yes"], ["info", url]):
            result = umekomi("store", *command)
            for secret in (PASSWORD, quote(PASSWORD, safe="")):
                assert secret not in result.stdout + result.stderr


@contextmanager
def tls_proxy_for(port: int, cert: Path, key: Path) -> Iterator[int]:
    """Return a context in which a TLS proxy runs for a port. Its value is the proxy's port."""
    command = [sys.executable, tls_proxy.__file__, str(port), cert, key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as proxy:
        assert proxy.stdout is not None
        try:
            yield int(proxy.stdout.readline())
        finally:
            proxy.kill()


def create_certificate(folder: Path) -> tuple[Path, Path]:
    """Create a self-signed certificate for 127.0.0.1."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


TLS = [
    ("milvus", "tls=true&ca="),
    ("postgres", "sslmode=verify-full&sslnegotiation=direct&sslrootcert="),
    ("redis", "tls=true&ca="),
]


@pytest.mark.parametrize(("name", "parameters"), TLS, ids=[name for name, _ in TLS])
def test_tls_uses_the_certificate_of_the_url(servers: Servers, tmp_path: Path, name: str, parameters: str) -> None:
    # None of these servers was built with TLS. The proxy speaks real TLS with the client.
    server = servers.get(name)
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    cert, key = create_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other_cert, _ = create_certificate(tmp_path / "other")
    with tls_proxy_for(port, cert, key) as tls_port:
        url = f"{server.url.replace(str(port), str(tls_port))}/{unique_name()}"
        with pytest.raises(StoreError, match=r"does not respond|cannot be used"):
            open_store(f"{url}?{parameters}{other_cert}&timeout=1")
        with create_store(f"{url}?{parameters}{cert}", SPACE) as store:
            store.upsert(*make_batch(0))
            assert store.count() == 200
            store.drop()


def test_postgres_rejects_long_names_and_separates_similar_ones(servers: Servers) -> None:
    base, start = servers.get("postgres").url, "a" * 60
    with pytest.raises(InputError, match="63"):
        create_store(f"{base}/{start}aaaa", SPACE)
    first, second, incoming = (
        create_store(f"{base}/{name}", SPACE) for name in (f"{start}_1", f"{start}_2", "incoming")
    )
    for number, store in enumerate((first, second, incoming)):
        store.upsert(*make_batch(number, 20))
        store.optimize()
        assert store.info()["index"] == "HNSW"
    first.drop()
    for store, number in ((second, 1), (incoming, 2)):
        assert (store.count(), store.count(f"batch = {number}")) == (20, 20)
        store.drop()


def test_a_table_of_another_program_is_neither_written_nor_dropped(servers: Servers) -> None:
    psycopg = pytest.importorskip("psycopg")
    url = f"{servers.get('postgres').url}/{unique_name()}"
    with psycopg.connect(servers.get("postgres").url, autocommit=True) as connection:
        name = url.rpartition("/")[2]
        store = create_store(url, SPACE)
        store.upsert(*make_batch(0, 2))
        # Another program replaces the table while the store is open.
        connection.execute(
            f"DROP TABLE {name}; CREATE TABLE {name} (foreign_column int); INSERT INTO {name} VALUES (1)"
        )
        for call in (
            store.drop,
            lambda: open_store(url).drop(),
            lambda: create_store(url, SPACE).upsert(*make_batch(1, 2)),
        ):
            with pytest.raises(StoreError, match="not created by Umekomi"):
                call()
        assert connection.execute(f"SELECT foreign_column FROM {name}").fetchall() == [(1,)]
        connection.execute(f"DROP TABLE {name}")
        store.close()
