import numpy as np
import pyarrow as pa
import pytest
from tests.encoders.cross_encoder.tiny import load_golden, make_folder

from umekomi import Embedder, Reranker, Role
from umekomi.catalog import Catalog
from umekomi.data.embedded_file import Space
from umekomi.errors import FilterError, InputError, SpaceMismatchError
from umekomi.stores import MemoryStore
from umekomi.tasks.explain import explain
from umekomi.tasks.search import diversify, search


@pytest.fixture
def store(fake: Embedder) -> MemoryStore:
    texts = ["two beans", "one dog", "a dog and a cat", "kerosene"]
    store = MemoryStore("memory://texts", Space(fake.model, fake.fingerprint, fake.dims))
    store.upsert([str(n) for n in range(4)], fake.embed(texts), pa.table({"text": texts, "n": [1, 2, 3, 4]}))
    return store


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Reranker:
    return Reranker(str(make_folder(tmp_path_factory.mktemp("rerank") / "tiny", "bert", load_golden()["bert"])))


def test_the_nearest_text_comes_first(store: MemoryStore, fake: Embedder) -> None:
    hits = search(store, fake, ["one dog"], n=2)[0]
    assert [hit.record["text"] for hit in hits] == ["one dog", "a dog and a cat"]
    assert hits[0].score == pytest.approx(1, abs=1e-5)


def test_each_query_has_its_own_hits(store: MemoryStore, fake: Embedder) -> None:
    results = search(store, fake, ["beans", "kerosene"], n=1)
    assert [hits[0].record["n"] for hits in results] == [1, 4]


def test_a_filter_excludes_other_records(store: MemoryStore, fake: Embedder) -> None:
    assert [hit.record["n"] for hit in search(store, fake, ["one dog"], where="n > 2")[0]] == [3, 4]
    with pytest.raises(FilterError, match="the columns are text, n"):
        search(store, fake, ["one dog"], where="m > 2")


def test_a_store_of_another_model_is_rejected(fake: Embedder) -> None:
    other = MemoryStore("memory://other", Space("other", "0123456789abcdef", 64))
    with pytest.raises(SpaceMismatchError, match="Use the model other"):
        search(other, fake, ["x"])


def test_a_diverse_search_returns_one_of_two_similar_records(fake: Embedder) -> None:
    texts = ["good dog food", "good dog food .", "cat food", "kerosene"]
    store = MemoryStore("memory://alike", Space(fake.model, fake.fingerprint, fake.dims))
    store.upsert([str(n) for n in range(4)], fake.embed(texts), pa.table({"text": texts}))
    plain = search(store, fake, ["dog food"], n=2)[0]
    diverse = search(store, fake, ["dog food"], n=2, diversity=0.5)[0]
    assert [hit.id for hit in plain] == ["0", "1"]
    assert [hit.id for hit in diverse] == ["0", "2"]


def test_diversity_0_keeps_the_order_and_1_selects_the_least_similar(fake: Embedder) -> None:
    scores = np.array([0.9, 0.8, 0.1], np.float32)
    vectors = np.array([[1, 0], [0.99, 0.1], [0, 1]], np.float32)
    assert diversify(scores, vectors, n=3, diversity=0) == [0, 1, 2]
    assert diversify(scores, vectors, n=3, diversity=1) == [0, 2, 1]
    assert diversify(scores[:0], vectors[:0], n=3) == []


def test_diversity_needs_texts_and_a_value_between_0_and_1(store: MemoryStore, fake: Embedder) -> None:
    bare = MemoryStore("memory://bare", store.space)
    bare.upsert(["a"], fake.embed(["x"]))
    with pytest.raises(InputError, match="needs a column 'text'"):
        search(bare, fake, ["x"], diversity=0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        search(store, fake, ["x"], diversity=2)


def store_of_role(embedder: Embedder, role: str) -> MemoryStore:
    texts = ["two beans", "one dog", "a dog and a cat"]
    store = MemoryStore(f"memory://{role or 'old'}", Space(embedder.model, embedder.fingerprint, embedder.dims, role))
    store.upsert(list("abc"), embedder.embed(texts), pa.table({"text": texts}))
    return store


def test_a_store_of_queries_is_not_searched_by_queries(pair_catalog: Catalog) -> None:
    documents, queries = (Embedder(model, catalog=pair_catalog) for model in ("fake-doc", "fake-query"))
    with pytest.raises(
        SpaceMismatchError, match=r"memory://query holds the queries.*Embed its texts again.*fake-doc\."
    ):
        search(store_of_role(queries, "query"), queries, ["dog"])
    with pytest.raises(
        SpaceMismatchError, match=r"memory://document holds the documents.*Search it with.*fake-query\."
    ):
        search(store_of_role(documents, "document"), documents, ["dog"])
    for role in ("document", ""):
        results = search(store_of_role(documents, role), queries, ["one dog"], n=2, diversity=0.1 if role else 0.0)
        assert results[0][0].record["text"] == "one dog"
    assert explain(queries, "one dog", "one dog", role="document").score == pytest.approx(1, abs=1e-5)
    assert queries.for_role(Role.DOCUMENT).model == "fake-doc"
    assert queries.for_role(Role.QUERY) is queries


def test_a_model_without_roles_searches_its_own_queries(fake: Embedder) -> None:
    assert search(store_of_role(fake, "query"), fake, ["one dog"], n=1)[0][0].id == "b"
    assert fake.for_role(Role.QUERY) is fake


def test_a_reranker_orders_the_candidates(store: MemoryStore, fake: Embedder, reranker: Reranker) -> None:
    (hits,) = search(store, fake, ["one dog"], n=2, reranker=reranker, candidates=3)
    candidates = {hit.id: hit for hit in search(store, fake, ["one dog"], n=3)[0]}
    expected = reranker.rank("one dog", [hit.record["text"] for hit in candidates.values()], top_n=2)
    assert [(hit.record["text"], hit.rerank_score) for hit in hits] == [(row.document, row.score) for row in expected]
    assert all(hit.score == candidates[hit.id].score for hit in hits)
    assert all(hit.rerank_score is None for hit in candidates.values())


def test_at_least_as_many_candidates_are_reranked_as_hits_are_requested(
    store: MemoryStore, fake: Embedder, reranker: Reranker
) -> None:
    counts: list[int] = []
    results = search(store, fake, ["one", "two"], n=3, reranker=reranker, candidates=1, progress=counts.append)
    assert [len(hits) for hits in results] == [3, 3]
    assert sum(counts) == 6


def test_a_reranker_needs_texts_and_excludes_diversity(fake: Embedder, reranker: Reranker) -> None:
    store = MemoryStore("memory://plain", Space(fake.model, fake.fingerprint, fake.dims))
    store.upsert(["a"], fake.embed(["x"]), pa.table({"n": [1]}))
    with pytest.raises(InputError, match="memory://plain does not store the embedded texts"):
        search(store, fake, ["x"], reranker=reranker)
    with pytest.raises(InputError, match="either a reranker or a diversity"):
        search(store, fake, ["x"], reranker=reranker, diversity=0.5)
    with pytest.raises(InputError, match="candidates is 0"):
        search(store, fake, ["x"], reranker=reranker, candidates=0)
