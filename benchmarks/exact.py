"""The ten nearest of a million vectors in memory: float32 by NumPy, bits by Umekomi, faiss and usearch without an index.

    .venv-bench/bin/python benchmarks/exact.py [--rows 1e6] [--queries 30]      (make bench sets .venv-bench up)

The vectors are mixtures of three vectors of real texts by text-embedding-ada-002 (``real_vectors.py``); the queries are
vectors of questions that are not among them. Every engine has the same vectors and answers one query at a time with every
core; they take turns, query by query, so that other work on the machine slows all alike. Recall is against float32. int8 and
bits of faiss and usearch alone would have a recall of their own; "ranked again" compares 1,000 candidates by float32.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from real_vectors import DATA, mixtures, real_vectors
from umekomi.stores.engines.memory import MIN_CANDIDATES
from umekomi.vectors.arithmetic import FloatArray, IntArray
from umekomi.vectors.binary_search import BinaryIndex, dot_products, to_words
from umekomi.vectors.quantization import to_bits, to_int8

K, CANDIDATES = 10, 1000
Rows = IntArray
Engine = Callable[[FloatArray], Rows]
"""The rows of the ten nearest of one query, ``(1, dims)``."""


def best(vectors: FloatArray, query: FloatArray, rows: Rows) -> Rows:
    scores = dot_products(vectors, rows, query[0])
    return rows[np.argpartition(-scores, K)[:K]] if len(rows) > K else rows


def engines(vectors: FloatArray) -> dict[str, tuple[float, Engine]]:
    """Each engine's name, the bytes that it reads for a vector, and its search."""
    dims = vectors.shape[1]
    made: dict[str, tuple[float, Engine]] = {}

    def by_numpy(query: FloatArray) -> Rows:
        scores = vectors @ query[0]
        return np.argpartition(scores, -K)[-K:]

    made["NumPy, float32"] = (4 * dims, by_numpy)
    began = time.monotonic()
    words = np.concatenate([to_words(vectors[row : row + 65_536]) for row in range(0, len(vectors), 65_536)], axis=1)
    print(
        f"bits of {len(vectors):,} vectors made in {time.monotonic() - began:.1f} s: {words.nbytes / 1e6:.0f} MB",
        flush=True,
    )
    scan = BinaryIndex(words)
    for n in (300, CANDIDATES):
        made[f"**Umekomi**, bits, {n:,} ranked again by float32"] = (
            dims / 8,
            lambda query, n=n: best(vectors, query, scan.candidates(query, n)[0]),  # type: ignore[misc]
        )

    def by_umekomi(query: FloatArray) -> Rows:
        rows, scores = scan.search(query[0], vectors, k=K, min_candidates=MIN_CANDIDATES)
        return rows[np.argpartition(scores, -K)[-K:]]

    made["**Umekomi** as memory:// does it, as many as need be"] = (dims / 8, by_umekomi)
    try:
        import faiss
    except ImportError:
        print("faiss is not installed: benchmarks/requirements.txt names it")
    else:
        flat = faiss.IndexFlatIP(dims)
        flat.add(vectors)
        made["faiss IndexFlatIP, float32"] = (4 * dims, lambda query: flat.search(query, K)[1][0])
        eight = faiss.IndexScalarQuantizer(dims, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        eight.train(vectors[:20_000])
        eight.add(vectors)
        made["faiss IndexScalarQuantizer, int8"] = (dims, lambda query: eight.search(query, K)[1][0])
        binary = faiss.IndexBinaryFlat(dims)
        for row in range(0, len(vectors), 65_536):
            binary.add(to_bits(vectors[row : row + 65_536]))
        made["faiss IndexBinaryFlat, our bits, ranked again"] = (
            dims / 8,
            lambda query: best(vectors, query, binary.search(to_bits(query), CANDIDATES)[1][0].astype(np.int64)),
        )
    try:
        from usearch.index import MetricKind, search
    except ImportError:
        print("usearch is not installed: benchmarks/requirements.txt names it")
    else:
        cores = len(os.sched_getaffinity(0))
        whole = np.concatenate([to_int8(vectors[row : row + 65_536]) for row in range(0, len(vectors), 65_536)])
        codes = np.concatenate([to_bits(vectors[row : row + 65_536]) for row in range(0, len(vectors), 65_536)])
        made["usearch exact, float32"] = (
            4 * dims,
            lambda query: search(vectors, query[0], K, MetricKind.IP, exact=True, threads=cores).keys.astype(np.int64),
        )
        made["usearch exact, int8"] = (
            dims,
            lambda query: search(whole, to_int8(query)[0], K, MetricKind.Cos, exact=True, threads=cores).keys.astype(
                np.int64
            ),
        )
        made["usearch exact, our bits, ranked again"] = (
            dims / 8,
            lambda query: best(
                vectors,
                query,
                search(codes, to_bits(query)[0], CANDIDATES, MetricKind.Hamming, exact=True, threads=cores).keys.astype(
                    np.int64
                ),
            ),
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--sets", nargs="+", default=["cranfield", "news", "reviews"], help="what the mixtures are of")
    parser.add_argument("--asked", default="questions", help="what the queries are of")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    queries = real_vectors(options.asked, data=options.data)[: options.queries]
    vectors = mixtures(real_vectors(*options.sets, data=options.data), int(options.rows))
    print(f"{len(vectors):,} x {vectors.shape[1]}, {len(queries)} queries, load {os.getloadavg()[0]:.1f}")
    rows = engines(vectors)
    times: dict[str, list[float]] = {name: [] for name in rows}
    found: dict[str, list[set[int]]] = {name: [] for name in rows}
    for query in queries:
        for name, (_, search) in rows.items():
            began = time.monotonic()
            places = search(query[np.newaxis])
            times[name].append(time.monotonic() - began)
            found[name].append(set(places.tolist()))
    exact = next(iter(rows))
    print("\n| engine | bytes read a vector | median ms | fastest ms | times NumPy's | recall@10 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, (size, _) in rows.items():
        median, base = statistics.median(times[name]), statistics.median(times[exact])
        recall = float(np.mean([len(a & b) / K for a, b in zip(found[name], found[exact], strict=True)]))
        cells = [
            name,
            f"{size:,.0f}",
            f"{median * 1e3:.1f}",
            f"{min(times[name]) * 1e3:.1f}",
            f"{base / median:.1f}",
            f"{recall:.3f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
