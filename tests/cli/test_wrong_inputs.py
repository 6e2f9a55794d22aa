"""Every command rejects invalid inputs with one sentence and a status, without a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.every_command import ENDLESS, arguments, leaves

from umekomi import Embedder
from umekomi.cli.main import run
from umekomi.data.embedded_file import Space, write_embedded
from umekomi.errors import RecordError
from umekomi.explore.dataset import open_dataset

COMMANDS = {
    words: command
    for words, command in leaves().items()
    if words not in ENDLESS and "source" in arguments(words, command, "source")
}
EMBEDDED = {
    "search": ["search", "{}", "tea"],
    "search --explain": ["search", "{}", "tea", "--explain"],
    "store search": ["store", "search", "{}", "tea"],
    "store info": ["store", "info", "{}"],
    "store load": ["store", "load", "{}", "memory://loaded"],
    "store copy": ["store", "copy", "{}", "memory://copied"],
    "recommend": ["recommend", "{}", "0"],
    "zero-shot": ["zero-shot", "{}", "--label", "a", "--label", "b"],
    "diversity": ["diversity", "{}"],
    "anomalies": ["anomalies", "{}"],
    "cluster": ["cluster", "{}", "-k", "2"],
    "map": ["map", "{}", "-o", "{}.html"],
    "classify": ["classify", "{}", "--label", "label"],
    "regress": ["regress", "{}", "--label", "n"],
}


def is_one_sentence(status: int, stderr: str) -> bool:
    lines = stderr.strip().splitlines()
    if "Traceback" in stderr or status not in (0, 1, 2):
        return False
    return status != 2 or (bool(lines) and lines[-1].startswith("Error: "))


@pytest.mark.parametrize(
    "name", ["empty.parquet", "junk.parquet", "folder.parquet", "missing.parquet", "junk.csv", "nope://x"]
)
def test_every_command_rejects_an_invalid_input_with_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "junk.parquet").write_bytes(bytes(range(256)))
    (tmp_path / "junk.csv").write_bytes(bytes(range(255, 0, -1)))
    (tmp_path / "folder.parquet").mkdir()
    source = name if "://" in name else str(tmp_path / name)
    failures = {}
    for words, command in COMMANDS.items():
        status = run(arguments(words, command, source))
        text = capsys.readouterr().err
        if not is_one_sentence(status, text):
            failures[words] = (status, text[-300:])
    assert not failures


def with_metadata(change: Callable[[dict[str, object]], object]) -> Callable[[pa.Table], pa.Table]:
    def mutate(table: pa.Table) -> pa.Table:
        changed = change(json.loads(table.schema.metadata[b"umekomi"]))
        raw = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return table.replace_schema_metadata({b"umekomi": raw})

    return mutate


def with_vectors(change: Callable[[pa.Array, int], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    def mutate(table: pa.Table) -> pa.Table:
        column = table["embedding"].combine_chunks()
        index = table.column_names.index("embedding")
        return table.set_column(index, "embedding", change(column, column.type.list_size))

    return mutate


def fixed(values: np.ndarray, dims: int) -> pa.Array:  # type: ignore[type-arg]
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), dims)


def with_value(value: float) -> Callable[[pa.Array, int], pa.Array]:
    def change(column: pa.Array, dims: int) -> pa.Array:
        values = column.flatten().to_numpy().copy().reshape(-1, dims)
        values[1, 3] = value
        return fixed(values, dims)

    return change


MISSING_VECTORS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a null vector": with_vectors(lambda column, dims: pa.array([None, *column.to_pylist()[1:]], column.type)),
    "a null in a vector": with_vectors(
        lambda column, dims: pa.array([[None] * dims, *column.to_pylist()[1:]], column.type)
    ),
    "NaN": with_vectors(with_value(float("nan"))),
    "infinity": with_vectors(with_value(float("inf"))),
}
MUTATIONS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "not JSON": with_metadata(lambda metadata: b"{oops"),
    "not UTF-8": with_metadata(lambda metadata: b"\xff\xfe"),
    "a list": with_metadata(lambda metadata: [metadata]),
    "an empty object": with_metadata(lambda metadata: {}),
    "a number": with_metadata(lambda metadata: 7),
    "null": with_metadata(lambda metadata: None),
    "deep nesting": with_metadata(lambda metadata: b"[" * 100_000),
    "no model": with_metadata(lambda metadata: {**metadata, "model": None}),
    "a list as the model": with_metadata(lambda metadata: {**metadata, "model": ["x"]}),
    "a wrong role": with_metadata(lambda metadata: {**metadata, "role": "spy"}),
    "text as dims": with_metadata(lambda metadata: {**metadata, "dims": "64"}),
    "negative dims": with_metadata(lambda metadata: {**metadata, "dims": -64}),
    "huge dims": with_metadata(lambda metadata: {**metadata, "dims": 10**30}),
    "other dims": with_metadata(lambda metadata: {**metadata, "dims": 32}),
    "true as dims": with_metadata(lambda metadata: {**metadata, "dims": True}),
    "no metadata": lambda table: table.replace_schema_metadata(None),
    "no vectors": lambda table: table.drop_columns(["embedding"]),
    "text as vectors": with_vectors(lambda column, dims: pa.array(["x"] * len(column))),
    "numbers as vectors": with_vectors(lambda column, dims: pa.array([1.0] * len(column))),
    "vectors of any length": with_vectors(lambda column, dims: column.cast(pa.list_(pa.float32()))),
    "double vectors": with_vectors(lambda column, dims: column.cast(pa.list_(pa.float64(), dims))),
    **MISSING_VECTORS,
}
WRONG_ROWS = {*MISSING_VECTORS, "NaN", "infinity"}


@pytest.fixture
def table(tmp_path: Path, fake: Embedder) -> pa.Table:
    texts = [f"text {row}" for row in range(6)]
    records = pa.table({"text": texts, "label": ["a", "b"] * 3, "n": range(6)})
    write_embedded(
        tmp_path / "good.parquet",
        fake.embed(texts),
        records,
        Space(fake.model, fake.fingerprint, fake.dims, "document"),
    )
    return pq.read_table(tmp_path / "good.parquet")


def test_the_unchanged_file_is_valid(table: pa.Table, tmp_path: Path) -> None:
    for name in ("search", "store search", "store info", "recommend", "zero-shot", "diversity", "cluster"):
        assert run([word.replace("{}", str(tmp_path / "good.parquet")) for word in EMBEDDED[name]]) == 0


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_command_rejects_a_malformed_embedded_file_with_one_sentence(
    mutation: str, table: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.parquet"
    pq.write_table(MUTATIONS[mutation](table), path)
    failures = {}
    for name, words in EMBEDDED.items():
        status = run([word.replace("{}", str(path)) for word in words])
        text = capsys.readouterr().err
        if name == "store info" and mutation in WRONG_ROWS:
            # It reads only the metadata of a file, which a million rows would delay.
            assert status == 0
        elif status != 2 or not is_one_sentence(status, text):
            failures[name] = (status, text[-300:])
    assert not failures
    if mutation in MISSING_VECTORS:
        # The explorer lists such rows next to the map.
        assert open_dataset(str(path)).vectors.shape[0] == len(table)
    else:
        with pytest.raises(RecordError, match=str(path)):
            open_dataset(str(path))


@pytest.mark.parametrize("model", ["remote:spy@http://198.51.100.7/v1", "remote:text-embedding-3-small"])
@pytest.mark.parametrize("words", ["search", "store search", "zero-shot"])
def test_a_file_cannot_send_a_query_to_another_computer(
    words: str,
    model: str,
    table: pa.Table,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    path = tmp_path / "spy.parquet"
    pq.write_table(with_metadata(lambda metadata: {**metadata, "model": model})(table), path)
    assert run([word.replace("{}", str(path)) for word in EMBEDDED[words]]) == 2
    text = capsys.readouterr().err
    assert f"{path} was embedded with {model}, which would send your texts to another computer" in text
    assert "UMEKOMI_ALLOW_REMOTE=1" in text
