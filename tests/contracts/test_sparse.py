"""Sparse vectors in stores: every engine that has them returns the hits of the exact store in memory."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.contracts.engines import ENGINES
from tests.contracts.rows import SPACE, names, records, vectors

from umekomi import SparseEmbedder, SparseVectors
from umekomi.data.embedded_file import SparseSpace, write_embedded
from umekomi.errors import InputError, SpaceMismatchError, StoreError
from umekomi.stores import SCHEMES, MemoryStore, Store, create_store, load_file, open_store

BM25 = replace(SPACE, sparse=SparseSpace("bm25", "0123", (1 << 31) - 1))
SPLADE = replace(SPACE, sparse=SparseSpace("./splade", "4567", 1000))
WORDS = [f"w{number}" for number in range(30)]
N_ROWS = 150

# The Milvus that the tests start is 2.3, which has no sparse vectors. UMEKOMI_TEST_MILVUS_URL names a later server.
IS_OLD_MILVUS = "UMEKOMI_TEST_MILVUS_URL" not in os.environ
DENSE_ONLY = {"memory", *(["milvus"] if IS_OLD_MILVUS else [])}

sparse_engines = pytest.mark.parametrize(
    "engine",
    [
        case
        for case in ENGINES
        if case.name in SCHEMES and SCHEMES[case.name].has_sparse and case.name not in DENSE_ONLY
    ],
    indirect=True,
    ids=str,
)
dense_engines = pytest.mark.parametrize(
    "engine",
    [case for case in ENGINES if case.name == "lance" or (case.name == "milvus" and IS_OLD_MILVUS)],
    indirect=True,
    ids=str,
)


def texts(n: int, seed: int = 0) -> list[str]:
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, weights=range(1, 31), k=source.randint(1, 15))) for _ in range(n)]


def table(n: int, sparse: SparseVectors) -> pa.Table:
    return records(n).append_column("sparse", sparse.to_column())


def random_rows(n: int, seed: int) -> SparseVectors:
    source = np.random.default_rng(seed)
    rows = [
        {
            int(index): float(source.uniform(0.1, 2))
            for index in source.choice(1000, source.integers(1, 40), replace=False)
        }
        for _ in range(n)
    ]
    return SparseVectors.from_rows(rows, dims=1000)


def assert_same_hits(store: Store, exact: Store, queries: SparseVectors, where: str | None = None) -> None:
    dense = vectors(len(queries), seed=1)
    results = zip(
        store.search(dense, k=20, where=where, sparse=queries),
        exact.search(dense, k=20, where=where, sparse=queries),
        strict=True,
    )
    for hits, expected in results:
        assert len(expected) > 5
        assert [(hit.id, hit.record) for hit in hits] == [(hit.id, hit.record) for hit in expected]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected])


def load_texts(store: Store, folder: Path) -> None:
    """Load an embedded file with the texts and their vectors of BM25."""
    sparse = SparseEmbedder("bm25").embed(texts(N_ROWS))
    rows = table(N_ROWS, sparse).append_column("id", pa.array(names(N_ROWS)))
    write_embedded(folder / "texts.parquet", vectors(N_ROWS), rows, BM25)
    load_file(folder / "texts.parquet", store)


@pytest.fixture
def hybrid(url: str, tmp_path: Path) -> Iterator[Store]:
    """A collection with sparse vectors of BM25."""
    store = create_store(url, BM25)
    load_texts(store, tmp_path)
    yield store
    with suppress(StoreError):
        store.drop()
    store.close()


@pytest.fixture
def exact(tmp_path: Path) -> MemoryStore:
    """The exact store with the same rows."""
    store = MemoryStore("memory://exact-sparse", BM25)
    load_texts(store, tmp_path)
    return store


@sparse_engines
def test_hybrid_searches_return_the_hits_of_the_exact_store(hybrid: Store, exact: MemoryStore) -> None:
    # Rare words, so that every row has another score.
    queries = SparseEmbedder("bm25").embed(texts(10, seed=9), role="query")
    assert_same_hits(hybrid, exact, queries)
    assert_same_hits(hybrid, exact, queries, where="Score > 1 and verified = true or weight < 5.1")
    hybrid.close()
    reopened = open_store(hybrid.url)
    assert reopened.space.sparse == BM25.sparse
    assert_same_hits(reopened, exact, queries)
    reopened.close()


@sparse_engines
def test_weights_of_splade_are_not_multiplied_by_document_frequencies(url: str) -> None:
    store, reference = create_store(url, SPLADE), MemoryStore("memory://exact-splade", SPLADE)
    for each in (store, reference):
        each.upsert(names(N_ROWS), vectors(N_ROWS), table(N_ROWS, random_rows(N_ROWS, 3)))
    assert_same_hits(store, reference, random_rows(10, 4))
    store.drop()
    store.close()


@sparse_engines
def test_rows_are_replaced_and_deleted_with_their_sparse_vectors(hybrid: Store) -> None:
    embedder = SparseEmbedder("bm25")
    hybrid.delete(["row 3"])
    hybrid.upsert(["row 4"], vectors(1, seed=8), table(1, embedder.embed(["zebra"])))
    (hits,) = hybrid.search(vectors(1, seed=8), k=1, sparse=embedder.embed(["zebra"], role="query"))
    # First in both lists.
    assert [(hit.id, hit.score) for hit in hits] == [("row 4", pytest.approx(2 / 61))]
    assert hybrid.count() == N_ROWS - 1
    assert list(hybrid.get_vectors(["row 4"])["row 4"]) == pytest.approx(
        list(vectors(1, 8)[0] / np.linalg.norm(vectors(1, 8)))
    )
    assert sum(len(ids) for ids, _, _ in hybrid.iterate()) == N_ROWS - 1


@sparse_engines
def test_a_query_without_words_finds_the_nearest_rows(hybrid: Store) -> None:
    nothing = SparseEmbedder("bm25").embed(["the"], role="query")
    dense = vectors(1, seed=1)
    assert [hit.id for hit in hybrid.search(dense, k=5, sparse=nothing)[0]] == [
        hit.id for hit in hybrid.search(dense, k=5)[0]
    ]


def test_memory_finds_names_that_dense_vectors_miss() -> None:
    embedder = SparseEmbedder("bm25")
    store = MemoryStore("memory://names", BM25)
    store.upsert(
        ["a", "b", "c"],
        np.eye(16, dtype=np.float32)[:3],
        pa.table({"sparse": embedder.embed(["model XJ-900", "printers and scanners", "xj 100"]).to_column()}),
    )
    (hits,) = store.search(np.eye(16, dtype=np.float32)[1:2], k=3, sparse=embedder.embed(["XJ-900"], role="query"))
    assert hits[0].id == "a"


def test_wrong_sparse_vectors_are_rejected(exact: MemoryStore) -> None:
    store, embedder = exact, SparseEmbedder("bm25")
    with pytest.raises(InputError, match=r"holds sparse vectors of bm25\. Give a table with the column 'sparse'"):
        store.upsert(["x"], vectors(1), records(1))
    with pytest.raises(InputError, match="There are 2 sparse vectors"):
        store.search(vectors(1), sparse=embedder.embed(["a", "b"]))
    with pytest.raises(
        InputError, match="There are 1 sparse vectors of 1,000 dimensions; 1 of 2,147,483,647 are needed"
    ):
        store.search(vectors(1), sparse=random_rows(1, 1))
    with pytest.raises(InputError, match="memory://plain has no sparse vectors"):
        MemoryStore("memory://plain", SPACE).search(vectors(1), sparse=embedder.embed(["a"]))
    with pytest.raises(
        SpaceMismatchError, match=r"holds sparse vectors of bm25 \(0123\); these are of ./splade \(4567\)"
    ):
        store.require_space(SPLADE)


@dense_engines
def test_other_engines_create_collections_without_sparse_vectors(url: str) -> None:
    store = create_store(url, BM25)
    assert store.space.sparse is None
    store.upsert(["a"], vectors(1), records(1))
    assert store.count() == 1
    store.drop()
