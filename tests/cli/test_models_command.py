"""Tests of `umekomi models list`, `umekomi models show` and `umekomi models table`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Run

from umekomi import Embedder
from umekomi.assets.prepared import PreparedFiles
from umekomi.catalog import DEFAULT_MODEL, load_catalog
from umekomi.evaluation.model_card import describe_model
from umekomi.settings import Settings

VISIBLE = [card.id for card in load_catalog().models.values() if not card.hidden]


def test_list_shows_what_models_are_for_and_how_good_they_are(umekomi: Run) -> None:
    lines = umekomi("models", "list").stdout.splitlines()
    assert lines[0].split() == ["model", "dims", "for", "search", "search", "STS", "STS", "code", "mixed", "here"]
    table = lines[2 : 2 + len(VISIBLE)]
    assert [line.split()[0] for line in table] == VISIBLE
    assert max(map(len, table)) <= 100
    rows = {row["id"]: row for row in json.loads(umekomi("models", "list", "--json").stdout)}
    figure = rows["text-similarity-curie-001"]["measured"]["figures"]["stsb Spearman"]
    (line,) = [line for line in table if line.startswith("text-similarity-curie-001 ")]
    assert " similarity " in line
    assert f"{figure:.3f}" in line


@pytest.mark.parametrize("model", VISIBLE)
def test_the_description_of_a_model_contains_all_fields_of_its_card(model: str, settings: Settings) -> None:
    catalog = load_catalog()
    card = catalog.model(model)
    facts = describe_model(model, settings=settings)
    assert (facts["dimensions"], facts["tokenizer"], facts["max_tokens"]) == (
        card.dimensions,
        card.tokenizer,
        card.max_tokens,
    )
    assert (facts["space"], facts["role"], facts["pair"]) == (card.space, card.role, card.pair or None)
    assert (facts["can_shorten"], facts["replaces_newlines"]) == (card.can_shorten, card.replaces_newlines)
    assert sum(part["dimensions"] for part in facts["parts"]) == card.dimensions
    assert sum(part["share"] for part in facts["parts"]) == pytest.approx(1, abs=1e-3)
    assert all(part["license"] and part["description"] for part in facts["parts"])
    assert [file["sha256"] for file in facts["files"]] == [asset.sha256 for asset in catalog.assets_of(card)]
    assert all(file["license"] and file["bytes"] > 0 for file in facts["files"])
    assert not facts["here"]
    assert facts["fingerprint"] is None
    assert "not OpenAI's" in facts["note"]


def test_the_described_fingerprint_equals_that_of_the_vectors(embedder_of: Callable[[str], Embedder]) -> None:
    loaded = embedder_of(DEFAULT_MODEL)
    assert describe_model(DEFAULT_MODEL)["fingerprint"] == loaded.fingerprint


def test_show_prints_the_card_as_text(umekomi: Run, tmp_path: Path) -> None:
    no_files = {"UMEKOMI_CACHE": str(tmp_path), "UMEKOMI_ASSET_PATH": "", "UMEKOMI_OFFLINE": "1"}
    shown = umekomi("models", "show", "text-search-davinci-doc-001", **no_files).stdout
    for line in (
        "12,288, fixed",
        "gpt2",
        "2,046",
        "are replaced by spaces",
        "document of a search",
        "text-search-davinci-query-001",
        "text-search-davinci-001",
        "unknown until the files are here: umekomi models pull text-search-davinci-doc-001",
        "$0.20 per 1,000 tokens",
        "6 of 800 tokens",
        "52.8",
        "August 2020",
        "2022-04-28",
        "license MIT",
        "437,971,872 bytes",
        "sha256 78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        "not OpenAI's",
    ):
        assert line in shown
    # Long tables of numbers are replaced by their checksums.
    assert max(map(len, shown.splitlines())) < 250


def test_show_works_for_a_model_without_files(umekomi: Run, fake: Embedder) -> None:
    facts = json.loads(umekomi("models", "show", "umekomi-fake", "--json").stdout)
    assert facts["here"] is True
    assert facts["fingerprint"] == fake.fingerprint
    assert "Files: none" in umekomi("models", "show", "umekomi-fake").stdout


def test_table_adds_measurements_and_reports_skipped_data_sets(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\na b,a b,5\na b,a c,3\na b,d e,0\n")
    (tmp_path / "lines.txt").write_text("one\ntwo\n\nthree\n")
    options = [
        "-m",
        "umekomi-fake",
        "--measure",
        "--sample",
        "lines.txt",
        "--english",
        "pairs.csv",
        "--vectors",
        "cache",
    ]
    no_data = {"UMEKOMI_ASSET_PATH": ""}
    done = umekomi("models", "table", *options, "--json", **no_data)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)[0]["measured"]
    assert measured["english"]["value"] == pytest.approx(1)
    assert measured["texts_per_second"] > 0
    assert measured["code"]["value"] > 0
    assert measured["retrieval"] is None
    assert "Skipped: cranfield is not on this machine" in done.stderr
    assert "1 of 1: umekomi-fake" in done.stderr
    assert any((tmp_path / "cache").iterdir())
    shown = umekomi("models", "table", *options, "--texts", 0, **no_data)
    assert "| 1.000 [1.000, 1.000] | – |" in shown.stdout
    assert umekomi("models", "table", "-m", "nope").returncode == 2


def test_table_lists_the_whole_catalog(umekomi: Run) -> None:
    shown = umekomi("models", "table").stdout
    assert all(f"`{model}`" in shown for model in VISIBLE)


def test_clean_deletes_prepared_files_only(umekomi: Run, tmp_path: Path) -> None:
    PreparedFiles(Settings(cache=tmp_path)).store("key", lambda folder: (folder / "a").write_bytes(b"12345") and None)
    (tmp_path / "digests.json").write_text("{}")
    deleted = json.loads(umekomi("models", "clean", "--json", UMEKOMI_CACHE=str(tmp_path)).stdout)
    assert deleted["bytes"] >= 5
    assert [path.name for path in tmp_path.iterdir()] == ["digests.json"]
    assert umekomi("models", "clean", UMEKOMI_CACHE=str(tmp_path)).stdout == "Deleted 0 MB of prepared files.\n"
