import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi import Embedder, SparseEmbedder
from umekomi.catalog import Role
from umekomi.data.embedded_file import TooLong, read_embedded, read_space
from umekomi.data.readers.base import Records
from umekomi.data.readers.opening import open_records
from umekomi.errors import InputError, OutputLockedError, RecordError
from umekomi.files.ownership import OutputLock
from umekomi.pipeline.single_file import Empty, Existing, embed_records
from umekomi.vectors.arrow import VectorType, from_column


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + "".join(f"{n},text number {n}\n" for n in range(25)), "utf-8")
    return path


def test_the_output_has_the_columns_of_the_input_and_the_vectors(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    summary = embed_records(open_records(source), output, embedder=fake, chunk_rows=10)
    table = pq.read_table(output)
    assert table.column_names == ["id", "text", "embedding", "n_tokens"] or table.column_names == [
        "id",
        "embedding",
        "n_tokens",
        "text",
    ]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 64)
    assert (summary.rows, summary.tokens) == (25, sum(table["n_tokens"].to_pylist()))
    assert (from_column(table["embedding"].combine_chunks()) == fake.embed(table["text"].to_pylist())).all()
    assert read_space(output).fingerprint == fake.fingerprint
    assert not list(source.parent.glob("*.parts"))


def test_an_embedded_file_is_read_in_batches(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    embed_records(open_records(source), output, embedder=fake)
    pieces = list(read_embedded(output, size=10))
    assert sum(len(vectors) for vectors, _ in pieces) == 25
    assert pieces[0][0].dtype == np.float32


def test_an_existing_output_is_overwritten_only_on_request(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    embed_records(open_records(source), output, embedder=fake)
    with pytest.raises(RecordError, match="--overwrite"):
        embed_records(open_records(source), output, embedder=fake)
    embed_records(open_records(source), output, embedder=fake, existing=Existing.OVERWRITE)


def test_a_row_without_text_is_reported_or_skipped(tmp_path: Path, fake: Embedder) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n{"text": "  "}\n{"text": "c"}\n')
    with pytest.raises(RecordError, match=r"Row 2 .*--empty skip"):
        embed_records(open_records(path), tmp_path / "a.parquet", embedder=fake)
    summary = embed_records(open_records(path), tmp_path / "b.parquet", embedder=fake, empty=Empty.SKIP)
    assert (summary.rows, summary.skipped_rows) == (2, 1)


def test_a_text_that_is_too_long_is_reported_or_truncated(tmp_path: Path, fake: Embedder) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n{"text": "' + "x" * 9000 + '"}\n')
    with pytest.raises(RecordError, match=r"Row 2 .* has 9000 tokens"):
        embed_records(open_records(path), tmp_path / "a.parquet", embedder=fake)
    embed_records(open_records(path), tmp_path / "b.parquet", embedder=fake, too_long=TooLong.TRUNCATE)
    assert pq.read_table(tmp_path / "b.parquet")["n_tokens"].to_pylist() == [1, 8191]


SLOW = """
import sys, time
from pathlib import Path
from umekomi import Embedder, SparseEmbedder
from umekomi.pipeline.single_file import embed_records
from umekomi.data.readers.opening import open_records
embedder = Embedder("umekomi-fake")
plain = embedder.embed_texts
def slow(texts, **options):
    time.sleep(0.15)
    return plain(texts, **options)
embedder.embed_texts = slow
embed_records(open_records(sys.argv[1]), sys.argv[2], embedder=embedder, chunk_rows=5)
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_can_be_resumed_and_gives_the_same_result(
    source: Path, fake: Embedder, kill: signal.Signals
) -> None:
    output = source.with_name("killed.parquet")
    parts = Path(f"{output}.parts")
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(source), str(output)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, kill)
    process.wait()
    finished = len(list(parts.glob("*.parquet")))
    assert 2 <= finished < 5
    with pytest.raises(RecordError, match="--resume"):
        embed_records(open_records(source), output, embedder=fake, chunk_rows=5)
    summary = embed_records(open_records(source), output, embedder=fake, chunk_rows=5, existing=Existing.RESUME)
    assert summary.resumed_rows == finished * 5
    complete = source.with_name("complete.parquet")
    embed_records(open_records(source), complete, embedder=fake, chunk_rows=5)
    assert pq.read_table(output).equals(pq.read_table(complete))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a run of 25 rows that was killed by SIGKILL after two chunks of five rows."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "in.csv").write_text(rows(range(25)))
    process = subprocess.Popen([sys.executable, "-c", SLOW, "in.csv", "out.parquet"], cwd=folder)
    deadline = time.monotonic() + 60
    while not (folder / "out.parquet.parts" / "00000001.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return folder


def rows(numbers: range, word: str = "text") -> str:
    return "id,text\n" + "".join(f"{n},{word} number {n}\n" for n in numbers)


@pytest.mark.parametrize(
    ("content", "resumes", "changes"),
    [
        (rows(range(25), "other"), False, True),  # the same number of rows, all different
        (rows(range(25)).replace("0,text", "0,word", 1), True, True),  # one value of the first chunk
        (rows(range(24, -1, -1)), False, True),  # a different order
        (rows(range(4)), False, True),  # fewer rows than one chunk
        (rows(range(40)), True, False),  # rows added at the end
        (rows(range(25)) + "25.5,text\n", False, True),  # a row that changes the type of a column
    ],
)
def test_rows_that_changed_after_a_kill_are_embedded_again(
    killed: Path, tmp_path: Path, fake: Embedder, content: str, resumes: bool, changes: bool
) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    source, output = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text(content)
    summary = embed_records(open_records(source), output, embedder=fake, chunk_rows=5, existing=Existing.RESUME)
    assert (summary.resumed_rows > 0, summary.changed_rows > 0) == (resumes, changes)
    complete = tmp_path / "complete.parquet"
    embed_records(open_records(source), complete, embedder=fake, chunk_rows=5)
    assert output.read_bytes() == complete.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["complete.parquet", "in.csv", "out.parquet"]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"template": "{id}: {text}"}, "template"),
        ({"too_long": TooLong.TRUNCATE}, "too_long"),
        ({"empty": Empty.SKIP}, "empty"),
        ({"vectors": VectorType.INT8}, "vectors"),
        ({"chunk_rows": 6}, "chunk_rows"),
        ({"role": Role.QUERY}, "role"),
    ],
)
def test_a_run_with_other_options_is_not_resumed(
    source: Path, fake: Embedder, options: dict[str, object], key: str
) -> None:
    output = source.with_name("out.parquet")
    stop_after(2, source, output, fake)
    with pytest.raises(InputError, match=f"had {key} = .*--overwrite"):
        embed_records(
            open_records(source), output, embedder=fake, existing=Existing.RESUME, **{"chunk_rows": 5, **options}
        )  # type: ignore[arg-type]
    embed_records(open_records(source), output, embedder=fake, existing=Existing.RESUME, chunk_rows=5)


def stop_after(chunks: int, source: Path, output: Path, fake: Embedder) -> None:
    """Leave an unfinished run with some chunks of five rows."""
    records = open_records(source)

    def batches(size: int) -> Iterator[pa.RecordBatch]:
        yield from list(records.batches(size))[:chunks]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_records(
            Records(records.name, records.schema, records.n_rows, batches), output, embedder=fake, chunk_rows=5
        )


def test_the_same_rows_are_resumed_from_another_format(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    stop_after(3, source, output, fake)
    table = pa.Table.from_batches(open_records(source).batches(100))
    pq.write_table(table, source.with_suffix(".parquet"), row_group_size=7)
    moved = open_records(source.with_suffix(".parquet"))
    summary = embed_records(moved, output, embedder=fake, chunk_rows=5, existing=Existing.RESUME)
    assert (summary.resumed_rows, summary.changed_rows) == (15, 0)


@pytest.mark.parametrize("damage", [b"", b"PAR1 damaged PAR1"])
def test_a_damaged_part_is_embedded_again(source: Path, fake: Embedder, damage: bytes) -> None:
    output = source.with_name("out.parquet")
    stop_after(3, source, output, fake)
    Path(f"{output}.parts", "00000001.parquet").write_bytes(damage)
    summary = embed_records(open_records(source), output, embedder=fake, chunk_rows=5, existing=Existing.RESUME)
    assert (summary.rows, summary.resumed_rows) == (25, 10)


@pytest.mark.parametrize("existing", list(Existing))
def test_a_user_folder_with_the_name_of_the_parts_is_never_changed(
    source: Path, fake: Embedder, existing: Existing
) -> None:
    output = source.with_name("out.parquet")
    foreign = Path(f"{output}.parts")
    (foreign / "deep").mkdir(parents=True)
    for name in ("foreign.txt", "manifest.json", "00000000.parquet", "deep/foreign.txt"):
        (foreign / name).write_text("{}")
    with pytest.raises(InputError, match="not created by Umekomi"):
        embed_records(open_records(source), output, embedder=fake, existing=existing)
    assert len([path for path in foreign.rglob("*") if path.is_file()]) == 4
    assert not output.exists()


def test_user_files_in_the_folder_of_parts_are_kept(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    stop_after(2, source, output, fake)
    foreign = Path(f"{output}.parts", "foreign.txt")
    foreign.write_text("foreign")
    for existing in (Existing.OVERWRITE, Existing.OVERWRITE):
        embed_records(open_records(source), output, embedder=fake, existing=existing)
        assert foreign.read_text() == "foreign"
        assert not list(foreign.parent.glob("*.parquet"))
    output.unlink()
    embed_records(open_records(source), output, embedder=fake)


def test_a_second_concurrent_run_to_the_same_output_is_rejected(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    (source.parent / "link.parquet").symlink_to(output)
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(source), str(output)])
    deadline = time.monotonic() + 60
    while not list(source.parent.glob("out.parquet.parts/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for name in (output, source.parent / "link.parquet"):
        for existing in Existing:
            with pytest.raises(OutputLockedError, match=f"process {process.pid} .umekomi embed, since"):
                embed_records(open_records(source), name, embedder=fake, existing=existing)
    assert process.wait(60) == 0
    assert pq.read_table(output)["id"].to_pylist() == list(range(25))


def test_an_output_that_is_a_symbolic_link_stays_a_link(source: Path, fake: Embedder) -> None:
    (source.parent / "real").mkdir()
    link = source.parent / "out.parquet"
    link.symlink_to("real/data.parquet")
    embed_records(open_records(source), link, embedder=fake)
    embed_records(open_records(source), link, embedder=fake, existing=Existing.OVERWRITE)
    assert link.is_symlink()
    assert [path.name for path in (source.parent / "real").iterdir()] == ["data.parquet"]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.arrow", "out.v2", "out"])
def test_outputs_without_a_parquet_suffix_are_rejected(source: Path, fake: Embedder, name: str) -> None:
    with pytest.raises(InputError, match=r"must end with \.parquet or \.pq"):
        embed_records(open_records(source), source.with_name(name), embedder=fake)
    assert [path.name for path in source.parent.iterdir()] == ["in.csv"]


def test_a_column_named_text_is_not_lost(tmp_path: Path, fake: Embedder) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    source.write_text('{"title": "a", "text": "the long one", "n_tokens": 7}\n')
    summary = embed_records(open_records(source), output, embedder=fake, template="{title}")
    assert summary.renamed_columns == {"text": "input_text", "n_tokens": "input_n_tokens"}
    (row,) = pq.read_table(output).drop_columns(["embedding"]).to_pylist()
    assert row == {"title": "a", "input_text": "the long one", "input_n_tokens": 7, "n_tokens": 1, "text": "a"}
    again = tmp_path / "again.parquet"
    summary = embed_records(open_records(output), again, embedder=fake, template="{title}!")
    assert summary.renamed_columns == {}
    assert pq.read_schema(again).names == pq.read_schema(output).names


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as stream:
            stream.write("text\n")
            stream.writelines(f"row {n} of many\n" for n in range(rows))
        code = (
            "import resource\n"
            "from umekomi.cli.main import run\n"
            f"run(['embed', {str(path)!r}, '-o', {str(path)!r} + '.parquet', '-m', 'umekomi-fake', '--quiet'])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        return int(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]
        )

    assert peak(60_000) < 1.3 * peak(6_000)


def test_the_model_is_not_loaded_for_a_run_that_cannot_start(source: Path, fake: Embedder) -> None:
    """A second writer, a wrong column and an existing output are reported before the model is loaded, which can take minutes."""
    output = source.with_name("out.parquet")

    def load() -> Embedder:
        raise AssertionError("the model was loaded")

    with OutputLock(output, purpose="a test"), pytest.raises(OutputLockedError):
        embed_records(open_records(source), output, embedder=load)
    with pytest.raises(RecordError, match="title"):
        embed_records(open_records(source), output, embedder=load, template="{title}")
    source.with_name("out.parquet.parts").mkdir()
    source.with_name("out.parquet.parts").joinpath("foreign.txt").touch()
    with pytest.raises(InputError, match="not created by Umekomi"):
        embed_records(open_records(source), output, embedder=load)
    shutil.rmtree(source.with_name("out.parquet.parts"))
    embed_records(open_records(source), output, embedder=lambda: fake)
    with pytest.raises(RecordError, match="--overwrite"):
        embed_records(open_records(source), output, embedder=load)


def test_the_output_is_locked_while_the_model_is_loaded(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")

    def load() -> Embedder:
        with pytest.raises(OutputLockedError, match="umekomi embed"):
            embed_records(open_records(source), output, embedder=fake)
        return fake

    assert embed_records(open_records(source), output, embedder=load).rows == 25


def test_sparse_vectors_are_written_beside_the_others(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    embed_records(open_records(source), output, embedder=fake, sparse="bm25", chunk_rows=10)
    table, space = pq.read_table(output), read_space(output)
    # Each text has three terms: text, number, and a number.
    assert space.sparse is not None
    assert space.sparse.model == "bm25,mean_length=3"
    expected = SparseEmbedder(space.sparse.model).embed(table["text"])
    assert table["sparse"].combine_chunks() == expected.to_column()
    assert space.sparse.fingerprint == SparseEmbedder("bm25").fingerprint


def test_a_resumed_run_writes_the_same_sparse_vectors(source: Path, fake: Embedder) -> None:
    whole, resumed = source.with_name("whole.parquet"), source.with_name("resumed.parquet")
    embed_records(open_records(source), whole, embedder=fake, sparse="bm25", chunk_rows=10)

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_records(open_records(source), resumed, embedder=fake, sparse="bm25", chunk_rows=10, progress=stop)
    arguments = {"embedder": fake, "existing": Existing.RESUME, "chunk_rows": 10}
    with pytest.raises(InputError, match="had sparse = "):
        embed_records(open_records(source), resumed, **arguments)  # type: ignore[arg-type]
    embed_records(open_records(source), resumed, sparse="bm25", **arguments)  # type: ignore[arg-type]
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_column_named_sparse_is_kept_and_old_sparse_vectors_are_replaced(tmp_path: Path, fake: Embedder) -> None:
    source, first, second = tmp_path / "in.csv", tmp_path / "first.parquet", tmp_path / "second.parquet"
    source.write_text("text,sparse\ntwo beans,few\n")
    embed_records(open_records(source), first, embedder=fake, sparse="bm25")
    assert pq.read_table(first)["input_sparse"].to_pylist() == ["few"]
    embed_records(open_records(first), second, embedder=fake)
    assert "sparse" not in pq.read_schema(second).names
    assert read_space(second).sparse is None


def test_a_wrong_sparse_model_is_an_error_before_anything_is_embedded(source: Path) -> None:
    def load() -> Embedder:
        raise AssertionError("the model was loaded")

    with pytest.raises(InputError, match="no-such-model is not a sparse encoder"):
        embed_records(open_records(source), source.with_name("out.parquet"), embedder=load, sparse="no-such-model")
