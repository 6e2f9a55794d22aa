import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi import Embedder
from umekomi.bulk import Empty, Existing, TooLong, embed_records
from umekomi.errors import InputError, RecordError
from umekomi.records import open_records, read_embedded, read_space
from umekomi.vector_columns import matrix_of


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + "".join(f"{n},text number {n}\n" for n in range(25)), "utf-8")
    return path


def test_the_output_has_the_inputs_columns_and_the_vectors(source: Path, fake: Embedder) -> None:
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
    assert (matrix_of(table["embedding"].combine_chunks()) == fake.embed(table["text"].to_pylist())).all()
    assert read_space(output).fingerprint == fake.fingerprint
    assert not list(source.parent.glob("*.parts"))


def test_an_embedded_file_is_read_in_pieces(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    embed_records(open_records(source), output, embedder=fake)
    pieces = list(read_embedded(output, size=10))
    assert sum(len(vectors) for vectors, _ in pieces) == 25
    assert pieces[0][0].dtype == np.float32


def test_what_is_there_is_not_written_over(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    embed_records(open_records(source), output, embedder=fake)
    with pytest.raises(RecordError, match="--overwrite"):
        embed_records(open_records(source), output, embedder=fake)
    embed_records(open_records(source), output, embedder=fake, existing=Existing.OVERWRITE)


def test_a_row_without_text_is_named_or_left_out(tmp_path: Path, fake: Embedder) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n{"text": "  "}\n{"text": "c"}\n')
    with pytest.raises(RecordError, match=r"Row 2 .*--empty skip"):
        embed_records(open_records(path), tmp_path / "a.parquet", embedder=fake)
    summary = embed_records(open_records(path), tmp_path / "b.parquet", embedder=fake, empty=Empty.SKIP)
    assert (summary.rows, summary.skipped_rows) == (2, 1)


def test_a_row_that_is_too_long_is_named_or_cut(tmp_path: Path, fake: Embedder) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a"}\n{"text": "' + "x" * 9000 + '"}\n')
    with pytest.raises(RecordError, match=r"Row 2 .* has 9000 tokens"):
        embed_records(open_records(path), tmp_path / "a.parquet", embedder=fake)
    embed_records(open_records(path), tmp_path / "b.parquet", embedder=fake, too_long=TooLong.TRUNCATE)
    assert pq.read_table(tmp_path / "b.parquet")["n_tokens"].to_pylist() == [1, 8191]


SLOW = """
import sys, time
from pathlib import Path
from umekomi import Embedder
from umekomi.bulk import embed_records
from umekomi.records import open_records
embedder = Embedder("umekomi-fake")
plain = embedder.embed_texts
def slow(texts, **options):
    time.sleep(0.15)
    return plain(texts, **options)
embedder.embed_texts = slow
embed_records(open_records(sys.argv[1]), sys.argv[2], embedder=embedder, chunk_rows=5)
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_goes_on_and_ends_the_same(source: Path, fake: Embedder, kill: signal.Signals) -> None:
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
    whole = source.with_name("whole.parquet")
    embed_records(open_records(source), whole, embedder=fake, chunk_rows=5)
    assert pq.read_table(output).equals(pq.read_table(whole))


def test_another_input_cannot_be_resumed(source: Path, fake: Embedder) -> None:
    output = source.with_name("out.parquet")
    parts = Path(f"{output}.parts")
    embed_records(open_records(source), output, embedder=fake)
    parts.mkdir()
    (parts / "manifest.json").write_text('{"input": "other.csv"}')
    output.unlink()
    with pytest.raises(InputError, match=r"had input = 'other\.csv'"):
        embed_records(open_records(source), output, embedder=fake, existing=Existing.RESUME)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as stream:
            stream.write("text\n")
            stream.writelines(f"row {n} of many\n" for n in range(rows))
        code = (
            "import resource\n"
            "from umekomi.cli.main import run\n"
            f"run(['embed', {str(path)!r}, '-o', {str(path)!r} + '.out', '-m', 'umekomi-fake', '--quiet'])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        return int(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]
        )

    assert peak(60_000) < 1.3 * peak(6_000)
