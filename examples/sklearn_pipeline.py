"""scikit-learn: which of four kinds an article is of, by cross-validation over texts, and pandas in and out.

Run it: python examples/sklearn_pipeline.py ../shared/data/AG_news_samples.csv [how many rows]
"""

import sys

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from umekomi import Embedder, EmbeddingTransformer


def main(path: str, rows: int) -> None:
    articles = pd.read_csv(path).head(rows)
    pipeline = make_pipeline(
        EmbeddingTransformer(Embedder(), template="{title} {description}"), LogisticRegression(C=10, max_iter=1000)
    )
    scores = cross_val_score(pipeline, articles[["title", "description"]], articles["label"], cv=3)
    print(f"accuracy {scores.mean():.3f} (by folds: {', '.join(f'{score:.3f}' for score in scores)})")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
