"""Commands accept a model with a matrix, MODEL+FILE."""

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Run

from umekomi import Embedder
from umekomi.vectors.matrices import Matrix

MODEL = "umekomi-fake+my.safetensors"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, fake: Embedder) -> None:
    """Write a matrix and a file of records to the folder of the commands."""
    values = np.random.default_rng(0).normal(size=(fake.dims, 16)).astype(np.float32)
    Matrix({"matrix": values}, fake.model, fake.fingerprint).save(tmp_path / "my.safetensors")
    lines = [f"{'beans' if row % 2 else 'dog'} {row},{row % 2},{row / 2}" for row in range(60)]
    (tmp_path / "r.csv").write_text("\n".join(["text,label,score", *lines]), "utf-8")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("tokens", "two beans", "-m", MODEL), "9 tokens of bytes"),
        (("models", "show", MODEL), "my.safetensors, learned for umekomi-fake"),
        (("models", "pull", MODEL), "0 files"),
        (("models", "verify", MODEL), "status"),
        (("models", "check", MODEL), MODEL),
        (("plan", "--rows", "1000", "--tokens", "20", "--rate", "100", "-m", MODEL), "float32 64 kB"),
        (("evaluate", "sts", "r.csv", "--columns", "text,text,score", "-m", MODEL), MODEL),
        (("bias", "recency", "-m", MODEL), MODEL),
    ],
)
def test_a_model_with_a_matrix_is_accepted(command: tuple[str, ...], expected: str, umekomi: Run) -> None:
    result = umekomi(*command)
    assert result.returncode == 0, result.stderr
    assert expected in result.stdout


def test_vectors_of_a_model_with_a_matrix_are_used_for_tasks(umekomi: Run) -> None:
    assert umekomi("embed", "r.csv", "-m", MODEL, "-o", "e.parquet").returncode == 0
    labels = ("--label", "beans", "--label", "dog")
    for command in (("search", "e.parquet", "beans"), ("zero-shot", "e.parquet", *labels)):
        refused = umekomi(*command)
        assert (refused.returncode, f"give -m {MODEL}" in refused.stderr) == (2, True)
        assert umekomi(*command, "-m", MODEL).returncode == 0
    assert umekomi("classify", "e.parquet", "--label", "label").returncode == 0
    assert umekomi("cluster", "e.parquet", "-k", "2").returncode == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("tokens", "a", "-m", "umekomi-fake+none.safetensors"), "There is no file none.safetensors"),
        (("models", "show", "umekomi-fake+none.safetensors"), "There is no file none.safetensors"),
        (("tokens", "a", "-m", "no-model+my.safetensors"), "The model `no-model` does not exist"),
        (("models", "table", "-m", MODEL), f"Use `umekomi evaluate` to measure {MODEL}"),
        (("bias", "mitigate", "-m", MODEL, "--without", "gender"), "Measure umekomi-fake."),
        (
            ("embed", "r.csv", "-m", "text-embedding-ada-002+my.safetensors", "-o", "x.parquet"),
            "not of text-embedding-ada-002",
        ),
    ],
)
def test_models_that_cannot_be_used_are_rejected(command: tuple[str, ...], message: str, umekomi: Run) -> None:
    result = umekomi(*command)
    assert (result.returncode, message in result.stderr) == (2, True), result.stderr
