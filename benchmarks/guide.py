"""Every use case of OpenAI's embeddings guide on the guide's own data: rewrites docs/guide.md and its pictures.

Run it with ``make guide``. It reads the two data sets from UMEKOMI_ASSET_PATH or ../shared/data, embeds them once into
build/guide, and prints nothing but progress; the figures are in the page. With names of functions below, as in
``python benchmarks/guide.py clustering``, only those use cases are run again.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from umekomi import DEFAULT_MODEL, Embedder
from umekomi import embeddings_utils as old
from umekomi.catalog import NOT_OPENAI
from umekomi.data.embedded_file import read_space
from umekomi.data.readers.opening import open_records
from umekomi.data.table import EmbeddedTable, embed_table, read_csv_vectors, read_table
from umekomi.evaluation import metrics
from umekomi.evaluation.datasets import public_dataset, require_files
from umekomi.evaluation.duplicates import group_copies
from umekomi.evaluation.metrics import Estimate
from umekomi.evaluation.splits import quantile_strata, split_groups
from umekomi.pipeline.single_file import Existing, embed_records
from umekomi.plots import charts, colors
from umekomi.plots import predictions as predict_report
from umekomi.settings import current
from umekomi.stores import open_parquet
from umekomi.tasks import anomalies, cluster, diversity, profiles, project, zero_shot
from umekomi.tasks import classify as predict
from umekomi.tasks.choices import Copies
from umekomi.tasks.explain import explain
from umekomi.tasks.recommend import recommend
from umekomi.tasks.search import search
from umekomi.tasks.sklearn_transformer import EmbeddingTransformer
from umekomi.vectors.arithmetic import Metric, distances
from zero_shot import LABELS

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
BUILD = ROOT / "build" / "guide"
TEMPLATE = "Title: {Summary}; Content: {Text}"
LARGER_MODEL = "text-similarity-davinci-001"
QUERIES = ["delicious beans", "whole wheat pasta", "bad delivery", "spoilt", "pet food"]


@dataclass
class Row:
    """A line of the table, and the section below it."""

    use: str
    published: str
    ours: str
    command: str
    more: list[str] = field(default_factory=list)


@dataclass
class Guide:
    """What every use case takes."""

    embedder: Embedder
    reviews: EmbeddedTable
    news: EmbeddedTable

    @cached_property
    def texts(self) -> np.ndarray:
        """A number for each review, which copies of one text share."""
        return group_copies(self.reviews.vectors, self.reviews.texts())

    @property
    def guide_split(self) -> tuple[np.ndarray, np.ndarray]:
        train, test = train_test_split(np.arange(len(self.reviews)), test_size=0.2, random_state=42)
        return train, test

    def tests(self, strata: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """What figures are measured on: a name, the rows to learn from, and those to measure on."""
        train, test = self.guide_split
        copied = np.isin(self.texts[test], self.texts[train])
        return [
            (f"the guide's split, {len(test)} reviews, {copied.sum()} of them copies of training rows", train, test),
            (f"the guide's split, the {(~copied).sum()} that are no copies", train, test[~copied]),
            ("split by text, 200 reviews", *split_groups(self.texts, strata=strata)),
        ]


def source(name: str) -> Path:
    """The file of a known set, in UMEKOMI_ASSET_PATH or beside the project."""
    known = public_dataset(name)
    beside = ROOT.parent / "shared" / "data" / known.files[0].file
    return beside if beside.is_file() else next(iter(require_files(known, current()).values()))


def embedded(name: str, embedder: Embedder, template: str, of: str = "") -> EmbeddedTable:
    """Embed the set ``of`` that name (``name`` itself, if not given), unless an earlier run has."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}.parquet"
    if not path.exists() or read_space(path).fingerprint != embedder.fingerprint:
        say(f"embedding {name}")
        embed_records(
            open_records(source(of or name)), path, embedder=embedder, template=template, existing=Existing.OVERWRITE
        )
    return read_table(path)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def between(estimate: Estimate, digits: int = 3) -> str:
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f}–{estimate.high:.{digits}f})"


