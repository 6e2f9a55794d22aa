import json
from pathlib import Path

import pytest

from umekomi import Settings
from umekomi.errors import AssetMissingError, InputError, RecordError
from umekomi.evaluation.datasets import (
    PairDataset,
    RetrievalDataset,
    load_labeled,
    load_pairs,
    load_retrieval,
    public_dataset,
    public_datasets,
    read_beir,
    read_stsb,
    require_files,
    write_beir,
    write_pairs,
)

TINY = RetrievalDataset("beir", {"1": "one", "2": "two"}, {"q": "uno"}, {"q": {"1": 2, "2": 0}})


def test_beir_round_trip(tmp_path: Path) -> None:
    write_beir(TINY, tmp_path / "beir")
    assert read_beir(tmp_path / "beir") == TINY
    assert load_retrieval(str(tmp_path / "beir")) == TINY


def test_titles_are_prepended_and_unjudged_queries_omitted(tmp_path: Path) -> None:
    write_beir(TINY, tmp_path)
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": 1, "title": "A title", "text": "one"}\n{"_id": "2", "text": "two"}\n'
    )
    with (tmp_path / "queries.jsonl").open("a") as stream:
        stream.write('{"_id": "silent", "text": "?"}\n')
    found = read_beir(tmp_path)
    assert found.documents == {"1": "A title one", "2": "two"}
    assert list(found.queries) == ["q"]


def test_qrels_in_trec_format(tmp_path: Path) -> None:
    write_beir(TINY, tmp_path)
    (tmp_path / "qrels" / "dev.tsv").write_text("q\t0\t1\t3\n")
    assert read_beir(tmp_path, split="dev").judgments == {"q": {"1": 3}}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("corpus.jsonl", None, "The file .*corpus.jsonl does not exist. A retrieval data set is a folder"),
        ("corpus.jsonl", '{"text": "x"}', "Line 1 of .*corpus.jsonl is not a JSON object with an"),
        ("qrels/test.tsv", None, "Available splits: none"),
        ("qrels/test.tsv", "q\t1\t1\nq\t2\tx", "Line 2 of .*test.tsv must be a query, a document and an integer"),
        ("qrels/test.tsv", "other\t1\t1", "No query of .* has a judgment"),
    ],
)
def test_malformed_retrieval_sets_are_rejected(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    write_beir(TINY, tmp_path)
    (tmp_path / file).unlink()
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(RecordError, match=message):
        read_beir(tmp_path)


def test_pairs_from_several_formats(tmp_path: Path) -> None:
    pairs = PairDataset("pairs", ("a", "b"), ("c", "d"), (1.0, 4.5))
    assert load_pairs(str(write_pairs(pairs, tmp_path / "pairs.jsonl"))) == pairs
    (tmp_path / "pairs.csv").write_text("x,y,z\na,c,1\nb,d,4.5\n")
    assert load_pairs(str(tmp_path / "pairs.csv"), columns=("x", "y", "z")) == pairs
    (tmp_path / "pairs.tsv").write_text("sentence1\tsentence2\tlabel\na\tc\t1\nb\td\t4.5\n")
    assert load_pairs(str(tmp_path / "pairs.tsv")) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,z\na,c,1\n", "has no column 'sentence1', only x, y, z"),
        ("sentence1,sentence2,score\na,c,good\n", "The score in row 1 of .* is 'good'"),
        ("sentence1,sentence2,score\na,c,1\nb,,2\n", "Row 2 of .* has no text"),
    ],
)
def test_malformed_pairs_are_rejected(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(RecordError, match=message):
        load_pairs(str(tmp_path / "pairs.csv"))


def test_quotes_in_the_sts_benchmark_are_literal(tmp_path: Path) -> None:
    (tmp_path / "sts.csv").write_text('main\tMSR\t2012\t1\t2.5\tHe said "no.\tShe left.\tsource\n')
    assert read_stsb(tmp_path / "sts.csv", "x") == PairDataset("x", ('He said "no.',), ("She left.",), (2.5,))


def test_labeled_texts(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label,stars\ngood,yes,5\nbad,no,1\n")
    assert load_labeled(str(tmp_path / "rows.csv")).labels == ("yes", "no")
    assert load_labeled(str(tmp_path / "rows.csv"), template="It is {text}", label="stars").texts == (
        "It is good",
        "It is bad",
    )
    with pytest.raises(RecordError, match="no column 'kind'"):
        load_labeled(str(tmp_path / "rows.csv"), label="kind")


def test_the_error_for_a_missing_public_set_names_its_source(settings: Settings) -> None:
    with pytest.raises(
        AssetMissingError, match=r"Umekomi does not download data sets. Get it from http.*\(license: MIT\)"
    ):
        require_files(public_dataset("winogender"), settings)
    with pytest.raises(InputError, match=r"nor a public data set. Choose one of fine-food-reviews, ag-news"):
        load_pairs("no-such-file.csv")
    with pytest.raises(InputError, match="stsb is a data set for sts, not for retrieval"):
        load_retrieval("stsb")


def test_every_public_set_is_found_by_its_hash_and_read(data: Path) -> None:
    settings = Settings(cache=data / "none", asset_path=(data,), offline=True)
    for dataset in public_datasets().values():
        assert set(require_files(dataset, settings)) == set(dataset.splits)
    assert len(load_pairs("stsb", split="dev", settings=settings).scores) == 1500
    assert len(load_pairs("jsts", settings=settings).scores) == 3000
    assert set(load_labeled("ag-news", settings=settings).labels) == {"World", "Sports", "Business", "Sci/Tech"}
    assert len(load_labeled("fine-food-reviews", settings=settings).texts) == 1000


def test_a_changed_file_is_not_accepted_as_a_public_set(tmp_path: Path) -> None:
    asset = public_dataset("jsts").files[0]
    (tmp_path / asset.file).write_bytes(json.dumps({}).encode().ljust(asset.size))
    with pytest.raises(AssetMissingError, match="jsts is not on this machine"):
        require_files(public_dataset("jsts"), Settings(cache=tmp_path, asset_path=(tmp_path,)))


def test_invalid_utf8_is_rejected_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_bytes(b'{"_id": 1, "text": "x"}\n{"_id": 2, "text": "\xff"}\n')
    with pytest.raises(RecordError, match=r"Line 2 of .*corpus\.jsonl is not text in UTF-8"):
        read_beir(tmp_path)
