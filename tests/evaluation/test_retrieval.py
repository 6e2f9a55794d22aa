"""The harness on tiny sets whose answers are known, and on a set with published figures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from umekomi import Embedder, Settings
from umekomi.errors import RecordError
from umekomi.evaluation import metrics
from umekomi.evaluation import retrieval as evaluate
from umekomi.evaluation.bm25 import bm25_run
from umekomi.evaluation.datasets import (
    PairDataset,
    RetrievalDataset,
    load_pairs,
    load_retrieval,
    public_dataset,
    read_beir,
    write_beir,
)
from umekomi.evaluation.retrieval import RoleMode, SearchModels


@pytest.fixture
def tiny() -> RetrievalDataset:
    documents = {"d1": "two beans in a tin", "d2": "the dog barks", "d3": "my dog likes beans", "d4": " "}
    queries = {"q1": "the dog barks", "q2": "beans tin", "d2": "the dog barks"}
    judgments = {"q1": {"d2": 1}, "q2": {"d1": 2, "d3": 1}, "d2": {"d3": 1}}
    return RetrievalDataset("tiny", documents, queries, judgments, shared_ids=True)


def test_known_scores_of_a_tiny_set(tiny: RetrievalDataset, fake: Embedder) -> None:
    result = evaluate.evaluate_retrieval(tiny, SearchModels(fake, fake))
    # The query d2 is its own nearest document, which is left out, so that d3 is first.
    assert result.per_query == {"q1": 1.0, "q2": 1.0, "d2": 1.0}
    assert result.recall_at_100.value == result.map.value == 1
    assert (result.documents, result.queries, result.empty, result.cut) == (4, 3, 1, 0)


def test_chunked_search_equals_a_search_of_all_documents(fake: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each document has a word of its own, so that no two are equally near but for rounding.
    random = np.random.default_rng(3)
    documents = {f"d{n}": " ".join([f"word{n}", *random.choice(["dog", "tin", "sea", "moon"], 3)]) for n in range(60)}
    queries, judgments = {"q": "dog moon", "d7": "sea tin"}, {"q": {"d1": 1}, "d7": {"d2": 1}}
    data = RetrievalDataset("many", documents, queries, judgments, shared_ids=True)
    whole, _ = evaluate.dense_run(data, SearchModels(fake, fake), k=10)
    monkeypatch.setattr(evaluate, "_CHUNK", 7)
    pieces, _ = evaluate.dense_run(data, SearchModels(fake, fake), k=10)
    scores = fake.embed(["dog moon"]) @ fake.embed(list(documents.values())).T
    by_hand = metrics.ranked(dict(zip(documents, map(float, scores[0]), strict=True)))[:10]
    assert metrics.ranked(whole["q"]) == metrics.ranked(pieces["q"]) == by_hand
    assert "d7" not in whole["d7"]


def test_long_texts_are_truncated_and_counted(fake: Embedder) -> None:
    vectors, cut = evaluate.embed_truncated(fake, ["dog " * 3000, "dog"])
    assert vectors.shape == (2, 64)
    assert cut == 1


def test_sts_is_the_correlation_of_cosine_similarities(fake: Embedder) -> None:
    left, right, scores = ("a b", "a b", "a b", "c"), ("a b", "a c", "d e", "c"), (5.0, 3.0, 0.0, 5.0)
    result = evaluate.evaluate_sts(PairDataset("tiny", left, right, scores), fake)
    cosines = (fake.embed(left) * fake.embed(right)).sum(axis=1)
    assert result.spearman.value == pytest.approx(metrics.spearman(cosines, scores), abs=1e-6)
    assert result.cosines == pytest.approx(tuple(cosines), abs=1e-6)
    assert result.spearman.low <= result.spearman.value <= result.spearman.high


def test_a_model_does_not_differ_from_itself(tiny: RetrievalDataset, fake: Embedder) -> None:
    result = evaluate.evaluate_retrieval(tiny, SearchModels(fake, fake), roles=RoleMode.ALIKE)
    (found,) = evaluate.compare_retrieval([result, result])
    assert {name: (one.low, one.value, one.high) for name, one in found.items()} == dict.fromkeys(found, (0, 0, 0))
    assert set(found) == {"ndcg_at_10", "map"}


@pytest.mark.parametrize("run_of", ["bm25", "vectors"])
@pytest.mark.parametrize("shared_ids", [False, True])
def test_equal_ids_are_excluded_only_if_ids_are_shared(fake: Embedder, run_of: str, shared_ids: bool) -> None:
    documents = {"1": "beans in a tin", "2": "the dog barks"}
    data = RetrievalDataset("numbers", documents, {"1": "beans tin"}, {"1": {"1": 1}}, shared_ids=shared_ids)
    run = bm25_run(data) if run_of == "bm25" else evaluate.dense_run(data, SearchModels(fake, fake))[0]
    assert ("1" in run["1"]) is not shared_ids


def test_dataset_json_declares_shared_ids(tiny: RetrievalDataset, tmp_path: Path) -> None:
    write_beir(tiny, tmp_path / "tiny")
    again = read_beir(tmp_path / "tiny")
    assert (again.queries, again.judgments, again.shared_ids) == (tiny.queries, tiny.judgments, True)
    (tmp_path / "tiny" / "dataset.json").unlink()
    assert not read_beir(tmp_path / "tiny").shared_ids
    (tmp_path / "tiny" / "dataset.json").write_text('{"shared_ids": 1}')
    with pytest.raises(RecordError, match="must be true or false"):
        read_beir(tmp_path / "tiny")


def test_intervals_of_differences_grow_with_the_number_of_models() -> None:
    random = np.random.default_rng(0)
    data = PairDataset("many", ("a",) * 60, ("b",) * 60, tuple(random.normal(size=60)))

    def result(noise: float) -> evaluate.StsResult:
        cosines = tuple(np.array(data.scores) + noise * random.normal(size=60))
        nothing = metrics.Estimate(0, 0, 0)
        return evaluate.StsResult("m", "many", 60, nothing, nothing, cosines, 0, 0.0)

    first, better, *others = result(1.0), result(0.1), result(1.0), result(1.0), result(1.0)
    alone = evaluate.compare_sts(data, [first, better])[0]["spearman"]
    among = evaluate.compare_sts(data, [first, better, *others])[0]["spearman"]
    expected = spearmanr(data.scores, better.cosines)[0] - spearmanr(data.scores, first.cosines)[0]
    assert alone.value == among.value == pytest.approx(expected)
    assert 0 < among.low < alone.low < alone.high < among.high


def test_sts_benchmark_dev_agrees_with_sentence_transformers(
    data: Path, embedder_of: Callable[[str], Embedder]
) -> None:
    """Their EmbeddingSimilarityEvaluator: scipy's Spearman of people's scores with 1 less scikit-learn's cosine distances."""
    distances = pytest.importorskip("sklearn.metrics.pairwise")
    pairs = load_pairs("stsb", split="dev", settings=Settings(cache=data / "none", asset_path=(data,), offline=True))
    minilm = embedder_of("all-MiniLM-L6-v2")
    result = evaluate.evaluate_sts(pairs, minilm)
    left, right = (minilm.embed(side) for side in (pairs.left, pairs.right))
    theirs = 1 - distances.paired_cosine_distances(left, right)
    assert result.pairs == 1500
    assert result.spearman.value == pytest.approx(float(spearmanr(pairs.scores, theirs).statistic), abs=1e-5)
    assert result.pearson.value == pytest.approx(float(pearsonr(pairs.scores, theirs).statistic), abs=1e-5)
    # 0.867 is what sentence-transformers prints for this model on this set.
    assert result.spearman.value == pytest.approx(0.867, abs=0.002)


def test_cranfield_has_its_published_size(data: Path) -> None:
    found = load_retrieval("cranfield", settings=Settings(cache=data / "none", asset_path=(data,), offline=True))
    assert (len(found.documents), len(found.queries)) == (1399, 225)
    assert sum(map(len, found.judgments.values())) == 1612
    assert [number for number, text in found.documents.items() if not text] == ["471", "995"]
    assert public_dataset("cranfield").rows == "1,399 documents (2 of them empty), 225 queries"


def test_cranfield_documents_with_the_number_of_their_query_are_found(data: Path) -> None:
    found = load_retrieval("cranfield", settings=Settings(cache=data / "none", asset_path=(data,), offline=True))
    assert found.judgments["225"]["225"] > 0
    assert "225" in bm25_run(found)["225"]
