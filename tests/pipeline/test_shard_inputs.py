"""Tests for the inputs of sharded runs: which files are read, their names, and their columns."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi.errors import RecordError
from umekomi.files.ownership import claim_folder
from umekomi.pipeline.shard_inputs import InputReader, find_inputs, plan_shards


def write(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns or {"text": ["a"]}), path)
    return path


def names(sources: list[str], folder: Path, **options: str) -> list[str]:
    return [os.path.relpath(name, folder) for name in find_inputs(sources, **options)]


def test_all_names_of_a_folder_are_equivalent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x" / "data" / "a.parquet")
    (tmp_path / "link").symlink_to("x/data")
    monkeypatch.chdir(tmp_path / "x")
    sources = ["data", "data/", f"{tmp_path}/x/data", "../x/data", "./data/../data", f"{tmp_path}/link"]
    sources += ["data/*.parquet", "data/a.parquet", f"file://{tmp_path}/x/data"]
    assert {tuple(find_inputs([source])) for source in sources} == {(str(tmp_path / "x/data/a.parquet"),)}
    assert find_inputs(sources) == [str(tmp_path / "x/data/a.parquet")], "and is read once"


@pytest.mark.parametrize("name", ["data2[1]/a.parquet", "what?/*.parquet/a.parquet", "[a-z]/A.PARQUET", "ü ％/b.PQ"])
def test_names_with_pattern_characters_and_capital_suffixes_are_found(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    top = tmp_path / name.split("/")[0]
    for source in (top, tmp_path / name):
        assert names([str(source)], tmp_path) == [name]


def test_patterns_name_files_and_folders(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.Parquet", "c/d.parquet", "c/_e.parquet", "notes.txt"):
        write(tmp_path / name)
    assert names([f"{tmp_path}/*.parquet"], tmp_path) == ["a.parquet"]
    assert names([f"{tmp_path}/*"], tmp_path) == ["a.parquet", "b.Parquet", "c/d.parquet"]
    assert names([f"{tmp_path}/**/d*"], tmp_path) == ["c/d.parquet"]


def test_outputs_and_hidden_files_inside_an_input_are_skipped(tmp_path: Path) -> None:
    for name in ("a.parquet", "out/b.parquet", "_x/c.parquet", ".y/d.parquet", "_e.parquet", "deep/deep/f.parquet"):
        write(tmp_path / name)
    claim_folder(tmp_path / "g.parquet.parts", content="parts")
    write(tmp_path / "g.parquet.parts" / "00000000.parquet")
    (tmp_path / "link").symlink_to("out")
    for output in (f"{tmp_path}/out/", f"{tmp_path}/link", f"{tmp_path}/deep/../out"):
        assert names([str(tmp_path)], tmp_path, output=output) == ["a.parquet", "deep/deep/f.parquet"]
    with pytest.raises(RecordError, match="no Parquet file at"):
        find_inputs([f"{tmp_path}/out/b.parquet"], output=f"{tmp_path}/out")


def test_remote_folders_and_patterns_follow_the_same_rules(tmp_path: Path) -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    for name in (
        "a.parquet",
        "in[1]/B.PARQUET",
        "in[1]/sub/c.parquet",
        "_x/d.parquet",
        "out/e.parquet",
        "old/f.parquet",
    ):
        memory.pipe(f"/inputs/{name}", b"x")
    memory.pipe("/inputs/old/.umekomi.json", b"{}")
    output = "memory://inputs/out/"

    def found(source: str) -> list[str]:
        return [
            name.removeprefix("memory://").removeprefix("/inputs/") for name in find_inputs([source], output=output)
        ]

    assert found("memory://inputs") == ["a.parquet", "in[1]/B.PARQUET", "in[1]/sub/c.parquet"]
    assert found("memory://inputs/in[1]") == ["in[1]/B.PARQUET", "in[1]/sub/c.parquet"]
    assert found("memory://inputs/*.parquet") == ["a.parquet"]
    assert found("memory://inputs/**/*.parquet") == ["a.parquet", "in[1]/sub/c.parquet"]
    assert found("memory://inputs/[!b].parquet") == ["a.parquet"]
    assert found("memory://inputs/old/f.parquet") == ["memory://inputs/old/f.parquet".removeprefix("memory://")]


def schema(*files: Path) -> dict[str, str]:
    result = plan_shards([str(file) for file in files], shard_rows=8).schema
    return {field.name: str(field.type) for field in result}


def test_widths_of_integers_and_the_order_of_columns_do_not_matter(tmp_path: Path) -> None:
    float32, float64, int8 = pa.array([1], pa.float32()), pa.array([1], pa.float64()), pa.array([1], pa.uint8())
    large, encoded = pa.array(["b"], pa.large_string()), pa.array(["c"]).dictionary_encode()
    files = [
        write(tmp_path / "a.parquet", id=pa.array([1], pa.int32()), text=["a"], score=float32),
        write(tmp_path / "b.parquet", score=float64, text=large, id=pa.array([1], pa.int64())),
        write(tmp_path / "c.parquet", text=encoded, id=int8, score=pa.nulls(1)),
        write(tmp_path / "d.parquet", text=["d"], id=pa.nulls(1), score=float64),
    ]
    assert schema(*files) == {"id": "int64", "text": "string", "score": "double"}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["1"], "text": ["b"]}, "column 'id' is string in .*b.parquet and int64 in .*a.parquet"),
        ({"id": [1.5], "text": ["b"]}, "column 'id' is double in .*b.parquet and int64"),
        ({"id": pa.array([1], pa.uint64()), "text": ["b"]}, "column 'id' is uint64"),
        ({"id": [1], "text": [["b"]]}, "column 'text' is list"),
        ({"id": [1]}, "a.parquet has a column 'text', which .*b.parquet does not have"),
        ({"id": [1], "text": ["b"], "more": [1]}, "b.parquet has a column 'more', which .*a.parquet does not have"),
    ],
)
def test_incompatible_columns_are_reported_with_file_and_column(
    tmp_path: Path, columns: dict[str, object], words: str
) -> None:
    files = [write(tmp_path / "a.parquet", id=[1], text=["a"]), write(tmp_path / "b.parquet", **columns)]
    with pytest.raises(RecordError, match=words):
        schema(*files)


def test_the_error_for_other_formats_names_the_input_and_suggests_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\na\n")
    with pytest.raises(RecordError, match=r"in\.csv cannot be read as a Parquet file.*-o OUT\.parquet"):
        plan_shards(find_inputs([f"{tmp_path}/in.csv"]), shard_rows=8)


def test_the_footer_of_an_input_is_read_once_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[bool] = []

    class Recorder(pq.ParquetFile):  # type: ignore[misc]
        def __init__(self, *arguments: object, metadata: object = None, **options: object) -> None:
            reads.append(metadata is None)
            super().__init__(*arguments, metadata=metadata, **options)

    path = write(tmp_path / "a.parquet", text=[f"text {row}" for row in range(20)])
    monkeypatch.setattr(pq, "ParquetFile", Recorder)
    reader = InputReader()
    inputs = plan_shards([str(path)], shard_rows=8, reader=reader)
    texts = [
        text
        for shard in inputs.shards
        for _, batch in reader.read(shard, inputs.schema)
        for text in batch["text"].to_pylist()
    ]
    assert texts == [f"text {row}" for row in range(20)]
    assert reads == [True, False, False, False]
    write(path, text=["other"] * 4)
    assert reader.digest(inputs.shards[1], inputs.schema) is None
    assert reads[-1], "the footer of the changed file is read again"
