"""Run all use cases of OpenAI's embeddings guide on the guide's data, and write docs/guide.md and its pictures.

Run it with ``make guide``. It reads the two data sets from UMEKOMI_ASSET_PATH or ../shared/data, embeds them into build/guide, and
prints progress only; the figures are in the page. Arguments limit the run to some use cases, as in
``python benchmarks/guide.py clustering``.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from guide_data import BUILD, PICTURES, ROOT, TEMPLATE, Guide, Row, embedded, format_estimate, picture, say, short
from guide_predictions import classification, profile_correlation, regression, zero_shot_classification
from umekomi import DEFAULT_MODEL, Embedder
from umekomi import embeddings_utils as old
from umekomi.catalog import NOT_OPENAI
from umekomi.data.table import embed_table, read_csv_vectors
from umekomi.evaluation import metrics
from umekomi.plots import charts, colors
from umekomi.stores import open_parquet
from umekomi.tasks import anomalies, cluster, diversity, project
from umekomi.tasks.explain import explain
from umekomi.tasks.recommend import recommend
from umekomi.tasks.search import search
from umekomi.tasks.sklearn_transformer import EmbeddingTransformer
from umekomi.vectors.arithmetic import Metric, distances

QUERIES = ["delicious beans", "whole wheat pasta", "bad delivery", "spoilt", "pet food"]


def obtain(guide: Guide) -> Row:
    path = BUILD / "as_the_guide_saves_it.csv"
    frame = guide.reviews.records.select(["Score", "text"]).to_pandas()
    frame["ada_embedding"] = guide.reviews.vectors.tolist()
    frame.to_csv(path, index=False)
    again = read_csv_vectors(path)
    same = bool((again.vectors == guide.reviews.vectors).all())
    return Row(
        "Obtain the embeddings",
        "1,000 × 1,536",
        f"{len(guide.reviews):,} × {guide.reviews.space.dims:,}; {'the same' if same else 'NOT the same'} numbers in the guide's CSV format",
        f"`umekomi embed fine_food_reviews_1k.csv -o reviews.parquet -t '{TEMPLATE}'`; `umekomi import embedded_1k_reviews.csv -o …`",
    )


def maps(guide: Guide) -> Row:
    projection = project.project(guide.reviews.vectors, method="tsne")
    scores = guide.reviews.column("Score")
    coloring = colors.color_by(scores, "Score")
    charts.draw_map(
        projection.points, coloring, PICTURES / "map.png", title="Amazon ratings visualised in language using t-SNE"
    )
    agreement = measure_agreement(projection.points, np.array(scores))
    most_common = max(np.bincount(scores)) / len(scores)
    return Row(
        "2-D map",
        "a picture",
        f"for {agreement:.0%} of the 10 nearest neighbors on the map, both scores are low (1–3 stars) or both are high (4–5)",
        "`umekomi map reviews.parquet --color Score -o map.png`",
        [
            f"{most_common:.0%} of the reviews have the most common score.",
            "",
            picture("map.png", "1,000 reviews by t-SNE, colored by score"),
        ],
    )


def measure_agreement(points: np.ndarray, scores: np.ndarray) -> float:
    """Return the share of the 10 nearest neighbors with a score on the same side of 3.5."""
    gaps = ((points[:, None] - points[None]) ** 2).sum(2)
    np.fill_diagonal(gaps, np.inf)
    nearest = np.argsort(gaps, axis=1)[:, :10]
    return float(((scores[nearest] > 3) == (scores > 3)[:, None]).mean())


def clustering(guide: Guide) -> Row:
    table = guide.reviews
    clustering_result = cluster.cluster(table.vectors, k=4)
    clusters = cluster.describe(clustering_result, table.vectors, table.texts(), values=table.numbers("Score"))
    points = project.project(table.vectors, method="tsne").points
    coloring = colors.color_clusters(
        clustering_result.labels.tolist(), [summary.name for summary in clusters], "cluster"
    )
    charts.draw_map(points, coloring, PICTURES / "clusters.png", title="Clusters, seen in language by t-SNE")
    best = cluster.cluster(table.vectors)
    lines = ["| cluster | reviews | mean score | most central review |", "| --- | ---: | ---: | --- |"]
    for summary in clusters:
        lines.append(
            f"| {summary.name} | {summary.size} | {summary.mean_value:.2f} | {short(table.texts()[summary.central[0]], 80)} |"
        )
    named = "; ".join(summary.name for summary in clusters)
    return Row(
        "Clustering",
        "4 clusters: one of dog food, one of negative reviews, two of positive ones",
        f"4 clusters: {named}",
        "`umekomi cluster reviews.parquet -k 4 --mean Score --picture clusters.png`",
        [
            *lines,
            "",
            f"The silhouette is greatest for {best.k} clusters ({best.structure.silhouette:.3f}). In data without clusters it is at most "
            f"{max(best.structure.without_groups):.3f}, so the reviews have "
            + ("clear clusters. " if best.structure.has_structure else "no clear clusters. ")
            + "Sizes and names of the clusters differ slightly between CPUs.",
            "",
            picture("clusters.png", "The clusters on the map"),
        ],
    )


def text_search(guide: Guide) -> Row:
    store = open_parquet(BUILD / "fine-food-reviews.parquet")
    lines = []
    for query, hits in zip(QUERIES, search(store, guide.embedder, QUERIES, n=3, diversity=0.3), strict=True):
        lines += [f"**{query}**", ""]
        lines += [f"{rank}. {hit.score:.3f} {short(hit.record['text'])}" for rank, hit in enumerate(hits, start=1)]
        why = explain(guide.embedder, query, hits[0].record["text"])
        parts = ", ".join(f"{name} {share:.3f}" for name, share in why.parts.items())
        words = ", ".join(f"{piece.text} {piece.gain:+.3f}" for piece in why.document[:4])
        lines += ["", f"   Explanation of the first hit: {parts}; words: {words}", ""]
    return Row(
        "Text search",
        "three reviews per query",
        "below",
        "`umekomi search reviews.parquet 'delicious beans' --diversity 0.3 --explain`",
        lines,
    )


def code_search(guide: Guide) -> Row:
    return Row(
        "Code search",
        "functions of a repository",
        "functions, classes and prose of any repository, in 20 languages",
        "`umekomi code index .`; `umekomi code search 'completions API tests'`",
    )


def recommendation(guide: Guide) -> Row:
    lines = []
    for index in (0, 1):
        recommendation = recommend(guide.news.vectors, index)
        lines += [f"**{short(guide.news.texts()[index])}**", ""]
        lines += [
            f"{rank}. {item.score:.3f} {short(guide.news.texts()[item.index])}"
            for rank, item in enumerate(recommendation.items, 1)
        ]
        lines.append("")
    labels = guide.news.column("label")
    same_category = [
        labels[item.index] == labels[row]
        for row in range(len(guide.news))
        for item in recommend(guide.news.vectors, row).items
    ]
    return Row(
        "Recommendation",
        "articles on the same subject",
        f"below; of 5 recommended to each of 2,000 articles {np.mean(same_category):.0%} have its category (25% by chance)",
        "`umekomi recommend news.parquet 0`",
        lines,
    )


def anomaly_detection(guide: Guide) -> Row:
    news = guide.news.records.select(["title", "description"]).slice(0, 50)
    articles = embed_table(news, guide.embedder, template="Title: {title}; Content: {description}").vectors
    mixed = np.concatenate([guide.reviews.vectors, articles])
    is_article = np.arange(len(mixed)) >= len(guide.reviews)
    aucs = {
        method: roc_auc_score(is_article, anomalies.find_anomalies(mixed, method=method).scores)
        for method in anomalies.AnomalyMethod
    }
    # With a reference: half of the distinct reviews are the reference, and the other half and the articles are tested.
    once = np.unique(guide.texts, return_index=True)[1]
    reference, rest = once[::2], once[1::2]
    tested = np.concatenate([guide.reviews.vectors[rest], articles])
    lines = ["| method | articles flagged at 0.01, of 50 | share of reviews flagged | discoveries with an FDR of 0.1: articles, reviews |",
             "| --- | ---: | ---: | ---: |"]  # fmt: skip
    for method in anomalies.AnomalyMethod:
        result = anomalies.find_anomalies(tested, reference=guide.reviews.vectors[reference], method=method)
        false_alarms = metrics.share(result.p_values[: len(rest)] <= 0.01)
        discoveries = result.discoveries(0.1)
        lines.append(
            f"| {method} | {(result.p_values[len(rest) :] <= 0.01).sum()} | {format_estimate(false_alarms)} | "
            f"{(discoveries >= len(rest)).sum()}, {(discoveries < len(rest)).sum()} |"
        )
    knn = anomalies.find_anomalies(mixed).scores
    top = float(np.ceil(knn.max() * 20) / 20)
    charts.draw_histogram(
        [np.histogram(knn[is_article == news], bins=40, range=(0, top))[0].tolist() for news in (False, True)],
        ["reviews", "news articles"],
        PICTURES / "anomalies.png",
        low=0.0,
        high=top,
        label="mean cosine distance to the 20 nearest rows",
    )
    return Row(
        "Anomaly detection",
        "no figure",
        "AUC "
        + ", ".join(f"{auc:.3f} ({method})" for method, auc in aucs.items())
        + " for 50 news articles among the reviews",
        "`umekomi anomalies reviews.parquet`",
        [
            f"The picture shows the scores of all rows without a reference. The table compares {len(rest)} reviews and the 50 articles with "
            f"a reference of {len(reference)} other reviews; each text is included once.",
            "",
            *lines,
            "",
            picture("anomalies.png", "The scores of 1,000 reviews and of 50 news articles among them"),
        ],
    )


def diversity_scores(guide: Guide) -> Row:
    reviews, news = diversity.diversity(guide.reviews.vectors), diversity.diversity(guide.news.vectors)
    return Row(
        "Diversity",
        "no figure",
        f"Vendi score: reviews {reviews.vendi:.0f} of {reviews.n:,} ({reviews.vendi_share:.0%}), news {news.vendi:.0f} of {news.n:,} "
        f"({news.vendi_share:.0%}); near-duplicates {reviews.duplicates.redundant} and {news.duplicates.redundant}",
        "`umekomi diversity reviews.parquet`",
    )


def which_distance(guide: Guide) -> Row:
    queries, others = guide.reviews.vectors[:200], guide.reviews.vectors[200:]
    nearest = {metric: distances(queries, others, metric).argmin(axis=1) for metric in Metric}
    # Some reviews are copies of each other, so several can be equally near.
    cosines = distances(queries, others)
    limits = cosines.min(axis=1) + 1e-6
    agreement = {
        metric: float((cosines[np.arange(len(queries)), nearest[metric]] <= limits).mean()) for metric in Metric
    }
    return Row(
        "Which distance",
        "cosine; dot product and Euclidean distance give the same ranking",
        "same nearest review as with cosine: "
        + ", ".join(f"{metric} {share:.0%}" for metric, share in agreement.items() if metric != "cosine"),
        "see [distances.md](distances.md)",
    )


def utilities(guide: Guide) -> Row:
    distances_from_first = old.distances_from_embeddings(guide.news.vectors[0].tolist(), guide.news.vectors.tolist())
    items = recommend(guide.news.vectors, 0, near_duplicate=None).items
    same = [item.index for item in items] == old.indices_of_nearest_neighbors_from_distances(distances_from_first)[
        1:6
    ].tolist()
    return Row(
        "`embeddings_utils`",
        "twelve helpers",
        f"all twelve; their recommendations are {'the same' if same else 'NOT the same'}",
        "see [embeddings_utils.md](embeddings_utils.md)",
    )


def scikit_learn(guide: Guide) -> Row:
    model = make_pipeline(EmbeddingTransformer(guide.embedder), RidgeClassifierCV(alphas=np.logspace(-2, 2, 9)))
    score = cross_val_score(model, guide.news.texts()[:400], guide.news.column("label")[:400], cv=5)
    return Row(
        "scikit-learn",
        "–",
        f"Pipeline for 400 articles of four categories: accuracy {score.mean():.3f} by cross_val_score",
        "see [scikit-learn.md](scikit-learn.md)",
    )


USES: list[Callable[[Guide], Row]] = [
    obtain, maps, regression, classification, zero_shot_classification, profile_correlation, clustering, text_search, code_search,
    recommendation, anomaly_detection, diversity_scores, which_distance, utilities, scikit_learn,
]  # fmt: skip


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    embedder = Embedder(DEFAULT_MODEL, report=say)
    guide = Guide(
        embedder, embedded("fine-food-reviews", embedder, TEMPLATE), embedded("ag-news", embedder, "{description}")
    )
    cache = BUILD / "rows.json"
    rows_by_name = json.loads(cache.read_text("utf-8")) if cache.exists() and len(sys.argv) > 1 else {}
    for use in USES:
        if len(sys.argv) == 1 or use.__name__ in sys.argv[1:]:
            say(use.__name__)
            rows_by_name[use.__name__] = asdict(use(guide))
            cache.write_text(json.dumps(rows_by_name), "utf-8")
    rows = [Row(**rows_by_name[use.__name__]) for use in USES if use.__name__ in rows_by_name]
    page = [
        "# The use cases of the embeddings guide",
        "",
        "OpenAI's embeddings guide (spring 2023) demonstrates uses of embeddings with 1,000 Amazon reviews and 2,000 news articles. "
        f"This page repeats all of them on the same data with `{embedder.model}` of Umekomi (space {embedder.fingerprint}). "
        "`make guide` writes this page, its figures and its pictures.",
        "",
        f"{NOT_OPENAI} The published figures are those of the hosted model. For regression and classification they were measured on "
        "other reviews, so only ratios to the mean or to the most common class are comparable. "
        f"{len(guide.reviews) - len(np.unique(guide.texts))} of the 1,000 reviews are copies of others. A random split has copies on "
        "both sides, which improves the figures of regression, classification and profiles, including the published ones. Therefore "
        "figures are shown for the guide's split and without copies. Intervals have a confidence of 95 % and count each text once. "
        "The last digit of some figures (cluster sizes, correlations, Vendi scores) differs between CPUs.",
        "",
        "| use case | published | here | command |",
        "| --- | --- | --- | --- |",
        *(f"| [{row.use}](#{anchor(row.use)}) | {row.published} | {row.ours} | {row.command.replace('|', '¦')} |" if row.more
          else f"| {row.use} | {row.published} | {row.ours} | {row.command} |" for row in rows),
    ]  # fmt: skip
    for row in rows:
        if row.more:
            page += ["", f"## {row.use}", "", *row.more]
    text = "\n".join(page)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    (ROOT / "docs" / "guide.md").write_text(text.rstrip() + "\n", "utf-8")
    say("docs/guide.md is written")


def anchor(title: str) -> str:
    """Return the anchor of a heading, as GitHub computes it."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


if __name__ == "__main__":
    main()
