"""``umekomi embed --sparse`` and ``umekomi search --sparse``."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.encoders.sparse.tiny import load_golden, make_folder

from umekomi import SparseVectors, read_table
from umekomi.cli.main import run
from umekomi.vectors.sparse import COLUMN_TYPE


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,good coffee beans\n2,bad tea\n3,printer XJ-900\n4,珈琲豆を買う\n")
    return path


def embed(*options: str) -> int:
    return run(["embed", "in.csv", "-o", "out.parquet", "-m", "umekomi-fake", "--quiet", *options])


def test_a_hybrid_search_finds_a_rare_word(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert embed("--sparse", "bm25") == 0
    assert pq.read_schema("out.parquet").field("sparse").type == COLUMN_TYPE
    capsys.readouterr()
    assert run(["search", "out.parquet", "XJ-900", "--sparse", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["hits"][0]
    assert best["id"] == "3"
    assert best["score"] == pytest.approx(2 / 61)
    assert run(["search", "out.parquet", "珈琲", "--sparse", "-n", "1"]) == 0
    assert "珈琲豆を買う" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["memory://sparse-cli", "qdrant-edge://db/texts"])
def test_a_store_keeps_the_sparse_vectors_of_a_file(
    engine: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_edge")
    embed("--sparse", "bm25")
    assert run(["store", "load", "out.parquet", engine]) == 0
    capsys.readouterr()
    assert run(["store", "search", engine, "XJ-900", "--sparse", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["id"] == "3"
    assert run(["store", "copy", engine, "memory://sparse-copy"]) == 0
    assert "The sparse vectors are not copied" in capsys.readouterr().err
    for url in (engine, "memory://sparse-copy"):
        assert run(["store", "drop", url, "--yes"]) == 0


def test_a_table_in_memory_keeps_the_sparse_vectors(source: Path) -> None:
    embed("--sparse", "bm25")
    read_table("out.parquet").save("copy.parquet")
    first, second = (pq.read_table(name)["sparse"] for name in ("out.parquet", "copy.parquet"))
    assert first == second
    assert run(["search", "copy.parquet", "XJ-900", "--sparse"]) == 0


def test_splade_works_like_bm25(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path / "splade", "bert", load_golden()["bert"])
    assert embed("--sparse", "./splade") == 0
    column = pq.read_table("out.parquet")["sparse"]
    assert len(SparseVectors.from_column(column, dims=17)) == 4
    assert run(["search", "out.parquet", "one two", "--sparse"]) == 0
    capsys.readouterr()
    assert run(["embed", "one two", "--sparse", "./splade", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (len(printed["indices"]), len(printed["words"])) == (len(printed["values"]),) * 2
    assert "seven" in printed["words"]


def test_a_text_is_printed_with_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["embed", "good coffee, good beans", "the", "--sparse", "bm25,mean_length=4"]) == 0
    assert capsys.readouterr().out == "good 1.375  coffe 1.000  bean 1.000\n(no words)\n"
    assert run(["embed", "beans", "--sparse", "bm25", "--role", "query", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"text": "beans", "indices": [1606562138], "values": [1.0], "words": ["bean"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "in.csv"], "Missing option '-o' / '--output'"),
        (["embed", "in.csv", "-o", "x.parquet", "--sparse", "bm26"], "bm26 is not a sparse encoder. Give bm25"),
        (["embed", "in.csv", "-o", "x.parquet", "--sparse", "bm25,b=7"], "b=7; use a number from 0 to 1"),
        (["embed", "in.csv", "-o", "x.parquet", "--sparse", "./nowhere"], "There is no folder ./nowhere"),
        (["embed", "in.csv", "-o", "folder/", "--sparse", "bm25"], "--sparse writes a single file"),
        (["search", "out.parquet", "tea", "--sparse"], "out.parquet has no sparse vectors"),
        (["search", "hybrid.parquet", "tea", "--sparse", "--diversity", "0.5"], "either --sparse or --diversity"),
    ],
)
def test_wrong_options_are_rejected_with_one_sentence(
    arguments: list[str], message: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed()
    run(["embed", "in.csv", "-o", "hybrid.parquet", "-m", "umekomi-fake", "--sparse", "bm25", "--quiet"])
    capsys.readouterr()
    assert run(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last


@pytest.mark.parametrize("damage", ["no column", "other type", "other index"])
def test_damaged_sparse_vectors_are_an_error(damage: str, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed("--sparse", "bm25")
    table = pq.read_table("out.parquet")
    index = table.schema.get_field_index("sparse")
    if damage == "no column":
        table = table.remove_column(index)
    elif damage == "other type":
        table = table.set_column(index, "sparse", pa.array(["x"] * 4))
    else:
        wrong = pa.array([{"indices": [2**32 - 1], "values": [1.0]}] * 4, COLUMN_TYPE)
        table = table.set_column(index, "sparse", wrong)
    pq.write_table(table, "damaged.parquet")
    capsys.readouterr()
    assert run(["search", "damaged.parquet", "tea", "--sparse"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
