"""Runs every command and program of README.md and README.ja.md, except those that are listed here with a reason.

The commands run in order in one folder with `reviews.csv`, source code and other inputs. The fake model replaces
text-embedding-ada-002 (``UMEKOMI_TEST_README_MODEL`` names another one), so that no test needs files.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.encoders.cross_encoder.tiny import load_golden, make_folder

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.ja.md")
MODEL = os.environ.get("UMEKOMI_TEST_README_MODEL", "umekomi-fake")
EXEMPT = {
    "make demo": "run by .ci/run, because it downloads a model",
    "make test": "runs these tests",
    "umekomi explore reviews.parquet": "runs until it is stopped; tested in tests/explore",
    "umekomi serve": "runs until it is stopped; tested in tests/serve",
    "umekomi store load embedded/ postgresql://user@host/database/reviews": "needs a server; tested in tests/stores",
    "UMEKOMI_DEVICE=cuda umekomi embed reviews.csv -o reviews.parquet -t 'Title: {Summary}; Content: {Text}'": "needs a GPU",
    "umekomi bias seat -m text-embedding-ada-002 --report report.html": "needs the real model; tested in tests/bias",
}
"""Commands that are not run, with the reason."""
EXEMPT_PROGRAMS = {"client.embeddings.create": "needs a running server; tested in tests/clients"}


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[str]:
    """Return the commands of a README in order, without comments."""
    lines = [line for block in blocks(name, "sh") for line in block.splitlines()]
    return [re.sub(r"\s{2,}# .*$", "", line).strip() for line in lines if line.strip() and not line.startswith("#")]


def without_quotes(command: str) -> str:
    """Return a command without its quoted texts, which depend on the language of the README."""
    return re.sub(r"'[^']*'", "'…'", command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the inputs of the commands."""
    folder = tmp_path_factory.mktemp("readme")
    words = [
        "good coffee beans",
        "my cat would not eat it",
        "bad delivery, the box was open",
        "green tea of my childhood",
    ]
    rows = [
        f'{i},P{i % 6},U{i // 6},{1 + i % 5},"{words[i % 4]}","{words[i % 4]} and more, number {i}"' for i in range(60)
    ]
    (folder / "reviews.csv").write_text("\n".join(["Id,ProductId,UserId,Score,Summary,Text", *rows]) + "\n", "utf-8")
    (folder / "src").mkdir()
    (folder / "src" / "checks.py").write_text(
        "def check_input(value):\n    '''Validate the input.'''\n    return bool(value)\n", "utf-8"
    )
    (folder / "inputs").mkdir()
    write_inputs(folder)
    write_beir(folder / "my-beir-folder")
    make_folder(folder / "my-reranker", "bert", load_golden()["bert"])
    (folder / "bin").mkdir()
    launcher = folder / "bin" / "umekomi"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m umekomi "$@"\n', "utf-8")
    launcher.chmod(0o755)
    return folder


def write_inputs(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in range(2):
        pq.write_table(pa.table({"text": [f"row {part} {i}" for i in range(5)]}), folder / "inputs" / f"{part}.parquet")


def write_beir(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True)
    numbers = range(12)
    documents = [f'{{"_id": "d{i}", "title": "", "text": "a text on subject {i}"}}' for i in numbers]
    queries = [f'{{"_id": "q{i}", "text": "subject {i}"}}' for i in numbers]
    (folder / "corpus.jsonl").write_text("\n".join(documents) + "\n", "utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries) + "\n", "utf-8")
    judged = "".join(f"q{i}\td{i}\t1\n" for i in numbers)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")


def with_small_model(command: str) -> str:
    """Return a command that uses the fake model instead of the default one."""
    if MODEL != "umekomi-fake":
        return command
    for name in ("text-embedding-ada-002", "multilingual-e5-small"):
        command = command.replace(f"-m {name}", f"-m {MODEL}")
    if re.search(r"umekomi (embed|plan|tokens|code index)", command) and " -m " not in command:
        command += f" -m {MODEL}"
    return command


@pytest.mark.parametrize("name", READMES)
def test_every_command_of_a_readme_works(name: str, folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(folder, work)
    environment = {**os.environ, "PATH": f"{work / 'bin'}:{os.environ['PATH']}", "UMEKOMI_OFFLINE": "1"}
    # Commands of the second README that are also in the first are skipped, except those that create files.
    tested = set() if name == READMES[0] else {command for command in commands(READMES[0]) if " load " not in command}
    n_commands = 0
    for command in commands(name):
        if command in EXEMPT or command in tested:
            continue
        done = subprocess.run(
            ["sh", "-c", with_small_model(command)], cwd=work, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {command}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"
        n_commands += 1
    assert n_commands >= (15 if name == READMES[0] else 4)


@pytest.mark.parametrize("name", [*READMES, "docs/library.md"])
def test_every_python_program_of_a_document_works(name: str, tmp_path: Path) -> None:
    programs = [block for block in blocks(name, "python") if not any(text in block for text in EXEMPT_PROGRAMS)]
    assert programs
    for program in programs:
        adapted = program.replace('"text-embedding-ada-002"', f'"{MODEL}"')
        done = subprocess.run(
            [sys.executable, "-c", adapted], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr


def test_every_exemption_is_still_in_a_readme() -> None:
    all_commands = {command for name in READMES for command in commands(name)}
    assert set(EXEMPT) <= all_commands
    programs = "".join(block for name in READMES for block in blocks(name, "python"))
    assert all(text in programs for text in EXEMPT_PROGRAMS)


def test_both_readmes_have_the_same_commands() -> None:
    first, second = ([without_quotes(command) for command in commands(name)] for name in READMES)
    assert first == second
