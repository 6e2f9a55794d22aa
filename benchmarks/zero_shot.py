"""Accuracy of zero-shot classification: of the guide's reviews as negative or positive, without those of three stars, and of
AG News by topic. Further files of AG News are compared without calibration and with each label's name alone, the plain way.

umekomi embed ../shared/data/fine_food_reviews_1k.csv -o reviews.parquet -t 'Title: {Summary}; Content: {Text}'
umekomi embed ../shared/data/AG_news_samples.csv -o news.parquet -t '{title}. {description}'
umekomi embed ../shared/data/AG_news_samples.csv -m all-MiniLM-L6-v2 -o news-minilm.parquet -t '{title}. {description}'
umekomi embed ../shared/data/AG_news_samples.csv -m multilingual-e5-small -o news-e5.parquet -t '{title}. {description}'
python benchmarks/zero_shot.py reviews.parquet news.parquet news-minilm.parquet news-e5.parquet
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from guide_data import format_estimate
from umekomi import Embedder
from umekomi.data.table import EmbeddedTable, read_table
from umekomi.evaluation import metrics
from umekomi.plots.predictions import macro_f1
from umekomi.tasks.choices import Calibration
from umekomi.tasks.zero_shot import LabelSet, embed_labels, zero_shot
from umekomi.vectors.arithmetic import FloatArray, IntArray, normalize

Descriptions = Mapping[str, Sequence[str]]

LABELS: dict[str, Descriptions] = {
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
TOPICS = ("World", "Sports", "Business", "Sci/Tech")
SENTIMENT_WORDINGS = (
    ("bad", "good"),
    ("The customer is unhappy.", "The customer is happy."),
    ("I do not like this product.", "I like this product."),
    ("negative review", "positive review"),
    ("disappointed", "satisfied"),
    ("I would not buy this again.", "I would buy this again."),
    ("one star", "five stars"),
    ("complaint", "praise"),
)
TOPIC_WORDINGS = (
    ("World news", "Sports news", "Business news", "Science and technology news"),
    ("politics", "sport", "finance", "technology"),
    ("international affairs", "football and other sports", "economy and companies", "computers and science"),
    (
        "News about world politics, governments, wars and international affairs.",
        "News about sports, games, teams and athletes.",
        "News about business, companies, markets and the economy.",
        "News about science, technology, computers and the internet.",
    ),
)
SEEDS = 5


def wording(texts: Sequence[str]) -> Descriptions:
    return {text: [text] for text in texts}


def load_embedder(table: EmbeddedTable, path: str) -> Embedder:
    """Load the model of an embedded file, and check that it still gives the same vectors."""
    embedder = Embedder(table.space.model)
    embedder.require_space(table.space.fingerprint, where=path)
    return embedder


def measure(
    table: EmbeddedTable,
    embedder: Embedder,
    rows: IntArray,
    truth: IntArray,
    wordings: Mapping[str, Descriptions],
) -> None:
    vectors = table.vectors[rows]
    texts = np.array(table.texts())[rows]
    print(
        f"\n{embedder.model} ({embedder.fingerprint}), {len(rows)} texts, accuracy with its 95 % interval and macro F1\n"
    )
    print("| labels | without calibration | with calibration |\n| --- | --- | --- |")
    label_sets = {name: embed_labels(descriptions, embedder) for name, descriptions in wordings.items()}
    for name, labels in label_sets.items():
        cells = []
        for calibration in Calibration:
            predicted = zero_shot(vectors, labels, calibration=calibration).indices
            cells.append(
                f"{format_estimate(metrics.share(predicted == truth, groups=texts))}, {macro_f1(truth, predicted):.3f}"
            )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    measure_subsets(vectors, truth, list(label_sets.values()))


def measure_subsets(vectors: FloatArray, truth: IntArray, label_sets: Sequence[LabelSet]) -> None:
    """Print the mean accuracy over wordings and random subsets, some of which have other shares of the labels."""
    n_labels = int(truth.max()) + 1
    print(f"\nMean accuracy over {len(label_sets)} wordings and {SEEDS} subsets\n")
    print("| subset | without calibration | with calibration |\n| --- | ---: | ---: |")
    equal = np.full(n_labels, 1 / n_labels)
    subsets = {f"{n} texts": (n, np.bincount(truth) / len(truth)) for n in (60, 100, 200, 400)}
    subsets["200 texts, equal shares"] = (200, equal)
    for label in range(n_labels):
        only = np.eye(n_labels)[label]
        subsets[f"100 texts, only label {label + 1}"] = (100, only)
        subsets[f"150 texts, two thirds of label {label + 1}"] = (
            150,
            only / 2 + equal / 2 if n_labels > 2 else only / 3 + equal * 2 / 3,
        )
    for name, (n, shares) in subsets.items():
        accuracies = []
        for seed in range(SEEDS):
            random = np.random.default_rng(seed)
            counts = np.minimum(np.rint(shares * n).astype(np.int64), np.bincount(truth))
            rows = np.concatenate(
                [
                    random.choice(np.flatnonzero(truth == label), count, replace=False)
                    for label, count in enumerate(counts)
                ]
            )
            accuracies += [
                [(zero_shot(vectors[rows], labels, calibration=c).indices == truth[rows]).mean() for c in Calibration]
                for labels in label_sets
            ]
        plain, calibrated = np.mean(accuracies, axis=0)
        print(f"| {name} | {plain:.3f} | {calibrated:.3f} |", flush=True)


def main() -> None:
    paths = sys.argv[1:]
    reviews, news, *others = tables = [read_table(path) for path in paths]
    # Before anything is measured, because one file of an older version would stop the last part.
    embedders = [load_embedder(table, path) for table, path in zip(tables, paths, strict=True)]
    scores = reviews.numbers("Score")
    rows = np.flatnonzero(scores != 3)
    others_of_sentiment = {" / ".join(texts): wording(texts) for texts in SENTIMENT_WORDINGS}
    measure(reviews, embedders[0], rows, (scores[rows] > 3).astype(np.int64), {**LABELS, **others_of_sentiment})
    topics = np.array([TOPICS.index(str(topic)) for topic in news.column("label")])
    wordings = {" / ".join(texts): wording(texts) for texts in (TOPICS, *TOPIC_WORDINGS)}
    measure(news, embedders[1], np.arange(len(topics)), topics, wordings)
    print("\n| the plain way | labels | accuracy |\n| --- | --- | --- |")
    for table, embedder in zip(others, embedders[2:], strict=True):
        for texts in (TOPICS, *TOPIC_WORDINGS):
            similarity = normalize(table.vectors) @ embedder.embed(list(texts)).T
            accuracy = format_estimate(metrics.share(similarity.argmax(axis=1) == topics))
            print(f"| {table.space.model} | {' / '.join(texts)} | {accuracy} |")


if __name__ == "__main__":
    main()
