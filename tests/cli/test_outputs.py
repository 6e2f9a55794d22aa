"""Every option for an output file rejects invalid outputs before anything is computed, and keeps existing files."""

import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi import Embedder
from umekomi.cli.main import run
from umekomi.data.table import embed_table
from umekomi.files.outputs import locked_output

TEXTS = [f"{'good' if row % 2 else 'bad'} coffee number {row}" for row in range(60)]
OUTPUTS = {
    "map": (["map", "e.parquet", "-o"], ".html"),
    "map picture": (["map", "e.parquet", "-o"], ".png"),
    "cluster": (["cluster", "e.parquet", "-k", "2", "-o"], ".csv"),
    "cluster picture": (["cluster", "e.parquet", "-k", "2", "--picture"], ".svg"),
    "anomalies": (["anomalies", "e.parquet", "-o"], ".jsonl"),
    "zero-shot": (["zero-shot", "e.parquet", "--label", "good", "--label", "bad", "-o"], ".parquet"),
    "classify": (["classify", "e.parquet", "--label", "kind", "--save"], ".model"),
    "confusion": (["classify", "e.parquet", "--label", "kind", "--confusion"], ".png"),
    "regress": (["regress", "e.parquet", "--label", "number", "--save"], ".model"),
    "diversity": (["diversity", "e.parquet", "--histogram"], ".png"),
    "import": (["import", "vectors.csv", "--overwrite", "-o"], ".parquet"),
    "bias": (["bias", "seat", "-m", "umekomi-fake", "--tests", "weat6", "--permutations", "100", "--report"], ".html"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Embedder) -> Path:
    monkeypatch.chdir(tmp_path)
    labels = [text.split()[0] for text in TEXTS]
    embed_table(pa.table({"text": TEXTS, "kind": labels, "number": np.arange(60.0)}), fake).save("e.parquet")
    Path("vectors.csv").write_text('name,vector\na,"[0.6, 0.8]"\n')
    return tmp_path


@pytest.mark.parametrize("name", ["anomalies", "zero-shot", "regress", "diversity", "import"])
def test_writing_through_a_link_keeps_the_link_and_the_mode(folder: Path, name: str) -> None:
    command, suffix = OUTPUTS[name]
    target, link = folder / f"target{suffix}", folder / f"link{suffix}"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target.name)
    assert run([*command, str(link)]) == 0
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.read_bytes() != b"old"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_an_invalid_output_is_rejected_with_one_sentence(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, suffix = OUTPUTS[name]
    os.mkfifo(f"pipe{suffix}")
    Path(f"folder{suffix}").mkdir()
    Path(f"null{suffix}").symlink_to("/dev/null")
    invalid = [f"pipe{suffix}", f"folder{suffix}", f"null{suffix}", f"no/such/folder/x{suffix}"]
    if suffix != ".model":
        invalid.append("x.unknown")
    before = sorted(folder.iterdir())
    for output in invalid:
        assert run([*command, output]) == 2
        error = capsys.readouterr().err
        assert output.split("/")[0] in error
        assert "Traceback" not in error
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_an_output_that_another_process_writes_is_rejected(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, suffix = OUTPUTS[name]
    with locked_output(f"out{suffix}", purpose="umekomi test"):
        assert run([*command, f"out{suffix}"]) == 2
    assert f"is being written by process {os.getpid()} (umekomi test, since 20" in capsys.readouterr().err
    assert not Path(f"out{suffix}").exists()


@pytest.mark.parametrize("output", ["e.parquet", "./e.parquet", "link.parquet"])
def test_an_input_is_not_replaced_by_the_output(folder: Path, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link.parquet").symlink_to("e.parquet")
    before = Path("e.parquet").read_bytes()
    assert run(["cluster", "e.parquet", "-k", "2", "-o", output]) == 2
    assert "both an input and the output" in capsys.readouterr().err
    assert Path("e.parquet").read_bytes() == before


def test_profiles_are_not_written_to_a_folder_that_umekomi_did_not_create(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["profiles", "e.parquet", "--user", "kind", "--product", "number", "--save"]
    Path("mine").mkdir()
    Path("mine/users.parquet").write_text("mine")
    assert run([*command, "mine"]) == 2
    assert "not created by Umekomi" in capsys.readouterr().err
    assert Path("mine/users.parquet").read_text() == "mine"
    assert run([*command, "new"]) == run([*command, "new"]) == 0
    assert pq.read_metadata("new/users.parquet").num_rows == 2
