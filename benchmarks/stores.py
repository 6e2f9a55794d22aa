"""Comparison of embedded vector stores: load time, size, memory, speed, recall, concurrent processes, and kills.

    python -m venv .venv-bench && .venv-bench/bin/pip install -r benchmarks/stores-requirements.txt -e .
    .venv-bench/bin/python benchmarks/stores.py [--rows 100000] [--dims 1536] [--only lance,zvec] [--json OUT.jsonl]
    .venv-bench/bin/python benchmarks/stores.py --real text-embedding-ada-002 --only umekomi-lance

Synthetic vectors are clusters of very different sizes in 48 dimensions, rotated to ``dims`` dimensions with a little noise,
because vectors of texts also have few effective dimensions. Queries are drawn in the same way and are not in the store. With
``--real``, vectors are mixtures of three vectors of real documents, and queries are vectors of questions and sentences
(``real_vectors.py``). This is harder for every index. Each row has an id, a text, and an integer ``shard`` from 0 to 99 that is
independent of the clusters. The filter ``shard < 10`` matches 10% of the rows, and ``shard < 1`` matches 1%.

One process loads the data and another one searches it, one query at a time, and reads the records of the hits. Memory is the
growth of the second process (anonymous memory, and in brackets including mapped files). Hits are compared with exact ones.
"Second process" is what a second process can do while the first one has the store open for writing. "kill -9" is the number of 5
killed loads after which all acknowledged rows are in the store.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from real_vectors import DOCUMENTS, mixtures, real_vectors
from real_vectors import QUERIES as QUERY_SETS
from stores_engine import LEVELS, Engine
from stores_engines import ENGINES

K = 10
N_QUERIES = 200
BATCH = 5_000


def make_synthetic(folder: Path, rows: int, dims: int) -> None:
    """Write clustered vectors and queries."""
    rng = np.random.default_rng(20_261_124)
    hidden = 48
    clusters = max(20, rows // 200)
    weights = rng.pareto(1.2, clusters) + 0.05
    centers = rng.standard_normal((clusters, hidden))
    spread = rng.uniform(0.25, 0.6, (clusters, 1))
    rotation = rng.standard_normal((hidden, dims)).astype(np.float32) / np.sqrt(hidden)

    def draw(n: int) -> np.ndarray:
        labels = rng.choice(clusters, n, p=weights / weights.sum())
        inner = centers[labels] + spread[labels] * rng.standard_normal((n, hidden))
        vectors = inner.astype(np.float32) @ rotation
        vectors += 0.15 * rng.standard_normal((n, dims), dtype=np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (rows, dims))
    for start in range(0, rows, 20_000):
        vectors[start : start + 20_000] = draw(min(20_000, rows - start))
    np.save(folder / "queries.npy", draw(N_QUERIES))


def make_real(folder: Path, rows: int, model: str) -> None:
    """Write mixtures of the vectors of real documents, and the vectors of real questions and sentences."""
    np.save(folder / "vectors.npy", mixtures(real_vectors(*DOCUMENTS, model=model), rows))
    queries = [real_vectors(name, model=model)[: N_QUERIES // 2] for name in QUERY_SETS]
    np.save(folder / "queries.npy", np.concatenate(queries))


def make_exact_hits(folder: Path) -> None:
    """Write the shard of each row, and the exact hits of each query."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy")
    shards = np.random.default_rng(20_261_126).integers(0, 100, len(vectors))
    np.save(folder / "shards.npy", shards)
    for level in LEVELS:
        matching = np.flatnonzero(shards < level)
        best: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(matching), 50_000):
            block = matching[start : start + 50_000]
            scores = queries @ vectors[block].T
            top = np.argsort(-scores, axis=1)[:, :K]
            best.append((np.take_along_axis(scores, top, axis=1), block[top]))
        scores, hits = (np.concatenate(part, axis=1) for part in zip(*best, strict=True))
        order = np.argsort(-scores, axis=1)[:, :K]
        np.save(folder / f"exact-{level}.npy", np.take_along_axis(hits, order, axis=1))


