"""``umekomi classify``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..tasks.choices import Learner
from ..tasks.table import read_table
from .learning import apply_model, learning_options, require_label
from .output import echo, note, print_json, print_table, shorten, working
from .outputs import PICTURE_SUFFIXES, output_option
from .tables import labelled, share

if TYPE_CHECKING:
    from ..tasks.predict_report import ClassificationReport


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
    seed: int,
    save: Path | None,
    apply_: Path | None,
    output: Path | None,
    confusion: Path | None,
    curves: Path | None,
    as_json: bool,
) -> None:
    """Learn the classes of a column of EMBEDDED, a file made by `umekomi embed`, and say how well that goes.

    A share of the rows is kept aside (the guide's split: a fifth, by seed 42); the figures are of those rows, beside always
    answering the commonest class, with 95 % intervals. The model, its strength and how far it prefers rare classes are
    chosen by cross-validation within the other rows.
    """
    # Not before it is asked for: they take a second to import, and --help must not wait for it.
    from ..tasks.charts import draw_confusion, draw_curves
    from ..tasks.predict import split_rows, train_classifier, train_forest_classifier
    from ..tasks.predict_report import report_classification

    table = read_table(embedded)
    if apply_:
        apply_model(table, apply_, output, as_json, classify=True, label=label, save=save)
        return
    label = require_label(table, label, learner, save)
    table, labels = labelled(table, label)
    train, test = split_rows(len(table), test_share=test_share, seed=seed)
    note(f"Training on {len(train):,} rows of {table.space.model} (not OpenAI's vectors).")
    known, unknown = [labels[row] for row in train], [labels[row] for row in test]
    with working("Training"):
        model = (
            train_forest_classifier(table.vectors[train], known, seed=seed)
            if learner == Learner.FOREST
            else train_classifier(table.vectors[train], known, column=label, space=table.space, seed=seed)
        )
    report = report_classification(model, table.vectors[test], unknown, trained_on=known)
    if confusion:
        draw_confusion(report, confusion, report=note)
    if curves:
        draw_curves(report, curves, report=note)
    if save:
        with working("Training on all rows"):
            train_classifier(table.vectors, labels, column=label, space=table.space, seed=seed).save(save)
        note(f"{save}: trained on all {len(table):,} rows.")
    if as_json:
        print_json({"model": table.space.model, "learner": learner, **asdict(report)})
    else:
        _print(report)


def _print(report: ClassificationReport) -> None:
    echo(f"{report.n_train:,} rows to learn from, {report.n_test:,} to measure on; 95 % intervals\n")
    print_table(
        ["", "learnt", f"always {report.baseline_label}"],
        [
            ["accuracy", share(report.accuracy), f"{report.baseline_accuracy:.3f}"],
            ["macro F1", share(report.macro_f1), f"{report.baseline_macro_f1:.3f}"],
            ["log loss", f"{report.log_loss:.3f}", f"{report.baseline_log_loss:.3f} (the classes' shares)"],
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
