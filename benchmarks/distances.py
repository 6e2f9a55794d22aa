"""Agreement and speed of the distances on the guide's reviews. Writes docs/distances.md; run it with ``make guide``."""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from guide_data import ROOT, TEMPLATE, embedded
from machine import best_times
from umekomi import DEFAULT_MODEL, Embedder
from umekomi.vectors.arithmetic import Metric, distances

NAMES = {
    Metric.COSINE: "cosine",
    Metric.DOT: "dot product",
    Metric.EUCLIDEAN: "Euclidean (L2)",
    Metric.MANHATTAN: "L1",
    Metric.CHEBYSHEV: "L∞",
}
N_QUERIES = 200
ROUNDS = 7


def compare(queries: np.ndarray, others: np.ndarray) -> list[str]:
    """Return a row per metric: the agreement of its rankings with cosine, and its time."""
    best = distances(queries, others, Metric.COSINE)
    ranks = np.argsort(np.argsort(best, axis=1, kind="stable"), axis=1)
    top = [set(row[:10]) for row in np.argsort(best, axis=1, kind="stable")]
    # The first round only warms up and is not counted.
    calls = {metric: partial(distances, queries, others, metric) for metric in Metric}
    best_times(calls, 1)
    seconds, lines = best_times(calls, ROUNDS), []
    for metric in Metric:
        order = np.argsort(calls[metric](), axis=1, kind="stable")
        first = float(np.mean(order[:, 0] == np.argmin(best, axis=1)))
        shared = float(np.mean([len(set(row[:10]) & near) / 10 for row, near in zip(order, top, strict=True)]))
        own = np.argsort(order, axis=1)
        spearman = float(np.mean([np.corrcoef(left, right)[0, 1] for left, right in zip(own, ranks, strict=True)]))
        lines.append(
            f"| {NAMES[metric]} | {first:.1%} | {shared:.1%} | {spearman:.4f} | {seconds[metric] / seconds[Metric.COSINE]:.2g} |"
        )
    return lines


def main() -> None:
    embedder = Embedder(DEFAULT_MODEL, report=lambda line: print(line, file=sys.stderr))
    vectors = embedded("fine-food-reviews", embedder, TEMPLATE).vectors
    # Copies of a review are at distance 0, and their order would be random.
    distinct = np.sort(np.unique(vectors.round(5), axis=0, return_index=True)[1])
    vectors = vectors[distinct]
    queries, others = vectors[:N_QUERIES], vectors[N_QUERIES:]
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    scaled = others * np.random.default_rng(0).uniform(0.5, 2.0, (len(others), 1)).astype(np.float32)
    head = [
        "| distance | same nearest | 10 nearest in common | rank correlation | time, cosine = 1 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    page = [
        "# Which distance",
        "",
        "Use cosine similarity. Umekomi's vectors have length 1, so cosine, the dot product and Euclidean distance sort all vectors in",
        "the same order, because `|a − b|² = 2 − 2·a·b`, and the dot product is the fastest. `umekomi.vectors.arithmetic.distances(queries, vectors,",
        "metric)` computes `cosine`, `dot`, `L2`, `L1` and `Linf`; for each, smaller is nearer.",
        "",
        f"Measured on the guide's reviews ({len(vectors)} distinct ones, lengths {lengths.min():.6f} to {lengths.max():.6f}), each of "
        f"{N_QUERIES} against the",
        f"{len(others)} others, by `{embedder.model}`; agreement with cosine:",
        "",
        *head,
        *compare(queries, others),
        "",
        "If the first three differ, the distances of two texts are equal in the seven digits of float32.",
        "L1 is similar to cosine. L∞ depends on a single coordinate and is not.",
        "",
        "Vectors of other systems may have other lengths. With the same vectors, each of the others scaled by a factor of 0.5 to 2:",
        "",
        "| distance | same nearest | 10 nearest in common | rank correlation |",
        "| --- | ---: | ---: | ---: |",
        *(line.rsplit("|", 2)[0] + "|" for line in compare(queries, scaled)),
        "",
        "The dot product prefers long vectors, and Euclidean distance prefers short ones. Normalize such vectors first",
        "(`umekomi.vectors.arithmetic.normalize`), or use cosine. Umekomi's stores always use cosine.",
        "",
        "`make guide` writes this page. The times are the shortest of seven rounds in which the distances take turns. Only their",
        "ratios are comparable between machines.",
    ]
    (Path(ROOT) / "docs" / "distances.md").write_text("\n".join(page) + "\n", "utf-8")


if __name__ == "__main__":
    main()
