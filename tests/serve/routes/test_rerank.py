"""Reranking over HTTP, in the formats of Cohere, Jina and Voyage."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.encoders.cross_encoder.tiny import LONG, load_golden, make_folder

from umekomi import Reranker
from umekomi.serve.limits.keys import KeyFile, add_key
from umekomi.serve.rerankers import Rerankers
from umekomi.serve.service import Limits

from ..conftest import MODEL, run_server

DOCUMENTS = ["three four five", "one two", "six seven eight nine", LONG, ""]
QUERY = "one two"


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reranker]:
    folder = tmp_path_factory.mktemp("rerankers")
    golden = load_golden()
    return {
        name: Reranker(str(make_folder(folder / name, name, golden[name])), name=f"tiny-{name}")
        for name in ("bert", "roberta")
    }


@pytest.fixture(scope="module")
def server(rerankers: dict[str, Reranker]) -> Iterator[str]:
    served = Rerankers({reranker.model: reranker for reranker in rerankers.values()})
    with run_server(rerankers=served, limits=Limits(max_body_bytes=1_000_000, cache_bytes=2**20)) as url:
        yield url.removesuffix("/v1")


def post(server: str, path: str = "/v1/rerank", **fields: object) -> httpx.Response:
    return httpx.post(f"{server}{path}", json={"query": QUERY, "documents": DOCUMENTS, **fields}, timeout=60)


@pytest.mark.parametrize(("path", "version"), [("/v1/rerank", "1"), ("/v2/rerank", "2"), ("/rerank", "1")])
def test_documents_are_ranked_as_by_the_library(
    server: str, rerankers: dict[str, Reranker], path: str, version: str
) -> None:
    answer = post(server, path, model="tiny-bert").json()
    expected = rerankers["bert"].rank(QUERY, DOCUMENTS)
    assert [(row["index"], row["document"]["text"]) for row in answer["results"]] == [
        (hit.index, hit.document) for hit in expected
    ]
    assert [row["relevance_score"] for row in answer["results"]] == pytest.approx(
        [hit.score for hit in expected], rel=1e-6
    )
    n_tokens = sum(rerankers["bert"].prepare(QUERY, DOCUMENTS).n_tokens)
    assert answer["usage"] == {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    assert answer["meta"]["api_version"]["version"] == version
    assert (answer["model"], answer["object"], len(answer["id"])) == ("tiny-bert", "list", 36)


def test_the_first_reranker_is_the_default(server: str) -> None:
    assert post(server).json()["model"] == "tiny-bert"
    assert post(server, model="tiny-roberta").json()["model"] == "tiny-roberta"


def test_top_n_and_return_documents_shorten_the_response(server: str) -> None:
    full = post(server).json()["results"]
    short = post(server, top_n=2, return_documents=False).json()["results"]
    assert short == [{key: row[key] for key in ("index", "relevance_score")} for row in full[:2]]
    assert len(post(server, top_n=500).json()["results"]) == len(DOCUMENTS)


def test_voyages_fields_give_voyages_response(server: str) -> None:
    expected = post(server, top_n=2).json()["results"]
    answer = post(server, top_k=2, truncation=True).json()
    assert "results" not in answer
    assert answer["data"] == [{**row, "document": row["document"]["text"]} for row in expected]
    assert answer["usage"]["total_tokens"] > 0


def test_without_truncation_a_pair_above_the_window_is_an_error(server: str) -> None:
    error = post(server, truncation=False).json()["error"]
    assert "The query and document 3 together have more than" in error["message"]
    assert error["param"] == "documents"
    assert len(post(server, truncation=False, documents=DOCUMENTS[:3]).json()["data"]) == 3


def test_documents_can_be_objects(server: str, rerankers: dict[str, Reranker]) -> None:
    objects = [{"text": text, "id": index} for index, text in enumerate(DOCUMENTS)]
    answer = post(server, documents=objects).json()["results"]
    assert [row["document"] for row in answer] == [
        objects[hit.index] for hit in rerankers["bert"].rank(QUERY, DOCUMENTS)
    ]
    pages = [{"title": "one", "body": "two", "year": 5}, {"title": "three", "body": "four", "year": 6}]
    answer = post(server, documents=pages, rank_fields=["title", "body"]).json()["results"]
    expected = rerankers["bert"].rank(QUERY, ["one\ntwo", "three\nfour"])
    assert [(row["index"], row["document"]) for row in answer] == [(hit.index, pages[hit.index]) for hit in expected]


def test_long_documents_are_truncated_or_split(server: str, rerankers: dict[str, Reranker]) -> None:
    def score(**fields: object) -> float:
        return float(post(server, documents=[LONG], **fields).json()["results"][0]["relevance_score"])

    reranker = rerankers["bert"]
    assert score() == pytest.approx(reranker.score([(QUERY, LONG)])[0])
    assert score(max_tokens_per_doc=3) == pytest.approx(reranker.score([(QUERY, " ".join(LONG.split()[:3]))])[0])
    passages = reranker.score_pairs(reranker.prepare(QUERY, [LONG], max_passages=9).texts)
    assert len(passages) > 1
    assert score(max_chunks_per_doc=9) == pytest.approx(passages.max())


def test_concurrent_requests_have_the_scores_of_single_ones(server: str) -> None:
    alone = [post(server, query=f"one {word}").json()["results"] for word in DOCUMENTS[0].split()]
    with ThreadPoolExecutor(9) as pool:
        together = pool.map(lambda word: post(server, query=f"one {word}").json()["results"], DOCUMENTS[0].split() * 3)
        assert list(together) == alone * 3


def test_rerankers_are_listed_as_models(server: str) -> None:
    rows = {row["id"]: row for row in httpx.get(f"{server}/v1/models").json()["data"]}
    assert rows["tiny-bert"]["umekomi"]["type"] == "reranker"
    assert rows["tiny-bert"]["umekomi"]["max_tokens"] == 48
    assert httpx.get(f"{server}/v1/models/tiny-roberta").json() == rows["tiny-roberta"]
    assert MODEL not in rows
    assert "tiny-roberta" in httpx.get(f"{server}/health").json()["loaded"]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"query": ""}, "query", "empty_string"),
        ({"query": " "}, "query", "empty_string"),
        ({"query": 5}, "query", "invalid_type"),
        ({"query": None}, "query", "missing_required_parameter"),
        ({"documents": []}, "documents", "empty_array"),
        ({"documents": "one"}, "documents", "invalid_type"),
        ({"documents": ["one", 5]}, "documents[1]", "invalid_type"),
        ({"documents": ["one"] * 1001}, "documents", "array_above_max_length"),
        ({"documents": [{"title": "one"}]}, "documents", "missing_required_parameter"),
        ({"documents": [{"text": 5}]}, "documents[0].text", "invalid_type"),
        ({"top_n": 0}, "top_n", "integer_below_min_value"),
        ({"top_n": 1, "top_k": 2}, "top_k", "invalid_value"),
        ({"return_documents": "yes"}, "return_documents", "invalid_type"),
        ({"rank_fields": []}, "rank_fields", "invalid_type"),
        ({"rank_fields": ["a"] * 65}, "rank_fields", "array_above_max_length"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc", "integer_below_min_value"),
        ({"max_chunks_per_doc": 1001}, "max_chunks_per_doc", "integer_above_max_value"),
        ({"surprise": 1}, None, None),
    ],
)
def test_invalid_requests_are_rejected(
    server: str, fields: dict[str, object], param: str | None, code: str | None
) -> None:
    answer = post(server, **fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    if param is not None:
        assert (error["param"], error["code"]) == (param, code)


def test_a_request_has_a_maximum_number_of_tokens(server: str) -> None:
    answer = post(server, documents=[f"{LONG} {LONG} {LONG}"] * 1000, max_chunks_per_doc=99, query="one " * 45)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "max_tokens_per_request"


def test_unknown_models_are_not_found(server: str, address: str) -> None:
    answer = post(server, model="tiny-nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert "the reranking models are: tiny-bert, tiny-roberta" in answer.json()["error"]["message"]
    answer = post(address.removesuffix("/v1"))
    assert answer.status_code == 404
    assert "Start it with --rerank-model" in answer.json()["error"]["message"]


def test_keys_and_their_limits_apply(rerankers: dict[str, Reranker], tmp_path: Path) -> None:
    path = tmp_path / "keys"
    secret = add_key(path, "client", tokens_per_minute=40)
    with run_server(rerankers=Rerankers({"tiny": rerankers["bert"]}), keys=KeyFile(path)) as url:
        headers = {"authorization": f"Bearer {secret}"}
        body = {"query": "one", "documents": ["two", "three"]}
        assert httpx.post(f"{url}/rerank", json=body).status_code == 401
        assert httpx.post(f"{url}/rerank", json=body, headers=headers).status_code == 200
        body["documents"] = ["two " * 40]
        answer = httpx.post(f"{url}/rerank", json=body, headers=headers)
        assert answer.status_code == 429
        assert answer.json()["error"]["type"] == "tokens"
        text = httpx.get(url.replace("/v1", "/metrics"), headers=headers).text
        assert 'umekomi_tokens_total{model="tiny-bert"} 10' in text


def test_bodies_have_a_maximum_size(server: str) -> None:
    assert post(server, documents=["one " * 300_000]).status_code == 413


def test_lone_surrogates_are_replaced(server: str) -> None:
    body = b'{"query": "one \\ud800", "documents": ["two \\ud800"]}'
    answer = httpx.post(f"{server}/v1/rerank", content=body, headers={"content-type": "application/json"})
    assert answer.json()["results"][0]["document"] == {"text": "two \ufffd"}
