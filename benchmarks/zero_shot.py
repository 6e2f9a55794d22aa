"""Accuracy of zero-shot classification of the guide's reviews as negative or positive, without those of three stars.

umekomi embed ../shared/data/fine_food_reviews_1k.csv -o reviews.parquet -t 'Title: {Summary}; Content: {Text}'
python benchmarks/zero_shot.py reviews.parquet
"""

import sys

import numpy as np

from umekomi import Embedder
from umekomi.data.table import read_table
from umekomi.plots.predictions import macro_f1
from umekomi.tasks.zero_shot import embed_labels, zero_shot

LABELS = {
    "names": {"negative": ["negative"], "positive": ["positive"]},
    "the guide's descriptions": {
        "negative": ["An Amazon review with a negative sentiment."],
        "positive": ["An Amazon review with a positive sentiment."],
    },
    "four descriptions each": {
        "negative": [
            "Title: Terrible; Content: A review with a negative sentiment. I was disappointed and would not buy it again.",
            "Title: Disappointed; Content: It tasted awful and I threw it away. A waste of money.",
            "Title: Not good; Content: Poor quality; it arrived stale, broken or not as described.",
            "Title: Do not buy; Content: I do not recommend this product. One star.",
        ],
        "positive": [
            "Title: Great; Content: A review with a positive sentiment. I am happy and will buy it again.",
            "Title: Delicious; Content: It tasted wonderful and my family loves it. Good value.",
            "Title: Excellent; Content: Great quality; it arrived fresh, whole and just as described.",
            "Title: Love it; Content: I highly recommend this product. Five stars.",
        ],
    },
}


def main() -> None:
    table = read_table(sys.argv[1])
    scores = table.numbers("Score")
    has_sentiment = scores != 3
    is_positive = (scores[has_sentiment] > 3).astype(np.int64)
    embedder = Embedder(table.space.model)
    print(f"{table.space.model}, {len(is_positive)} reviews\n")
    print("| labels | accuracy, macro F1 without calibration | with calibration |\n| --- | --- | --- |")
    for name, descriptions in LABELS.items():
        labels = embed_labels(descriptions, embedder)
        cells = []
        for calibrate in (False, True):
            predictions = zero_shot(table.vectors[has_sentiment], labels, calibrate=calibrate).predictions
            predicted = np.array([label == "positive" for label in predictions]).astype(np.int64)
            cells.append(f"{(predicted == is_positive).mean():.3f}, {macro_f1(is_positive, predicted):.3f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