def measure_memory() -> tuple[float, float]:
    """Return the anonymous and the total resident memory of this process in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in status if line.startswith(("Rss", "VmRSS"))}
    return int(sizes["RssAnon"]) / 1e3, int(sizes["VmRSS"]) / 1e3


def load(engine: Engine, data: Path) -> dict[str, float]:
    vectors = np.load(data / "vectors.npy", mmap_mode="r")
    shards = np.load(data / "shards.npy")
    start = time.perf_counter()
    engine.create(vectors.shape[1])
    for first in range(0, len(vectors), BATCH):
        engine.add(first, np.array(vectors[first : first + BATCH]), shards[first : first + BATCH])
    write_s = time.perf_counter() - start
    engine.finish()
    return {"write_s": write_s, "load_s": time.perf_counter() - start}


def search(engine: Engine, data: Path) -> dict[str, float]:
    queries = np.load(data / "queries.npy").astype(np.float32)
    before = measure_memory()
    start = time.perf_counter()
    engine.open(queries.shape[1])
    engine.search(queries[0], K, 100)
    figures = {"reopen_ms": 1e3 * (time.perf_counter() - start)}
    for level in LEVELS:
        exact = np.load(data / f"exact-{level}.npy")
        for query in queries[:20]:
            engine.search(query, K, level)
        times, n_correct = [], 0
        cpu_start = time.process_time()
        for query, expected in zip(queries, exact, strict=True):
            start = time.perf_counter()
            rows = engine.search(query, K, level)
            times.append(1e3 * (time.perf_counter() - start))
            n_correct += len(set(rows) & set(expected.tolist()))
        figures |= {
            f"cpu_{level}": 1e3 * (time.process_time() - cpu_start) / len(queries),
            f"p10_{level}": float(np.percentile(times, 10)),
            f"p50_{level}": float(np.percentile(times, 50)),
            f"p99_{level}": float(np.percentile(times, 99)),
            f"recall_{level}": n_correct / exact.size,
        }
    after = measure_memory()
    return {**figures, "anon_mb": after[0] - before[0], "rss_mb": after[1] - before[1]}


def write_forever(engine: Engine) -> None:
    """Write batches of 200 rows, and print the number of each batch after its commit, until the process is killed."""
    rng = np.random.default_rng(0)
    engine.create(64)
    for batch in range(100_000):
        engine.add(200 * batch, rng.standard_normal((200, 64), dtype=np.float32), np.full(200, batch % 100))
        engine.commit()
        print(batch, flush=True)


def keep_open(engine: Engine) -> None:
    """Keep the store open for writing until standard input ends."""
    engine.create(64)
    rng = np.random.default_rng(0)
    engine.add(0, rng.standard_normal((200, 64), dtype=np.float32), np.zeros(200, np.int64))
    engine.commit()
    print("open", flush=True)
    sys.stdin.read()


def use_in_second_process(engine: Engine, writes: bool) -> None:
    engine.open(64, writes=writes)
    rng = np.random.default_rng(1)
    if writes:
        engine.add(1000, rng.standard_normal((10, 64), dtype=np.float32), np.zeros(10, np.int64))
        engine.commit()
    assert len(engine.search(rng.standard_normal(64, dtype=np.float32), K, 100)) == K
    assert not writes or engine.count() == 210


def start_child(task: str, name: str, folder: Path, data: Path, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--task", task, "--only", name, "--folder", str(folder), "--data", str(data)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def run_child(task: str, name: str, folder: Path, data: Path) -> dict[str, float]:
    process = start_child(task, name, folder, data)
    out, errors = process.communicate()
    if process.returncode:
        raise RuntimeError((errors.strip().splitlines() or ["killed"])[-1])
    return json.loads(out.splitlines()[-1])


def count_intact_stores(name: str, folder: Path, data: Path) -> str:
    n_intact = 0
    for attempt in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        writer = start_child("write", name, folder, data)
        acknowledged = -1
        for line in writer.stdout:
            acknowledged = int(line)
            if acknowledged >= 3 + 2 * attempt:
                break
        time.sleep(0.003 * attempt)
        writer.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
        writer.wait()
        if acknowledged < 0:
            return "–"
        counter = start_child("count", name, folder, data)
        out, _ = counter.communicate()
        n_intact += counter.returncode == 0 and int(out.splitlines()[-1]) >= 200 * (acknowledged + 1)
    return f"{n_intact}/5"


def describe_second_process(name: str, folder: Path, data: Path) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    first = start_child("hold", name, folder, data)
    abilities = []
    if first.stdout.readline().strip() == "open":
        for task, word in (("read", "reads"), ("add", "writes")):
            other = start_child(task, name, folder, data)
            try:
                other.communicate(timeout=60)
                abilities += [word] if other.returncode == 0 else []
            except subprocess.TimeoutExpired:
                other.kill()
    first.communicate()
    return " and ".join(abilities) or "nothing"


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1e6


def measure(name: str, folder: Path, data: Path) -> dict[str, object]:
    shutil.rmtree(folder, ignore_errors=True)
    row: dict[str, object] = {"engine": name, **run_child("load", name, folder, data)}
    row["disk_mb"] = size_mb(folder)
    row |= run_child("search", name, folder, data)
    row["kill"] = count_intact_stores(name, folder, data) if ENGINES[name].stores_records else "–"
    row["second_process"] = describe_second_process(name, folder, data) if ENGINES[name].stores_records else "–"
    shutil.rmtree(folder, ignore_errors=True)
    return row


def format_table(rows: list[dict[str, object]]) -> str:
    headers = [
        "engine", "load s", "disk MB", "memory MB", "reopen ms", "all rows: p50 / p99, CPU ms, recall@10", "10% match",
        "1% match", "second process", "kill -9",
    ]  # fmt: skip
    lines = ["| " + " | ".join(headers) + " |", "| --- |" + " ---: |" * 4 + " --- |" * 5]
    for row in rows:
        label = ENGINES[str(row["engine"])].label
        if "error" in row:
            lines.append(f"| {label} | {row['error']} |" + " |" * 8)
            continue
        cells = [label, f"{row['load_s']:.0f}", f"{row['disk_mb']:,.0f}"]
        cells += [f"{row['anon_mb']:,.0f} ({row['rss_mb']:,.0f})", f"{row['reopen_ms']:,.0f}"]
        for level in LEVELS:
            cpu = f"{row[f'cpu_{level}']:.1f}" if f"cpu_{level}" in row else "–"
            cells.append(f"{row[f'p50_{level}']:.1f} / {row[f'p99_{level}']:.1f}, {cpu}, {row[f'recall_{level}']:.3f}")
        cells += [str(row["second_process"]), str(row["kill"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run_task(task: str, engine: Engine, data: Path) -> None:
    match task:
        case "load" | "search":
            print(json.dumps({"load": load, "search": search}[task](engine, data)))
        case "write":
            write_forever(engine)
        case "hold":
            keep_open(engine)
        case "count":
            engine.open(64, writes=True)
            print(engine.count())
        case "read" | "add":
            use_in_second_process(engine, writes=task == "add")
    engine.close()
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=1536)
    parser.add_argument("--real", metavar="MODEL", help="use mixtures of this model's vectors of real texts")
    parser.add_argument("--only", default=",".join(ENGINES), help="engines, such as lance,zvec")
    parser.add_argument("--json", type=Path, help="also append the figures to this file, one line per engine")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help="folder that the data is cached in")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if arguments.task:
        run_task(arguments.task, ENGINES[names[0]](arguments.folder), arguments.data)
        return
    with tempfile.TemporaryDirectory(dir=arguments.data and arguments.data.parent) as scratch:
        data = arguments.data or Path(scratch, "data")
        if not (data / f"exact-{LEVELS[-1]}.npy").exists():
            data.mkdir(parents=True, exist_ok=True)
            if arguments.real:
                make_real(data, arguments.rows, arguments.real)
            else:
                make_synthetic(data, arguments.rows, arguments.dims)
            make_exact_hits(data)
        rows = []
        for name in names:
            print(name, "...", file=sys.stderr, flush=True)
            try:
                rows.append(measure(name, Path(scratch, name), data))
            except RuntimeError as error:
                rows.append({"engine": name, "error": str(error)[:200]})
            if arguments.json:
                with arguments.json.open("a") as out:
                    out.write(json.dumps(rows[-1]) + "\n")
        n, dims = np.load(data / "vectors.npy", mmap_mode="r").shape
    print(f"{n:,} rows of {dims} dimensions, top {K} of {N_QUERIES} queries, {os.cpu_count()} cores\n")
    print(format_table(rows))


if __name__ == "__main__":
    main()
