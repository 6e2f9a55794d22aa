"""Clients of Cohere, Jina and Voyage receive the scores of the library from a real server with a tiny reranker.

``UMEKOMI_TEST_CLIENTS_PYTHON`` names a Python with ``tests/clients/requirements.txt``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.conftest import unavailable
from tests.encoders.cross_encoder.tiny import LONG, load_golden, make_folder

from umekomi import Reranker

QUERY = "one two"
DOCUMENTS = ["three four five", "one two", LONG, "six seven"]
VARIABLE = "UMEKOMI_TEST_CLIENTS_PYTHON"
CLIENTS = {
    "cohere_v1": """
import cohere
client = cohere.Client(api_key=KEY, base_url=URL)
documents = [{"text": text} for text in DOCUMENTS]
answer = client.rerank(model="tiny", query=QUERY, documents=documents, top_n=3, return_documents=True)
assert [row.document.text for row in answer.results] == [DOCUMENTS[row.index] for row in answer.results]
assert answer.meta.billed_units.search_units == 1
rows = [[row.index, row.relevance_score] for row in answer.results]
try:
    client.rerank(model="nope", query=QUERY, documents=DOCUMENTS)
except cohere.errors.NotFoundError as error:
    assert error.body["error"]["code"] == "model_not_found"
else:
    raise AssertionError("no error")
""",
    "cohere_v2": """
import cohere
client = cohere.ClientV2(api_key=KEY, base_url=URL)
answer = client.rerank(model="tiny", query=QUERY, documents=DOCUMENTS, top_n=3, max_tokens_per_doc=4096)
assert answer.meta.api_version.version == "2", answer.meta
rows = [[row.index, row.relevance_score] for row in answer.results]
""",
    "litellm_cohere": """
import litellm
answer = litellm.rerank(model="cohere/tiny", api_base=URL + "/v1/rerank", api_key=KEY, query=QUERY, documents=DOCUMENTS, top_n=3)
rows = [[row["index"], row["relevance_score"]] for row in answer.results]
""",
    "litellm_jina": """
import litellm
answer = litellm.rerank(model="jina_ai/tiny", api_base=URL + "/v1/rerank", api_key=KEY, query=QUERY, documents=DOCUMENTS, top_n=3)
rows = [[row["index"], row["relevance_score"]] for row in answer.results]
""",
    "voyageai": """
import voyageai
client = voyageai.Client(api_key=KEY, base_url=URL + "/v1")
answer = client.rerank(QUERY, DOCUMENTS, model="tiny", top_k=3)
assert [row.document for row in answer.results] == [DOCUMENTS[row.index] for row in answer.results]
assert answer.total_tokens > 0
rows = [[row.index, row.relevance_score] for row in answer.results]
""",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Start a server that requires a key, and return what a client needs to know about it."""
    folder = tmp_path_factory.mktemp("rerank")
    make_folder(folder / "tiny", "bert", load_golden()["bert"])
    umekomi = [sys.executable, "-m", "umekomi"]
    command = [*umekomi, "keys", "new", "tests", "--file", "keys.txt"]
    key = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    command = [*umekomi, "serve", "--port", "0", "--json", "--api-keys", "keys.txt", "-m", "umekomi-fake"]
    command += ["--rerank-model", "./tiny", "--rerank-model", "jina-reranker=./tiny", "--workers", "2"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            ready = json.loads(server.stdout.readline())
            assert ready["rerankers"] == ["tiny", "jina-reranker"]
            url = ready["base_url"].removesuffix("/v1")
            yield {"URL": url, "KEY": key, "QUERY": QUERY, "DOCUMENTS": DOCUMENTS, "FOLDER": str(folder / "tiny")}
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def expected(served: dict[str, object]) -> list[list[float]]:
    hits = Reranker(str(served["FOLDER"])).rank(QUERY, DOCUMENTS, top_n=3)
    return [[hit.index, pytest.approx(hit.score, abs=1e-6)] for hit in hits]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_receives_the_librarys_scores(
    name: str, served: dict[str, object], expected: list[list[float]], tmp_path: Path
) -> None:
    python = os.environ.get(VARIABLE) or unavailable(f"{VARIABLE} is not set: see .ci/needs/clients.sh")
    constants = "".join(f"{key} = {value!r}\n" for key, value in served.items())
    program = f"{constants}{CLIENTS[name]}\nimport json\nprint(json.dumps(rows))\n"
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_the_request_of_jinas_documentation_works(served: dict[str, object], expected: list[list[float]]) -> None:
    answer = httpx.post(
        f"{served['URL']}/v1/rerank",
        headers={"Authorization": f"Bearer {served['KEY']}"},
        json={
            "model": "jina-reranker",
            "query": QUERY,
            "documents": [{"text": text} for text in DOCUMENTS],
            "top_n": 3,
            "return_documents": True,
        },
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["model"] == "jina-reranker"
    assert [[row["index"], row["relevance_score"]] for row in body["results"]] == expected
    assert [row["document"] for row in body["results"]] == [
        {"text": DOCUMENTS[row["index"]]} for row in body["results"]
    ]
    assert body["usage"]["total_tokens"] > 0
