import math

import pytest

from umekomi.evaluation.bm25 import K1, B, Bm25, bm25_run
from umekomi.evaluation.datasets import RetrievalDataset


def test_a_score_by_hand() -> None:
    index = Bm25({"a": "dog dog bean", "b": "bean tin sea moon moon"})
    idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 / (2 + K1 * (1 - B + B * 3 / 4))
    assert index.search("the dogs") == {"a": pytest.approx(expected)}


def test_results_are_ranked_and_exclude_texts_without_common_terms() -> None:
    index = Bm25({"a": "bean tin", "b": "bean", "c": "dog"})
    assert list(index.search("bean tin")) == ["a", "b"]
    assert list(index.search("bean tin", k=1)) == ["a"]
    assert list(index.search("bean tin", k=1, exclude="a")) == ["b"]
    assert index.search("?") == {}


def test_identifiers_and_japanese_are_split() -> None:
    index = Bm25({"code": "def parseHTTPHeader(raw_line): ...", "日": "川で泳ぐ人たち"})
    assert list(index.search("parse an http header line")) == ["code"]
    assert list(index.search("泳ぐ")) == ["日"]


def test_the_source_document_of_a_query_is_excluded() -> None:
    data = RetrievalDataset("tiny", {"a": "bean", "b": "bean dog"}, {"a": "bean"}, {"a": {"b": 1}}, shared_ids=True)
    assert list(bm25_run(data)["a"]) == ["b"]
