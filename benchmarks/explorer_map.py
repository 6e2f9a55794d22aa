"""CPU time and quality of maps with landmarks, as in the explorer, for several numbers of t-SNE iterations.

    python benchmarks/explorer_map.py [--rows 200000] [--iterations 250 500] [--vectors FILE.npy]

The vectors are mixtures of vectors of real texts (``real_vectors.py``). Quality is the share of the 10 nearest neighbors of a row
that are among its 10 (or 100) nearest points on the map, for 1,000 random rows, among the landmarks and among all rows. "NumPy"
is the time to select the nearest landmarks by ``argpartition`` of all distances, which Umekomi used before.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from sklearn.decomposition import PCA

from machine import describe_machine
from real_vectors import DATA, DOCUMENTS, mixtures, real_vectors
from umekomi.explore.layout import MAX_LANDMARKS
from umekomi.tasks import tsne
from umekomi.vectors.arithmetic import FloatArray, IntArray

N_SAMPLE, K = 1000, 10
T = TypeVar("T")


def measure(call: Callable[[], T]) -> tuple[T, float]:
    """Return the result of a call and its CPU time in seconds."""
    start = time.process_time()
    return call(), time.process_time() - start


def nearest(distances: FloatArray, k: int) -> IntArray:
    """Return the indices of the ``k`` smallest distances of each row. The first one is the row itself."""
    return np.argpartition(distances, k + 1, axis=1)[:, : k + 1]


def preservation(vectors: FloatArray, points: FloatArray) -> str:
    """Return the share of nearest neighbors that are among the 10 and the 100 nearest points on the map."""
    sample = np.random.default_rng(5).choice(len(vectors), min(N_SAMPLE, len(vectors)), replace=False)
    expected = nearest(-(vectors[sample] @ vectors.T), K)
    squares = np.square(points).sum(axis=1) - 2 * points[sample] @ points.T
    shares = []
    for k in (K, 10 * K):
        on_map = nearest(squares, k)
        shares.append(
            np.mean([np.isin(left, right).sum() - 1 for left, right in zip(expected, on_map, strict=True)]) / K
        )
    return " / ".join(f"{share:.3f}" for share in shares)


def select_by_numpy(rows: FloatArray, landmarks: FloatArray) -> None:
    for block in np.array_split(rows, max(1, len(rows) // 2048)):
        squares = np.square(landmarks).sum(axis=1) - 2.0 * (block @ landmarks.T)
        np.argpartition(squares, tsne.N_NEAREST, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--landmarks", type=int, default=MAX_LANDMARKS)
    parser.add_argument("--iterations", type=int, nargs="+", default=[250, 500])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--vectors", type=Path, help="use these vectors of length 1 instead of mixtures")
    options = parser.parse_args()
    if options.vectors:
        vectors = np.load(options.vectors)[: options.rows]
    else:
        vectors = mixtures(real_vectors(*DOCUMENTS, data=options.data), options.rows)
    chosen = np.sort(np.random.default_rng(0).choice(len(vectors), options.landmarks, replace=False))
    pca = PCA(tsne.N_COMPONENTS, svd_solver="randomized", random_state=0).fit(vectors[chosen])
    reduced = pca.transform(vectors).astype(np.float32)
    landmarks = reduced[chosen]
    print(
        f"{describe_machine()}\n{len(vectors):,} x {vectors.shape[1]}, {options.landmarks:,} landmarks; CPU seconds\n"
    )
    print("| iterations | t-SNE | interpolation | NumPy | landmarks, 10 / 100 | all rows, 10 / 100 |")
    print("| ---: | ---: | ---: | ---: | --- | --- |")
    _, numpy_s = measure(lambda: select_by_numpy(reduced, landmarks))
    for iterations in options.iterations:
        points, tsne_s = measure(
            lambda iterations=iterations: tsne._tsne(
                landmarks, 2, perplexity=30.0, seed=0, iterations=iterations, threads=2
            )
        )
        positions, interpolation_s = measure(lambda points=points: tsne._interpolate(reduced, landmarks, points))
        cells = [iterations, f"{tsne_s:.1f}", f"{interpolation_s:.1f}", f"{numpy_s:.1f}"]
        cells += [preservation(vectors[chosen], points), preservation(vectors, positions)]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
