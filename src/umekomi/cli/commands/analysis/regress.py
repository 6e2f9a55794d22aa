"""``umekomi regress``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ....data.table import read_table
from ....evaluation.splits import quantile_strata
from ...options import select_labeled
from ...output import echo, print_table
from ...train_options import TrainOptions, apply_model, check_options, train_and_evaluate, train_options

if TYPE_CHECKING:
    from ....plots.predictions import RegressionReport


@click.command(
    "regress",
    epilog="Example:  umekomi regress reviews.parquet --label Score --save score.model  and  "
    "umekomi regress new.parquet --apply score.model",
)
@train_options
def command(options: TrainOptions) -> None:
    """Train a regression model for a column of INPUT, evaluate it, and save or apply it.

    INPUT is a file written by `umekomi embed`. A fifth of the rows is held out for testing. The metrics are shown next to those
    of always predicting the mean. Copies of a text (equal except for case and white space, or with the same vector) stay on one
    side of the split, because a copy of a training row only measures memory.
    """
    label = check_options(options)
    # Imported lazily, because these modules take a second to import, and --help must be fast.
    from ....plots.predictions import report_regression
    from ....tasks.classify import train_forest_regressor, train_regressor

    table = read_table(options.embedded)
    if options.apply_:
        apply_model(table, options.apply_, options, classify=False)
        return
    table, _ = select_labeled(table, label)
    values = table.numbers(label)
    result = train_and_evaluate(
        table,
        values,
        quantile_strata(values, n=max(1, min(5, len(table) // 50))),
        options,
        train=train_regressor,
        train_forest=train_forest_regressor,
        evaluate=lambda model, *args, **keywords: report_regression(model.predict, *args, **keywords),
    )
    if options.as_json:
        result.print_json(table, options)
        return
    echo(f"{result.split.describe()}\n")
    _print(result.report)
    if result.without_copies:
        echo(f"\nOn the {result.without_copies.n_test:,} rows that are not copies\n")
        _print(result.without_copies)


def _print(report: RegressionReport) -> None:
    print_table(
        ["", "model", f"always {report.baseline_mean:.3g}", "ratio"],
        [
            [
                "mean absolute error",
                f"{report.mae:.3f}",
                f"{report.baseline_mae:.3f}",
                f"{report.mae_ratio:.3f}",
            ],
            [
                "mean squared error",
                f"{report.mse:.3f}",
                f"{report.baseline_mse:.3f}",
                f"{report.mse_ratio:.3f}",
            ],
        ],
    )
    echo(f"\nR² {report.r2:.3f}")
