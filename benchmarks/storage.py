"""What vectors in fewer bytes keep: bytes a row, recall@10, and nDCG@10 on Cranfield.

    python benchmarks/storage.py [--data ../shared/data]

Vectors of text-embedding-ada-002 of real texts (``real_vectors.py`` embeds them once) are kept as each type that
``umekomi embed --vectors`` writes, read back, and searched exactly with queries in float32. Recall is against float32; "of 50, by
float32" is the recall where the nearest 50 are ranked again by their float32 vectors, as a store that keeps both does.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from real_vectors import DATA, DOCUMENTS, QUERIES, real_vectors
from umekomi.evaluation.datasets import read_cranfield
from umekomi.evaluation.metrics import ndcg
from umekomi.vectors.arithmetic import FloatArray, IntArray
from umekomi.vectors.arrow import VectorType, arrow_type, from_column, to_column

K, MORE = 10, 50


def nearest(queries: FloatArray, vectors: FloatArray, k: int) -> IntArray:
    """The places of the ``k`` nearest, nearest first: ``(q, k)``."""
    return np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]


def recall(found: IntArray, wanted: IntArray) -> float:
    return float(np.mean([len(set(one) & set(other)) / len(other) for one, other in zip(found, wanted, strict=True)]))


def ranked_again(queries: FloatArray, vectors: FloatArray, places: IntArray) -> IntArray:
    """The nearest ten of some candidates, by float32."""
    return np.stack(
        [
            some[np.argsort(-(vectors[some] @ query), kind="stable")[:K]]
            for query, some in zip(queries, places, strict=True)
        ]
    )


def on_disk(column: pa.Array) -> int:
    """Bytes in a Parquet file as a run writes it."""
    stream = io.BytesIO()
    pq.write_table(pa.table({"embedding": column}), stream, compression="zstd", use_dictionary=False)
    return len(stream.getvalue())


def cranfield_ndcg(data: Path, queries: FloatArray, documents: FloatArray) -> float:
    folder = data / "cranfield"
    known = read_cranfield(folder / "cran.all.1400", folder / "cran.qry", folder / "cranqrel")
    names = [name for name, text in known.documents.items() if text.strip()]
    scores = queries @ documents.T
    run = {
        query: {names[place]: float(line[place]) for place in np.argsort(-line)[:100]}
        for query, line in zip(known.queries, scores, strict=True)
    }
    return float(np.mean(list(ndcg(known.judgments, run).values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    documents = real_vectors(*DOCUMENTS, data=options.data)
    queries = real_vectors(*QUERIES, data=options.data)
    questions = real_vectors("questions", data=options.data)
    n_abstracts = len(real_vectors("cranfield", data=options.data))
    wanted = nearest(queries, documents, K)
    print(f"{len(documents):,} documents, {len(queries)} queries, {documents.shape[1]} dimensions\n")
    print("| vectors | bytes a row | in Parquet | recall@10 | of 50, by float32 | Cranfield nDCG@10 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in VectorType:
        column = to_column(documents, kind)
        back = from_column(column)
        width = arrow_type(kind, documents.shape[1])
        raw = width.byte_width if kind is VectorType.BINARY else width.list_size * width.value_type.bit_width // 8
        again = ranked_again(queries, documents, nearest(queries, back, MORE))
        print(
            f"| {kind} | {raw:,} | {on_disk(column) / len(documents):,.0f} | {recall(nearest(queries, back, K), wanted):.3f} "
            f"| {recall(again, wanted):.3f} | {cranfield_ndcg(options.data, questions, back[:n_abstracts]):.3f} |"
        )


if __name__ == "__main__":
    main()
