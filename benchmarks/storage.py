"""Size and search quality of each vector type: bytes per row, recall@10, and nDCG@10 on Cranfield.

    python benchmarks/storage.py [--data ../shared/data]

Vectors of real texts (``real_vectors.py``) are converted to each type that ``umekomi embed --vectors`` writes, converted back,
and searched exactly with float32 queries. Recall is relative to float32 vectors. The column "50 candidates, float32" is the
recall if the 50 nearest vectors are sorted again by their float32 values, as in a store that contains both.
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

K, N_CANDIDATES = 10, 50


def nearest(queries: FloatArray, vectors: FloatArray, k: int) -> IntArray:
    """Return the indices of the ``k`` nearest vectors, nearest first: ``(q, k)``."""
    return np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :k]


def recall(results: IntArray, expected: IntArray) -> float:
    return float(
        np.mean([len(set(one) & set(other)) / len(other) for one, other in zip(results, expected, strict=True)])
    )


def rerank(queries: FloatArray, vectors: FloatArray, candidates: IntArray) -> IntArray:
    """Return the ten nearest candidates according to their float32 vectors."""
    return np.stack(
        [
            rows[np.argsort(-(vectors[rows] @ query), kind="stable")[:K]]
            for query, rows in zip(queries, candidates, strict=True)
        ]
    )


def parquet_size(column: pa.Array) -> int:
    """Return the size of the column in bytes, in a Parquet file like those of ``umekomi embed``."""
    stream = io.BytesIO()
    pq.write_table(pa.table({"embedding": column}), stream, compression="zstd", use_dictionary=False)
    return len(stream.getvalue())


def cranfield_ndcg(data: Path, queries: FloatArray, documents: FloatArray) -> float:
    folder = data / "cranfield"
    dataset = read_cranfield(folder / "cran.all.1400", folder / "cran.qry", folder / "cranqrel")
    names = [name for name, text in dataset.documents.items() if text.strip()]
    scores = queries @ documents.T
    run = {
        query: {names[index]: float(row[index]) for index in np.argsort(-row)[:100]}
        for query, row in zip(dataset.queries, scores, strict=True)
    }
    return float(np.mean(list(ndcg(dataset.judgments, run).values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    documents = real_vectors(*DOCUMENTS, data=options.data)
    queries = real_vectors(*QUERIES, data=options.data)
    questions = real_vectors("questions", data=options.data)
    n_abstracts = len(real_vectors("cranfield", data=options.data))
    expected = nearest(queries, documents, K)
    print(f"{len(documents):,} documents, {len(queries)} queries, {documents.shape[1]} dimensions\n")
    print("| vectors | bytes per row | in Parquet | recall@10 | 50 candidates, float32 | Cranfield nDCG@10 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for vector_type in VectorType:
        column = to_column(documents, vector_type)
        restored = from_column(column)
        width = arrow_type(vector_type, documents.shape[1])
        n_bytes = (
            width.byte_width if vector_type is VectorType.BINARY else width.list_size * width.value_type.bit_width // 8
        )
        reranked = rerank(queries, documents, nearest(queries, restored, N_CANDIDATES))
        print(
            f"| {vector_type} | {n_bytes:,} | {parquet_size(column) / len(documents):,.0f} "
            f"| {recall(nearest(queries, restored, K), expected):.3f} "
            f"| {recall(reranked, expected):.3f} | {cranfield_ndcg(options.data, questions, restored[:n_abstracts]):.3f} |"
        )


if __name__ == "__main__":
    main()
