"""Hosted engines (Qdrant, Weaviate and Pinecone): missing servers, rejected_key keys, and limits."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import numpy as np
import pytest
from tests.servers import pinecone, qdrant, weaviate
from tests.servers.process import free_port

from umekomi.data.embedded_file import Space
from umekomi.errors import InputError, StoreError, StoreUnavailableError
from umekomi.settings import current
from umekomi.stores import create_store, list_stores, open_store

SPACE = Space("umekomi-fake", "0123456789abcdef", 16)
ONE_VECTOR = np.ones((1, 16), np.float32)


@pytest.fixture
def pinecone_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PINECONE_API_KEY", "stand-in")
    current.cache_clear()
    yield
    current.cache_clear()


@pytest.mark.parametrize(
    "url",
    [
        "qdrant://127.0.0.1:{}/reviews?timeout=1",
        "weaviate://127.0.0.1:{}/reviews?grpc_port=1&timeout=1",
        "pinecone://reviews?host=http://127.0.0.1:{}&timeout=1",
    ],
)
def test_a_missing_server_raises_an_error(url: str, pinecone_key: None) -> None:
    with pytest.raises(StoreUnavailableError, match="does not respond"):
        open_store(url.format(free_port()))


@contextmanager
def serve_with_key(engine: str, folder: Path) -> Iterator[str]:
    with (qdrant if engine == "qdrant" else weaviate).serve(folder / engine, api_key="s3cret-key") as server:
        yield server.url


@pytest.mark.parametrize(
    ("engine", "path", "expected"),
    [
        (qdrant, "/collections/reviews", {"shard_number": 3, "replication_factor": 2}),
        (weaviate, "/v1/schema", {"desiredCount": 3, "factor": 2}),
    ],
)
def test_collections_are_created_with_the_shards_and_replicas_of_the_url(
    engine: ModuleType, path: str, expected: dict[str, int], tmp_path: Path
) -> None:
    with engine.serve(tmp_path / "server") as server:
        base, question_mark, query = server.url.partition("?")
        with create_store(f"{base}/reviews?shards=3&replicas=2{'&' if question_mark else ''}{query}", SPACE) as store:
            store.upsert(["a"], ONE_VECTOR, [{"n": 1}])
        with urllib.request.urlopen(f"http://{urlsplit(base).netloc}{path}") as reply:
            response = reply.read().decode()
        for name, value in expected.items():
            assert re.findall(rf'"{name}": ?(\d+)', response) == [str(value)]


@pytest.mark.parametrize("engine", ["qdrant", "weaviate"])
def test_a_wrong_key_is_rejected_and_never_shown(engine: str, tmp_path: Path) -> None:
    with serve_with_key(engine, tmp_path) as base:
        path, question_mark, query = base.partition("?")
        url = f"{path}/reviews?{query}{'&' if question_mark else ''}api_key="
        for rejected_key in ("", "wr0ng-key"):
            with pytest.raises(StoreError, match="rejects the credentials") as caught:
                open_store(url + rejected_key)
            assert "wr0ng-key" not in str(caught.value)
        store = create_store(url + "s3cret-key", SPACE)
        store.upsert(["a"], ONE_VECTOR, [{"n": 1}])
        assert "s3cret" not in str(store.info()) + store.url
        assert list_stores(base + ("&" if question_mark else "?") + "api_key=s3cret-key") == [store.url]
        store.close()


def test_pinecone_reports_a_missing_or_wrong_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PINECONE_API_KEY", raising=False)
    current.cache_clear()
    with pinecone.serve(tmp_path / "pinecone") as server:
        url = server.url.replace("pinecone://", "pinecone://reviews")
        with pytest.raises(InputError, match="PINECONE_API_KEY"):
            open_store(url)
        with pytest.raises(StoreError, match="rejects the credentials"):
            open_store(f"{url}&api_key=wr0ng")
    current.cache_clear()


def test_errors_contain_the_limits_of_pinecone(tmp_path: Path, pinecone_key: None) -> None:
    with pinecone.serve(tmp_path / "pinecone") as server:
        url = server.url.replace("pinecone://", "pinecone://reviews")
        store = create_store(url, SPACE)
        noise = np.random.default_rng(0).bytes(60_000).hex()
        with pytest.raises(InputError, match="40,000"):
            store.upsert(["a"], ONE_VECTOR, [{"text": noise}])
        store.upsert(["a"], ONE_VECTOR, [{"text": "long " * 20_000}])
        assert store.get(["a"])[0].record["text"] == "long " * 20_000
        assert [hit.id for hit in store.search(ONE_VECTOR, k=10_001)[0]] == ["a"]
        store.close()
        with pytest.raises(InputError, match="45"):
            create_store(url.replace("reviews", "Re_views"), SPACE)


def test_more_hits_than_one_response_can_hold_are_fetched(tmp_path: Path, pinecone_key: None) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 16), dtype=np.float32)
    with pinecone.serve(tmp_path / "pinecone") as server:
        store = create_store(server.url.replace("pinecone://", "pinecone://reviews"), SPACE)
        store.upsert([str(row) for row in range(500)], vectors, [{"n": row} for row in range(500)])
        (hits,) = store.search(vectors[0], k=400)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        assert [int(hit.id) for hit in hits] == np.argsort(-(unit @ unit[0]))[:400].tolist()
        store.close()


def test_collection_names_with_punctuation_become_weaviate_classes(tmp_path: Path) -> None:
    with weaviate.serve(tmp_path / "weaviate") as server:
        path, _, query = server.url.partition("?")
        store = create_store(f"{path}/my_own-set.2?{query}", SPACE)
        store.upsert(["a"], ONE_VECTOR, [{"n": 1}])
        assert list_stores(server.url) == [store.url]
        assert open_store(store.url).count() == 1
        store.close()
