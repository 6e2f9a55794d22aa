"""The table of models, measured on tiny sets with models that need no files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder, Role
from umekomi.catalog import Catalog, load_catalog, parse_catalog
from umekomi.encoders.base import Progress
from umekomi.evaluation.code_search import evaluate_code
from umekomi.evaluation.datasets import PairDataset, RetrievalDataset
from umekomi.evaluation.model_table import (
    EvaluationSets,
    ModelFigures,
    markdown,
    measure,
    spread,
    table_rows,
    texts_per_second,
)
from umekomi.evaluation.part_vectors import BLOCK, CachedEncoder, PartVectors
from umekomi.evaluation.retrieval import SearchModels, evaluate_retrieval, evaluate_sts
from umekomi.settings import Settings

CATALOG = """
[encoders.words]
type = "fake"
dims = 8
license = "Apache-2.0"
description = "-"
[encoders.more]
type = "fake"
dims = 16
license = "Apache-2.0"
description = "-"
[models.one]
dimensions = 8
tokenizer = "bytes"
max_tokens = 99
description = "-"
parts = [{ encoder = "words", weight = 1.0 }]
[models.doc]
dimensions = 24
tokenizer = "bytes"
max_tokens = 99
description = "-"
pages_per_dollar = 300
hosted_beir = 49.0
role = "document"
pair = "query"
space = "both"
parts = [{ encoder = "words", weight = 1.0 }, { encoder = "more", weight = 3.0, dims = 16 }]
[models.query]
like = "doc"
role = "query"
pair = "doc"
"""
DOCUMENTS = {"d1": "two beans in a tin", "d2": "the dog barks", "d3": "my dog likes beans"}
SEARCH = RetrievalDataset("search", DOCUMENTS, {"q": "dog beans"}, {"q": {"d3": 2, "d1": 1}})
PAIRS = PairDataset("pairs", ("a b", "a b", "a b"), ("a b", "a c", "d e"), (5.0, 3.0, 0.0))


@pytest.fixture
def catalog() -> Catalog:
    return parse_catalog(CATALOG)


@pytest.fixture
def vectors(tmp_path: Path, settings: Settings, catalog: Catalog) -> PartVectors:
    return PartVectors(tmp_path / "vectors", settings=settings, catalog=catalog)


@contextlib.contextmanager
def quietly(label: str, total: int) -> Iterator[Progress]:
    yield lambda count: None


def kept(embedder: Embedder) -> list[CachedEncoder]:
    return [encoder for encoder in embedder._encoders if isinstance(encoder, CachedEncoder)]


def test_query_and_document_models_share_a_row(catalog: Catalog, vectors: PartVectors, settings: Settings) -> None:
    rows = table_rows(catalog)
    assert [row.models for row in rows] == [("one",), ("doc", "query")]
    sets = EvaluationSets(retrieval=SEARCH, english=PAIRS, code=SEARCH)
    alone, both = (measure(row, sets, load=vectors.load, make_progress=quietly) for row in rows)
    one, doc, query = (Embedder(model, catalog=catalog, settings=settings) for model in ("one", "doc", "query"))
    assert alone.english == evaluate_sts(PAIRS, one).spearman
    assert alone.retrieval == evaluate_retrieval(SEARCH, SearchModels(one, one)).ndcg_at_10
    assert both.retrieval == evaluate_retrieval(SEARCH, SearchModels(query, doc)).ndcg_at_10
    assert both.code == evaluate_code(SEARCH, SearchModels(query, doc)).mrr
    # Similarity has no sides, and nothing was asked of Japanese.
    assert (both.english, alone.japanese) == (None, None)


def test_cached_vectors_equal_computed_ones(vectors: PartVectors, catalog: Catalog, settings: Settings) -> None:
    texts = [f"text {number % (BLOCK + 9)}" for number in range(2 * BLOCK + 5)]
    plain = Embedder("doc", catalog=catalog, settings=settings)
    first, second = vectors.load("doc"), vectors.load("doc")
    counts: list[int] = []
    assert (first.embed(texts, progress=counts.append) == plain.embed(texts)).all()
    assert sum(counts) == len(texts)
    assert (second.embed(texts) == plain.embed(texts)).all()
    assert first.fingerprint == plain.fingerprint
    assert [encoder.n_computed for encoder in kept(first)] == [len(texts)] * 2
    assert [encoder.n_computed for encoder in kept(second)] == [0, 0]


def test_parts_are_reused_by_other_models_but_not_for_other_texts_or_roles(vectors: PartVectors) -> None:
    vectors.load("doc").embed(["a", "b"])
    one = vectors.load("one")
    one.embed(["a", "b"], role=Role.DOCUMENT)
    assert kept(one)[0].n_computed == 0
    one.embed(["a", "b"], role=Role.QUERY)
    one.embed(["b", "a"], role=Role.DOCUMENT)
    assert kept(one)[0].n_computed == 4


def test_truncated_cache_files_are_computed_again(vectors: PartVectors, tmp_path: Path) -> None:
    whole = vectors.load("one").embed(["a"])
    (path,) = (tmp_path / "vectors").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    again = vectors.load("one")
    assert (again.embed(["a"]) == whole).all()
    assert kept(again)[0].n_computed == 1
    assert len(np.load(path)) == 1


def test_other_options_of_a_part_are_not_reused(vectors: PartVectors, tmp_path: Path, settings: Settings) -> None:
    vectors.load("one").embed(["a"])
    changed = parse_catalog(
        CATALOG.replace(
            'encoder = "words", weight = 1.0 }]\n[models.doc', 'encoder = "words", weight = 1.0, k = 2 }]\n[models.doc'
        )
    )
    other = PartVectors(tmp_path / "vectors", settings=settings, catalog=changed).load("one")
    other.embed(["a"])
    assert kept(other)[0].n_computed == 1


def test_markdown_table(catalog: Catalog) -> None:
    rows = table_rows(catalog)
    header, line, one, pair = markdown(rows).splitlines()
    assert header == "| model | dimensions | limit in tokens | hosted: pages a dollar | hosted: BEIR | parts here |"
    assert header.count("|") == line.count("|") == one.count("|")
    assert one == "| `one` | 8 | 99 bytes | – | – | words (1) |"
    assert pair == "| `doc`, `query` | 24 | 99 bytes | 300 | 49.0 | words (0.25) ⊕ more 16 (0.75) |"
    figures = [ModelFigures(texts_per_second=1234.5), ModelFigures()]
    header, _, one, pair = markdown(rows, figures, EvaluationSets(retrieval=SEARCH, english=PAIRS)).splitlines()
    assert header.endswith("| texts/s here | search nDCG@10 | pairs Spearman | Spearman | MRR |")
    assert one.endswith("| 1,234 | – | – | – | – |")
    assert header.count("|") == pair.count("|")


def test_every_visible_model_has_a_row() -> None:
    catalog = load_catalog()
    listed = [model for row in table_rows(catalog) for model in row.models]
    assert sorted(listed) == sorted(card.id for card in catalog.models.values() if not card.hidden)


def test_throughput_counts_all_texts(fake: Embedder) -> None:
    counts: list[int] = []
    assert texts_per_second(fake, ["a", "b", "c"], progress=counts.append) > 0
    assert sum(counts) == 3
    assert spread(["a", "b"], 5) == ["a", "b"]
