"""``umekomi classify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ....data.table import read_table
from ...options import PICTURE_SUFFIXES, output_option, select_labeled
from ...output import echo, echo_err, print_table, shorten
from ...train_options import TrainOptions, TrainResult, apply_model, check_options, train_and_evaluate, train_options

if TYPE_CHECKING:
    from ....plots.predictions import ClassificationReport


@click.command(
    "classify",
    epilog="Example:  umekomi classify reviews.parquet --label Score --save score.model  and  "
    "umekomi classify new.parquet --apply score.model",
)
@train_options
@output_option(
    "--confusion", suffixes=PICTURE_SUFFIXES, help="Draw the confusion matrix to this .png, .svg or .pdf file."
)
@output_option(
    "--curves", suffixes=PICTURE_SUFFIXES, help="Draw precision-recall curves to this .png, .svg or .pdf file."
)
def command(options: TrainOptions, confusion: Path | None, curves: Path | None) -> None:
    """Train a classifier for a column of INPUT, evaluate it, and save or apply it.

    INPUT is a file written by `umekomi embed`. A fifth of the rows is held out for testing. The metrics are shown with 95 %
    intervals, next to those of always predicting the most frequent class. Copies of a text (equal except for case and white
    space, or with the same vector) stay on one side of the split, because a copy of a training row only measures memory. The
    type of the model, its regularization and its preference for rare classes are chosen by cross-validation on the training
    rows.
    """
    label = check_options(options)
    # Imported lazily, because these modules take a second to import, and --help must be fast.
    from ....plots.charts import draw_confusion, draw_curves
    from ....plots.predictions import report_classification
    from ....tasks.classify import encode_labels, train_classifier, train_forest_classifier

    table = read_table(options.embedded)
    if options.apply_:
        apply_model(table, options.apply_, options, classify=True)
        return
    table, labels = select_labeled(table, label)
    result = train_and_evaluate(
        table,
        labels,
        encode_labels(labels, len(table))[1],
        options,
        train=train_classifier,
        train_forest=train_forest_classifier,
        evaluate=report_classification,
    )
    if confusion:
        draw_confusion(result.report, confusion, report=echo_err)
    if curves:
        draw_curves(result.report, curves, report=echo_err)
    if options.as_json:
        result.print_json(table, options)
    else:
        _print(result)


def _print(result: TrainResult[ClassificationReport]) -> None:
    report = result.report
    echo(f"{result.split.describe()}\n")
    reports = {"model": report}
    if result.without_copies:
        reports["without copies"] = result.without_copies
    print_table(
        ["", *reports, f"always {report.baseline_label}"],
        [
            ["accuracy", *(f"{r.accuracy:.3f}" for r in reports.values()), f"{report.baseline_accuracy:.3f}"],
            ["macro F1", *(f"{r.macro_f1:.3f}" for r in reports.values()), f"{report.baseline_macro_f1:.3f}"],
            [
                "log loss",
                *(f"{r.log_loss:.3f}" for r in reports.values()),
                f"{report.baseline_log_loss:.3f} (class frequencies)",
            ],
        ],
    )
    echo()
    print_table(
        ["class", "precision", "recall", "F1", "average precision", "rows",
         "predicted as " + " / ".join(map(str, report.labels))],
        [
            [
                shorten(str(each.label), 24), f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}",
                f"{each.average_precision:.3f}", str(each.support), " / ".join(map(str, row)),
            ]
            for each, row in zip(report.classes, report.confusion, strict=True)
        ],
    )  # fmt: skip
