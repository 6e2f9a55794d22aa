"""The public API: its names, and what each object shows of itself."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import umekomi
from umekomi import Embedder, UmekomiError, create_store, embed_table, errors, load_catalog, load_tokenizer, search

ROOT = Path(__file__).parents[1]
ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, UmekomiError)}
NAMES = {
    "DEFAULT_MODEL",
    "Catalog",
    "EmbeddedTable",
    "Embedder",
    "Hit",
    "ModelCard",
    "RankedDocument",
    "Reranker",
    "Role",
    "Settings",
    "Space",
    "SparseEmbedder",
    "SparseVectors",
    "Store",
    "Tokenizer",
    "__version__",
    "create_store",
    "embed_table",
    "load_catalog",
    "load_tokenizer",
    "open_store",
    "read_table",
    "search",
}
USE_CASES = {
    "EmbeddingTransformer",
    "cluster",
    "color_by",
    "describe",
    "diversity",
    "embed_labels",
    "evaluate_profiles",
    "explain",
    "find_anomalies",
    "group_copies",
    "make_profiles",
    "project",
    "recommend",
    "report_classification",
    "report_regression",
    "split_groups",
    "suggest",
    "train_classifier",
    "train_regressor",
    "write_page",
    "zero_shot",
}


def test_the_public_names_are_these() -> None:
    assert set(umekomi.__all__) == NAMES | USE_CASES | ERRORS
    assert len(umekomi.__all__) == len(set(umekomi.__all__))


def test_every_public_name_can_be_imported() -> None:
    for name in umekomi.__all__:
        assert getattr(umekomi, name) is not None


def test_every_public_name_is_documented() -> None:
    text = (ROOT / "docs" / "library.md").read_text("utf-8")
    assert [name for name in umekomi.__all__ if f"`{name}" not in text] == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_the_examples_use_only_the_public_api(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("umekomi.")]
        elif isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "umekomi":
            assert node.module == "umekomi"
            assert {alias.name for alias in node.names} <= set(umekomi.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(umekomi, "no_such_name")


def test_no_submodule_hides_a_public_name() -> None:
    modules = {path.stem for path in Path(umekomi.__file__).parent.iterdir()}
    assert not modules & set(umekomi.__all__)


@pytest.mark.parametrize("name", ["Embedder", "search", "StoreError"])
def test_a_name_imports_on_its_own(name: str) -> None:
    subprocess.run([sys.executable, "-c", f"from umekomi import {name}"], check=True)


def test_every_public_object_has_a_short_repr(fake: Embedder) -> None:
    table = embed_table(pa.table({"text": ["two beans"] * 1000, "n": range(1000)}), fake)
    store = create_store("memory://repr", table.space)
    store.upsert(["a"], table.vectors[:1], [{"text": "two beans"}])
    ((hit,),) = search(store, fake, ["beans"], n=1)
    shown = {
        repr(fake): f"Embedder('umekomi-fake', dims=64, fingerprint='{fake.fingerprint}')",
        repr(table): "EmbeddedTable(1000 rows, 64 dims, model 'umekomi-fake', columns n, n_tokens, text)",
        repr(store): "<MemoryStore memory://repr>",
        repr(hit): f"Hit(id='a', score={hit.score}, record={{'text': 'two beans'}})",
        repr(load_tokenizer("bytes")): "ByteTokenizer('bytes')",
        repr(fake.card): "ModelCard(id='umekomi-fake', dimensions=64, tokenizer='bytes', max_tokens=8191)",
        repr(fake.prepare(["ab"])): "Prepared(n_tokens=(2,))",
    }
    for actual, expected in shown.items():
        assert actual == expected
    assert repr(load_catalog()).startswith("Catalog(2")
