"""Text search: the guide's five queries on its reviews, no two hits alike, and where a score comes from.

Run it: python examples/search_reviews.py ../shared/data/fine_food_reviews_1k.csv [how many rows]
"""

import sys

from pyarrow import csv

from umekomi import Embedder, create_store, embed_table, explain, search

QUERIES = ["delicious beans", "whole wheat pasta", "bad delivery", "spoilt", "pet food"]


def main(path: str, rows: int) -> None:
    embedder = Embedder()
    frame = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True)).slice(0, rows)
    table = embed_table(frame, embedder, template="Title: {Summary}; Content: {Text}")
    store = create_store("memory://reviews", table.space)
    store.upsert([str(row) for row in range(len(table))], table.vectors, table.records)

    for query, hits in zip(QUERIES, search(store, embedder, QUERIES, n=3, diversity=0.3), strict=True):
        print(f"\n{query}")
        for hit in hits:
            print(f"  {hit.score:.3f}  {hit.record['Score']} stars  {hit.record['text'][:90]}")

    why = explain(embedder, QUERIES[0], table.texts()[0])
    print(f"\nThe first review and {QUERIES[0]!r} have {why.score:.3f}:")
    print("  by parts of the vector:", ", ".join(f"{name} {share:.3f}" for name, share in why.parts.items()))
    print("  by its words:", ", ".join(f"{piece.text} {piece.gain:+.3f}" for piece in why.document[:3]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