def picture(name: str, words: str) -> str:
    return f"![{words}](pictures/{name})"


def short(text: str, width: int = 100) -> str:
    line = " ".join(text.split()).replace("|", "¦").replace("<", "&lt;")
    return line if len(line) <= width else line[: width - 1] + "…"


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
        f"{len(guide.reviews):,} × {guide.reviews.space.dims:,}; from the guide's CSV {'the same' if same else 'NOT the same'} numbers",
        f"`umekomi embed fine_food_reviews_1k.csv -o reviews.parquet -t '{TEMPLATE}'`; `umekomi import embedded_1k_reviews.csv -o …`",
    )


def maps(guide: Guide) -> Row:
    made = project.project(guide.reviews.vectors, method="tsne")
    scores = guide.reviews.column("Score")
    coloring = colors.color_by(scores, "Score")
    charts.draw_map(
        made.points, coloring, PICTURES / "map.png", title="Amazon ratings visualised in language using t-SNE"
    )
    near = neighbors_agree(made.points, np.array(scores))
    chance = max(np.bincount(scores)) / len(scores)
    return Row(
        "2-D map",
        "a picture",
        f"the picture; on it {near:.0%} of the points' 10 nearest have their own score's side (1–3 or 4–5 stars)",
        "`umekomi map reviews.parquet --color Score -o map.png`",
        [
            f"The commonest score is {chance:.0%} of the reviews.",
            "",
            picture("map.png", "1,000 reviews by t-SNE, colored by score"),
        ],
    )


def neighbors_agree(points: np.ndarray, scores: np.ndarray) -> float:
    gaps = ((points[:, None] - points[None]) ** 2).sum(2)
    np.fill_diagonal(gaps, np.inf)
    nearest = np.argsort(gaps, axis=1)[:, :10]
    return float(((scores[nearest] > 3) == (scores > 3)[:, None]).mean())


