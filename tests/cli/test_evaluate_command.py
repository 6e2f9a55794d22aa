"""Tests of `umekomi evaluate` and `umekomi data` with a model that needs no files."""

import json
from pathlib import Path

import pytest
from tests.conftest import Run

PAIRS = "first,second,score\na b,a b,5\na b,a c,3\na b,d e,0\n"
FAKE = ("-m", "umekomi-fake")


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "", "text": "two beans"}\n{"_id": "2", "text": "a dog"}\n'
    )
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "beans"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    return folder


def test_retrieval_compares_several_models_with_the_first(umekomi: Run, beir: Path) -> None:
    done = umekomi("evaluate", "retrieval", beir, *FAKE, "-m", "bm25")
    assert done.returncode == 0, done.stderr
    assert "beir: 2 documents, 1 queries" in done.stdout
    assert "MAP" in done.stdout
    assert "Difference to umekomi-fake" in done.stdout
    assert done.stdout.count("+0.000 [") == 2
    assert "vectors are not OpenAI's" in done.stderr
    rows = json.loads(umekomi("evaluate", "retrieval", "beir", *FAKE, "--alike", "--json").stdout)
    assert rows[0]["ndcg_at_10"]["value"] == rows[0]["map"]["value"] == 1.0


def test_sts_reads_the_columns_that_are_named(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(PAIRS)
    rows = json.loads(
        umekomi("evaluate", "sts", "pairs.csv", "--columns", "first,second,score", *FAKE, "--json").stdout
    )
    assert rows[0]["spearman"]["value"] == pytest.approx(1)
    assert len(rows[0]["cosines"]) == 3
    several = umekomi("evaluate", "sts", "pairs.csv", "--columns", "first,second,score", *FAKE, *FAKE, *FAKE)
    assert several.stdout.count("+0.000 [") == 4
    assert "all 2 models hold simultaneously" in several.stderr


def test_translations_are_read_from_two_files(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one bean\ntwo peas\n")
    (tmp_path / "b.txt").write_text("one bean\ntwo leeks\n")
    shown = umekomi("evaluate", "translations", "a.txt", "b.txt", *FAKE, *FAKE)
    assert "a.txt / b.txt: 2 pairs" in shown.stdout
    assert shown.stdout.count("1.000 [") == 4
    assert "Difference to umekomi-fake" in shown.stdout
    (tmp_path / "b.txt").write_text("one bean\n")
    failed = umekomi("evaluate", "translations", "a.txt", "b.txt", *FAKE)
    assert failed.returncode == 2
    assert "a.txt has 2 lines" in failed.stderr


def test_classification_prints_intervals_and_differences(umekomi: Run, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    rows = [f"good bean {n},yes\nbad dog {n},no\n" for n in range(6)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(rows))
    compared = umekomi("evaluate", "classification", "rows.csv", *FAKE, *FAKE).stdout
    assert "1.000 [0.735, 1.000]" in compared
    assert "Difference to umekomi-fake" in compared


def test_code_compares_a_model_with_the_bm25_baseline(umekomi: Run) -> None:
    pytest.importorskip("sklearn")
    shown = umekomi("evaluate", "code", "click", *FAKE, "-m", "bm25", "--limit", 10).stdout
    assert shown.count("\nbm25 ") == 2  # once with its results and once with the difference
    assert shown.count("\numekomi-fake ") == 1


def test_data_list_contains_sets_that_are_not_on_this_machine(umekomi: Run) -> None:
    assert {row["name"] for row in json.loads(umekomi("data", "list", "--json").stdout)} >= {"cranfield", "winogender"}


def test_public_sets_are_located_by_their_hash_and_converted(umekomi: Run, data: Path) -> None:
    environment = {"UMEKOMI_ASSET_PATH": str(data)}
    assert "License:  MIT" in umekomi("data", "get", "winogender", **environment).stdout
    done = umekomi("data", "convert", "stsb", "out", **environment)
    assert done.stdout.splitlines() == ["out/dev.jsonl", "out/train.jsonl"]
    assert umekomi("data", "convert", "cranfield", "beir", **environment).returncode == 0
    assert umekomi("evaluate", "retrieval", "beir", "-m", "bm25").stdout.splitlines()[3].startswith("bm25")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "retrieval", "nowhere"), "Error: nowhere is neither a file or folder nor a public data set"),
        (("evaluate", "sts", "stsb", "--split", "nine"), "Error: stsb has no split 'nine'. Choose one of dev, train."),
        (("evaluate", "sts", "x.csv", "--columns", "a,b"), "Give three names with commas"),
        (("evaluate", "code", "no_such_package"), "is neither a file, a folder nor an installed"),
        (("data", "get", "cranfield"), "Umekomi does not download data sets. Get it from http"),
        (("data", "get", "mteb"), "nor a public data set. Choose one of fine-food-reviews"),
        (("data", "convert", "winogender", "out"), "winogender needs no conversion"),
    ],
)
def test_invalid_input_prints_one_sentence_and_exits_with_status_2(
    umekomi: Run, arguments: tuple[str, ...], message: str
) -> None:
    done = umekomi(*arguments, UMEKOMI_ASSET_PATH="")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
