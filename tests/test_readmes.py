"""Every command and every program of README.md and README.ja.md, run as a reader would, or listed here with the reason why not.

The commands run in order in one folder that holds what a reader has: `reviews.csv`, some source code, and a small model. The
fake model stands in for text-embedding-ada-002 (``UMEKOMI_TEST_README_MODEL`` names another one), so that no test needs files.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.ja.md")
MODEL = os.environ.get("UMEKOMI_TEST_README_MODEL", "umekomi-fake")
EXEMPT = {
    "make demo": "run by .ci/run, and fetches a model",
    "make test": "runs these tests",
    "umekomi explore reviews.parquet": "runs until it is stopped; tests/explore opens it in a browser",
    "umekomi serve": "runs until it is stopped; tests/serve starts it",
    "umekomi store load embedded/ postgresql://user@host/database/reviews": "needs a server, which tests/stores starts",
    "UMEKOMI_DEVICE=cuda umekomi embed reviews.csv -o reviews.parquet -t 'Title: {Summary}; Content: {Text}'": "needs a GPU",
    "umekomi bias seat -m text-embedding-ada-002 --report report.html": "measures the real model; tests/cli/test_bias_command.py",
}
"""Commands that no test can run here, each with the reason. A command that is neither here nor runnable fails the test."""
EXEMPT_PROGRAMS = {"client.embeddings.create": "needs a running server; tests/clients runs the real client"}


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[str]:
    """The commands of a README in order, without their comments."""
    lines = [line for block in blocks(name, "sh") for line in block.splitlines()]
    return [re.sub(r"\s{2,}# .*$", "", line).strip() for line in lines if line.strip() and not line.startswith("#")]


def shape(command: str) -> str:
    """A command without its quoted words, which are in each README's language."""
    return re.sub(r"'[^']*'", "'…'", command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has before the first command."""
    place = tmp_path_factory.mktemp("readme")
    words = [
        "good coffee beans",
        "my cat would not eat it",
        "bad delivery, the box was open",
        "green tea of my childhood",
    ]
    rows = [
        f'{i},P{i % 6},U{i // 6},{1 + i % 5},"{words[i % 4]}","{words[i % 4]} and more, number {i}"' for i in range(60)
    ]
    (place / "reviews.csv").write_text("\n".join(["Id,ProductId,UserId,Score,Summary,Text", *rows]) + "\n", "utf-8")
    (place / "src").mkdir()
    (place / "src" / "checks.py").write_text(
        "def check_input(value):\n    '''Validate the input.'''\n    return bool(value)\n", "utf-8"
    )
    (place / "inputs").mkdir()
    write_inputs(place)
    write_beir(place / "my-beir-folder")
    (place / "bin").mkdir()
    launcher = place / "bin" / "umekomi"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m umekomi "$@"\n', "utf-8")
    launcher.chmod(0o755)
    return place


def write_inputs(place: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in range(2):
        pq.write_table(pa.table({"text": [f"row {part} {i}" for i in range(5)]}), place / "inputs" / f"{part}.parquet")


def write_beir(place: Path) -> None:
    (place / "qrels").mkdir(parents=True)
    numbers = range(12)
    documents = [f'{{"_id": "d{i}", "title": "", "text": "a text on subject {i}"}}' for i in numbers]
    queries = [f'{{"_id": "q{i}", "text": "subject {i}"}}' for i in numbers]
    (place / "corpus.jsonl").write_text("\n".join(documents) + "\n", "utf-8")
    (place / "queries.jsonl").write_text("\n".join(queries) + "\n", "utf-8")
    judged = "".join(f"q{i}\td{i}\t1\n" for i in numbers)
    (place / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")


def prepared(command: str) -> str:
    """The command with the small model in the place of the default one."""
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
    # The second README runs what differs from the first, after the commands that make its files.
    known = set() if name == READMES[0] else {one for one in commands(READMES[0]) if " load " not in one}
    ran = 0
    for command in commands(name):
        if command in EXEMPT or command in known:
            continue
        done = subprocess.run(
            ["sh", "-c", prepared(command)], cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}: {command}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"
        ran += 1
    assert ran >= (15 if name == READMES[0] else 4)


@pytest.mark.parametrize("name", [*READMES, "docs/library.md"])
def test_every_program_of_a_readme_works(name: str, tmp_path: Path) -> None:
    programs = [block for block in blocks(name, "python") if not any(text in block for text in EXEMPT_PROGRAMS)]
    assert programs
    for program in programs:
        small = program.replace('"text-embedding-ada-002"', f'"{MODEL}"')
        done = subprocess.run(
            [sys.executable, "-c", small], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr


def test_no_exemption_is_left_over() -> None:
    everything = {command for name in READMES for command in commands(name)}
    assert set(EXEMPT) <= everything
    programs = "".join(block for name in READMES for block in blocks(name, "python"))
    assert all(text in programs for text in EXEMPT_PROGRAMS)


def test_both_readmes_have_the_same_commands() -> None:
    first, second = ([shape(command) for command in commands(name)] for name in READMES)
    assert first == second
