"""Tests for sharded data sets: no row is lost or duplicated, whatever fails."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi import Embedder
from umekomi.data.embedded_file import TooLong, read_embedded, read_space
from umekomi.errors import InputError, OutputLockedError, RecordError
from umekomi.pipeline.shard_inputs import Shard, find_inputs, plan_shards
from umekomi.pipeline.sharded import embed_sharded, open_sharded
from umekomi.pipeline.shards import ShardJob, ShardResult, ShardWorker

from ..conftest import Run


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        texts = [f"file {number} text {row % 40}" for row in range(100)]
        pq.write_table(pa.table({"id": range(100), "text": texts}), folder / f"{number}.parquet", row_group_size=30)
    return folder


def job(output: Path, **options: object) -> ShardJob:
    return ShardJob(str(output), "umekomi-fake", shard_rows=32, **options)  # type: ignore[arg-type]


def shards(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob("*.parquet"))}


def test_every_row_is_written_once(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    summary = embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    assert (summary.shards, summary.rows, summary.rejected) == (12, 300, 0)
    table = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet")))
    assert sorted(table["text"].to_pylist()) == sorted(
        text for path in inputs.glob("*.parquet") for text in pq.read_table(path)["text"].to_pylist()
    )
    vector = table["embedding"][7].as_py()
    assert vector == pytest.approx(fake.embed([table["text"][7].as_py()])[0].tolist())
    assert read_space(next((tmp_path / "out").glob("*.parquet"))).fingerprint == fake.fingerprint


def test_a_repeated_text_is_embedded_once(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    summary = embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    assert summary.repeated == 3 * 60
    uncached = embed_sharded([str(inputs)], job(tmp_path / "two", cache_bytes=0), embedder=fake)
    assert uncached.repeated < summary.repeated
    assert shards(tmp_path / "out") == shards(tmp_path / "two")


def test_an_interrupted_run_continues_and_writes_the_same_bytes(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    embed_sharded([str(inputs)], job(tmp_path / "complete"), embedder=fake)

    def run_five(job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        worker = ShardWorker(job, embedder=fake)
        for shard in shards[:5]:
            yield worker(shard)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake, run=run_five)
    summary = embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    assert (summary.shards, summary.new_shards) == (12, 7)
    assert shards(tmp_path / "out") == shards(tmp_path / "complete")


def test_rejected_rows_are_written_with_a_reason(tmp_path: Path, fake: Embedder) -> None:
    values = [b"good", b"\xff\xfe bad", None, b"x" * (5 * 2**20), b"  ", b"word " * 9000, "良い".encode()]
    pq.write_table(pa.table({"text": pa.array(values, pa.binary())}), tmp_path / "in.parquet")
    summary = embed_sharded([str(tmp_path / "in.parquet")], job(tmp_path / "out"), embedder=fake)
    assert (summary.rows, summary.rejected) == (2, 5)
    (rejected_path,) = (tmp_path / "out" / "_rejected").glob("*.jsonl")
    rejected = {row["row"]: row["reason"] for row in map(json.loads, rejected_path.read_text("utf-8").splitlines())}
    assert "not UTF-8" in rejected[1]
    assert "no text" in rejected[2]
    assert "5,242,880 bytes" in rejected[3]
    assert "no text" in rejected[4]
    assert "tokens" in rejected[5]
    assert [row["text"] for row in pq.read_table(next((tmp_path / "out").glob("*.parquet"))).to_pylist()] == [
        "good",
        "良い",
    ]


def test_a_text_that_is_too_long_can_be_truncated(tmp_path: Path, fake: Embedder) -> None:
    pq.write_table(pa.table({"text": ["word " * 9000]}), tmp_path / "in.parquet")
    summary = embed_sharded(
        [str(tmp_path / "in.parquet")], job(tmp_path / "out", too_long=TooLong.TRUNCATE), embedder=fake
    )
    assert (summary.rows, summary.rejected, summary.tokens) == (1, 0, fake.card.max_tokens)


def test_a_changed_input_is_embedded_again_only_on_request(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    pq.write_table(pa.table({"id": range(40), "text": ["new"] * 40}), inputs / "1.parquet")
    (inputs / "2.parquet").unlink()
    with pytest.raises(RecordError, match="--changed-only"):
        embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    summary = embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake, changed_only=True)
    assert (summary.shards, summary.new_shards, summary.removed_shards, summary.rows) == (6, 2, 8, 140)
    embed_sharded([str(inputs)], job(tmp_path / "fresh"), embedder=fake)
    assert shards(tmp_path / "out") == shards(tmp_path / "fresh")


def test_outputs_of_another_space_and_foreign_folders_are_rejected(
    inputs: Path, tmp_path: Path, fake: Embedder
) -> None:
    embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    with pytest.raises(InputError, match="made with template"):
        embed_sharded([str(inputs)], job(tmp_path / "out", template="{text}!"), embedder=fake)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("foreign")
    with pytest.raises(InputError, match="not created by Umekomi"):
        embed_sharded([str(inputs)], job(tmp_path / "foreign"), embedder=fake)


def test_inputs_with_different_columns_are_rejected_by_name(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    pq.write_table(pa.table({"other": [1]}), inputs / "9.parquet")
    with pytest.raises(RecordError, match=r"0\.parquet has a column 'id', which .*9\.parquet does not have"):
        embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    with pytest.raises(RecordError, match="no Parquet file at"):
        find_inputs([str(tmp_path / "nowhere")])


def test_shards_do_not_depend_on_other_inputs(inputs: Path) -> None:
    files = find_inputs([str(inputs)])
    alone = plan_shards(files[1:2], shard_rows=32).shards
    together = plan_shards(files, shard_rows=32).shards
    assert {shard.name for shard in alone} < {shard.name for shard in together}


def test_fsspec_urls_are_read_and_written(inputs: Path, fake: Embedder) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    with memory.open("/data/in.parquet", "wb") as stream:
        stream.write((inputs / "0.parquet").read_bytes())
    summary = embed_sharded(["memory://data/in.parquet"], ShardJob("memory://data/out", "umekomi-fake"), embedder=fake)
    assert summary.rows == 100
    assert len(memory.glob("/data/out/*.parquet")) == 1


def test_no_row_is_lost_if_a_run_is_killed_at_any_moment(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    embed_sharded([str(inputs)], job(tmp_path / "complete"), embedder=fake)
    command = [sys.executable, "-m", "umekomi", "embed", str(inputs), "-o", f"{tmp_path}/out/", "-m", "umekomi-fake"]
    command += ["--shard-rows", "32", "--quiet"]
    for wait in (0.6, 0.9, 1.2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert shards(tmp_path / "out") == shards(tmp_path / "complete")


def test_the_command_reports_rejected_rows_and_exits_with_status_1(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["good", ""]}), tmp_path / "in.parquet")
    command = [sys.executable, "-m", "umekomi", "embed", str(tmp_path / "in.parquet"), "-o", f"{tmp_path}/out/"]
    done = subprocess.run([*command, "-m", "umekomi-fake", "--json"], capture_output=True, text=True)
    assert done.returncode == 1
    assert json.loads(done.stdout)["rejected"] == 1
    assert "_rejected" in done.stderr


def vector_bytes(shard: Path) -> float:
    """Return the mean size of a vector on disk."""
    group = pq.read_metadata(shard).row_group(0)
    column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith("embedding"))
    return float(column.total_compressed_size) / group.num_rows


@pytest.mark.parametrize("kind", ["float16", "int8", "binary"])
def test_smaller_vector_types_take_fewer_bytes_and_are_searchable(
    inputs: Path, tmp_path: Path, fake: Embedder, kind: str, umekomi: Run
) -> None:
    out = tmp_path / "out"
    done = umekomi("embed", inputs, "-o", f"{out}/", "-m", "umekomi-fake", "--vectors", kind, "--quiet")
    assert done.returncode == 0, done.stderr
    shard = min(out.glob("part-*.parquet"))
    query = pq.read_table(shard)["text"][7].as_py()
    found = umekomi("search", shard, query, "-n", 5, "--json")
    assert found.returncode == 0, found.stderr
    hits = json.loads(found.stdout)["hits"]
    assert (len(hits), hits[0]["record"]["text"]) == (5, query)
    embed_sharded([str(inputs)], job(tmp_path / "plain"), embedder=fake)
    complete = min((tmp_path / "plain").glob("part-*.parquet"))
    assert vector_bytes(shard) < {"float16": 0.6, "int8": 0.45, "binary": 0.15}[kind] * vector_bytes(complete)
    refused = umekomi("embed", inputs, "-o", f"{out}/", "-m", "umekomi-fake", "--quiet")
    assert (refused.returncode, "vectors" in refused.stderr) == (2, True)


def test_single_files_support_smaller_vector_types(inputs: Path, fake: Embedder, umekomi: Run, tmp_path: Path) -> None:
    done = umekomi(
        "embed", inputs / "0.parquet", "-o", "one.parquet", "-m", "umekomi-fake", "--vectors", "int8", "--quiet"
    )
    assert done.returncode == 0, done.stderr
    (vectors, batch), *_ = read_embedded(tmp_path / "one.parquet")
    cosines = (vectors * fake.embed(batch["text"].to_pylist())).sum(axis=1)
    assert cosines.min() > 0.999


def test_inputs_are_compared_by_content_and_not_by_time(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    path = inputs / "1.parquet"
    before, size = path.stat(), path.stat().st_size
    table = pq.read_table(path)
    texts = table["text"].to_pylist()
    changed = table.set_column(1, "text", [[text.replace("file 1", "file 9") for text in texts]])
    pq.write_table(changed, path, row_group_size=30)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == size, "same size and time, but different rows"
    with pytest.raises(RecordError, match=r"1\.parquet has changed .*\(4 shards are stale\)"):
        embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake)
    pq.write_table(pq.read_table(inputs / "2.parquet"), inputs / "2.parquet", row_group_size=7)
    summary = embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake, changed_only=True)
    assert (summary.new_shards, summary.removed_shards) == (4, 4), (
        "a file that was rewritten with the same rows is not embedded again"
    )
    embed_sharded([str(inputs)], job(tmp_path / "fresh"), embedder=fake)
    assert [path.name for path in sorted((tmp_path / "out").glob("*.parquet"))] == list(shards(tmp_path / "fresh"))
    for name in shards(tmp_path / "fresh"):
        assert pq.read_table(tmp_path / "out" / name).equals(pq.read_table(tmp_path / "fresh" / name))


def test_only_files_that_umekomi_created_are_deleted(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    out = tmp_path / "out"
    embed_sharded([str(inputs)], job(out), embedder=fake)
    foreign = [
        out / "foreign.txt",
        out / "foreign.parquet",
        out / "_done" / "foreign.json",
        out / "_rejected" / "deep" / "foreign",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("foreign")
    embed_sharded([str(inputs)], job(out, template="{id}"), embedder=fake, overwrite=True)
    (inputs / "2.parquet").unlink()
    embed_sharded([str(inputs)], job(out, template="{id}"), embedder=fake, changed_only=True)
    assert [path.read_text() for path in foreign] == ["foreign"] * 4


def test_a_user_folder_is_never_overwritten(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("_umekomi.json", "part-0123456789ab-000000000000.parquet"):
        (foreign / name).write_text("{}")
    with pytest.raises(InputError, match="not created by Umekomi"):
        embed_sharded([str(inputs)], job(foreign), embedder=fake, overwrite=True)
    assert len(list(foreign.iterdir())) == 2


def test_shards_of_deleted_inputs_are_listed_as_removed(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    out = tmp_path / "out"
    embed_sharded([str(inputs)], job(out), embedder=fake)
    assert (open_sharded(str(out)).complete, open_sharded(str(out)).removed) == (True, ())
    removed = {shard.name for shard in plan_shards([str(inputs / "2.parquet")], shard_rows=32).shards}
    content = (inputs / "2.parquet").read_bytes()
    (inputs / "2.parquet").unlink()
    embed_sharded([str(inputs)], job(out), embedder=fake, changed_only=True)
    dataset = open_sharded(str(out))
    assert (dataset.complete, set(dataset.removed)) == (True, removed)
    assert {shard.name for shard in dataset.shards} == {path.stem for path in out.glob("*.parquet")}
    listed = json.loads((out / "_shards.json").read_text())
    assert sum(shard["rows"] for shard in listed["shards"]) == dataset.rows == 200
    (inputs / "2.parquet").write_bytes(content)
    embed_sharded([str(inputs)], job(out), embedder=fake, changed_only=True)
    assert open_sharded(str(out)).removed == ()


def test_an_unfinished_data_set_is_marked_as_incomplete(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    def run_one(job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        yield ShardWorker(job, embedder=fake)(shards[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake, run=run_one)
    assert not open_sharded(str(tmp_path / "out")).complete


def test_leftovers_of_killed_runs_and_lost_shards_are_repaired(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    out = tmp_path / "out"
    embed_sharded([str(inputs)], job(out), embedder=fake)
    complete = shards(out)
    for name in (".umekomi-0123456789ab-01234567.tmp", "_done/.umekomi-0123456789ab-01234567.tmp"):
        (out / name).write_text("half")
    (out / f"part-{'0' * 12}-{'0' * 12}.parquet").write_text("a shard without an entry")
    next(iter(sorted(out.glob("part-[1-9a-f]*.parquet")))).unlink()
    (out / "_done" / f"{max(complete)[:-8]}.json").write_text("damaged")
    summary = embed_sharded([str(inputs)], job(out), embedder=fake)
    assert summary.new_shards == 2
    assert shards(out) == complete
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]


def test_a_second_concurrent_run_to_the_same_folder_is_rejected(inputs: Path, tmp_path: Path, fake: Embedder) -> None:
    def run_second_process(job: ShardJob, shards: Sequence[Shard]) -> Iterator[ShardResult]:
        command = ["embed", str(inputs), "-o", f"{tmp_path}/out/", "-m", "umekomi-fake", "--quiet", "--overwrite"]
        done = subprocess.run([sys.executable, "-m", "umekomi", *command], capture_output=True, text=True)
        assert done.returncode == 2
        assert f"is being written by process {os.getpid()}" in done.stderr
        yield from map(ShardWorker(job, embedder=fake), shards)

    embed_sharded([str(inputs)], job(tmp_path / "out"), embedder=fake, run=run_second_process)
    assert not list((tmp_path / "out").glob(".umekomi.lock"))


def test_an_output_may_be_inside_its_input_and_both_may_have_other_names(
    inputs: Path, fake: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    embed_sharded(["."], job(inputs / "out"), embedder=fake)
    (inputs.parent / "link").symlink_to(inputs)
    for source, output in ((str(inputs), "out"), ("../in", "../in/out"), (f"{inputs.parent}/link", "../link/out")):
        summary = embed_sharded([source], job(Path(output)), embedder=fake)
        assert (summary.shards, summary.new_shards) == (12, 0)


def test_inputs_may_differ_in_integer_width_and_column_order(tmp_path: Path, fake: Embedder) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"id": pa.array([1], pa.int8()), "text": ["a"]}), folder / "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "id": pa.array([2**40], pa.int64())}), folder / "b.parquet")
    embed_sharded([str(folder)], job(tmp_path / "out"), embedder=fake)
    pq.write_table(pa.table({"text": ["c"], "id": pa.array([7], pa.uint16())}), folder / "c.parquet")
    embed_sharded([str(folder)], job(tmp_path / "out"), embedder=fake)
    table = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet")))
    assert sorted(table["id"].to_pylist()) == [1, 7, 2**40]
    pq.write_table(pa.table({"text": ["d"], "id": ["x"]}), folder / "d.parquet")
    with pytest.raises(RecordError, match=r"column 'id' is string in .*d\.parquet and int64 in the inputs of"):
        embed_sharded([str(folder)], job(tmp_path / "out"), embedder=fake)


def test_input_columns_with_names_of_added_columns_are_renamed(tmp_path: Path, fake: Embedder, umekomi: Run) -> None:
    pq.write_table(pa.table({"title": ["a"], "text": ["long"], "embedding": ["x"]}), tmp_path / "in.parquet")
    done = umekomi("embed", "in.parquet", "-o", "out", "-t", "{title}", "-m", "umekomi-fake", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "'text' is kept as 'input_text'" in done.stderr
    (shard,) = (tmp_path / "out").glob("*.parquet")
    (row,) = pq.read_table(shard, columns=["title", "input_text", "input_embedding", "text"]).to_pylist()
    assert row == {"title": "a", "input_text": "long", "input_embedding": "x", "text": "a"}
    embed_sharded([str(shard)], job(tmp_path / "again", template="{title}?"), embedder=fake)
    (again,) = (tmp_path / "again").glob("*.parquet")
    assert pq.read_schema(again).names == pq.read_schema(shard).names


def test_the_folder_is_locked_while_the_model_is_loaded(inputs: Path, fake: Embedder, tmp_path: Path) -> None:
    job = ShardJob(str(tmp_path / "locked"), "umekomi-fake")

    def load() -> Embedder:
        with pytest.raises(OutputLockedError, match="umekomi embed"):
            embed_sharded([str(inputs)], job, embedder=fake)
        return fake

    assert embed_sharded([str(inputs)], job, embedder=load).rows > 0
