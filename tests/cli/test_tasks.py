"""Tests of the commands for use cases, and of example scripts, on vectors of a model that needs no files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Run

EXAMPLES = Path(__file__).parents[2] / "examples"
ANIMALS, FOODS = ("dog", "cat", "puppy", "horse", "cow"), ("beans", "rice", "bread", "soup", "tea")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 60 embedded texts about animals (score 1 or 2) and food (4 or 5). They contain HTML that must be escaped."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {"text": f"the {word} and the {word} number {n} </script><!--<b>", "kind": label, "Score": score + n % 2}
        for label, words, score in (("animal", ANIMALS, 1), ("food", FOODS, 4))
        for word in words
        for n in range(6)
    ]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "umekomi", "embed", "in.jsonl", "-o", "e.parquet", "-m", "umekomi-fake"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def test_classify_saves_and_applies_a_model(umekomi: Run, folder: Path, tmp_path: Path) -> None:
    embedded = folder / "e.parquet"
    done = umekomi(
        "classify", embedded, "--label", "kind", "--save", "m", "--confusion", "c.png", "--curves", "p.svg", "--json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["accuracy"]["value"] >= report["baseline_accuracy"]
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "p.svg").read_text()
    applied = umekomi("classify", embedded, "--apply", "m", "--json")
    first = json.loads(applied.stdout.splitlines()[0])
    assert first["predicted_kind"] == "animal"
    assert 0.5 < first["probability"] <= 1
    assert umekomi("classify", embedded, "--apply", "m", "-o", "out.csv").returncode == 0
    assert "predicted_kind" in (tmp_path / "out.csv").read_text().splitlines()[0]
    wrong = umekomi("regress", embedded, "--apply", "m")
    assert (wrong.returncode, "predicts classes; use `umekomi classify`" in wrong.stderr) == (2, True)


def test_regress_prints_the_metrics_of_the_baseline(umekomi: Run, folder: Path) -> None:
    done = umekomi("regress", folder / "e.parquet", "--label", "Score")
    assert done.returncode == 0, done.stderr
    assert re.search(r"always 2\.[789]|always 3\.[012]", done.stdout)
    assert "48 training rows, 12 test rows (12 distinct, none in the training rows)" in done.stdout
    assert "mean squared error" in done.stdout


@pytest.mark.parametrize(("command", "column"), [("classify", "kind"), ("regress", "Score")])
def test_copies_stay_on_one_side_of_the_split_or_are_counted(
    umekomi: Run, tmp_path: Path, command: str, column: str
) -> None:
    """Half of the texts occur three times, once in capitals and once with more white space."""
    words = [f"{word} {n}" for word in (*ANIMALS, *FOODS) for n in range(4)]
    rows = [
        {"text": text, "kind": "animal" if n < 20 else "food", "Score": n % 5, "user": n}
        for n, word in enumerate(words)
        for text in (f"the {word}", f"THE {word}", f" the\t{word}")[: 3 if n % 2 else 1]
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert umekomi("embed", "in.jsonl", "-o", "e.parquet", "-m", "umekomi-fake").returncode == 0
    by_text = json.loads(umekomi(command, "e.parquet", "--label", column, "--group", "user", "--json").stdout)
    assert (by_text["split"], by_text["copies"], by_text["without_copies"]) == ("text", 0, None)
    assert by_text["n_texts"] < by_text["n_test"]
    by_row = json.loads(umekomi(command, "e.parquet", "--label", column, "--split", "rows", "--json").stdout)
    assert by_row["copies"] > 4
    assert by_row["without_copies"]["n_test"] == by_row["n_test"] - by_row["copies"]
    missing = umekomi(command, "e.parquet", "--label", column, "--group", "nobody")
    assert (missing.returncode, "There is no column 'nobody'" in missing.stderr) == (2, True)


def test_zero_shot_labels_each_row(umekomi: Run, folder: Path) -> None:
    labels = ["--label", "animal=the dog", "--label", "animal=the cat", "--label", "food=rice", "--label", "food=soup"]
    done = umekomi("zero-shot", folder / "e.parquet", *labels, "--truth", "kind")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 60
    assert re.search(
        r"accuracy [01]\.\d+ \[[01]\.\d+, [01]\.\d+\], macro F1 .* always animal: accuracy 0\.500", done.stderr
    )
    partly = umekomi("zero-shot", folder / "e.parquet", "--label", "animal", "--label", "rice", "--truth", "kind")
    assert "30 rows have a true label that is not predicted (food). They count as wrong" in partly.stderr


def test_cluster_names_groups_by_their_terms(umekomi: Run, folder: Path, tmp_path: Path) -> None:
    done = umekomi(
        "cluster", folder / "e.parquet", "-k", 10, "--mean", "Score", "--picture", "c.html", "-o", "o.jsonl", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert {word for cluster in json.loads(done.stdout)["clusters"] for word in cluster["name"].split(", ")} & {
        *ANIMALS
    }
    assert "cluster" in json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])


def test_a_map_page_makes_no_requests_and_does_not_execute_its_texts(
    umekomi: Run, folder: Path, tmp_path: Path
) -> None:
    options = ["--colour", "Score", "--method", "pca", "--title", "<b>"]
    done = umekomi("map", folder / "e.parquet", *options, "-o", "m.html", "-o", "m.png", "-o", "m.svg")
    assert done.stdout.split() == ["m.html", "m.png", "m.svg"]
    page = (tmp_path / "m.html").read_text("utf-8")
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert page.count("</script>") == 2
    assert "<b>" not in page
    facts = json.loads(re.findall(r'<script id="data" type="application/json">(.*?)</script>', page)[0])
    assert facts["texts"][0].endswith("</script><!--<b>")
    assert [entry["color"] for entry in facts["legend"]] == ["#ff0000", "#ff8c00", "#40e0d0", "#006400"]
    assert umekomi("map", folder / "e.parquet", *options, "-o", "again.html").returncode == 0
    assert (tmp_path / "again.html").read_text("utf-8") == page


def test_anomalies_are_flagged_with_and_without_a_reference(umekomi: Run, folder: Path, tmp_path: Path) -> None:
    highest = umekomi("anomalies", folder / "e.parquet", "-k", 3, "-n", 2, "--json")
    assert [set(json.loads(line)) for line in highest.stdout.splitlines()] == [
        {"row", "score", "false_alarm", "text"}
    ] * 2
    alone = umekomi("anomalies", folder / "e.parquet", "-k", 3, "--rate", 0.05)
    assert len(alone.stdout.splitlines()) <= 3
    assert "Without --reference, 5.00% of the rows are always flagged" in alone.stderr
    against = umekomi("anomalies", folder / "e.parquet", "--reference", folder / "e.parquet", "-k", 3, "--rate", 0.05)
    assert against.returncode == 0, against.stderr
    assert "] are expected (95 % interval" in against.stderr
    small = umekomi("anomalies", folder / "e.parquet", "--reference", folder / "e.parquet", "-k", 3)
    assert "No row can be flagged at 0.01: with 60 ordinary rows" in small.stderr
    assert "Use at least 99 of them" in small.stderr
    assert (
        umekomi(
            "anomalies", folder / "e.parquet", "--reference", folder / "e.parquet", "-k", 3, "--fdr", 0.1
        ).returncode
        == 0
    )


def test_diversity_measures_one_file_or_compares_two(umekomi: Run, folder: Path) -> None:
    one = json.loads(umekomi("diversity", folder / "e.parquet", "--histogram", "h.png", "--json").stdout)
    assert 1 < one["vendi"] < 60
    two = umekomi("diversity", folder / "e.parquet", "--against", folder / "e.parquet")
    assert "covers 100.0%" in two.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["classify", "--label", "nope"], "There is no column 'nope'; the columns are kind, Score"),
        (["classify"], "Give the column to predict"),
        (["classify", "--label", "text"], "too many to learn"),
        (["classify", "--label", "kind", "--learner", "forest", "--save", "m"], "cannot be saved"),
        (["regress", "--label", "kind"], "which is not a number"),
        (["cluster", "-k", "100"], "k is 100; with 60 rows"),
        (["zero-shot", "--label", "one"], "Two or more labels are required"),
        (["map", "-o", "map.gif"], "its name must end with .html, .png, .svg or .pdf"),
        (["map", "-o", "m.png", "--colour", "nope"], "There is no column 'nope'"),
        (["anomalies", "-k", "60"], "k is 60; with 60 rows"),
        (["anomalies", "--fdr", "0.1"], "--fdr needs --reference"),
        (
            ["zero-shot", "--label", "cat", "--label", "tea", "--truth", "kind"],
            "No value of the column 'kind' is the name of a label",
        ),
        (["classify", "--label", "kind", "--test-share", "1"], "cannot be split with a test share of 1"),
        (["diversity", "--threshold", "3"], "--threshold"),
    ],
)
def test_invalid_input_prints_one_sentence_and_exits_with_status_2(
    umekomi: Run, folder: Path, arguments: list[str], sentence: str
) -> None:
    done = umekomi(arguments[0], folder / "e.parquet", *arguments[1:])
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["anomalies", "classify", "cluster", "diversity", "map", "regress", "zero-shot"])
def test_help_shows_an_example_of_the_command(umekomi: Run, command: str) -> None:
    assert f"umekomi {command}" in umekomi(command, "--help").stdout


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("map.py", ["Score", "map.html"], "60 points"),
        ("predict.py", ["Score"], "mean absolute error"),
        ("zero_shot.py", [], "tive"),
        ("cluster.py", ["4"], "rows"),
        ("anomalies.py", [], "0."),
        ("diversity.py", [], "wholly unlike"),
    ],
)
def test_example_scripts_run(folder: Path, tmp_path: Path, script: str, arguments: list[str], expected: str) -> None:
    command = [sys.executable, str(EXAMPLES / script), str(folder / "e.parquet"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
