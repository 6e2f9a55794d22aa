"""The class Reranker."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.encoders.cross_encoder.tiny import PAIRS, load_golden, make_folder
from umekomi import RankedDocument, Reranker
from umekomi.errors import InputError
from umekomi.settings import Settings

DOCUMENTS = ["three four five", "one two", "", "six seven eight nine", "one two"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "model", "bert", load_golden()["bert"])


@pytest.fixture
def reranker(folder: Path, settings: Settings) -> Reranker:
    return Reranker(str(folder), name="tiny", settings=settings)


def test_documents_are_ranked_by_their_scores(reranker: Reranker) -> None:
    scores = reranker.score([("one two", document) for document in DOCUMENTS])
    ranking = reranker.rank("one two", DOCUMENTS)
    assert [hit.score for hit in ranking] == sorted(scores.tolist(), reverse=True)
    assert all(hit == RankedDocument(hit.index, scores[hit.index], DOCUMENTS[hit.index]) for hit in ranking)


def test_equal_documents_keep_their_order(reranker: Reranker) -> None:
    indices = [hit.index for hit in reranker.rank("one two", DOCUMENTS)]
    assert indices.index(1) + 1 == indices.index(4)


def test_top_n_limits_the_ranking(reranker: Reranker) -> None:
    assert reranker.rank("one", DOCUMENTS, top_n=2) == reranker.rank("one", DOCUMENTS)[:2]
    assert reranker.rank("one", DOCUMENTS, top_n=99) == reranker.rank("one", DOCUMENTS)
    assert reranker.rank("one", []) == []
    with pytest.raises(InputError, match="top_n is 0; it must be at least 1"):
        reranker.rank("one", DOCUMENTS, top_n=0)


def test_a_column_can_be_ranked(reranker: Reranker) -> None:
    assert reranker.rank("one", pd.Series(DOCUMENTS)) == reranker.rank("one", DOCUMENTS)


def test_long_documents_can_be_scored_by_their_best_passage(folder: Path, settings: Settings) -> None:
    plain = Reranker(str(folder), settings=settings)
    by_passages = Reranker(str(folder), max_passages=3, settings=settings)
    # The window has 48 tokens: a query of one token and three special tokens leave 44.
    passages = [("three " * 44).strip(), ("seven " * 44).strip(), "eight"]
    best = plain.score([("one", passage) for passage in passages]).max()
    assert by_passages.score([("one", " ".join(passages)), ("one", "eight")]).tolist() == [
        best,
        plain.score([("one", "eight")])[0],
    ]
    with pytest.raises(InputError, match="max_passages is 0"):
        Reranker(str(folder), max_passages=0, settings=settings)


def test_invalid_pairs_are_rejected(reranker: Reranker) -> None:
    with pytest.raises(InputError, match="The query is empty"):
        reranker.rank(" ", DOCUMENTS)
    with pytest.raises(InputError, match="Pair 1 is not a pair of two texts"):
        reranker.score([("one", "two"), ("one",)])  # type: ignore[list-item]
    with pytest.raises(InputError, match="Row 0 holds 5, which is not text"):
        reranker.rank("one", [5])  # type: ignore[list-item]
    with pytest.raises(InputError, match="Give a list of texts"):
        reranker.rank("one", "two")  # type: ignore[arg-type]


@pytest.mark.parametrize("max_passages", [1, 3])
def test_progress_counts_every_document_once(folder: Path, settings: Settings, max_passages: int) -> None:
    counts: list[int] = []
    reranker = Reranker(str(folder), max_passages=max_passages, settings=settings)
    reranker.score(PAIRS * 40, progress=counts.append)
    assert sum(counts) == len(PAIRS) * 40


def test_threads_share_a_reranker(reranker: Reranker) -> None:
    expected = reranker.score(PAIRS)
    with ThreadPoolExecutor(4) as pool:
        for scores in pool.map(lambda _: reranker.score(PAIRS), range(16)):
            assert scores.tobytes() == expected.tobytes()


def test_a_pickle_loads_the_model_again(reranker: Reranker) -> None:
    copy = pickle.loads(pickle.dumps(reranker))
    assert repr(copy) == repr(reranker) == "Reranker('tiny', max_length=48)"
    assert np.array_equal(copy.score(PAIRS), reranker.score(PAIRS))
