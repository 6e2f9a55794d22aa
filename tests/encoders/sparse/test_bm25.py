"""BM25 as sparse vectors: dot products are the scores of BM25."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi import InputError, SparseEmbedder
from umekomi.encoders.sparse.bm25 import DIMS, Bm25Encoder, Bm25Options, inverse_document_frequency, parse_bm25
from umekomi.evaluation.bm25 import Bm25

WORDS = ["bean", "coffee", "tea", "cups", "two", "the", "running", "珈琲", "豆", "東京都", "커피", "2024"]


def score(documents: list[str], query: str, options: Bm25Options) -> np.ndarray:
    """Return the dot products of a query and documents, with the weights of the query times the frequencies in the documents."""
    encoder = Bm25Encoder(options)
    rows = encoder.encode(documents)
    weights = encoder.encode([query], role="query").row(0)
    vectors = [rows.row(row) for row in range(len(documents))]
    idf = {
        index: float(inverse_document_frequency(len(documents), sum(index in vector for vector in vectors)))
        for index in weights
    }
    return np.array(
        [sum(vector.get(index, 0.0) * weight * idf[index] for index, weight in weights.items()) for vector in vectors]
    )


@given(st.integers(0, 10_000))
def test_dot_products_are_the_scores_of_the_baseline(seed: int) -> None:
    source = random.Random(seed)
    documents = [" ".join(source.choices(WORDS, k=source.randint(1, 12))) for _ in range(source.randint(2, 12))]
    # A repeated word of a query has weight 1 here, and the number of its occurrences in the baseline.
    query = " ".join(source.sample(["bean", "coffee", "tea", "running", "珈琲", "2024"], k=3))
    terms = Bm25Encoder().terms
    lengths = [terms(document).total() for document in documents]
    if not sum(lengths):
        return
    options = Bm25Options(k1=1.2, b=0.75, mean_length=float(np.mean(lengths)))
    index = Bm25({str(number): text for number, text in enumerate(documents)}, terms=terms, k1=options.k1, b=options.b)
    expected = index.search(query, k=len(documents))
    scores = score(documents, query, options) / (options.k1 + 1)
    assert {str(row): value for row, value in enumerate(scores) if value > 0} == pytest.approx(expected, rel=1e-5)


def test_a_document_has_saturated_frequencies_and_a_query_has_ones() -> None:
    embedder = SparseEmbedder("bm25,mean_length=4")
    # Four terms, so the length has no effect: 2 · 2.2 / (2 + 1.2) and 1 · 2.2 / (1 + 1.2).
    assert sorted(embedder.embed(["bean beans coffee tea"]).row(0).values()) == pytest.approx([1.0, 1.0, 1.375])
    assert set(embedder.embed(["bean beans coffee tea"], role="query").row(0).values()) == {1.0}
    assert embedder.dims == DIMS < 2**31


def test_a_longer_document_has_smaller_weights() -> None:
    embedder = SparseEmbedder("bm25,mean_length=4")
    short, long = embedder.embed(["bean", "bean coffee tea milk sugar water"]).to_scipy().max(axis=1).toarray().ravel()
    assert short > 1 > long


def test_terms_are_words_of_any_language_without_stop_words() -> None:
    terms = Bm25Encoder().terms
    assert terms("The beans are in the CUPS") == {"bean": 1, "cup": 1}
    assert set(terms("珈琲豆")) == {"珈琲", "琲豆", "珈", "琲", "豆"}
    assert set(terms("커피를")) & set(terms("커피가"))


def test_a_term_has_the_same_dimension_on_every_machine() -> None:
    vectors = SparseEmbedder("bm25").embed(["bean", "珈琲"], role="query")
    assert [*vectors.row(0), *vectors.row(1)] == [1606562138, 163152846, 1303930515, 1615814073]


def test_texts_without_terms_have_no_weights() -> None:
    assert SparseEmbedder("bm25").embed(["", "the of and", "!?"]).indptr.tolist() == [0, 0, 0, 0]


def test_the_name_has_the_options() -> None:
    options = parse_bm25("bm25,mean_length=87.5,k1=0.9")
    assert options == Bm25Options(k1=0.9, b=0.75, mean_length=87.5)
    assert Bm25Encoder(options).model == "bm25,k1=0.9,mean_length=87.5"
    # A query has the same vector with all options, so they do not prevent a comparison.
    assert SparseEmbedder("bm25,b=0").fingerprint == SparseEmbedder("bm25").fingerprint


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("bm25,b=2", "has b=2; use a number from 0 to 1"),
        ("bm25,k1=x", "has k1=x; use a number from 0 to 100"),
        ("bm25,mean_length=0", "has mean_length=0"),
        ("bm25,b=nan", "has b=nan"),
        ("bm25,avgdl=3", "unknown option 'avgdl'; BM25 has k1, b, mean_length"),
    ],
)
def test_invalid_options_are_rejected(model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SparseEmbedder(model)
