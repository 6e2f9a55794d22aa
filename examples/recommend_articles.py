"""Recommendation: articles like the guide's two, on Blair and the climate and on a chip set for PCs; near-duplicates dropped.

Run it: python examples/recommend_articles.py ../shared/data/AG_news_samples.csv [how many rows]
"""

import csv
import sys

from umekomi import Embedder, recommend


def main(path: str, rows: int) -> None:
    with open(path, encoding="utf-8", newline="") as stream:
        articles = [row["description"] for row in csv.DictReader(stream)][:rows]
    vectors = Embedder().embed(articles)
    for source in (0, 1):
        print(f"\nLike: {articles[source][:100]}")
        for item in recommend(vectors, source, n=5).items:
            copies = f" (and {len(item.copies)} that say the same)" if item.copies else ""
            print(f"  {item.score:.3f}  {articles[item.index][:90]}{copies}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
