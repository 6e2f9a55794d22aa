"""Collections are converted with a matrix, without embedding their texts again."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.conftest import Run

from umekomi import Embedder
from umekomi.data.embedded_file import Space, write_embedded
from umekomi.errors import SpaceMismatchError
from umekomi.stores import copy_store, create_store, customize_space, lock_store, open_store
from umekomi.vectors.matrices import Matrix, load_matrix

TEXTS = ["two beans", "a dog", "green tea"]


@pytest.mark.parametrize("dims", [64, 8])
def test_a_converted_collection_has_the_vectors_of_the_customized_model(
    dims: int, fake: Embedder, tmp_path: Path
) -> None:
    values = np.random.default_rng(1).normal(size=(fake.dims, dims)).astype(np.float32)
    Matrix({"matrix": values}, fake.model, fake.fingerprint).save(tmp_path / "my.safetensors")
    matrix = load_matrix(tmp_path / "my.safetensors")
    model = Embedder(f"umekomi-fake+{tmp_path / 'my.safetensors'}")
    with create_store(f"memory://plain{dims}", Space(fake.model, fake.fingerprint, fake.dims)) as source:
        source.upsert(TEXTS, fake.embed(TEXTS), pa.table({"text": TEXTS}))
        space = customize_space(source.space, matrix)
        assert space == Space(model.model, model.fingerprint, model.dims)
        with create_store(f"memory://mine{dims}", space) as target:
            assert copy_store(source, target, matrix=matrix).written == 3
            hit = target.search(model.embed(["a dog"]), k=1)[0][0]
            assert (hit.id, hit.record) == ("a dog", {"text": "a dog"})
            assert hit.score == pytest.approx(1, abs=1e-4)


def test_vectors_of_another_model_are_not_converted(fake: Embedder) -> None:
    matrix = Matrix({"matrix": np.eye(64, dtype=np.float32)}, "another-model", "0" * 16)
    with pytest.raises(SpaceMismatchError, match="was learned for vectors of another-model"):
        customize_space(Space(fake.model, fake.fingerprint, fake.dims), matrix)


@pytest.mark.parametrize(
    ("number", "again"), [(signal.SIGKILL, ["--resume"]), (signal.SIGINT, ["--resume"]), (signal.SIGKILL, [])]
)
def test_a_killed_conversion_is_incomplete_until_the_same_command_finishes(
    number: signal.Signals, again: list[str], fake: Embedder, tmp_path: Path, umekomi_process: Run
) -> None:
    pytest.importorskip("lancedb")
    n = 40_000
    random = np.random.default_rng(0)
    vectors = random.normal(size=(n, fake.dims)).astype(np.float32)
    source = tmp_path / "e.parquet"
    records = pa.table({"text": [f"text {row}" for row in range(n)]})
    write_embedded(source, vectors, records, Space(fake.model, fake.fingerprint, fake.dims, "document"))
    matrix = Matrix({"matrix": random.normal(size=(fake.dims, 64)).astype(np.float32)}, fake.model, fake.fingerprint)
    matrix.save(tmp_path / "my.safetensors")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    command = ["store", "convert", "e.parquet", f"lance://{tmp_path}/mine", "--matrix", "my.safetensors", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "umekomi", *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not list(tmp_path.glob("mine.lance/data/*.lance")):
        time.sleep(0.01)
    process.send_signal(number)
    error = process.communicate()[1]
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert error.split("\n\n") == [
            "The written rows are kept. Run the same command with --resume to continue.",
            "Interrupted.\n",
        ]
    else:
        assert process.returncode == -number
    assert hashlib.sha256(source.read_bytes()).hexdigest() == digest
    expected = matrix.apply(vectors)
    with open_store(f"lance://{tmp_path}/mine") as target:
        n_written = target.count()
        assert n_written < n
        # Rows are written whole or not at all.
        for ids, batch, rows in target.iterate():
            assert batch == pytest.approx(expected[[int(row_id) for row_id in ids]], abs=1e-6)
            assert rows["text"].to_pylist() == [f"text {row_id}" for row_id in ids]
    warning = "is incomplete, because `umekomi store convert` has not finished: run it again, with --resume"
    result = umekomi_process("store", "info", f"lance://{tmp_path}/mine")
    assert (result.returncode, result.stderr.count(warning)) == (0, 1)
    result = umekomi_process(*command, *again)
    assert result.returncode == 0, result.stderr
    assert f"{n:,} rows" in result.stdout
    assert f"({n if not again else n - n_written:,} written, 64 verified)" in result.stdout
    result = umekomi_process("store", "info", f"lance://{tmp_path}/mine")
    assert (result.returncode, result.stderr) == (0, "")
    with open_store(f"lance://{tmp_path}/mine") as target:
        assert target.count() == n


def test_a_dropped_collection_is_not_incomplete(fake: Embedder, tmp_path: Path, umekomi_process: Run) -> None:
    pytest.importorskip("lancedb")
    url = f"lance://{tmp_path}/mine"
    space = Space(fake.model, fake.fingerprint, fake.dims)
    with lock_store(url, purpose="umekomi store copy") as marker, create_store(url, space) as store:
        marker.write()
        store.upsert(["a"], fake.embed(["a"]))
    assert "umekomi store copy" in umekomi_process("store", "info", url).stderr
    assert umekomi_process("store", "drop", url, "--yes").returncode == 0
    with create_store(url, space) as store:
        store.upsert(["a"], fake.embed(["a"]))
    assert umekomi_process("store", "info", url).stderr == ""
