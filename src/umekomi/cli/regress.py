"""``umekomi regress``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..tasks.choices import Learner
from ..tasks.table import read_table
from .learning import apply_model, learning_options, require_label
from .output import echo, note, print_json, print_table, working
from .tables import labelled, share


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
    seed: int,
    save: Path | None,
    apply_: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Learn the numbers of a column of EMBEDDED, a file made by `umekomi embed`, and say how well that goes.

    The figures are of rows that are kept aside (the guide's split: a fifth, by seed 42), beside always answering the mean.
    """
    # Not before it is asked for: they take a second to import, and --help must not wait for it.
    from ..tasks.predict import split_rows, train_forest_regressor, train_regressor
    from ..tasks.predict_report import report_regression

    table = read_table(embedded)
    if apply_:
        apply_model(table, apply_, output, as_json, classify=False, label=label, save=save)
        return
    label = require_label(table, label, learner, save)
    table, _ = labelled(table, label)
    values = table.numbers(label)
    train, test = split_rows(len(table), test_share=test_share, seed=seed)
    note(f"Training on {len(train):,} rows of {table.space.model} (not OpenAI's vectors).")
    with working("Training"):
        model = (
            train_forest_regressor(table.vectors[train], values[train], seed=seed)
            if learner == Learner.FOREST
            else train_regressor(table.vectors[train], values[train], column=label, space=table.space, seed=seed)
        )
    report = report_regression(model.predict, table.vectors[test], values[test], trained_on=values[train])
    if save:
        with working("Training on all rows"):
            train_regressor(table.vectors, values, column=label, space=table.space, seed=seed).save(save)
        note(f"{save}: trained on all {len(table):,} rows.")
    if as_json:
        print_json({"model": table.space.model, "learner": learner, **asdict(report)})
        return
    echo(f"{report.n_train:,} rows to learn from, {report.n_test:,} to measure on; 95 % intervals\n")
    print_table(
        ["", "learnt", f"always {report.baseline_mean:.3g}", "ratio"],
        [
            ["mean absolute error", share(report.mae), f"{report.baseline_mae:.3f}", share(report.mae_ratio)],
            ["mean squared error", share(report.mse), f"{report.baseline_mse:.3f}", share(report.mse_ratio)],
        ],
    )
    echo(f"\nR² {report.r2:.3f}")
