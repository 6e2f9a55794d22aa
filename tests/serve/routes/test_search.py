"""Search in served stores, mounted applications, and rejected requests."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from umekomi import Embedder
from umekomi.catalog import Catalog
from umekomi.data.embedded_file import Space
from umekomi.serve.app import create_app
from umekomi.serve.limits.keys import KeyFile, add_key
from umekomi.serve.models import Models
from umekomi.stores import create_store

from ..conftest import MODEL, Serving, run_server

TEXTS = ["roast the coffee beans", "mend a flat tyre", "boil green beans", "paint a door"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("stores")
    embedder = Embedder(MODEL)
    store = create_store(f"lance://{folder}/texts", Space(MODEL, embedder.fingerprint, embedder.dims))
    store.upsert(
        [f"t{n}" for n in range(4)],
        embedder.embed(TEXTS),
        [{"text": text, "stars": index} for index, text in enumerate(TEXTS)],
    )
    other = create_store(f"lance://{folder}/other", Space(MODEL, "another", embedder.dims))
    other.upsert(["x"], embedder.embed(["x"]), [{"text": "x"}])
    remote = Space("remote:spy@http://198.51.100.7/v1", "0" * 16, embedder.dims)
    create_store(f"lance://{folder}/remote", remote).upsert(["x"], embedder.embed(["x"]), [{"text": "x"}])
    stores = {name: f"lance://{folder}/{name}" for name in ("texts", "other", "missing", "remote")}
    with run_server(stores=stores) as url:
        yield url


def search(address: str, **fields: object) -> httpx.Response:
    return httpx.post(f"{address}/search", json=fields, timeout=60)


def test_a_query_returns_the_nearest_records(address: str, fake: Embedder) -> None:
    answer = search(address, store="texts", query="coffee beans", n=2).json()
    assert [hit["id"] for hit in answer["data"]] == ["t0", "t2"]
    assert answer["data"][0]["record"] == {"text": TEXTS[0], "stars": 0}
    expected = float(fake.embed(["coffee beans"])[0] @ fake.embed([TEXTS[0]])[0])
    assert answer["data"][0]["score"] == pytest.approx(expected, abs=1e-4)
    assert (answer["model"], answer["usage"]) == (MODEL, {"prompt_tokens": 12, "total_tokens": 12})


def test_search_accepts_a_vector_and_a_filter(address: str, fake: Embedder) -> None:
    vector = fake.embed(["coffee beans"])[0].tolist()
    answer = search(address, store="texts", vector=vector, where="stars >= 1", n=1).json()
    assert [hit["id"] for hit in answer["data"]] == ["t2"]
    assert answer["usage"]["total_tokens"] == 0


def test_a_store_cannot_select_a_host_that_queries_are_sent_to(address: str) -> None:
    answer = search(address, store="remote", query="a secret")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_stores_that_cannot_be_opened_do_not_hide_the_others(address: str) -> None:
    rows = {row["id"]: row for row in httpx.get(f"{address}/stores").json()["data"]}
    assert rows["texts"]["rows"] == 4
    assert rows["texts"]["columns"] == ["text", "stars"]
    assert rows["missing"]["rows"] is None


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"query": "x"}, 400, "store"),
        ({"store": "nope", "query": "x"}, 404, "store"),
        ({"store": "missing", "query": "x"}, 404, None),
        ({"store": "other", "query": "x"}, 400, None),
        ({"store": "texts"}, 400, "query"),
        ({"store": "texts", "query": "x", "vector": [1.0]}, 400, "query"),
        ({"store": "texts", "query": ""}, 400, "query"),
        ({"store": "texts", "query": "x" * 9000}, 400, None),
        ({"store": "texts", "query": 3}, 400, "query"),
        ({"store": "texts", "query": "x", "n": 0}, 400, "n"),
        ({"store": "texts", "query": "x", "n": 10**30}, 400, "n"),
        ({"store": "texts", "query": "x", "n": True}, 400, "n"),
        ({"store": "texts", "query": "x", "where": "stars >"}, 400, None),
        ({"store": "texts", "query": "x", "where": "nope = 1"}, 400, None),
        ({"store": "texts", "vector": [1.0, 2.0]}, 400, "vector"),
        ({"store": "texts", "vector": []}, 400, "vector"),
        ({"store": "texts", "vector": ["x"]}, 400, "vector"),
        ({"store": "texts", "vector": [10**400]}, 400, None),
        ({"store": "texts", "vector": [10**300]}, 400, "vector"),
        ({"store": "texts", "query": "x", "where": "stars = 1 or " * 5000 + "stars = 2"}, 400, "where"),
        ({"store": "texts", "vector": [0.0] * 64}, 400, None),
        ({"store": "texts", "query": "x", "k": 1}, 400, None),
    ],
)
def test_invalid_searches_are_rejected(address: str, fields: dict[str, object], status: int, param: str | None) -> None:
    answer = httpx.post(f"{address}/search", content=json.dumps(fields), headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert list(answer.json()["error"]) == ["message", "type", "param", "code"]
    assert answer.json()["error"]["param"] == param


@settings(deadline=None, max_examples=60)
@given(st.binary() | st.dictionaries(st.sampled_from(["store", "query", "vector", "n", "where"]),
       st.text() | st.integers() | st.lists(st.floats()) | st.just("texts")).map(json.dumps).map(str.encode))  # fmt: skip
def test_random_bodies_never_cause_a_server_error(address: str, body: bytes) -> None:
    answer = httpx.post(f"{address}/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 404)


def test_concurrent_searches_return_the_same_hits(address: str) -> None:
    with httpx.Client() as client:
        alone = client.post(f"{address}/search", json={"store": "texts", "query": "beans"}).json()
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda _: search(address, store="texts", query="beans").json(), range(48)))
    assert all(answer == alone for answer in results)


def test_mounted_applications_require_a_key(serving: Serving, tmp_path: Path) -> None:
    other = Starlette(routes=[Route("/{path:path}", lambda request: PlainTextResponse("another application"))])
    secret = add_key(tmp_path / "keys.txt", "alice")
    with serving(routes=[Mount("/elsewhere", other)], keys=KeyFile(tmp_path / "keys.txt")) as address:
        page = address.removesuffix("/v1") + "/elsewhere/"
        assert httpx.get(page).status_code == 401
        assert httpx.get(page, headers={"authorization": f"Bearer {secret}"}).text == "another application"


def test_head_requests_return_the_headers_of_get_requests(address: str) -> None:
    for path in ("/models", "/models/text-embedding-ada-002", "/nothing"):
        head, full = (httpx.request(method, address + path) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (full.status_code, b"")
        assert head.headers["content-length"] == full.headers["content-length"]
    assert httpx.head(f"{address}/embeddings").status_code == 405


def test_requests_of_other_origins_are_rejected_without_keys(address: str) -> None:
    body = {"model": MODEL, "input": "x"}
    own = address.removesuffix("/v1")
    assert httpx.post(f"{address}/embeddings", json=body, headers={"origin": own}).status_code == 200
    rejected = httpx.post(f"{address}/embeddings", json=body, headers={"origin": "http://evil.example"})
    assert (rejected.status_code, list(rejected.json()["error"])) == (403, ["message", "type", "param", "code"])
    assert np.isfinite(search(address, store="texts", query="x").json()["data"][0]["score"])


def test_a_store_of_a_model_pair_is_searched_with_the_query_model(tmp_path: Path, pair_catalog: Catalog) -> None:
    def load(model: str) -> Embedder:
        return Embedder(model, catalog=pair_catalog)

    stores = {}
    for model in ("fake-doc", "fake-query"):
        embedder = load(model)
        stores[model] = f"lance://{tmp_path}/{model}"
        store = create_store(stores[model], Space(model, embedder.fingerprint, embedder.dims, str(embedder.card.role)))
        store.upsert(["a", "b"], embedder.embed(["one dog", "two beans"]), [{"text": "one dog"}, {"text": "two beans"}])
    with run_server(load, catalog=pair_catalog, stores=stores) as url:
        results = search(url, store="fake-doc", query="a dog", n=1)
        assert (results.status_code, results.json()["data"][0]["id"]) == (200, "a")
        rejected = search(url, store="fake-query", query="a dog", n=1)
    assert (rejected.status_code, rejected.json()["error"]["code"]) == (400, "space_mismatch")
    assert "Embed its texts again with the counterpart, fake-doc." in rejected.json()["error"]["message"]


def test_a_store_of_a_model_that_is_not_served_is_searched_by_vector_only(tmp_path: Path) -> None:
    store = create_store(f"lance://{tmp_path}/texts", Space("text-embedding-ada-002", "any", 4))
    store.upsert(["x"], np.eye(1, 4, dtype=np.float32), [{"text": "x"}])
    store.close()
    app = create_app(Models(only=[MODEL]), stores={"texts": f"lance://{tmp_path}/texts"})
    with TestClient(app) as client:
        answer = client.post("/v1/search", json={"store": "texts", "query": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert client.post("/v1/search", json={"store": "texts", "vector": [1, 0, 0, 0]}).status_code == 200
