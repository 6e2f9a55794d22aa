"""Recall, completeness and latency of filtered searches on every engine.

    python benchmarks/filtered_recall.py --rows 20000 --dims 384 lance qdrant-edge redis redis_vectors postgres
    python benchmarks/filtered_recall.py --rows 200000 --dims 256 lance postgres

The vectors are clustered. Filters match 1, 10, 100 and 1,000 rows, and 10 % and 50 % of all rows. ``random`` filters are
independent of the vectors; ``near`` and ``far`` filters select the rows closest to one direction, with queries like the first or
like the last rows in that order; ``ids`` is ``_id in (…)`` with 2 and 30 ids; ``none`` is without a filter, for 10, 5,000 and
100,000 hits.

A cell has the mean and the lowest recall@10 of all queries against the exact answer, and the median latency in ms. Answers with
fewer than ``min(k, matching rows)`` hits are counted as ``short``, hits that do not match or have a wrong score as ``wrong``.
``fresh`` is measured right after the upserts, ``optimized`` after ``optimize()``, which ``umekomi store load`` calls.

Servers are started like in the tests, with the programs that ``.ci/needs/stores-servers.sh`` installs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.contracts.engines import Servers, join_url, unique_name
from tests.contracts.filtered import CaseResult, Rows

from umekomi.stores import Store, create_store

LARGE = (5_000, 100_000)
MAX_HITS = {"milvus": 16_384, "weaviate": 10_000, "pinecone": 10_000}


def format_cell(results: list[CaseResult]) -> str:
    """Return one cell of the table."""
    recalls = np.concatenate([result.recalls for result in results])
    text = f"{recalls.mean():.3f} / {recalls.min():.2f}, {np.median([result.p50_ms for result in results]):.1f}"
    n_short, n_wrong = sum(result.n_short for result in results), sum(result.n_wrong for result in results)
    return text + (f", {n_short} short" if n_short else "") + (f", {n_wrong} wrong" if n_wrong else "")


def measure(store: Store, name: str, state: str, rows: Rows, n_queries: int) -> None:
    """Print the rows of one engine in one state."""
    sizes = [1, 10, 100, 1_000, len(rows) // 10, len(rows) // 2]
    cells: dict[tuple[str, int], list[CaseResult]] = {}
    for case in rows.cases(sizes, n_queries):
        if case.relation == "none":
            for k in (10, *LARGE):
                limit = min(k, MAX_HITS.get(name, k))
                subset = case if k == 10 else type(case)(case.relation, case.where, case.rows, case.queries[:3])
                cells.setdefault(("none", k), []).append(rows.measure(store, subset, k=limit))
        else:
            cells.setdefault((case.relation, len(case.rows)), []).append(rows.measure(store, case))
    for relation, columns in (
        ("random", sizes),
        ("near", sizes),
        ("far", sizes),
        ("ids", [2, 30]),
        ("none", [10, *LARGE]),
    ):
        texts = [format_cell(cells[relation, column]) for column in columns]
        texts += [""] * (len(sizes) - len(texts))
        print(f"| {name} | {len(rows):,} | {state} | {relation} | {' | '.join(texts)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--options", default="", help="options of the URL, such as m=32&ef=400")
    options = parser.parse_args()
    rows = Rows(options.rows, options.dims)
    print(
        "| engine | rows | state | filter | 1 (ids 2; k 10) | 10 (ids 30; k 5,000) | 100 (k 100,000) | 1,000 | 10 % | 50 % |"
    )
    print("| --- | ---: | --- | --- | --- | --- | --- | --- | --- | --- |")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umekomi-recall-")))
        servers = Servers(folder, stack)
        for name in options.engines:
            embedded = {
                "lance": f"lance://{folder}/lance",
                "qdrant-edge": f"qdrant-edge://{folder}/edge",
                "memory": "memory://",
            }
            url = join_url(embedded.get(name) or servers.get(name).url, unique_name())
            mark = "&" if "?" in url else "?"
            url += f"{mark}{options.options}" if options.options else ""
            if name not in embedded:
                url += f"{'&' if '?' in url else '?'}timeout=300"
            with create_store(url, rows.space) as store:
                start = time.perf_counter()
                rows.load(store)
                loaded = time.perf_counter()
                measure(store, name, "fresh", rows, options.queries)
                measured = time.perf_counter()
                store.optimize()
                optimized = time.perf_counter()
                measure(store, name, "optimized", rows, options.queries)
                print(
                    f"{name}: loaded in {loaded - start:.0f} s, optimized in {optimized - measured:.0f} s, "
                    f"searched in {measured - loaded:.0f} and {time.perf_counter() - optimized:.0f} s",
                    file=sys.stderr,
                )
                store.drop()


if __name__ == "__main__":
    main()
