"""Tests of `umekomi search --explain`, `recommend`, `profiles` and `import`."""

import json
from pathlib import Path

import pytest
from tests.conftest import Run

CSV = (
    "who,what,score,text\n"
    "ann,soup,5,two beans in a hot soup\n"
    "ann,salad,4,two beans in a cold salad\n"
    "bob,soup,1,the dog barks at soup\n"
    "bob,bone,5,the dog eats a bone\n"
    "cat,bone,4,my dog eats a bone\n"
    "cat,soup,2,my dog eats no soup\n"
)


@pytest.fixture
def embedded(umekomi: Run, tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(CSV)
    done = umekomi("embed", "in.csv", "-o", "out.parquet", "-m", "umekomi-fake")
    assert done.returncode == 0, done.stderr
    return tmp_path / "out.parquet"


def test_search_explains_scores_by_parts_and_words(umekomi: Run, embedded: Path) -> None:
    shown = umekomi("search", "out.parquet", "cold beans", "-n", 1, "--explain").stdout
    assert "parts: fake 0." in shown
    assert "text:  " in shown
    hit = json.loads(umekomi("search", "out.parquet", "cold beans", "-n", 1, "--explain", "--json").stdout)["hits"][0]
    assert hit["explanation"]["document"][0]["text"] in ("cold", "beans")


def test_diversity_ranks_similar_hits_lower(umekomi: Run, embedded: Path) -> None:
    result = umekomi("search", "out.parquet", "my dog eats a bone", "-n", 2, "--diversity", "0.7", "--json")
    texts = [hit["record"]["text"] for hit in json.loads(result.stdout)["hits"]]
    assert texts[0] == "my dog eats a bone"
    assert texts[1] != "the dog eats a bone"


def test_recommend_accepts_row_numbers_and_ids(umekomi: Run, embedded: Path) -> None:
    result = umekomi("recommend", "out.parquet", "3", "-n", 2, "--near-duplicate", "0.9", "--columns", "what")
    assert result.stdout.startswith(" 1. 0.")
    assert "[what=bone]" in result.stdout.splitlines()[0]
    as_json = json.loads(umekomi("recommend", "out.parquet", "salad", "--id", "what", "-n", 1, "--json").stdout)
    assert as_json["source"] == 1
    assert as_json["items"][0]["row"] == 0


def test_profiles_are_measured_drawn_and_saved(umekomi: Run, embedded: Path, tmp_path: Path) -> None:
    options = [
        "--user",
        "who",
        "--product",
        "what",
        "--score",
        "score",
        "--for",
        "ann",
        "--plot",
        "box.svg",
        "--save",
        "profiles",
    ]
    shown = umekomi("profiles", "out.parquet", *options)
    assert shown.returncode == 0, shown.stderr
    assert "3 users and 3 products from 6 texts" in shown.stdout
    assert "correlation" in shown.stdout
    assert "bone" in shown.stdout.splitlines()[-1]
    assert "<svg" in (tmp_path / "box.svg").read_text()
    assert umekomi("recommend", "profiles/users.parquet", "0", "--json").returncode == 2  # profiles have no texts
    facts = json.loads(umekomi("profiles", "out.parquet", *options[:8], "--json").stdout)
    assert [item["key"] for item in facts["products_for_user"]] == ["bone"]


def test_imported_vectors_can_be_recommended_but_not_searched(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('text,embedding\nbean,"[1, 0]"\npea,"[0.9, 0.1]"\ndog,"[0, 1]"\n')
    assert "3 vectors of 2 dimensions" in umekomi("import", "in.csv", "-o", "out.parquet").stdout
    assert "pea" in umekomi("recommend", "out.parquet", "0", "-n", 1, "--keep-duplicates").stdout
    assert "was imported" in umekomi("search", "out.parquet", "bean").stderr
    assert "already exists" in umekomi("import", "in.csv", "-o", "out.parquet").stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["recommend", "out.parquet", "99"], "There is no row 99; the rows are 0 to 5"),
        (["recommend", "out.parquet", "x"], "not a row number"),
        (["recommend", "out.parquet", "x", "--id", "nope"], "the columns are who, what, score"),
        (["recommend", "out.parquet", "x", "--id", "what"], "No row has 'x'"),
        (["profiles", "out.parquet", "--user", "who", "--product", "nope"], "There is no column 'nope'"),
        (["profiles", "out.parquet", "--user", "who", "--product", "what", "--score", "text"], "is not a number"),
        (
            ["profiles", "out.parquet", "--user", "who", "--product", "what", "--min-support", 9],
            "the largest number is 2",
        ),
        (["profiles", "out.parquet", "--user", "who", "--product", "what", "--for", "zoe"], "no profile of 'zoe'"),
        (["profiles", "out.parquet", "--user", "who", "--product", "what", "--plot", "a.png"], "--score"),
        (["import", "in.csv", "-o", "o.parquet"], "no column of vectors"),
        (["search", "out.parquet", "x", "--diversity", 2], "0<=x<=1"),
    ],
)
def test_invalid_input_prints_one_sentence_and_exits_with_status_2(
    umekomi: Run, embedded: Path, arguments: list[object], sentence: str
) -> None:
    done = umekomi(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_profiles_can_be_measured_on_the_split_of_the_guide(umekomi: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(CSV + CSV.split("\n", 1)[1] * 4)
    assert umekomi("embed", "in.csv", "-o", "more.parquet", "-m", "umekomi-fake").returncode == 0
    options = ("--user", "who", "--product", "what", "--json")
    whole = json.loads(umekomi("profiles", "more.parquet", *options, "--score", "score").stdout)
    fifth = json.loads(umekomi("profiles", "more.parquet", *options, "--score", "score", "--guide-split").stdout)
    # The salad has one distinct text, so no other text remains without its copies.
    assert (whole["pairs"], fifth["pairs"]) == (25, 6)
    wrong = umekomi("profiles", "more.parquet", *options, "--guide-split")
    assert (wrong.returncode, "Give the column with --score" in wrong.stderr) == (2, True)
