"""Cold start: who would like what, from what users wrote and what was written about products.

Run it: python examples/user_profiles.py ../shared/data/fine_food_reviews_1k.csv [how many rows]
"""

import sys

import numpy as np
from pyarrow import csv

from umekomi import Embedder, embed_table, evaluate_profiles, make_profiles, suggest


def main(path: str, rows: int) -> None:
    frame = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True)).slice(0, rows)
    table = embed_table(frame, Embedder(), template="Title: {Summary}; Content: {Text}")
    who, what = table.column("UserId"), table.column("ProductId")

    fit = evaluate_profiles(table.vectors, who, what, table.numbers("Score"))
    interval = f"{fit.low:.3f} to {fit.high:.3f}"
    print(f"Correlation of similarity and score: {fit.correlation:.3f} ({interval}), {len(fit.scores)} pairs")

    center = table.vectors.mean(axis=0)
    users, products = (make_profiles(table.vectors, keys, shrinkage=1, center=center) for keys in (who, what))
    user = users.keys[int(np.argmax(users.counts))]
    print(f"\nFor {user}, who wrote {users.counts.max()} reviews:")
    for item in suggest(users, products, user, seen=[p for u, p in zip(who, what, strict=True) if u == user]):
        print(f"  {item.score:.3f}  {item.key}  {table.texts()[what.index(item.key)][:80]}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
