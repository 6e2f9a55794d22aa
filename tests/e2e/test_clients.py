"""Clients of the hosted API receive the vectors of the library from a real server.

Environment variables name the environments of the clients:

- ``UMEKOMI_TEST_CLIENTS_PYTHON``: a Python with ``tests/clients/requirements.txt``
- ``UMEKOMI_TEST_OPENAI028_PYTHON``: a Python with ``openai==0.28.1``
- ``UMEKOMI_TEST_NODE_FOLDER``: a folder in which ``npm install openai`` has run
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import unavailable

from umekomi import Embedder
from umekomi.assets.store import AssetStore
from umekomi.catalog import DEFAULT_MODEL, load_catalog

TEXTS = ["The food was delicious.\nAnd the waiter…", "料理はおいしかった"]
CL100K_URL_SHA1 = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""File name of cl100k_base in the cache of tiktoken."""

PYTHON_CLIENTS = {
    "openai": """
import openai
client = openai.OpenAI(base_url=URL, api_key=KEY)
vectors = [row.embedding for row in client.embeddings.create(model=MODEL, input=TEXTS).data]
""",
    "openai_batches": """
import io, json, time
import openai
client = openai.OpenAI(base_url=URL, api_key=KEY)
def line(index, text):
    return {"custom_id": str(index), "method": "POST", "url": "/v1/embeddings", "body": {"model": MODEL, "input": text}}
content = "".join(json.dumps(line(index, text)) + "\\n" for index, text in enumerate(TEXTS))
file = client.files.create(file=("requests.jsonl", io.BytesIO(content.encode())), purpose="batch")
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(0.1)
    batch = client.batches.retrieve(batch.id)
assert batch.status == "completed", batch
answers = [json.loads(row) for row in client.files.content(batch.output_file_id).text.splitlines()]
vectors = [answer["response"]["body"]["data"][0]["embedding"] for answer in answers]
""",
    "langchain": """
from langchain_openai import OpenAIEmbeddings
embeddings = OpenAIEmbeddings(model=MODEL, base_url=URL, api_key=KEY)
vectors = embeddings.embed_documents(TEXTS)
assert embeddings.embed_query(TEXTS[0]) == vectors[0]
""",
    "llama_index": """
from llama_index.embeddings.openai import OpenAIEmbedding
# LlamaIndex replaces line ends by spaces for all models.
vectors = OpenAIEmbedding(model=MODEL, api_base=URL, api_key=KEY).get_text_embedding_batch(TEXTS)
""",
    "litellm": """
import litellm
answer = litellm.embedding(model="openai/" + MODEL, api_base=URL, api_key=KEY, input=TEXTS)
vectors = [row["embedding"] for row in answer.data]
assert answer.usage.prompt_tokens > 0
""",
    "haystack": """
from haystack.components.embedders import OpenAITextEmbedder
from haystack.utils import Secret
embedder = OpenAITextEmbedder(api_key=Secret.from_token(KEY), api_base_url=URL, model=MODEL)
vectors = [embedder.run(text)["embedding"] for text in TEXTS]
""",
    "chroma": """
from chromadb.utils.embedding_functions import OpenAIEmbeddingFunction
vectors = [list(map(float, row)) for row in OpenAIEmbeddingFunction(api_key=KEY, api_base=URL, model_name=MODEL)(TEXTS)]
""",
}
OLD_CLIENT = """
import openai
openai.api_base, openai.api_key = URL, KEY
vectors = [row["embedding"] for row in openai.Embedding.create(model=MODEL, input=TEXTS)["data"]]
assert openai.Embedding.create(engine=MODEL, input=TEXTS)["data"][1]["embedding"] == vectors[1]
try:
    openai.Embedding.create(model="nope", input="x")
except openai.error.InvalidRequestError as error:
    assert error.code == "model_not_found", error.code
else:
    raise AssertionError("no error")
"""
NODE_CLIENT = """
const OpenAI = require("openai");
const { URL: baseURL, KEY: apiKey, MODEL: model, TEXTS: input } = JSON.parse(process.argv[1]);
(async () => {
  const client = new OpenAI({ baseURL, apiKey });
  const answer = await client.embeddings.create({ model, input });
  try { await client.embeddings.create({ model: "nope", input }); process.exit(3); }
  catch (error) { if (error.status !== 404 || error.code !== "model_not_found") throw error; }
  console.log(JSON.stringify(answer.data.map((row) => row.embedding)));
})();
"""


