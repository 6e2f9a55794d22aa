"""Exact search of a million vectors in memory: NumPy, Umekomi's binary codes, and faiss and usearch without an index.

    .venv-bench/bin/python benchmarks/exact.py [--rows 1e6] [--queries 30] [--model all-MiniLM-L6-v2]
    (`make bench` creates .venv-bench)

The vectors are mixtures of three vectors of real texts (``real_vectors.py``), and the queries are vectors of other texts. All
engines search the same vectors, one query at a time, on all cores. They take turns after each query, so that other work on the
machine affects all of them equally. Recall is relative to float32. "Reranked" means that 1,000 candidates are compared by float32
vectors.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from machine import describe_peak
from real_vectors import DATA, MODEL, mixtures, real_vectors
from umekomi.stores.engines.memory import MIN_CANDIDATES
from umekomi.vectors.arithmetic import FloatArray, IntArray
from umekomi.vectors.binary_search import BinaryIndex, dot_products, to_words
from umekomi.vectors.quantization import to_bits, to_int8

K, N_CANDIDATES = 10, 1000
Search = Callable[[FloatArray], IntArray]
"""Takes one query ``(1, dims)`` and returns the indices of the ten nearest vectors."""


def rerank(vectors: FloatArray, query: FloatArray, rows: IntArray) -> IntArray:
    """Return the ten nearest of some rows by their float32 vectors."""
    scores = dot_products(vectors, rows, query[0])
    return rows[np.argpartition(-scores, K)[:K]] if len(rows) > K else rows


def build_engines(vectors: FloatArray) -> dict[str, tuple[float, Search]]:
    """Return the number of bytes that each engine reads per vector, and its search function."""
    dims = vectors.shape[1]
    engines: dict[str, tuple[float, Search]] = {}

    def search_by_numpy(query: FloatArray) -> IntArray:
        scores = vectors @ query[0]
        return np.argpartition(scores, -K)[-K:]

    engines["NumPy, float32"] = (4 * dims, search_by_numpy)
    start = time.monotonic()
    words = np.concatenate([to_words(vectors[row : row + 65_536]) for row in range(0, len(vectors), 65_536)], axis=1)
    print(
        f"bits of {len(vectors):,} vectors computed in {time.monotonic() - start:.1f} s, {words.nbytes / 1e6:.0f} MB",
        flush=True,
    )
    index = BinaryIndex(words)
    for n in (300, N_CANDIDATES):
        engines[f"**Umekomi**, bits, {n:,} reranked by float32"] = (
            dims / 8,
            lambda query, n=n: rerank(vectors, query, index.candidates(query, n)[0]),  # type: ignore[misc]
        )

    def search_like_memory_store(query: FloatArray) -> IntArray:
        rows, scores = index.search(query[0], vectors, k=K, min_candidates=MIN_CANDIDATES)
        return rows[np.argpartition(scores, -K)[-K:]]

    engines["**Umekomi**, bits, as many candidates as necessary (memory://)"] = (dims / 8, search_like_memory_store)
    try:
        import faiss
    except ImportError:
        print("faiss is not installed; see benchmarks/requirements.txt")
    else:
        flat = faiss.IndexFlatIP(dims)
        flat.add(vectors)
        engines["faiss IndexFlatIP, float32"] = (4 * dims, lambda query: flat.search(query, K)[1][0])
        scalar = faiss.IndexScalarQuantizer(dims, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        scalar.train(vectors[:20_000])
        scalar.add(vectors)
        engines["faiss IndexScalarQuantizer, int8"] = (dims, lambda query: scalar.search(query, K)[1][0])
        binary = faiss.IndexBinaryFlat(dims)
        for row in range(0, len(vectors), 65_536):
            binary.add(to_bits(vectors[row : row + 65_536]))
        engines["faiss IndexBinaryFlat, Umekomi's bits, reranked"] = (
            dims / 8,
            lambda query: rerank(vectors, query, binary.search(to_bits(query), N_CANDIDATES)[1][0].astype(np.int64)),
        )
    try:
        from usearch.index import MetricKind, search
    except ImportError:
        print("usearch is not installed; see benchmarks/requirements.txt")
    else:
        cores = len(os.sched_getaffinity(0))
        int8_vectors = np.concatenate([to_int8(vectors[row : row + 65_536]) for row in range(0, len(vectors), 65_536)])
        codes = np.concatenate([to_bits(vectors[row : row + 65_536]) for row in range(0, len(vectors), 65_536)])
        engines["usearch exact, float32"] = (
            4 * dims,
            lambda query: search(vectors, query[0], K, MetricKind.IP, exact=True, threads=cores).keys.astype(np.int64),
        )
        engines["usearch exact, int8"] = (
            dims,
            lambda query: search(
                int8_vectors, to_int8(query)[0], K, MetricKind.Cos, exact=True, threads=cores
            ).keys.astype(np.int64),
        )
        engines["usearch exact, Umekomi's bits, reranked"] = (
            dims / 8,
            lambda query: rerank(
                vectors,
                query,
                search(
                    codes, to_bits(query)[0], N_CANDIDATES, MetricKind.Hamming, exact=True, threads=cores
                ).keys.astype(np.int64),
            ),
        )
    return engines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument(
        "--sets", nargs="+", default=["cranfield", "news", "reviews"], help="sets that the vectors are mixtures of"
    )
    parser.add_argument("--query-set", default="questions", help="set of the queries")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--model", default=MODEL, help="model of the vectors")
    options = parser.parse_args()
    queries = real_vectors(options.query_set, data=options.data, model=options.model)[: options.queries]
    vectors = mixtures(real_vectors(*options.sets, data=options.data, model=options.model), int(options.rows))
    print(f"{len(vectors):,} x {vectors.shape[1]}, {len(queries)} queries, load {os.getloadavg()[0]:.1f}")
    print(describe_peak())
    engines = build_engines(vectors)
    times: dict[str, list[float]] = {name: [] for name in engines}
    cpu_times: dict[str, list[float]] = {name: [] for name in engines}
    results: dict[str, list[set[int]]] = {name: [] for name in engines}
    for query in queries:
        for name, (_, search) in engines.items():
            start, cpu_start = time.monotonic(), time.process_time()
            indices = search(query[np.newaxis])
            times[name].append(time.monotonic() - start)
            cpu_times[name].append(time.process_time() - cpu_start)
            results[name].append(set(indices.tolist()))
    exact = next(iter(engines))
    summaries = ((statistics.median, times), (min, times), (statistics.median, cpu_times))
    columns = "bytes per vector | median ms | fastest ms | CPU ms | speed by median, by fastest, by CPU; NumPy = 1 | recall@10"
    print(f"\n| engine | {columns} |\n| --- |" + " ---: |" * 6)
    for name, (size, _) in engines.items():
        figures = [(f(values[name]), f(values[exact])) for f, values in summaries]
        recall = float(np.mean([len(a & b) / K for a, b in zip(results[name], results[exact], strict=True)]))
        cells = [
            name,
            f"{size:,.0f}",
            *(f"{own * 1e3:.1f}" for own, _ in figures),
            ", ".join(f"{base / own:.1f}" for own, base in figures),
            f"{recall:.3f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
