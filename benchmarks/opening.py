"""Time to open a store without an index, and an embedded file, and to search them for the first time, in a new process.

python benchmarks/opening.py [--rows 1e6] [--dims 64]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from machine import describe_peak
from umekomi.data.embedded_file import Space, write_embedded
from umekomi.stores import create_store, open_store

_BATCH = 50_000


def make(folder: Path, rows: int, dims: int) -> tuple[str, str]:
    """Write random vectors to a store and to an embedded file, and return their URLs."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((rows, dims), dtype=np.float32)
    names = [f"row {row}" for row in range(rows)]
    space = Space("random", "0" * 16, dims)
    path, url = folder / "rows.parquet", f"lance://{folder}/rows"
    write_embedded(path, vectors, pa.table({"id": names, "text": names}), space)
    with create_store(url, space) as store:
        for start in range(0, rows, _BATCH):
            end = start + _BATCH
            store.upsert(names[start:end], vectors[start:end], pa.table({"text": names[start:end]}))
    return url, str(path)


def measure(url: str) -> None:
    """Print seconds, and seconds of CPU time, of the first opening, the second one, the count and the first search."""
    times = []

    def record(start: tuple[float, float]) -> None:
        times.append([time.perf_counter() - start[0], time.process_time() - start[1]])

    for _ in range(2):
        start = time.perf_counter(), time.process_time()
        store = open_store(url)
        record(start)
    start = time.perf_counter(), time.process_time()
    store.count()
    record(start)
    start = time.perf_counter(), time.process_time()
    store.search(np.ones((1, store.space.dims), np.float32), k=10)
    record(start)
    print(json.dumps(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        urls = make(Path(folder), int(options.rows), options.dims)
        print(f"{int(options.rows):,} rows of {options.dims} dimensions; seconds, CPU seconds in brackets")
        print(f"{describe_peak()}\n")
        print(
            "| source | first opening, with imports | second opening | count | first search |\n| --- |" + " ---: |" * 4
        )
        for name, url in zip(("lance://", "embedded file"), urls, strict=True):
            command = [sys.executable, __file__, "--measure", url]
            times = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"| {name} | {' | '.join(f'{seconds:.3f} ({cpu:.3f})' for seconds, cpu in times)} |")


if __name__ == "__main__":
    main()
