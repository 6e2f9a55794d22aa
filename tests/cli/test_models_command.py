"""`umekomi models show`: all of a card."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Run

from umekomi import Embedder
from umekomi.catalog import DEFAULT_MODEL, load_catalog
from umekomi.evaluation.model_card import describe_model
from umekomi.settings import Settings

VISIBLE = [card.id for card in load_catalog().models.values() if not card.hidden]


@pytest.mark.parametrize("model", VISIBLE)
def test_every_card_says_all_of_it(model: str, settings: Settings) -> None:
    catalog = load_catalog()
    card = catalog.model(model)
    about = describe_model(model, settings=settings)
    assert (about["dimensions"], about["tokenizer"], about["max_tokens"]) == (
        card.dimensions,
        card.tokenizer,
        card.max_tokens,
    )
    assert (about["space"], about["role"], about["pair"]) == (card.space, card.role, card.pair or None)
    assert (about["can_shorten"], about["replaces_newlines"]) == (card.can_shorten, card.replaces_newlines)
    assert sum(part["dimensions"] for part in about["parts"]) == card.dimensions
    assert sum(part["share"] for part in about["parts"]) == pytest.approx(1, abs=1e-3)
    assert all(part["license"] and part["description"] for part in about["parts"])
    assert [file["sha256"] for file in about["files"]] == [asset.sha256 for asset in catalog.assets_of(card)]
    assert all(file["license"] and file["bytes"] > 0 for file in about["files"])
    assert not about["here"]
    assert about["fingerprint"] is None
    assert "not OpenAI's" in about["note"]


def test_the_fingerprint_is_that_of_the_vectors(embedder_of: Callable[[str], Embedder]) -> None:
    loaded = embedder_of(DEFAULT_MODEL)
    assert describe_model(DEFAULT_MODEL)["fingerprint"] == loaded.fingerprint


def test_show_prints_it_in_words(umekomi: Run, tmp_path: Path) -> None:
    away = {"UMEKOMI_CACHE": str(tmp_path), "UMEKOMI_ASSET_PATH": "", "UMEKOMI_OFFLINE": "1"}
    shown = umekomi("models", "show", "text-search-davinci-doc-001", **away).stdout
    for told in (
        "12,288, always all",
        "gpt2",
        "2,046",
        "each becomes a space",
        "documents of a search",
        "text-search-davinci-query-001",
        "text-search-davinci-001",
        "known once its files are here: umekomi models pull text-search-davinci-doc-001",
        "$0.20 for 1,000 tokens",
        "6 of 800 tokens",
        "52.8",
        "August 2020",
        "2022-04-28",
        "license MIT",
        "437,971,872 bytes",
        "sha256 78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        "not OpenAI's",
    ):
        assert told in shown
    # The table of numbers to centre on is named by its checksum.
    assert max(map(len, shown.splitlines())) < 250


def test_show_of_a_model_that_needs_no_files(umekomi: Run, fake: Embedder) -> None:
    about = json.loads(umekomi("models", "show", "umekomi-fake", "--json").stdout)
    assert about["here"] is True
    assert about["fingerprint"] == fake.fingerprint
    assert "Files: none" in umekomi("models", "show", "umekomi-fake").stdout


def test_table_measures_and_says_what_is_left_out(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\na b,a b,5\na b,a c,3\na b,d e,0\n")
    (tmp_path / "lines.txt").write_text("one\ntwo\n\nthree\n")
    given = ["-m", "umekomi-fake", "--measure", "--sample", "lines.txt", "--english", "pairs.csv", "--vectors", "kept"]
    away = {"UMEKOMI_ASSET_PATH": ""}
    done = umekomi("models", "table", *given, "--json", **away)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)[0]["measured"]
    assert measured["english"]["value"] == pytest.approx(1)
    assert measured["texts_per_second"] > 0
    assert measured["code"]["value"] > 0
    assert measured["retrieval"] is None
    assert "Left out: cranfield is not on this machine" in done.stderr
    assert "1 of 1: umekomi-fake" in done.stderr
    assert any((tmp_path / "kept").iterdir())
    shown = umekomi("models", "table", *given, "--texts", 0, **away)
    assert "| 1.000 [1.000, 1.000] | – |" in shown.stdout
    assert umekomi("models", "table", "-m", "nope").returncode == 2


def test_table_of_the_whole_catalogue(umekomi: Run) -> None:
    shown = umekomi("models", "table").stdout
    assert all(f"`{model}`" in shown for model in VISIBLE)
