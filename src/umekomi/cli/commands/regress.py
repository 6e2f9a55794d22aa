"""``umekomi regress``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.table import read_table
from ...evaluation.splits import quantile_strata
from ...tasks.choices import Learner
from ..options import format_interval, select_labeled
from ..output import echo, echo_err, print_json, print_table, spinner
from ..train_options import apply_model, divide, learning_options, require_label

if TYPE_CHECKING:
    from ...plots.predictions import RegressionReport


@click.command(
    "regress",
    epilog="Example:  umekomi regress reviews.parquet --label Score --save score.model  and  "
    "umekomi regress new.parquet --apply score.model",
)
@learning_options
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
    as_json: bool,
) -> None:
    """Learn the numbers of a column of EMBEDDED, a file made by `umekomi embed`, and say how well that goes.

    The figures are of a fifth of the rows, which is kept for measuring, beside always answering the mean. Copies of a text (equal
    but for case and white space, or with the same vector) are all on one side, since a copy of a training row measures memory.
    """
    # Not before it is asked for: they take a second to import, and --help must not wait for it.
    from ...plots.predictions import report_regression
    from ...tasks.classify import train_forest_regressor, train_regressor

    table = read_table(embedded)
    if apply_:
        apply_model(table, apply_, output, as_json, classify=False, label=label, save=save)
        return
    label = require_label(table, label, learner, save)
    table, _ = select_labeled(table, label)
    values = table.numbers(label)
    strata = quantile_strata(values, n=max(1, min(5, len(table) // 50)))
    division = divide(table, strata, split=split, group_column=group_column, test_share=test_share, seed=seed)
    train, test, groups = division.train, division.test, division.groups
    echo_err(f"Training on {len(train):,} rows of {table.space.model} (not OpenAI's vectors).")
    with spinner("Training"):
        model = (
            train_forest_regressor(table.vectors[train], values[train], seed=seed)
            if learner == Learner.FOREST
            else train_regressor(
                table.vectors[train], values[train], groups=groups[train], column=label, space=table.space, seed=seed
            )
        )
    report = report_regression(
        model.predict, table.vectors[test], values[test], trained_on=values[train], groups=groups[test]
    )
    without = None
    if division.copied.any() and division.fresh.any():
        rest = test[division.fresh]
        without = report_regression(
            model.predict, table.vectors[rest], values[rest], trained_on=values[train], groups=groups[rest]
        )
    if save:
        with spinner("Training on all rows"):
            train_regressor(table.vectors, values, groups=groups, column=label, space=table.space, seed=seed).save(save)
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
        return
    echo(f"{division.describe()}\n")
    _print(report)
    if without:
        echo(f"\nOn the {without.n_test:,} rows that are no copies\n")
        _print(without)


def _print(report: RegressionReport) -> None:
    print_table(
        ["", "learnt", f"always {report.baseline_mean:.3g}", "ratio"],
        [
            [
                "mean absolute error",
                format_interval(report.mae),
                f"{report.baseline_mae:.3f}",
                format_interval(report.mae_ratio),
            ],
            [
                "mean squared error",
                format_interval(report.mse),
                f"{report.baseline_mse:.3f}",
                format_interval(report.mse_ratio),
            ],
        ],
    )
    echo(f"\nR² {report.r2:.3f}")
