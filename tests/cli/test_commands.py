"""Tests of embed, search, store and other commands with a model that needs no files."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Run
from tests.encoders.cross_encoder.tiny import load_golden, make_folder
from tests.encoders.transformer.tiny import make_folder as make_embedding_model

from umekomi import Embedder, Reranker
from umekomi.cli.main import run

CSV = "id,text,score\n1,two beans in a tin,5\n2,the dog barks,1\n3,my dog likes beans,4\n"


@pytest.fixture
def embedded(umekomi: Run, tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(CSV)
    done = umekomi("embed", "in.csv", "-o", "out.parquet", "-m", "umekomi-fake", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 3
    return tmp_path / "out.parquet"


def test_an_embedded_file_can_be_searched(umekomi: Run, embedded: Path) -> None:
    result = umekomi("search", "out.parquet", "dog beans", "-n", 1, "--where", "score >= 4", "--json")
    assert result.returncode == 0, result.stderr
    hit = json.loads(result.stdout)["hits"][0]
    assert hit["record"]["text"] == "my dog likes beans"
    assert "embedding" not in hit["record"]


def test_search_prints_rank_score_and_text(umekomi: Run, embedded: Path) -> None:
    line = umekomi("search", "out.parquet", "dog barks", "-n", 1, "--columns", "score").stdout
    assert line.startswith(" 1. 0.")
    assert "[score=1]" in line
    assert "the dog barks" in line


def test_queries_may_come_from_a_pipe(umekomi: Run, embedded: Path) -> None:
    result = umekomi("search", "out.parquet", "-", "-n", 1, "--json", input="dog\nbeans\n")
    assert [json.loads(line)["query"] for line in result.stdout.splitlines()] == ["dog", "beans"]


def test_a_file_may_come_from_a_pipe(umekomi: Run, tmp_path: Path) -> None:
    done = umekomi("embed", "-", "-o", "out.parquet", "-m", "umekomi-fake", "--json", input='{"text": "日本語"}\n')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 1


def test_searching_vectors_of_a_query_model_is_an_error_that_names_its_counterpart(
    umekomi: Run, tmp_path: Path, embedder_of: Callable[[str], Embedder]
) -> None:
    query_model = embedder_of("text-search-ada-query-001").model
    (tmp_path / "in.csv").write_text(CSV)
    assert umekomi("embed", "in.csv", "-o", "q.parquet", "-m", query_model).returncode == 0
    result = umekomi("search", "q.parquet", "dog")
    assert (result.returncode, result.stdout) == (2, "")
    assert "q.parquet holds the queries of a search" in result.stderr
    assert "Embed its texts again with the counterpart, text-search-ada-doc-001." in result.stderr


def test_a_collection_is_loaded_shown_searched_listed_and_dropped(umekomi: Run, embedded: Path) -> None:
    pytest.importorskip("lancedb")
    assert "3 rows" in umekomi("store", "load", "out.parquet", "lance://db/texts", "--id", "id").stdout
    assert "3 rows" in umekomi("store", "load", "out.parquet", "lance://db/texts", "--id", "id").stdout
    assert json.loads(umekomi("store", "info", "lance://db/texts", "--json").stdout)["model"] == "umekomi-fake"
    assert "the dog barks" in umekomi("search", "lance://db/texts", "the dog barks", "-n", 1).stdout
    assert umekomi("store", "list", "lance://db").stdout == "lance://db/texts\n"
    assert umekomi("store", "drop", "lance://db/texts", "--yes").returncode == 0
    assert umekomi("store", "info", "lance://db/texts").returncode == 2


def test_store_copy_reports_the_number_of_written_and_verified_rows(umekomi: Run, embedded: Path) -> None:
    pytest.importorskip("lancedb")
    assert umekomi("store", "load", "out.parquet", "lance://db/texts?m=16").returncode == 0
    done = umekomi("store", "copy", "lance://db/texts", "lance://db/again", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["rows"], facts["written"], facts["checked"], facts["model"]) == (3, 3, 3, "umekomi-fake")
    assert "(0 written" in umekomi("store", "copy", "lance://db/texts", "lance://db/again", "--resume").stdout
    assert umekomi("store", "copy", "lance://db/texts", "lance://db/texts").returncode == 2
    invalid = umekomi("store", "load", "out.parquet", "lance://db/other?shards=3")
    assert (invalid.returncode, "has an unknown parameter 'shards'" in invalid.stderr) == (2, True)


def test_tokens_counts_a_text_a_file_and_a_pipe(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(CSV)
    assert "5 tokens" in umekomi("tokens", "beans", "-m", "umekomi-fake").stdout
    assert umekomi("tokens", "hi", "--ids", "-m", "umekomi-fake").stdout == "104 105\n"
    facts = json.loads(umekomi("tokens", "--file", "in.csv", "-m", "umekomi-fake", "--json").stdout)
    assert (facts["texts"], facts["tokens"]) == (3, 49)
    assert "3 tokens" in umekomi("tokens", "-", "-m", "umekomi-fake", input="abc").stdout


def test_models_states_that_the_vectors_are_not_openais(umekomi: Run) -> None:
    shown = umekomi("models").stdout
    assert "text-embedding-ada-002" in shown
    assert "not OpenAI's" in shown
    assert "not OpenAI's" in umekomi("models", "show", "text-embedding-ada-002").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["embed", "nothing.csv", "-o", "o.parquet"], "There is no file nothing.csv"),
        (
            ["embed", "in.csv", "-o", "o.parquet", "-t", "{nope}"],
            "There is no column 'nope'; the columns are id, text, score.",
        ),
        (
            ["embed", "in.csv", "-o", "o.parquet", "-m", "text-embedding-ada-2"],
            "does not exist. Similar: text-embedding-ada-002",
        ),
        (["search", "nothing.parquet", "x"], "Create it with `umekomi embed"),
        (["search", "in.csv", "x"], "is not a Parquet file"),
        (["search", "lance:///nowhere/nothing", "x"], "There is no collection"),
        (["search", "what://is/this", "x"], "is not the URL of a store"),
        (["tokens", "--file", "nothing.txt"], "There is no file nothing.txt"),
        (["models", "show", "nope"], "does not exist"),
        (["serve", "--host", "0.0.0.0"], "--allow-remote"),
        (["embed"], "Missing argument 'INPUT'"),
        (["frobnicate"], "No such command"),
    ],
)
def test_invalid_input_prints_one_sentence_and_exits_with_status_2(
    umekomi: Run, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "in.csv").write_text(CSV)
    done = umekomi(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "command",
    [[], ["embed"], ["search"], ["store"], ["store", "load"], ["models"], ["models", "pull"], ["tokens"], ["serve"]],
)
def test_help_shows_usage_and_an_example(umekomi: Run, command: list[str]) -> None:
    done = umekomi(*command, "--help")
    assert done.returncode == 0
    assert "Usage: umekomi" in done.stdout
    if len(command) < 2:
        assert "umekomi" in done.stdout.split("Options:")[1]


def test_embed_restores_the_signal_handlers_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\nsnow\n", encoding="utf-8")
    before = signal.getsignal(signal.SIGTERM)
    assert run(["embed", str(tmp_path / "texts.csv"), "-o", str(tmp_path / "out.parquet"), "-m", "umekomi-fake"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_search_reranks_files_and_stores(umekomi: Run, embedded: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "tiny", "bert", load_golden()["bert"])
    assert umekomi("store", "load", "out.parquet", "qdrant-edge://db/texts", "--id", "id").returncode == 0
    texts = {"two beans in a tin", "the dog barks", "my dog likes beans"}
    expected = [hit.document for hit in Reranker(str(tmp_path / "tiny")).rank("dog", sorted(texts))]
    for arguments in (["search", "out.parquet"], ["store", "search", "qdrant-edge://db/texts"]):
        done = umekomi(*arguments, "dog", "-n", 2, "--rerank", "./tiny", "--candidates", 3, "--json")
        assert done.returncode == 0, done.stderr
        hits = json.loads(done.stdout)["hits"]
        assert [hit["record"]["text"] for hit in hits] == expected[:2]
        assert all(set(hit) == {"id", "score", "rerank_score", "record"} for hit in hits)
    line = umekomi("search", "out.parquet", "dog", "--rerank", "./tiny").stdout.splitlines()[0]
    assert re.match(r" 1\. 0\.\d{3} \(-?0\.\d{3}\)  ", line), line
    plain = json.loads(umekomi("search", "out.parquet", "dog", "--json").stdout)["hits"][0]
    assert set(plain) == {"id", "score", "record"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rerank", "tiny"], "tiny is not a reranker. Give the folder of a cross-encoder"),
        (["--rerank", "./nothing"], "There is no folder ./nothing."),
        (["--rerank", "./embedding"], "./embedding is not a cross-encoder but an embedding model"),
        (["--rerank", "./embedding", "--diversity", "0.5"], "Give either --rerank or --diversity."),
    ],
)
def test_an_unusable_reranker_is_rejected(
    umekomi: Run, embedded: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    make_embedding_model(tmp_path / "embedding", "bert")
    done = umekomi("search", "out.parquet", "dog", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {message}")
    assert len(done.stderr.splitlines()) == 1
