import json
from pathlib import Path

import pytest

from umekomi import Settings
from umekomi.errors import AssetMissingError, InputError, RecordError
from umekomi.evaluation.datasets import (
    PairSet,
    RetrievalSet,
    known_set,
    known_sets,
    load_labelled,
    load_pairs,
    load_retrieval,
    read_beir,
    read_stsb,
    require_files,
    write_beir,
    write_pairs,
)

TINY = RetrievalSet("beir", {"1": "one", "2": "two"}, {"q": "uno"}, {"q": {"1": 2, "2": 0}})


def test_beir_is_read_as_it_is_written(tmp_path: Path) -> None:
    write_beir(TINY, tmp_path / "beir")
    assert read_beir(tmp_path / "beir") == TINY
    assert load_retrieval(str(tmp_path / "beir")) == TINY


def test_a_title_stands_before_the_text_and_unjudged_queries_are_left_out(tmp_path: Path) -> None:
    write_beir(TINY, tmp_path)
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": 1, "title": "A title", "text": "one"}\n{"_id": "2", "text": "two"}\n'
    )
    with (tmp_path / "queries.jsonl").open("a") as stream:
        stream.write('{"_id": "silent", "text": "?"}\n')
    found = read_beir(tmp_path)
    assert found.documents == {"1": "A title one", "2": "two"}
    assert list(found.queries) == ["q"]


def test_qrels_may_be_trecs_own(tmp_path: Path) -> None:
    write_beir(TINY, tmp_path)
    (tmp_path / "qrels" / "dev.tsv").write_text("q\t0\t1\t3\n")
    assert read_beir(tmp_path, split="dev").judgements == {"q": {"1": 3}}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("corpus.jsonl", None, "There is no file .*corpus.jsonl. A retrieval set is a folder"),
        ("corpus.jsonl", '{"text": "x"}', "Line 1 of .*corpus.jsonl is not a JSON object with an"),
        ("qrels/test.tsv", None, "the splits here are: none"),
        ("qrels/test.tsv", "q\t1\t1\nq\t2\tx", "Line 2 of .*test.tsv is not a query, a document and a whole number"),
        ("qrels/test.tsv", "other\t1\t1", "No query of .* has a judgement"),
    ],
)
def test_a_broken_set_is_refused_in_a_sentence(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    write_beir(TINY, tmp_path)
    (tmp_path / file).unlink()
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(RecordError, match=message):
        read_beir(tmp_path)


def test_pairs_are_read_from_any_records(tmp_path: Path) -> None:
    pairs = PairSet("pairs", ("a", "b"), ("c", "d"), (1.0, 4.5))
    assert load_pairs(str(write_pairs(pairs, tmp_path / "pairs.jsonl"))) == pairs
    (tmp_path / "pairs.csv").write_text("x,y,z\na,c,1\nb,d,4.5\n")
    assert load_pairs(str(tmp_path / "pairs.csv"), columns=("x", "y", "z")) == pairs
    (tmp_path / "pairs.tsv").write_text("sentence1\tsentence2\tlabel\na\tc\t1\nb\td\t4.5\n")
    assert load_pairs(str(tmp_path / "pairs.tsv")) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,z\na,c,1\n", "There is no column 'sentence1' in .*; it has x, y, z"),
        ("sentence1,sentence2,score\na,c,good\n", "Row 1 of .* has 'good' for a score"),
        ("sentence1,sentence2,score\na,c,1\nb,,2\n", "Row 2 of .* has no text"),
    ],
)
def test_broken_pairs_are_refused_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(RecordError, match=message):
        load_pairs(str(tmp_path / "pairs.csv"))


def test_the_sts_benchmark_quotes_nothing(tmp_path: Path) -> None:
    (tmp_path / "sts.csv").write_text('main\tMSR\t2012\t1\t2.5\tHe said "no.\tShe left.\tsource\n')
    assert read_stsb(tmp_path / "sts.csv", "x") == PairSet("x", ('He said "no.',), ("She left.",), (2.5,))


def test_labelled_texts(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label,stars\ngood,yes,5\nbad,no,1\n")
    assert load_labelled(str(tmp_path / "rows.csv")).labels == ("yes", "no")
    assert load_labelled(str(tmp_path / "rows.csv"), template="It is {text}", label="stars").texts == (
        "It is good",
        "It is bad",
    )
    with pytest.raises(RecordError, match="no column 'kind'"):
        load_labelled(str(tmp_path / "rows.csv"), label="kind")


def test_a_known_set_that_is_not_here_says_where_it_is_from(settings: Settings) -> None:
    with pytest.raises(AssetMissingError, match=r"Umekomi fetches no data sets: get it from http.*\(licence: MIT\)"):
        require_files(known_set("winogender"), settings)
    with pytest.raises(InputError, match="nor a known data set; known are fine-food-reviews, ag-news"):
        load_pairs("no-such-file.csv")
    with pytest.raises(InputError, match="stsb is a set for sts, not for retrieval"):
        load_retrieval("stsb")


def test_every_known_set_is_found_by_its_hash_and_read(data: Path) -> None:
    settings = Settings(cache=data / "none", asset_path=(data,), offline=True)
    for known in known_sets().values():
        assert set(require_files(known, settings)) == set(known.splits)
    assert len(load_pairs("stsb", split="dev", settings=settings).scores) == 1500
    assert len(load_pairs("jsts", settings=settings).scores) == 3000
    assert set(load_labelled("ag-news", settings=settings).labels) == {"World", "Sports", "Business", "Sci/Tech"}
    assert len(load_labelled("fine-food-reviews", settings=settings).texts) == 1000


def test_a_changed_file_is_not_the_known_set(tmp_path: Path) -> None:
    asset = known_set("jsts").files[0]
    (tmp_path / asset.file).write_bytes(json.dumps({}).encode().ljust(asset.size))
    with pytest.raises(AssetMissingError, match="jsts is not on this machine"):
        require_files(known_set("jsts"), Settings(cache=tmp_path, asset_path=(tmp_path,)))


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(b'{"_id": 1, "text": "x"}\n{"_id": 2, "text": "\xff"}\n')
    with pytest.raises(RecordError, match=r"Line 2 of .*corpus\.jsonl is not text in UTF-8"):
        read_beir(tmp_path)
