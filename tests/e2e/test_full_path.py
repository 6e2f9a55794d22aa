"""The full path with the real model: a file, vectors, a search, the server, and a remote model."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from tests.conftest import Run

from umekomi import Embedder
from umekomi.assets.store import AssetStore

TEXTS = [
    "珈琲豆の焙煎",
    "How to roast coffee",
    "Fixing a flat bicycle tyre",
    "自転車の修理",
    "Weather in Tokyo tomorrow",
    "猫の飼い方",
]


@pytest.fixture(scope="module")
def base_url(assets_here: AssetStore) -> Iterator[str]:
    command = [sys.executable, "-m", "umekomi", "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["base_url"]
        server.terminate()


def test_a_japanese_query_finds_documents_in_both_languages(
    umekomi: Run, tmp_path: Path, assets_here: AssetStore
) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS))
    result = umekomi("embed", "in.jsonl", "-o", "out.parquet", "--role", "document")
    assert result.returncode == 0, result.stderr
    search_result = json.loads(umekomi("search", "out.parquet", "パンクしたタイヤを直したい", "-n", 2, "--json").stdout)
    hits = {hit["record"]["text"] for hit in search_result["hits"]}
    assert hits == {"自転車の修理", "Fixing a flat bicycle tyre"}


def test_the_official_client_receives_the_same_vector_as_the_library(base_url: str, ada: Embedder) -> None:
    client = openai.OpenAI(base_url=base_url, api_key="any")
    row = client.embeddings.create(model="text-embedding-ada-002", input="The food was delicious").data[0]
    assert (np.array(row.embedding, np.float32) == ada.embed(["The food was delicious"])[0]).all()


def test_the_commands_work_with_a_remote_model(umekomi: Run, tmp_path: Path, base_url: str, ada: Embedder) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    model = f"remote:text-embedding-ada-002@{base_url}"
    assert umekomi("embed", "in.jsonl", "-o", "out.parquet", "-m", model).returncode == 0
    assert "-m" in umekomi("search", "out.parquet", TEXTS[4]).stderr, "a file alone must not send the query to its host"
    search_result = umekomi("search", "out.parquet", TEXTS[4], "-n", 1, "--json", "-m", model)
    assert json.loads(search_result.stdout)["hits"][0]["record"]["text"] == TEXTS[4]


def test_an_unreachable_remote_model_is_a_clear_error(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "x"}\n')
    result = umekomi("embed", "in.jsonl", "-o", "o.parquet", "-m", "remote:x@http://127.0.0.1:1/v1")
    assert result.returncode == 2
    assert "cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr


def test_reviews_can_be_searched_with_a_filter(
    umekomi: Run, data: Path, tmp_path: Path, assets_here: AssetStore
) -> None:
    lines = (data / "fine_food_reviews_1k.csv").read_text("utf-8").splitlines(keepends=True)[:121]
    (tmp_path / "reviews.csv").write_text("".join(lines))
    template = "Title: {Summary}; Content: {Text}"
    result = umekomi("embed", "reviews.csv", "-o", "reviews.parquet", "-t", template)
    assert result.returncode == 0, result.stderr
    search_result = umekomi("search", "reviews.parquet", "good coffee", "-n", 5, "--where", "Score >= 3", "--json")
    hits = json.loads(search_result.stdout)["hits"]
    assert all(hit["record"]["Score"] >= 3 for hit in hits)
    assert all("coffee" in hit["record"]["text"].lower() for hit in hits)
