"""Tests of `umekomi bias` with a model that needs no files."""

import json
from pathlib import Path

import pytest
from tests.conftest import Run

FAKE = ("-m", "umekomi-fake")


@pytest.fixture
def lists(tmp_path: Path) -> tuple[str, ...]:
    for name in ("he", "she", "work", "home"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {n}\n" for n in range(4)))
    return "--targets", "he.txt", "she.txt", "--attributes", "work.txt", "home.txt"


def test_seat_prints_effects_and_warns_against_a_single_score(umekomi: Run) -> None:
    done = umekomi("bias", "seat", *FAKE, "--tests", "weat6,weat9")
    assert done.returncode == 0, done.stderr
    assert "all 12,870" in done.stdout
    assert "all 924" in done.stdout
    assert "There is no single score" in done.stderr
    result = json.loads(umekomi("bias", "seat", *FAKE, "--tests", "weat6", "--bare", "--seed", 3, "--json").stdout)[0]
    assert (result["bare"], result["seed"], result["unit"]) == (True, 3, "word")
    assert result["effects"][0]["splits"] == 12870


def test_reports_are_written_for_each_model_with_a_comparison(umekomi: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert umekomi("bias", "seat", *FAKE, "--tests", "weat6", "--report", "one.html").returncode == 0
    both = umekomi(
        "bias", "seat", *FAKE, "-m", "umekomi-fake,without=gender", "--tests", "weat6", "--report", "all.html"
    )
    assert both.returncode == 0, both.stderr
    pages = sorted(path.name for path in tmp_path.glob("*.html"))
    assert pages == ["all-umekomi-fake-without-gender.html", "all-umekomi-fake.html", "all.html", "one.html"]
    assert 'href="all-umekomi-fake.html"' in (tmp_path / "all.html").read_text()


def test_custom_runs_a_test_on_word_lists_from_files(umekomi: Run, lists: tuple[str, ...]) -> None:
    done = umekomi("bias", "custom", *FAKE, *lists, "--sentence", "about {}", "--json")
    assert done.returncode == 0, done.stderr
    effect = json.loads(done.stdout)[0]["effects"][0]
    assert effect["names"] == ["he", "she", "work", "home"]
    assert effect["associations"][0]["sentence"].startswith("about ")


def test_recency_prints_one_row_for_each_period(umekomi: Run) -> None:
    assert "from 2024" in umekomi("bias", "recency", *FAKE).stdout


def test_table_prints_markdown_and_reports_missing_data(umekomi: Run) -> None:
    done = umekomi("bias", "table", *FAKE, UMEKOMI_ASSET_PATH="")
    head, rule, row = done.stdout.splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert "winogender is not on this machine" in done.stderr


def test_mitigate_measures_a_model_before_and_after_projecting_out_a_direction(umekomi: Run) -> None:
    done = umekomi("bias", "mitigate", *FAKE, "--tests", "weat8", UMEKOMI_ASSET_PATH="")
    assert done.returncode == 0, done.stderr
    assert "umekomi-fake,without=gender" in done.stdout
    assert "stsb is not on this machine, so it is not measured" in done.stderr


def test_vectors_without_a_direction_are_searched_without_it(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nshe sails\na dog\n")
    done = umekomi("embed", "in.csv", "-o", "out.parquet", *FAKE, "--without", "gender")
    assert done.returncode == 0, done.stderr
    assert "the direction 'gender' is projected out" in done.stderr.lower()
    assert (
        json.loads(umekomi("search", "out.parquet", "a dog", "--json").stdout)["hits"][0]["record"]["text"] == "a dog"
    )
    other_model = umekomi("search", "out.parquet", "a dog", *FAKE)
    assert other_model.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bias", "seat", "--tests", "weat99"), "Error: There is no test 'weat99'. Choose from weat1,"),
        (("bias", "winogender"), "winogender is not on this machine"),
        (
            ("bias", "custom", "--targets", "a", "b", "--attributes", "c", "d"),
            "a cannot be read as UTF-8 text with one word per line",
        ),
        (("bias", "mitigate", *FAKE, "--without", "age"), "age is neither a file nor one of the directions"),
        (("bias", "seat", *FAKE, "--tests", "weat9", "--report", "no/such/r.html"), "no/such/r.html cannot be written"),
    ],
)
def test_invalid_input_prints_one_sentence_and_exits_with_status_2(
    umekomi: Run, arguments: tuple[str, ...], message: str
) -> None:
    done = umekomi(*arguments, UMEKOMI_ASSET_PATH="")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
