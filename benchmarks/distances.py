"""Which distance? Measured on the vectors of the guide's reviews; rewrites docs/distances.md. Run it with ``make guide``."""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from guide import ROOT, TEMPLATE, embedded
from machine import in_turns
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
    """A line a metric: how its rankings agree with cosine's, and what it costs."""
    best = distances(queries, others, Metric.COSINE)
    ranks = np.argsort(np.argsort(best, axis=1, kind="stable"), axis=1)
    top = [set(row[:10]) for row in np.argsort(best, axis=1, kind="stable")]
    # All metrics take turns after a first round that does not count, so that none pays for warming up.
    calls = {metric: partial(distances, queries, others, metric) for metric in Metric}
    in_turns(calls, 1)
    seconds, lines = in_turns(calls, ROUNDS), []
    for metric in Metric:
        found = calls[metric]()
        order = np.argsort(found, axis=1, kind="stable")
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
    # Reviews that were sent twice are at distance 0 from each other, and which of them is first would be chance.
    vectors = np.unique(vectors.round(5), axis=0, return_index=True)[1]
    vectors = embedded("fine-food-reviews", embedder, TEMPLATE).vectors[np.sort(vectors)]
    queries, others = vectors[:N_QUERIES], vectors[N_QUERIES:]
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    stretched = others * np.random.default_rng(0).uniform(0.5, 2.0, (len(others), 1)).astype(np.float32)
    head = [
        "| distance | the same nearest | of the 10 nearest in common | rank correlation | time, cosine = 1 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    page = [
        "# Which distance",
        "",
        "Cosine similarity. Umekomi's vectors have length 1, and then cosine, the dot product and Euclidean distance put everything in",
        "the same order, since `|a − b|² = 2 − 2·a·b`; the dot product is the least work. `umekomi.vectors.arithmetic.distances(queries, vectors,",
        "metric)` has all five: `cosine`, `dot`, `L2`, `L1`, `Linf`; of each, smaller is nearer.",
        "",
        f"Measured on the guide's reviews ({len(vectors)} different ones, lengths {lengths.min():.6f} to {lengths.max():.6f}), each of "
        f"{N_QUERIES} against the",
        f"{len(others)} others, by `{embedder.model}`; agreement is with cosine:",
        "",
        *head,
        *compare(queries, others),
        "",
        "(Where the first three ever differ, two texts are equally near to the seven digits of float32.)",
        "L1 and L∞ are other distances: L1 is much like cosine, and L∞, which looks at a single coordinate, is not.",
        "",
        "The same vectors, each of the others made 0.5 to 2 times as long, as another system's may be:",
        "",
        "| distance | the same nearest | of the 10 nearest in common | rank correlation |",
        "| --- | ---: | ---: | ---: |",
        *(line.rsplit("|", 2)[0] + "|" for line in compare(queries, stretched)),
        "",
        "Now the dot product prefers what is long and Euclidean distance what is short. So normalize such vectors first",
        "(`umekomi.vectors.arithmetic.normalize`), or take cosine. Umekomi's stores compare by cosine whatever they are given.",
        "",
        "`make guide` writes this page. The times are the shortest of seven rounds in which the distances take turns, on one machine; only their",
        "ratios mean something.",
    ]
    (Path(ROOT) / "docs" / "distances.md").write_text("\n".join(page) + "\n", "utf-8")


if __name__ == "__main__":
    main()
