"""Use cases of benchmarks/guide.py that predict labels or scores."""

import numpy as np
from sklearn.metrics import roc_auc_score

from guide_data import PICTURES, TEMPLATE, Guide, Row, embedded, format_estimate, picture, say
from umekomi import Embedder
from umekomi.evaluation import metrics
from umekomi.evaluation.splits import quantile_strata
from umekomi.plots import charts
from umekomi.plots import predictions as predict_report
from umekomi.tasks import classify as predict
from umekomi.tasks import profiles, zero_shot
from umekomi.tasks.choices import Calibration, Copies
from zero_shot import LABELS

LARGER_MODEL = "text-similarity-davinci-001"


def regression(guide: Guide) -> Row:
    vectors, scores = guide.reviews.vectors, guide.reviews.numbers("Score")
    lines = [
        "| measured on | | mae | mse | mae relative to the mean | mse relative to the mean |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    figures = []
    for where, train, test in guide.tests(quantile_strata(scores)):
        models = {
            "random forest (as in the guide)": predict.train_forest_regressor(vectors[train], scores[train]),
            "default of Umekomi": predict.train_regressor(vectors[train], scores[train], groups=guide.texts[train]),
        }
        for number, (name, model) in enumerate(models.items()):
            report = predict_report.report_regression(
                model.predict, vectors[test], scores[test], trained_on=scores[train], groups=guide.texts[test]
            )
            if not number:
                lines.append(
                    f"| {where} | the mean alone | {report.baseline_mae:.3f} | {report.baseline_mse:.3f} | 1 | 1 |"
                )
            lines.append(
                f"| | {name} | {format_estimate(report.mae)} | {format_estimate(report.mse)} | {format_estimate(report.mae_ratio)} | {format_estimate(report.mse_ratio)} |"
            )
        figures.append(
            f"mae {report.mae.value:.2f}, mse {report.mse.value:.2f} ({report.mae_ratio.value:.2f} and {report.mse_ratio.value:.2f})"
        )
    return Row(
        "Regression",
        "mae 0.53, mse 0.62 (0.51 and 0.36 relative to the mean)",
        f"guide's split: {figures[0]}; its rows without copies: {figures[1]}; split by text: {figures[2]}",
        "`umekomi regress reviews.parquet --label Score [--split rows]`",
        lines,
    )


def classification(guide: Guide) -> Row:
    vectors, scores = guide.reviews.vectors, guide.reviews.column("Score")
    lines = ["| measured on | | accuracy | macro F1 |", "| --- | --- | ---: | ---: |"]
    figures = []
    for where, train, test in guide.tests(np.array(scores)):
        trained_on, truth = [scores[i] for i in train], [scores[i] for i in test]
        models = {
            "random forest (as in the guide)": predict.train_forest_classifier(vectors[train], trained_on),
            "default of Umekomi": predict.train_classifier(vectors[train], trained_on, groups=guide.texts[train]),
        }
        for number, (name, model) in enumerate(models.items()):
            report = predict_report.report_classification(
                model, vectors[test], truth, trained_on=trained_on, groups=guide.texts[test]
            )
            if not number:
                lines.append(
                    f"| {where} | always {report.baseline_label} | {report.baseline_accuracy:.3f} | {report.baseline_macro_f1:.3f} |"
                )
            lines.append(f"| | {name} | {format_estimate(report.accuracy)} | {format_estimate(report.macro_f1)} |")
        figures.append(f"accuracy {report.accuracy.value:.2f}, macro F1 {report.macro_f1.value:.2f}")
    charts.draw_curves(report, PICTURES / "precision_recall.png")
    charts.draw_confusion(report, PICTURES / "confusion.png")
    return Row(
        "Classification",
        "accuracy 0.78, macro F1 0.54",
        f"guide's split: {figures[0]}; its rows without copies: {figures[1]}; split by text: {figures[2]}",
        "`umekomi classify reviews.parquet --label Score [--split rows]`",
        [
            *lines,
            "",
            "The pictures show the split by text. The class weights of the default were tuned on the guide's split of these reviews.",
            "",
            picture("precision_recall.png", "Precision against recall, a curve for each class"),
            picture("confusion.png", "Confusion matrix"),
        ],
    )


def zero_shot_classification(guide: Guide) -> Row:
    scores = guide.reviews.numbers("Score")
    has_sentiment = scores != 3
    truth = np.where(scores[has_sentiment] > 3, "positive", "negative")
    texts = guide.texts[has_sentiment]
    once = np.unique(texts, return_index=True)[1]
    lines = [
        "| model | labels | calibration | accuracy | accuracy, each text once | macro F1 | AUC |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    accuracies: dict[tuple[str, str], float] = {}
    larger = Embedder(LARGER_MODEL, report=say)
    for embedder, vectors in (
        (guide.embedder, guide.reviews.vectors),
        (larger, embedded("fine-food-reviews-davinci", larger, TEMPLATE, "fine-food-reviews").vectors),
    ):
        for name, labels in LABELS.items():
            label_set = zero_shot.embed_labels(labels, embedder)
            for calibration in Calibration:
                zero_shot_result = zero_shot.zero_shot(vectors[has_sentiment], label_set, calibration=calibration)
                predicted = np.array(zero_shot_result.predictions)
                accuracy = metrics.share(predicted == truth, groups=texts)
                single = metrics.share((predicted == truth)[once])
                f1 = np.mean([compute_f1(truth == label, predicted == label) for label in ("negative", "positive")])
                column = zero_shot_result.names.index("positive")
                auc = roc_auc_score(
                    truth == "positive", zero_shot_result.scores[:, column] - zero_shot_result.scores[:, 1 - column]
                )
                accuracies[embedder.model, name] = accuracy.value
                lines.append(
                    f"| {embedder.model} | {name} | {calibration} | {format_estimate(accuracy)} | {format_estimate(single)} | "
                    f"{f1:.3f} | {auc:.3f} |"
                )
    always = float((truth == "positive").mean())
    summary = "; ".join(
        f"{model}: {accuracies[model, 'names']:.3f} with names, {accuracies[model, 'four descriptions each']:.3f} with four descriptions"
        for model in (guide.embedder.model, larger.model)
    )
    return Row(
        "Zero-shot classification",
        "accuracy 0.90 with names, 0.96 with descriptions",
        summary,
        "`umekomi zero-shot reviews.parquet --label negative='An Amazon review with a negative sentiment.' --label positive=…`",
        [
            f"There are {len(truth)} reviews with {len(once)} distinct texts; the 95 % intervals count each text once. Always predicting "
            f"positive has an accuracy of {always:.3f}. The four descriptions (in `benchmarks/zero_shot.py`) and the "
            "calibration's shrinkage, passes and weight were **tuned on the same reviews** and on AG News. The rows without "
            "calibration and with names or the guide's descriptions are not tuned.",
            "",
            *lines,
        ],
    )


def compute_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    return 2 * float((truth & predicted).sum()) / max(1, int(truth.sum() + predicted.sum()))


def profile_correlation(guide: Guide) -> Row:
    table = guide.reviews
    keys = table.column("UserId"), table.column("ProductId"), table.numbers("Score")
    means = {"shrinkage": 0.0, "center": False}
    lines = [
        "| pairs from | profiles | copies of the tested text | pairs | users or texts | correlation | 95 % interval |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    fits = {}
    for split, test in (("the guide's split", guide.guide_split[1]), ("each review in turn", None)):
        for method, options in (("means", means), ("centered, shrunk by one text (default)", {})):
            for copies in reversed(Copies):
                fit = profiles.evaluate_profiles(
                    table.vectors, *keys, test=test, texts=table.texts(), copies=copies, **options
                )
                fits[split, method, copies] = fit
                figures = (
                    "too few | "
                    if np.isnan(fit.correlation)
                    else f"{fit.correlation:.2f} | [{fit.low:.2f}, {fit.high:.2f}]"
                )
                n_units = len(set(fit.units.tolist()))
                lines.append(
                    f"| {split} | {method} | {'kept' if copies == 'keep' else 'removed'} | {len(fit.scores)} | {n_units} | {figures} |"
                )
    with_copies, without_copies = (
        fits["each review in turn", "centered, shrunk by one text (default)", copies] for copies in reversed(Copies)
    )
    as_printed = fits["the guide's split", "means", Copies.KEEP]
    charts.draw_profile_fit(without_copies, PICTURES / "profiles.png")
    return Row(
        "User and product profiles",
        "correlation 0.296",
        f"{as_printed.correlation:.2f} [{as_printed.low:.2f}, {as_printed.high:.2f}] on the {len(as_printed.scores)} pairs of the "
        f"guide's split, with copies; {without_copies.correlation:.2f} [{without_copies.low:.2f}, {without_copies.high:.2f}] on the "
        f"{len(without_copies.scores)} pairs without copies",
        "`umekomi profiles reviews.parquet --user UserId --product ProductId --score Score --plot box.png`",
        [
            *lines,
            "",
            f"In {with_copies.n_copied} of the {len(with_copies.scores)} pairs of the second to last row, a profile contains a copy of the "
            "tested text, and so its score. Only 19 pairs of 8 users are without copies, too few for a reliable interval. The published "
            "figure, of the guide's split, has the same leak. See [profiles.md](profiles.md).",
            "",
            picture("profiles.png", "Box plot of similarity percentiles by score, without copies"),
        ],
    )
