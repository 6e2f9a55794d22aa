"""Copy a collection from the embedded default to each engine and back, and compare every row.

    python benchmarks/copy_stores.py --rows 100000 qdrant-edge redis postgres milvus

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
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.contracts.engines import Servers

from umekomi.data.embedded_file import Space
from umekomi.stores import Store, copy_store, create_store, open_store

DIMS, BATCH, TOLERANCE = 384, 10_000, 1e-6


def fill(store: Store, n_rows: int) -> None:
    """Insert clustered vectors with records of every column type, some of them null."""
    random = np.random.default_rng(7)
    centers = random.standard_normal((1000, DIMS), dtype=np.float32)
    for start in range(0, n_rows, BATCH):
        rows = np.arange(start, min(start + BATCH, n_rows))
        vectors = centers[random.integers(0, 1000, len(rows))] + 0.5 * random.standard_normal(
            (len(rows), DIMS), np.float32
        )
        records = pa.table(
            {
                "text": [f"row {row} 行" for row in rows],
                "score": pa.array([None if row % 9 == 0 else int(row % 5) for row in rows], pa.int64()),
                "weight": pa.array((rows / 8).tolist(), pa.float64()),
                "verified": pa.array([None if row % 11 == 0 else bool(row % 2) for row in rows], pa.bool_()),
                "time": pa.array((rows * 1_000_003).tolist(), pa.int64()).cast(pa.timestamp("us", "UTC")),
            }
        )
        store.upsert([f"id {row}" for row in rows], vectors.astype(np.float32), records)


def read_all(store: Store) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    """Return all ids, vectors and records, sorted by id."""
    ids: list[str] = []
    vectors, tables = [], []
    for batch_ids, matrix, records in store.iterate(size=2048):
        ids += batch_ids
        vectors.append(matrix.copy())
        tables.append(records.select(sorted(records.column_names)))
    order = np.argsort(np.array(ids))
    return np.array(ids)[order], np.concatenate(vectors)[order], pa.concat_tables(tables).combine_chunks().take(order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+")
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umekomi-copy-")))
        servers = Servers(folder, stack)
        (folder / "edge").mkdir()
        source = create_store(f"lance://{folder}/first/rows", Space("umekomi-fake", "0123456789abcdef", DIMS))
        fill(source, options.rows)
        ids, vectors, records = read_all(source)
        print(f"{options.rows:,} rows of {DIMS} dimensions, from LanceDB and back", flush=True)
        for name in options.engines:
            base = f"qdrant-edge://{folder}/edge" if name == "qdrant-edge" else servers.get(name).url
            start = time.perf_counter()
            target = create_store(f"{base}/rows?timeout=300" if name != "qdrant-edge" else f"{base}/rows", source.space)
            copied = copy_store(source, target)
            middle = time.perf_counter()
            back = create_store(f"lance://{folder}/back/{name}", source.space)
            copy_store(target, back)
            ended = time.perf_counter()
            back_ids, back_vectors, back_records = read_all(open_store(back.url))
            equal = np.array_equal(ids, back_ids) and records.equals(back_records)
            difference = float(np.abs(vectors - back_vectors).max()) if equal else float("nan")
            version = target.info().get("version", "")
            print(
                f"{name}, {target.engine} {version}: copied in {middle - start:.0f} s, back in {ended - middle:.0f} s, "
                f"{copied.rows:,} rows; "
                f"ids and records {'equal' if equal else 'NOT EQUAL'}, vectors differ by at most {difference:.1e}",
                flush=True,
            )
            target.drop()
            target.close()
            if not equal or not difference <= TOLERANCE:
                sys.exit(1)


if __name__ == "__main__":
    main()
