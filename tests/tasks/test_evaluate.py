"""The harness on tiny sets whose answers are known, and on a set with published figures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from umekomi import Embedder, Settings
from umekomi.datasets import PairSet, RetrievalSet, load_pairs, load_retrieval
from umekomi.tasks import evaluate, metrics
from umekomi.tasks.evaluate import Pair, Sides


@pytest.fixture
def tiny() -> RetrievalSet:
    documents = {"d1": "two beans in a tin", "d2": "the dog barks", "d3": "my dog likes beans", "d4": " "}
    queries = {"q1": "the dog barks", "q2": "beans tin", "d2": "the dog barks"}
    return RetrievalSet("tiny", documents, queries, {"q1": {"d2": 1}, "q2": {"d1": 2, "d3": 1}, "d2": {"d3": 1}})


def test_a_tiny_set_is_scored_as_by_hand(tiny: RetrievalSet, fake: Embedder) -> None:
    result = evaluate.evaluate_retrieval(tiny, Pair(fake, fake))
    # The query d2 is its own nearest document, which is left out, so that d3 is first.
    assert result.per_query == {"q1": 1.0, "q2": 1.0, "d2": 1.0}
    assert result.recall_at_100.value == 1
    assert (result.documents, result.queries, result.empty, result.cut) == (4, 3, 1, 0)


def test_the_nearest_in_pieces_are_the_nearest_at_once(fake: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each document has a word of its own, so that no two are equally near but for rounding.
    random = np.random.default_rng(3)
    documents = {f"d{n}": " ".join([f"word{n}", *random.choice(["dog", "tin", "sea", "moon"], 3)]) for n in range(60)}
    data = RetrievalSet("many", documents, {"q": "dog moon", "d7": "sea tin"}, {"q": {"d1": 1}, "d7": {"d2": 1}})
    whole, _ = evaluate.dense_run(data, Pair(fake, fake), k=10)
    monkeypatch.setattr(evaluate, "_CHUNK", 7)
    pieces, _ = evaluate.dense_run(data, Pair(fake, fake), k=10)
    scores = fake.embed(["dog moon"]) @ fake.embed(list(documents.values())).T
    by_hand = metrics.ranked(dict(zip(documents, map(float, scores[0]), strict=True)))[:10]
    assert metrics.ranked(whole["q"]) == metrics.ranked(pieces["q"]) == by_hand
    assert "d7" not in whole["d7"]


def test_what_is_too_long_is_cut_and_told(fake: Embedder) -> None:
    vectors, cut = evaluate.embed_fitting(fake, ["dog " * 3000, "dog"])
    assert vectors.shape == (2, 64)
    assert cut == 1


def test_sts_is_the_correlation_of_the_cosines(fake: Embedder) -> None:
    left, right, scores = ("a b", "a b", "a b", "c"), ("a b", "a c", "d e", "c"), (5.0, 3.0, 0.0, 5.0)
    result = evaluate.evaluate_sts(PairSet("tiny", left, right, scores), fake)
    cosines = (fake.embed(left) * fake.embed(right)).sum(axis=1)
    assert result.spearman.value == pytest.approx(metrics.spearman(cosines, scores), abs=1e-6)
    assert result.cosines == pytest.approx(tuple(cosines), abs=1e-6)
    assert result.spearman.low <= result.spearman.value <= result.spearman.high


def test_a_model_is_compared_with_itself_without_a_difference(tiny: RetrievalSet, fake: Embedder) -> None:
    result = evaluate.evaluate_retrieval(tiny, Pair(fake, fake), sides=Sides.ALIKE)
    assert evaluate.difference(result, result).value == 0


def test_sts_benchmark_dev_comes_out_as_sentence_transformers_measures_it(
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
    assert sum(map(len, found.judgements.values())) == 1612
