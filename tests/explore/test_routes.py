"""Routes of the explorer, which serve only its own pages, under its own host names, about the data set that they show."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from umekomi import Embedder
from umekomi.cli.commands.embedding.explore import make_explorer
from umekomi.data.embedded_file import Space
from umekomi.errors import UmekomiError
from umekomi.explore.dataset import open_dataset
from umekomi.explore.views import Explorer
from umekomi.serve.app import create_app
from umekomi.serve.middleware.auth import LOOPBACK_NAMES
from umekomi.serve.routes.explorer import explorer_routes
from umekomi.settings import Settings

from .sets import small, write

OWN = "http://127.0.0.1:8000"
Make = Callable[[int], TestClient]


@pytest.fixture
def client_of(fake: Embedder, tmp_path: Path) -> Make:
    """Return a function that makes a client of a server like that of `umekomi explore`, with ``n`` rows."""

    def make(n: int) -> TestClient:
        dataset = open_dataset(str(small(tmp_path / f"{n}.parquet", fake, n)))
        explorer = Explorer(dataset, embedder=lambda: fake, settings=Settings(cache=tmp_path / "cache"))
        return TestClient(create_app(routes=explorer_routes(explorer), hosts=LOOPBACK_NAMES), base_url=OWN)

    return make


ROUTES = ["/explore", "/explore/", "/explore/index.html", "/explore/api/meta", "/explore/api/row?index=0", "/v1/models"]


@pytest.mark.parametrize("path", ROUTES)
def test_other_host_names_are_rejected_on_all_routes(path: str, client_of: Make) -> None:
    client = client_of(12)
    for host in ("evil.example", "127.0.0.1.evil.example:8000", "localhost.evil.example", ""):
        answer = client.get(path, headers={"host": host}, follow_redirects=False)
        assert answer.status_code == 403, (path, host)
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8000"])
def test_other_origins_are_rejected_on_all_routes(path: str, origin: str, client_of: Make) -> None:
    client = client_of(12)
    assert client.get(path, headers={"origin": origin}, follow_redirects=False).status_code == 403
    assert client.get(path, headers={"origin": OWN}).status_code == 200


def test_other_sites_may_link_to_the_page_but_not_embed_it_or_use_the_api(client_of: Make) -> None:
    client = client_of(12)
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/explore/", headers=link).status_code == 200
    assert client.get("/explore/", headers={**link, "sec-fetch-dest": "iframe"}).status_code == 403
    script = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}
    assert client.get("/explore/api/row?index=0", headers=script).status_code == 403
    assert client.get("/explore/api/row?index=0", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_every_response_has_the_policy(client_of: Make) -> None:
    client = client_of(12)
    for path in ("/explore/", "/explore/index.html", "/explore/api/meta", "/explore/api/positions"):
        policy = client.get(path).headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy


def test_requests_of_pages_of_another_data_set_are_rejected(client_of: Make) -> None:
    old = client_of(12).get("/explore/api/meta").json()["dataset"]
    client = client_of(16)
    new = client.get("/explore/api/meta").json()["dataset"]
    assert new != old
    requests = [
        ("GET", "positions", None), ("GET", "column?name=stars", None), ("GET", "text?index=0", None),
        ("GET", "row?index=0", None),
        ("GET", "clusters", None), ("GET", "outliers", None), ("GET", "duplicates", None), ("POST", "search", {"query": "tea"}),
        ("POST", "labels", {"labels": ["a", "b"]}), ("POST", "selection", {"indices": [0]}),
        ("POST", "selection.csv", {"indices": [0]}),
    ]  # fmt: skip
    for method, path, body in requests:
        refused = client.request(method, f"/explore/api/{path}", json=body, headers={"x-umekomi-dataset": old})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "dataset_changed"), path
        assert (
            client.request(method, f"/explore/api/{path}", json=body, headers={"x-umekomi-dataset": new}).status_code
            == 200
        )


@pytest.mark.parametrize("path", ["search", "labels", "selection", "selection.csv"])
def test_expensive_bodies_are_rejected(client_of: Make, path: str) -> None:
    client = client_of(12)
    nested = b'{"labels": [' + b"[" * 500 + b"]" * 500 + (b"," + b"[" * 500 + b"]" * 500) * 100 + b"]}"
    for content in (nested, b'{"labels": [' + b'"a",' * 5_000 + b'"b"]}'):
        answer = client.post(f"/explore/api/{path}", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400


def test_csv_files_in_both_styles(client_of: Make) -> None:
    client = client_of(12)
    spreadsheet = client.post("/explore/api/selection.csv", json={"indices": [10]}).content.decode("utf-8")
    exact = client.post("/explore/api/selection.csv", json={"indices": [10], "style": "exact"}).content.decode("utf-8")
    assert spreadsheet == f"\ufeff{exact}"
    wrong = client.post("/explore/api/selection.csv", json={"indices": [10], "style": "xlsx"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "style")


def test_a_remote_model_named_by_a_file_is_not_used_without_consent(tmp_path: Path) -> None:
    space = Space("remote:text-embedding-3-small@http://127.0.0.1:9/v1", "0" * 16, 2)
    vectors = np.array([[1, 0], [0, 1]], dtype=np.float32)
    explorer = make_explorer(str(write(tmp_path / "remote.parquet", ["a", "b"], vectors, space)))
    with pytest.raises(UmekomiError, match="-m"):
        explorer.search("anything")