@pytest.fixture(scope="module")
def served(ada: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Start a server that requires a key, and return what a client needs to know about it."""
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    command = [sys.executable, "-m", "umekomi", "keys", "new", "tests", "--file", str(keys)]
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    command = [sys.executable, "-m", "umekomi", "serve", "--port", "0", "--json", "--api-keys", str(keys)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            url = json.loads(server.stdout.readline())["base_url"]
            yield {"URL": url, "KEY": key, "MODEL": DEFAULT_MODEL, "TEXTS": TEXTS}
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def environment(assets_here: AssetStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment with a filled tiktoken cache, so that clients that count tokens need no network."""
    folder = tmp_path_factory.mktemp("tiktoken")
    asset = next(asset for asset in load_catalog().assets.values() if asset.file.endswith("cl100k_base.tiktoken"))
    path = assets_here.find(asset)
    if path is None:
        unavailable("cl100k_base is missing: run `umekomi models pull`")
    shutil.copy(path, folder / CL100K_URL_SHA1)
    return {
        **os.environ,
        "TIKTOKEN_CACHE_DIR": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "ANONYMIZED_TELEMETRY": "False",
    }


def require_variable(variable: str, description: str) -> str:
    if not os.environ.get(variable):
        unavailable(f"{variable} does not name {description}")
    return os.environ[variable]


def check_vectors(result: subprocess.CompletedProcess[str], ada: Embedder, texts: list[str]) -> None:
    assert result.returncode == 0, result.stderr[-3000:]
    vectors = np.array(json.loads(result.stdout.splitlines()[-1]))
    assert vectors.shape == (len(texts), ada.dims)
    np.testing.assert_allclose(vectors, ada.embed(texts), atol=1e-6)


def run_python(
    python: str, code: str, served: dict[str, object], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    names = "".join(f"{name} = {value!r}\n" for name, value in served.items())
    script = f"{names}{code}\nimport json; print(json.dumps([list(map(float, row)) for row in vectors]))"
    return subprocess.run(
        [python, "-c", script], env=environment, cwd=folder, capture_output=True, text=True, timeout=180
    )


@pytest.mark.parametrize("name", PYTHON_CLIENTS)
def test_python_clients_receive_the_vectors_of_the_library(
    name: str, served: dict[str, object], environment: dict[str, str], ada: Embedder, tmp_path: Path
) -> None:
    python = require_variable("UMEKOMI_TEST_CLIENTS_PYTHON", "a Python with tests/clients/requirements.txt")
    texts = [text.replace("\n", " ") for text in TEXTS] if name == "llama_index" else TEXTS
    check_vectors(run_python(python, PYTHON_CLIENTS[name], served, environment, tmp_path), ada, texts)


def test_the_old_openai_package_receives_the_vectors_of_the_library(
    served: dict[str, object], environment: dict[str, str], ada: Embedder, tmp_path: Path
) -> None:
    python = require_variable("UMEKOMI_TEST_OPENAI028_PYTHON", "a Python with openai==0.28.1")
    check_vectors(run_python(python, OLD_CLIENT, served, environment, tmp_path), ada, TEXTS)


def test_the_openai_package_for_node_receives_the_vectors_of_the_library(
    served: dict[str, object], ada: Embedder
) -> None:
    folder = require_variable("UMEKOMI_TEST_NODE_FOLDER", "a folder in which `npm install openai` has run")
    command = ["node", "-e", NODE_CLIENT, json.dumps(served)]
    check_vectors(subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60), ada, TEXTS)


def test_curl_receives_the_vectors_of_the_library(served: dict[str, object], ada: Embedder) -> None:
    if shutil.which("curl") is None:
        unavailable("curl is not on this machine")
    body = json.dumps({"model": DEFAULT_MODEL, "input": TEXTS})
    headers = ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {served['KEY']}"]
    command = ["curl", "-sS", "--fail", f"{served['URL']}/embeddings", *headers, "-d", body]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    vectors = [row["embedding"] for row in json.loads(result.stdout)["data"]] if result.returncode == 0 else []
    result.stdout = json.dumps(vectors)
    check_vectors(result, ada, TEXTS)
