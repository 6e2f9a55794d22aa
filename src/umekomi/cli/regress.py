"""``umekomi regress``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..errors import InputError
from ..tasks.predict import Learner, split_rows, train_forest_regressor, train_regressor
from ..tasks.predict_report import report_regression
from ..tasks.table import read_table
from .classify import apply_model
from .output import note, print_json, print_table
from .tables import embedded_argument, json_option, labelled, seed_option, share


@click.command(
    "regress",
    epilog="Example:  umekomi regress reviews.parquet --label Score --save score.model  and  "
    "umekomi regress new.parquet --apply score.model",
)
@embedded_argument
@click.option("--label", help="The column of numbers to learn.")
@click.option(
    "--learner",
    type=click.Choice([learner.value for learner in Learner]),
    default="default",
    show_default=True,
    help="The default, or the guide's random forest.",
)
@click.option(
    "--test-share", default=0.2, show_default=True, help="How large a share of the rows is kept for measuring."
)
@seed_option
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Train on all rows as well, and write the model here.",
)
@click.option(
    "--apply", "apply_", type=click.Path(path_type=Path, dir_okay=False), help="Predict with a saved model instead."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --apply: a .parquet, .csv or .jsonl file.",
)
@json_option
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
    table = read_table(embedded)
    if apply_:
        if label or save:
            raise InputError(
                "--apply predicts with a saved model; --label and --save train one. Give one or the other."
            )
        apply_model(table, apply_, output, as_json, classify=False)
        return
    if not label:
        raise InputError(
            f"Say which column to learn: --label NAME. The columns are {', '.join(table.records.column_names)}."
        )
    if save and learner == Learner.FOREST:
        raise InputError("A random forest cannot be saved without code in the file; save the default learner.")
    table, _ = labelled(table, label)
    values = table.numbers(label)
    train, test = split_rows(len(table), test_share=test_share, seed=seed)
    note(f"Training on {len(train):,} rows of {table.space.model} (not OpenAI's vectors).")
    model = (
        train_forest_regressor(table.vectors[train], values[train], seed=seed)
        if learner == Learner.FOREST
        else train_regressor(table.vectors[train], values[train], column=label, space=table.space, seed=seed)
    )
    report = report_regression(model.predict, table.vectors[test], values[test], trained_on=values[train])
    if save:
        train_regressor(table.vectors, values, column=label, space=table.space, seed=seed).save(save)
        note(f"{save}: trained on all {len(table):,} rows.")
    if as_json:
        print_json({"model": table.space.model, "learner": learner, **asdict(report)})
        return
    click.echo(f"{report.n_train:,} rows to learn from, {report.n_test:,} to measure on; 95 % intervals\n")
    print_table(
        ["", "learnt", f"always {report.baseline_mean:.3g}", "ratio"],
        [
            ["mean absolute error", share(report.mae), f"{report.baseline_mae:.3f}", share(report.mae_ratio)],
            ["mean squared error", share(report.mse), f"{report.baseline_mse:.3f}", share(report.mse_ratio)],
        ],
    )
    click.echo(f"\nR² {report.r2:.3f}")
