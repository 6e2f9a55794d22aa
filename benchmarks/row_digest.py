"""Speed of the digest by which `embed --resume` and sharded runs recognize changed rows.

    python benchmarks/row_digest.py

Computes digests of chunks of 512 rows, like `umekomi embed`, and prints the time per chunk and per million rows.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pyarrow as pa

from umekomi.pipeline.row_digest import RowDigest
from umekomi.pipeline.single_file import CHUNK_ROWS

REPEATS = 200


def make_chunks() -> dict[str, pa.RecordBatch]:
    """Return chunks with several types of columns."""
    random = np.random.default_rng(0)
    texts = ["some words of a review, about as long as most of them are. " * 7] * CHUNK_ROWS
    tags = [["short", None, "lists"][: row % 4] for row in range(CHUNK_ROWS)]
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(random.standard_normal(CHUNK_ROWS * 1536).astype(np.float32)), 1536
    )
    return {
        "an id and a text of 413 characters": pa.record_batch({"id": range(CHUNK_ROWS), "text": texts}),
        "the same with a list and nulls": pa.record_batch({"id": range(CHUNK_ROWS), "text": texts, "tags": tags}),
        "the same with a vector of 1,536 numbers": pa.record_batch(
            {"id": range(CHUNK_ROWS), "text": texts, "vector": vectors}
        ),
    }


def main() -> None:
    print(f"| columns | kB per chunk of {CHUNK_ROWS} rows | ms per chunk | MB/s | s per million rows |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, batch in make_chunks().items():
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            digest = RowDigest()
            digest.update(batch)
            digest.hexdigest()
            times.append(time.perf_counter() - start)
        median = statistics.median(times)
        print(
            f"| {name} | {batch.nbytes / 1e3:,.0f} | {median * 1e3:.2f} | {batch.nbytes / median / 1e6:,.0f} | "
            f"{median * 1e6 / CHUNK_ROWS:.1f} |"
        )


if __name__ == "__main__":
    main()
