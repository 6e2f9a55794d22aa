"""Tests of `umekomi models check`."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.conftest import Run, unavailable
from tests.encoders.cross_encoder.test_model import GOLDEN
from tests.encoders.cross_encoder.tiny import make_folder as make_reranker
from tests.encoders.sparse.tiny import load_golden as load_sparse_golden
from tests.encoders.sparse.tiny import make_folder as make_sparse
from tests.encoders.tiny_static import make_static_embedding
from tests.encoders.transformer.folder.folders import edit, make_case
from tests.encoders.transformer.tiny import HIDDEN

from umekomi import SparseEmbedder
from umekomi.evaluation.model_check import check_model
from umekomi.settings import Settings


def test_a_folder_is_described_and_measured(tmp_path: Path, umekomi: Run) -> None:
    folder = make_case(tmp_path / "model", "prompts")
    (folder / "README.md").write_text("---\ntags: [tiny]\nlicense: mit\n---\n# A model\n")
    edit(folder / "config.json", matryoshka_dimensions=[8, 16])
    result = json.loads(umekomi("models", "check", folder, "--json").stdout)
    (part,) = result["parts"]
    assert (part["architecture"], part["file"], part["window"]) == ("bert", "model.safetensors", 36)
    assert part["steps"] == ["pool mean", "normalize"]
    assert part["bytes"] == {"fp32": 4 * part["n_weights"], "bf16": 2 * part["n_weights"]}
    # fp32 weights, and a short description of the tensors.
    assert 0 < (folder / "model.safetensors").stat().st_size - part["bytes"]["fp32"] < 10_000
    assert (result["type"], result["dimensions"], result["shorter_dimensions"]) == ("embedder", HIDDEN, [8, 16])
    assert result["prompts"] == {"query": "query: ", "document": "passage: ", "other": "nine one "}
    assert result["license"] == "mit"
    assert result["throughput"]["per_second"] > 0
    assert 24 <= result["throughput"]["tokens"] <= 40


def test_the_facts_are_readable_lines(tmp_path: Path, umekomi: Run) -> None:
    folder = make_case(tmp_path / "model", "dense")
    lines = umekomi("models", "check", folder).stdout
    assert "pool mean, dense tanh, normalize" in lines
    assert "texts of 31 tokens per second on this machine" in lines
    shown = umekomi("models", "show", folder).stdout
    assert "pool mean, dense tanh, normalize" in shown
    assert "per second" not in shown


def test_rerankers_static_models_and_models_of_the_catalog_are_checked_too(tmp_path: Path, settings: Settings) -> None:
    reranker = make_reranker(tmp_path / "reranker", "bert", GOLDEN["bert"])
    static = make_static_embedding(tmp_path / "static")
    checks = [check_model(str(model), settings=settings, seconds=0.01) for model in (reranker, static, "umekomi-fake")]
    assert [check["type"] for check in checks] == ["reranker", "embedder", "embedder"]
    assert [check["parts"][0]["architecture"] for check in checks] == ["bert", "static", None]
    assert [check["throughput"]["unit"] for check in checks] == ["pairs", "texts", "texts"]
    assert checks[0]["parts"][0]["steps"] == ["score Sigmoid"]


def test_sparse_encoders_are_checked_too(tmp_path: Path, umekomi: Run) -> None:
    folder = make_sparse(tmp_path / "splade", "bert", load_sparse_golden()["bert"])
    result = json.loads(umekomi("models", "check", folder, "--json").stdout)
    assert (result["type"], result["prompts"]) == ("sparse encoder", {"query": "query : "})
    assert result["fingerprint"] == SparseEmbedder(str(folder)).fingerprint
    assert (result["parts"][0]["architecture"], result["parts"][0]["steps"]) == ("bert", ["pool max", "relu"])
    assert result["throughput"]["unit"] == "texts"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("license: [mit, apache-2.0]\n", "mit, apache-2.0"),
        ("license:\n  - mit\n  - 'cc0-1.0'\ntags:\n- tiny\n", "mit, cc0-1.0"),
        ("license: other\nlicense_name: gemma\n", "gemma"),
        ("license:\ntags: [mit]\n", None),
    ],
)
def test_a_card_may_name_several_licenses(head: str, expected: str | None, tmp_path: Path, settings: Settings) -> None:
    folder = make_case(tmp_path / "model", "mean")
    (folder / "README.md").write_text(f"---\n{head}---\n")
    assert check_model(str(folder), settings=settings, seconds=0)["license"] == expected


def test_a_folder_that_cannot_be_run_gives_the_reason(tmp_path: Path, umekomi: Run) -> None:
    folder = make_case(tmp_path / "model", "mean")
    edit(folder / "config.json", hidden_act="unknown")
    done = umekomi("models", "check", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_vectors_and_scores_are_compared_with_sentence_transformers(tmp_path: Path, settings: Settings) -> None:
    if find_spec("sentence_transformers") is None:
        unavailable("sentence-transformers is not installed")
    folder = make_case(tmp_path / "model", "prompts")
    result = check_model(str(folder), settings=settings, seconds=0.01)["sentence_transformers"]
    assert result["lowest_cosine"] > 0.999
    reranker = make_reranker(tmp_path / "reranker", "bert", GOLDEN["bert"])
    sparse = make_sparse(tmp_path / "splade", "bert", load_sparse_golden()["bert"])
    for other in (reranker, sparse):
        result = check_model(str(other), settings=settings, seconds=0.01)["sentence_transformers"]
        assert result["greatest_difference"] < 1e-4
    # It truncates texts at 8 tokens, so only shorter ones are compared.
    static = make_static_embedding(tmp_path / "static")
    result = check_model(str(static), settings=settings, seconds=0.01)["sentence_transformers"]
    assert result["lowest_cosine"] > 0.9999
