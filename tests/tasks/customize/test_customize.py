import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.cli.main import run
from umekomi.errors import InputError, RecordError
from umekomi.tasks.customize import customize, make_pairs, read_pairs
from umekomi.tasks.customize.pairs import split_pairs
from umekomi.tasks.customize.report import area_under_curve, best_accuracy

WORDS = [f"{first}{second}" for first in "bcdfghkm" for second in ("ana", "ilo", "ure", "ost", "emi")]


def texts(n: int, seed: int) -> list[list[str]]:
    return [random.Random(f"{seed}{row}").sample(WORDS, 5) for row in range(n)]


def write(path: Path, header: list[str], rows: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    """Return a file of pairs that are alike if their first words are equal. All other words are noise."""
    random_ = random.Random(0)
    rows: list[tuple[object, ...]] = []
    for row, (left, right) in enumerate(zip(texts(300, 1), texts(300, 2), strict=True)):
        topic = random_.choice(["coffee", "tea", "juice", "milk"])
        same = row % 2
        other = (
            topic if same else random_.choice([name for name in ("coffee", "tea", "juice", "milk") if name != topic])
        )
        rows.append((f"{topic} {' '.join(left)}", f"{other} {' '.join(right)}", same))
    return write(tmp_path / "topics.csv", ["a", "b", "label"], rows)


def customize_command(pairs: Path, output: Path) -> list[str]:
    """Return the command that learns a matrix for the fake model from labeled pairs."""
    columns = ["-a", "a", "-b", "b", "--label", "label"]
    return ["customize", str(pairs), *columns, "-m", "umekomi-fake", "-o", str(output)]


def test_a_matrix_is_learned_written_and_used(
    topics: Path, tmp_path: Path, fake: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "my.safetensors"
    command = customize_command(topics, output)
    assert run([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["metric"] for row in facts["comparisons"]] == ["AUC", "accuracy"]
    assert facts["comparisons"][0]["difference"]["low"] > 0
    assert facts["n_train"] + facts["n_test"] == 300
    first = output.read_bytes()
    assert run(command) == 0
    assert output.read_bytes() == first
    assert "AUC" in capsys.readouterr().out
    model = Embedder(f"umekomi-fake+{output}")
    assert model.matrix is not None
    assert model.matrix.fingerprint == fake.fingerprint


def test_nothing_is_written_without_a_gain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        (" ".join(a), " ".join(b), random.Random(i).randint(0, 1))
        for i, (a, b) in enumerate(zip(texts(120, 1), texts(120, 2), strict=True))
    ]
    path, output = write(tmp_path / "random.csv", ["a", "b", "label"], rows), tmp_path / "my.safetensors"
    command = customize_command(path, output)
    assert run(command) == 2
    assert "is not clearly better, so nothing is written" in capsys.readouterr().err
    assert not output.exists()
    assert run([*command, "--force"]) == 0
    assert output.exists()


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        (60, ["-b", "c"], "has no column 'c'; the columns are a, b, label"),
        (60, ["-b", "b", "--label", "a"], "which is not a finite number"),
        (60, ["-b", "b", "--label", "label"], "All labels are 1"),
        (20, ["-b", "b"], "There are 20 pairs; at least 50"),
    ],
)
def test_wrong_pairs_are_rejected(
    rows: int, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "pairs.csv", ["a", "b", "label"], [(f"one {i}", f"two {i}", 1) for i in range(rows)])
    assert (
        run(["customize", str(path), "-a", "a", *words, "-m", "umekomi-fake", "-o", str(tmp_path / "o.safetensors")])
        == 2
    )
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", "nan", "inf", "yes"])
def test_a_row_without_a_number_is_named(value: str, tmp_path: Path) -> None:
    labels = [value if i == 4 else i % 2 for i in range(60)]
    rows = [(f"one {i}", f"two {i}", label) for i, label in enumerate(labels)]
    with pytest.raises(RecordError, match=r"in row 5, which is not a finite number. Remove the row."):
        read_pairs(write(tmp_path / "pairs.csv", ["a", "b", "label"], rows), "a", "b", "label")


def test_pairs_that_share_all_texts_are_rejected() -> None:
    with pytest.raises(InputError, match="share too many texts to be split"):
        split_pairs(make_pairs(("one",) * 60, tuple(f"two {i}" for i in range(60))))


def test_no_text_of_the_test_rows_is_in_the_training_rows() -> None:
    pairs = make_pairs(tuple(f"query {i // 3}" for i in range(150)), tuple(f"text {i}" for i in range(150)))
    split = split_pairs(pairs)
    assert split.n_dropped == 0
    assert not {pairs.left[row] for row in split.train} & {pairs.left[row] for row in split.test}


def test_connected_pairs_are_split_by_text() -> None:
    names = [f"text {i}" for i in range(40)]
    left, right = zip(*[(one, other) for one in names for other in names if one < other], strict=True)
    split = split_pairs(make_pairs(left, right, np.arange(len(left)) % 2.0))
    sides = [{text for row in rows for text in (left[row], right[row])} for rows in (split.train, split.test)]
    assert not sides[0] & sides[1]
    assert len(split.train) + len(split.test) + split.n_dropped == len(left)


def test_area_and_accuracy_match_values_computed_by_hand() -> None:
    scores, labels = np.array([0.9, 0.8, 0.7, 0.7]), np.array([True, False, True, False])
    assert area_under_curve(scores, labels) == pytest.approx(2.5 / 4)
    assert best_accuracy(scores, labels) == 0.75


def test_a_customized_model_is_not_customized_again(topics: Path) -> None:
    model = Embedder("umekomi-fake", matrix=np.eye(64))
    with pytest.raises(InputError, match="has a matrix already"):
        customize(read_pairs(topics, "a", "b", "label"), model)
