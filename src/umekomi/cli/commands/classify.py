"""``umekomi classify``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.table import read_table
from ...tasks.choices import Learner
from ..options import PICTURE_SUFFIXES, format_interval, output_option, select_labeled
from ..output import echo, echo_err, print_json, print_table, shorten, spinner
from ..train_options import apply_model, divide, learning_options, require_label

if TYPE_CHECKING:
    from ...plots.predictions import ClassificationReport


@click.command(
    "classify",
    epilog="Example:  umekomi classify reviews.parquet --label Score --save score.model  and  "
    "umekomi classify new.parquet --apply score.model",
)
@learning_options
@output_option("--confusion", suffixes=PICTURE_SUFFIXES, help="Draw the confusion matrix: a .png, .svg or .pdf file.")
@output_option(
    "--curves", suffixes=PICTURE_SUFFIXES, help="Draw the precision-recall curves: a .png, .svg or .pdf file."
)
def command(
    embedded: Path,
    label: str | None,
    learner: str,
    test_share: float,
    split: str,
    group_column: str | None,
    seed: int,
    save: Path | None,
    apply_: Path | None,
    output: Path | None,
    confusion: Path | None,
    curves: Path | None,
    as_json: bool,
) -> None:
    """Learn the classes of a column of EMBEDDED, a file made by `umekomi embed`, and say how well that goes.

    A fifth of the rows is kept for measuring; the figures are of those rows, beside always answering the most frequent class,
    with 95 % intervals. Copies of a text (equal but for case and white space, or with the same vector) are all on one side,
    since a copy of a training row measures memory. The model, its strength and how far it prefers rare classes are chosen by
    cross-validation within the other rows.
    """
    # Not before it is asked for: they take a second to import, and --help must not wait for it.
    from ...plots.charts import draw_confusion, draw_curves
    from ...plots.predictions import report_classification
    from ...tasks.classify import encode_labels, train_classifier, train_forest_classifier

    table = read_table(embedded)
    if apply_:
        apply_model(table, apply_, output, as_json, classify=True, label=label, save=save)
        return
    label = require_label(table, label, learner, save)
    table, labels = select_labeled(table, label)
    strata = encode_labels(labels, len(table))[1]
    division = divide(table, strata, split=split, group_column=group_column, test_share=test_share, seed=seed)
    train, test, groups = division.train, division.test, division.groups
    echo_err(f"Training on {len(train):,} rows of {table.space.model} (not OpenAI's vectors).")
    known, unknown = [labels[row] for row in train], [labels[row] for row in test]
    with spinner("Training"):
        model = (
            train_forest_classifier(table.vectors[train], known, seed=seed)
            if learner == Learner.FOREST
            else train_classifier(
                table.vectors[train], known, groups=groups[train], column=label, space=table.space, seed=seed
            )
        )
    report = report_classification(model, table.vectors[test], unknown, trained_on=known, groups=groups[test])
    without = None
    if division.copied.any() and division.fresh.any():
        rest = test[division.fresh]
        without = report_classification(
            model, table.vectors[rest], [labels[row] for row in rest], trained_on=known, groups=groups[rest]
        )
    if confusion:
        draw_confusion(report, confusion, report=echo_err)
    if curves:
        draw_curves(report, curves, report=echo_err)
    if save:
        with spinner("Training on all rows"):
            train_classifier(table.vectors, labels, groups=groups, column=label, space=table.space, seed=seed).save(
                save
            )
        echo_err(f"{save}: trained on all {len(table):,} rows.")
    if as_json:
        print_json(
            {
                "model": table.space.model,
                "learner": learner,
                "split": split,
                "copies": int(division.copied.sum()),
                **asdict(report),
                "without_copies": asdict(without) if without else None,
            }
        )
    else:
        _print(report, without, division.describe())


def _print(report: ClassificationReport, without: ClassificationReport | None, head: str) -> None:
    echo(f"{head}\n")
    reports = (
        {"learnt": report}
        if without is None
        else {"learnt": report, f"on the {without.n_test:,} that are no copies": without}
    )
    print_table(
        ["", *reports, f"always {report.baseline_label}"],
        [
            [
                "accuracy",
                *(format_interval(one.accuracy) for one in reports.values()),
                f"{report.baseline_accuracy:.3f}",
            ],
            [
                "macro F1",
                *(format_interval(one.macro_f1) for one in reports.values()),
                f"{report.baseline_macro_f1:.3f}",
            ],
            [
                "log loss",
                *(f"{one.log_loss:.3f}" for one in reports.values()),
                f"{report.baseline_log_loss:.3f} (the classes' shares)",
            ],
        ],
    )
    echo()
    print_table(
        ["class", "precision", "recall", "F1", "average precision", "rows", "taken for " + " / ".join(map(str, report.labels))],
        [
            [
                shorten(str(each.label), 24), f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}",
                f"{each.average_precision:.3f}", str(each.support), " / ".join(map(str, row)),
            ]
            for each, row in zip(report.classes, report.confusion, strict=True)
        ],
    )  # fmt: skip