def regression(guide: Guide) -> Row:
    vectors, scores = guide.reviews.vectors, guide.reviews.numbers("Score")
    lines = [
        "| measured on | | mae | mse | mae / mean's | mse / mean's |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    told = []
    for where, train, test in guide.tests(quantile_strata(scores)):
        models = {
            "the guide's random forest": predict.train_forest_regressor(vectors[train], scores[train]),
            "our default": predict.train_regressor(vectors[train], scores[train], groups=guide.texts[train]),
        }
        for place, (name, model) in enumerate(models.items()):
            r = predict_report.report_regression(
                model.predict, vectors[test], scores[test], trained_on=scores[train], groups=guide.texts[test]
            )
            if not place:
                lines.append(f"| {where} | the mean alone | {r.baseline_mae:.3f} | {r.baseline_mse:.3f} | 1 | 1 |")
            lines.append(
                f"| | {name} | {between(r.mae)} | {between(r.mse)} | {between(r.mae_ratio)} | {between(r.mse_ratio)} |"
            )
        told.append(
            f"mae {r.mae.value:.2f}, mse {r.mse.value:.2f} ({r.mae_ratio.value:.2f} and {r.mse_ratio.value:.2f})"
        )
    return Row(
        "Regression",
        "mae 0.53, mse 0.62 (0.51 and 0.36 of the mean's)",
        f"guide's split {told[0]}; its rows that are no copies {told[1]}; split by text {told[2]}",
        "`umekomi regress reviews.parquet --label Score [--split rows]`",
        lines,
    )


def classification(guide: Guide) -> Row:
    vectors, scores = guide.reviews.vectors, guide.reviews.column("Score")
    lines = ["| measured on | | accuracy | macro F1 |", "| --- | --- | ---: | ---: |"]
    told = []
    for where, train, test in guide.tests(np.array(scores)):
        trained_on, truth = [scores[i] for i in train], [scores[i] for i in test]
        models = {
            "the guide's random forest": predict.train_forest_classifier(vectors[train], trained_on),
            "our default": predict.train_classifier(vectors[train], trained_on, groups=guide.texts[train]),
        }
        for place, (name, model) in enumerate(models.items()):
            r = predict_report.report_classification(
                model, vectors[test], truth, trained_on=trained_on, groups=guide.texts[test]
            )
            if not place:
                lines.append(
                    f"| {where} | always {r.baseline_label} | {r.baseline_accuracy:.3f} | {r.baseline_macro_f1:.3f} |"
                )
            lines.append(f"| | {name} | {between(r.accuracy)} | {between(r.macro_f1)} |")
        told.append(f"accuracy {r.accuracy.value:.2f}, macro F1 {r.macro_f1.value:.2f}")
    charts.draw_curves(r, PICTURES / "precision_recall.png")
    charts.draw_confusion(r, PICTURES / "confusion.png")
    return Row(
        "Classification",
        "accuracy 0.78, macro F1 0.54",
        f"guide's split {told[0]}; its rows that are no copies {told[1]}; split by text {told[2]}",
        "`umekomi classify reviews.parquet --label Score [--split rows]`",
        [
            *lines,
            "",
            "The pictures are of the split by text. How far our default prefers rare classes was chosen while looking at the guide's "
            "split of these reviews.",
            "",
            picture("precision_recall.png", "Precision against recall, a curve for each class"),
            picture("confusion.png", "Confusion matrix"),
        ],
    )


def zero(guide: Guide) -> Row:
    scores = guide.reviews.numbers("Score")
    kept = scores != 3
    truth = np.where(scores[kept] > 3, "positive", "negative")
    texts = guide.texts[kept]
    once = np.unique(texts, return_index=True)[1]
    lines = [
        "| model | labels | calibrated | accuracy | on each text once | macro F1 | AUC |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    told: dict[tuple[str, str], float] = {}
    larger = Embedder(LARGER_MODEL, report=say)
    for embedder, vectors in (
        (guide.embedder, guide.reviews.vectors),
        (larger, embedded("fine-food-reviews-davinci", larger, TEMPLATE, "fine-food-reviews").vectors),
    ):
        for name, labels in LABELS.items():
            label_set = zero_shot.embed_labels(labels, embedder)
            for calibrate in (False, True):
                found = zero_shot.zero_shot(vectors[kept], label_set, calibrate=calibrate)
                guess = np.array(found.predictions)
                accuracy = metrics.share(guess == truth, groups=texts)
                single = metrics.share((guess == truth)[once])
                f1 = np.mean([_f1(truth == label, guess == label) for label in ("negative", "positive")])
                place = found.names.index("positive")
                auc = roc_auc_score(truth == "positive", found.scores[:, place] - found.scores[:, 1 - place])
                told[embedder.model, name] = accuracy.value
                lines.append(
                    f"| {embedder.model} | {name} | {'yes' if calibrate else 'no'} | {between(accuracy)} | {between(single)} | "
                    f"{f1:.3f} | {auc:.3f} |"
                )
    always = float((truth == "positive").mean())
    ours = "; ".join(
        f"{model}: {told[model, 'names']:.3f} with names, {told[model, 'four descriptions each']:.3f} with four descriptions"
        for model in (guide.embedder.model, larger.model)
    )
    return Row(
        "Zero-shot classification",
        "accuracy 0.90 with names, 0.96 with descriptions",
        ours,
        "`umekomi zero-shot reviews.parquet --label negative='An Amazon review with a negative sentiment.' --label positive=…`",
        [
            f"Always saying positive has {always:.3f}; {len(truth)} reviews, {len(once)} different texts, which the 95 % intervals count "
            "once. **Tuned on the same reviews**: the four descriptions (in `benchmarks/zero_shot.py`) and what the calibration shrinks "
            "by. The rows without calibration and with the guide's descriptions or names are not tuned.",
            "",
            *lines,
        ],
    )


def _f1(truth: np.ndarray, guess: np.ndarray) -> float:
    return 2 * float((truth & guess).sum()) / max(1, int(truth.sum() + guess.sum()))


def cold_start(guide: Guide) -> Row:
    table = guide.reviews
    keys = table.column("UserId"), table.column("ProductId"), table.numbers("Score")
    means = {"shrinkage": 0.0, "center": False}
    lines = [
        "| pairs from | profiles | copies of the measured text | pairs | users or texts | correlation | 95 % |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    fits = {}
    for what, test in (("the guide's split", guide.guide_split[1]), ("each review in turn", None)):
        for how, options in (("means", means), ("centered, shrunk by one text (our default)", {})):
            for copies in reversed(Copies):
                fit = profiles.evaluate_profiles(
                    table.vectors, *keys, test=test, texts=table.texts(), copies=copies, **options
                )
                fits[what, how, copies] = fit
                figures = (
                    "too few | "
                    if np.isnan(fit.correlation)
                    else f"{fit.correlation:.2f} | {fit.low:.2f} to {fit.high:.2f}"
                )
                units = len(set(fit.units.tolist()))
                lines.append(
                    f"| {what} | {how} | {'kept' if copies == 'keep' else 'left out'} | {len(fit.scores)} | {units} | {figures} |"
                )
    kept, ours = (
        fits["each review in turn", "centered, shrunk by one text (our default)", copies] for copies in reversed(Copies)
    )
    as_printed = fits["the guide's split", "means", Copies.KEEP]
    charts.draw_profile_fit(ours, PICTURES / "profiles.png")
    return Row(
        "User and product profiles",
        "correlation 0.296",
        f"{as_printed.correlation:.2f} ({as_printed.low:.2f} to {as_printed.high:.2f}) on the {len(as_printed.scores)} pairs of the "
        f"guide's split, with copies; {ours.correlation:.2f} ({ours.low:.2f} to {ours.high:.2f}) on the {len(ours.scores)} pairs that "
        "are left without copies",
        "`umekomi profiles reviews.parquet --user UserId --product ProductId --score Score --plot box.png`",
        [
            *lines,
            "",
            f"In {kept.n_copied} of the {len(kept.scores)} pairs of the last row but one a profile contains a copy of the measured text, and so "
            "its answer. Without copies 19 pairs of 8 users are left, too few to tell anything (no interval of so few is reliable); the "
            "published figure, of the guide's split, has the same leak. See [profiles.md](profiles.md).",
            "",
            picture("profiles.png", "Box plot of similarity percentiles by score, without copies"),
        ],
    )


def clustering(guide: Guide) -> Row:
    table = guide.reviews
    made = cluster.cluster(table.vectors, k=4)
    told = cluster.describe(made, table.vectors, table.texts(), values=table.numbers("Score"))
    points = project.project(table.vectors, method="tsne").points
    coloring = colors.color_clusters(made.labels.tolist(), [each.name for each in told], "cluster")
    charts.draw_map(points, coloring, PICTURES / "clusters.png", title="Clusters, seen in language by t-SNE")
    chosen = cluster.cluster(table.vectors)
    lines = ["| cluster | reviews | mean score | the most central |", "| --- | ---: | ---: | --- |"]
    for each in told:
        lines.append(
            f"| {each.name} | {each.size} | {each.mean_value:.2f} | {short(table.texts()[each.central[0]], 80)} |"
        )
    named = "; ".join(each.name for each in told)
    return Row(
        "Clustering",
        "4 clusters: one of dog food, one of negative reviews, two of positive ones",
        f"4 clusters: {named}",
        "`umekomi cluster reviews.parquet -k 4 --mean Score --picture clusters.png`",
        [
            *lines,
            "",
            f"By the silhouette the best number is {chosen.k}, "
            + ("and the groups stand out" if chosen.structure.has_structure else "but no groups stand out")
            + f": it is {chosen.structure.silhouette:.3f}, in data without groups at most {max(chosen.structure.without_groups):.3f}. "
            "Sizes and names differ a little on processors with another arithmetic.",
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
        lines += ["", f"   Why the first: {parts}; words: {words}", ""]
    return Row(
        "Text search",
        "three reviews a query",
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
        found = recommend(guide.news.vectors, index)
        lines += [f"**{short(guide.news.texts()[index])}**", ""]
        lines += [
            f"{rank}. {item.score:.3f} {short(guide.news.texts()[item.index])}"
            for rank, item in enumerate(found.items, 1)
        ]
        lines.append("")
    labels = guide.news.column("label")
    alike = [
        labels[item.index] == labels[place]
        for place in range(len(guide.news))
        for item in recommend(guide.news.vectors, place).items
    ]
    return Row(
        "Recommendation",
        "articles on the same matter",
        f"below; of 5 recommended to each of 2,000 articles {np.mean(alike):.0%} are of its own kind (25% by chance)",
        "`umekomi recommend news.parquet 0`",
        lines,
    )


def strange(guide: Guide) -> Row:
    news = guide.news.records.select(["title", "description"]).slice(0, 50)
    foreign = embed_table(news, guide.embedder, template="Title: {title}; Content: {description}").vectors
    mixed = np.concatenate([guide.reviews.vectors, foreign])
    planted = np.arange(len(mixed)) >= len(guide.reviews)
    aucs = {
        method: roc_auc_score(planted, anomalies.find_anomalies(mixed, method=method).scores)
        for method in anomalies.AnomalyMethod
    }
    # With a reference: half of the different reviews are known to be ordinary, the other half and the articles are judged.
    once = np.unique(guide.texts, return_index=True)[1]
    known, rest = once[::2], once[1::2]
    judged = np.concatenate([guide.reviews.vectors[rest], foreign])
    lines = ["| method | of 50 articles, flagged at 0.01 | of the other reviews, flagged | found with an FDR of 0.1: articles, reviews |",
             "| --- | ---: | ---: | ---: |"]  # fmt: skip
    for method in anomalies.AnomalyMethod:
        found = anomalies.find_anomalies(judged, reference=guide.reviews.vectors[known], method=method)
        alarm = metrics.share(found.p_values[: len(rest)] <= 0.01)
        discovered = found.discoveries(0.1)
        lines.append(
            f"| {method} | {(found.p_values[len(rest) :] <= 0.01).sum()} | {between(alarm)} | "
            f"{(discovered >= len(rest)).sum()}, {(discovered < len(rest)).sum()} |"
        )
    knn = anomalies.find_anomalies(mixed).scores
    top = float(np.ceil(knn.max() * 20) / 20)
    charts.draw_histogram(
        [np.histogram(knn[planted == news], bins=40, range=(0, top))[0].tolist() for news in (False, True)],
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
            f"All rows judged among themselves, in the picture; below, against a reference of {len(known)} other reviews, each text "
            f"once, {len(rest)} reviews and the 50 articles.",
            "",
            *lines,
            "",
            picture("anomalies.png", "The scores of 1,000 reviews and of 50 news articles among them"),
        ],
    )


def diverse(guide: Guide) -> Row:
    left, right = diversity.diversity(guide.reviews.vectors), diversity.diversity(guide.news.vectors)
    return Row(
        "Diversity",
        "no figure",
        f"Vendi score: reviews {left.vendi:.0f} of {left.n:,} ({left.vendi_share:.0%}), news {right.vendi:.0f} of {right.n:,} "
        f"({right.vendi_share:.0%}); near-duplicates {left.duplicates.redundant} and {right.duplicates.redundant}",
        "`umekomi diversity reviews.parquet`",
    )


def distance(guide: Guide) -> Row:
    queries, others = guide.reviews.vectors[:200], guide.reviews.vectors[200:]
    first = {metric: distances(queries, others, metric).argmin(axis=1) for metric in Metric}
    # Some reviews were sent twice: of two that are equally near, either is right.
    cosines = distances(queries, others)
    near = cosines.min(axis=1) + 1e-6
    agree = {metric: float((cosines[np.arange(len(queries)), first[metric]] <= near).mean()) for metric in Metric}
    return Row(
        "Which distance",
        "cosine; dot and Euclidean rank alike",
        "the same nearest review as by cosine: "
        + ", ".join(f"{metric} {share:.0%}" for metric, share in agree.items() if metric != "cosine"),
        "see [distances.md](distances.md)",
    )


def utilities(guide: Guide) -> Row:
    found = old.distances_from_embeddings(guide.news.vectors[0].tolist(), guide.news.vectors.tolist())
    ours = recommend(guide.news.vectors, 0, near_duplicate=None).items
    same = [item.index for item in ours] == old.indices_of_nearest_neighbors_from_distances(found)[1:6].tolist()
    return Row(
        "`embeddings_utils`",
        "twelve helpers",
        f"the twelve; the recommendations by them are {'the same' if same else 'NOT the same'}",
        "see [embeddings_utils.md](embeddings_utils.md)",
    )


def learn(guide: Guide) -> Row:
    model = make_pipeline(EmbeddingTransformer(guide.embedder), RidgeClassifierCV(alphas=np.logspace(-2, 2, 9)))
    score = cross_val_score(model, guide.news.texts()[:400], guide.news.column("label")[:400], cv=5)
    return Row(
        "scikit-learn",
        "–",
        f"a Pipeline on 400 articles of four kinds: accuracy {score.mean():.3f} by cross_val_score",
        "see [scikit-learn.md](scikit-learn.md)",
    )


USES: list[Callable[[Guide], Row]] = [
    obtain, maps, regression, classification, zero, cold_start, clustering, text_search, code_search, recommendation, strange,
    diverse, distance, utilities, learn,
]  # fmt: skip


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    embedder = Embedder(DEFAULT_MODEL, report=say)
    guide = Guide(
        embedder, embedded("fine-food-reviews", embedder, TEMPLATE), embedded("ag-news", embedder, "{description}")
    )
    kept = BUILD / "rows.json"
    known = json.loads(kept.read_text("utf-8")) if kept.exists() and len(sys.argv) > 1 else {}
    for use in USES:
        if len(sys.argv) == 1 or use.__name__ in sys.argv[1:]:
            say(use.__name__)
            known[use.__name__] = asdict(use(guide))
            kept.write_text(json.dumps(known), "utf-8")
    rows = [Row(**known[use.__name__]) for use in USES if use.__name__ in known]
    page = [
        "# The use cases of the embeddings guide",
        "",
        "OpenAI's embeddings guide (spring 2023) shows what embeddings are for, on 1,000 Amazon reviews and 2,000 news articles. Here "
        f"is each of its use cases, on the same data, by `{embedder.model}` of Umekomi (space {embedder.fingerprint}). `make guide` "
        "writes this page, its figures and its pictures.",
        "",
        f"{NOT_OPENAI} The published figures are of the hosted model; those for regression and classification are of other reviews of "
        "the same kind, so that only ratios to the mean's or the commonest class's can be compared. "
        f"{len(guide.reviews) - len(np.unique(guide.texts))} of the 1,000 reviews are copies of others, and a random split puts copies "
        "on both sides: that flatters figures of regression, classification and profiles, the published ones likewise. So these are "
        "shown with the guide's split and without copies. Intervals are of 95 % and count each text once. The last digit of some "
        "figures (cluster sizes, correlations, Vendi scores) differs on other processors.",
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
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


if __name__ == "__main__":
    main()
