"""Embedding of many rows: restarts after kills, peak memory, the forecast of `umekomi plan`, and the speed of two workers.

    python benchmarks/scale.py kills --rows 1e4 1e5 1e6                      the fake model, short artificial rows
    python benchmarks/scale.py kills --rows 1e5 -m text-embedding-ada-002    a real model; takes hours on a small machine
    python benchmarks/scale.py workers --rows 2000                           text-embedding-ada-002 with Ray, real rows

``kills`` embeds the rows once without interruption. Then it embeds them again, kills the process (SIGKILL) at random times,
repeats the same command until it finishes, and compares all shards byte by byte. Peak memory is the maximum of all processes
(``ru_maxrss``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from real_vectors import DATA, TEXTS
from umekomi import Embedder
from umekomi.catalog import load_catalog
from umekomi.pipeline.estimate import sample_texts
from umekomi.pipeline.sharded import embed_sharded
from umekomi.pipeline.shards import ShardJob
from umekomi.tokens import load_tokenizer

FILE_ROWS, GROUP_ROWS = 250_000, 20_000


def write_rows(folder: Path, texts: Iterator[str], n_rows: int) -> None:
    """Write Parquet files of at most ``FILE_ROWS`` rows."""
    folder.mkdir()
    for first in range(0, n_rows, FILE_ROWS):
        block = list(islice(texts, min(FILE_ROWS, n_rows - first)))
        table = pa.table({"id": range(first, first + len(block)), "text": block})
        pq.write_table(table, folder / f"{first:09d}.parquet", row_group_size=GROUP_ROWS)


def run(command: list[str], kill_after_s: float | None = None) -> tuple[float, int, int]:
    """Run a process; return its seconds, its exit status (negative for a signal) and its peak memory in MB."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if kill_after_s is not None:
        try:
            process.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0) if process.returncode is None else (0, 0, None)
    code = os.waitstatus_to_exitcode(status) if usage else process.returncode
    return time.monotonic() - start, code, usage.ru_maxrss // 1024 if usage else 0


def digest(output: Path) -> tuple[str, int]:
    """Return one hash of all shards, and their total size in bytes."""
    total, size = hashlib.sha256(), 0
    for path in sorted(output.glob("*.parquet")):
        data = path.read_bytes()
        total.update(path.name.encode() + hashlib.sha256(data).digest())
        size += len(data)
    return total.hexdigest(), size


def kills(rows: int, options: argparse.Namespace, folder: Path) -> None:
    card = load_catalog().model(options.model)
    texts = sample_texts(load_tokenizer(card.tokenizer), options.tokens, card.max_tokens)
    write_rows(folder / "in", texts, rows)
    command = [sys.executable, "-m", "umekomi"]
    plan = json.loads(
        subprocess.run(
            [*command, "plan", "--rows", str(rows), "--tokens", str(options.tokens), "-m", options.model, "--json"],
            check=True, capture_output=True, text=True,
        ).stdout
    )  # fmt: skip
    embed = [*command, "embed", str(folder / "in"), "-m", options.model, "--quiet", "-o"]
    whole_s, code, whole_mb = run([*embed, f"{folder}/whole/"])
    assert code == 0, f"the uninterrupted run ended with status {code}"
    generator = random.Random(options.seed)
    spent, peak, killed = 0.0, 0, 0
    for _ in range(options.kills):
        took, code, mb = run([*embed, f"{folder}/out/"], kill_after_s=generator.uniform(0.3, max(1.5, whole_s / 3)))
        spent, peak, killed = spent + took, max(peak, mb), killed + (code == -signal.SIGKILL)
    took, code, mb = run([*embed, f"{folder}/out/"])
    spent, peak = spent + took, max(peak, mb)
    assert code == 0, f"the last run ended with status {code}"
    (whole, size), (out, _) = digest(folder / "whole"), digest(folder / "out")
    n_rows = sum(pq.read_metadata(path).num_rows for path in (folder / "out").glob("*.parquet"))
    planned_s, same = plan["hours"] * 3600, whole == out and n_rows == rows
    cells = [f"{rows:,}", f"{planned_s:.1f}", f"{whole_s:.1f}", f"{planned_s / whole_s:.2f}", f"{rows / whole_s:,.0f}"]
    cells += [str(killed), f"{spent:.1f}", "yes" if same else "NO", str(max(whole_mb, peak)), f"{size / 1e6:.0f}"]
    print(f"| {' | '.join(cells)} |", flush=True)


def workers(options: argparse.Namespace, folder: Path) -> None:
    # Ray is an optional dependency.
    from umekomi.pipeline.ray_runner import make_ray_runner

    texts = [text for name in ("news", "reviews") for text in TEXTS[name](options.data) if text.strip()][: options.rows]
    write_rows(folder / "in", iter(texts), len(texts))
    embedder = Embedder(options.model)
    rates = {}
    print("| workers | texts/s | efficiency | total seconds |")
    print("| ---: | ---: | ---: | ---: |")
    for count in (1, 2):
        times: list[tuple[float, int]] = []

        def record_progress(n_rows: int, times: list[tuple[float, int]] = times) -> None:
            times.append((time.monotonic(), n_rows))

        job = ShardJob(f"{folder}/{count}", options.model, shard_rows=options.shard_rows)
        start = time.monotonic()
        embed_sharded(
            [str(folder / "in")],
            job,
            embedder=embedder,
            run=make_ray_runner("local", workers=count),
            progress=record_progress,
        )
        # The rate is measured after the first shards of every worker, so that it excludes loading the model.
        first, last = times[2 * count - 1][0], times[-1][0]
        rates[count] = sum(rows for _, rows in times[2 * count :]) / (last - first)
        efficiency = rates[count] / (count * rates[1])
        print(f"| {count} | {rates[count]:.1f} | {efficiency:.2f} | {last - start:.0f} |", flush=True)
    same = digest(folder / "1") == digest(folder / "2")
    print(
        f"\n{len(texts):,} rows; the shards of one and of two workers are {'identical' if same else 'NOT identical'}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=["kills", "workers"])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e4])
    parser.add_argument("-m", "--model", help="by default umekomi-fake for kills, text-embedding-ada-002 for workers")
    parser.add_argument(
        "--tokens", type=int, default=50, help="tokens in an artificial row; those of the fake model are bytes"
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-rows", type=int, default=64)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", help="folder of temporary files")
    options = parser.parse_args()
    options.model = options.model or ("umekomi-fake" if options.benchmark == "kills" else "text-embedding-ada-002")
    print(f"{options.model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start\n")
    if options.benchmark == "workers":
        options.rows = int(options.rows[0])
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            workers(options, Path(folder))
        return
    print("| rows | planned s | measured s | ratio | texts/s | kills | s with kills | same bytes | peak MB | MB out |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    for rows in map(int, options.rows):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            kills(rows, options, Path(folder))


if __name__ == "__main__":
    main()
