"""``umekomi anomalies``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ...data.table import read_table
from ...errors import InputError, SpaceMismatchError
from ...tasks.choices import AnomalyMethod
from ..options import TABLE_SUFFIXES, embedded_argument, json_option, output_option, write_rows
from ..output import echo, echo_err, print_json, shorten, spinner

if TYPE_CHECKING:
    from ...tasks.anomalies import Anomalies


@click.command("anomalies", epilog="Example:  umekomi anomalies today.parquet --reference usual.parquet --rate 0.01")
@embedded_argument
@click.option(
    "--reference",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Embedded file of ordinary rows to compare with.",
)
@click.option(
    "--method", type=click.Choice([method.value for method in AnomalyMethod]), default="knn", show_default=True
)
@click.option(
    "-k", "--neighbors", "--neighbours", "n_neighbors", default=20, show_default=True, help="Number of neighbors."
)
@click.option("--rate", default=0.01, show_default=True, help="Accepted share of ordinary rows that are flagged.")
@click.option(
    "--fdr",
    type=float,
    help="With --reference, instead of --rate: accepted share of ordinary rows among the flagged ones.",
)
@click.option("-n", "--number", type=int, help="Show this number of rows with the highest scores, flagged or not.")
@output_option(
    "-o",
    "--output",
    suffixes=TABLE_SUFFIXES,
    help="Write all rows with their scores to this .parquet, .csv or .jsonl file.",
)
@json_option
def command(
    embedded: Path,
    reference: Path | None,
    method: str,
    n_neighbors: int,
    rate: float,
    fdr: float | None,
    number: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Find rows of INPUT, a file written by `umekomi embed`, that differ from all others.

    Prints score, p-value and text. The p-value says how often an ordinary row looks as strange. Against --reference it is exact
    for rows like those. Without, it is the row's rank among the rows: the strangest 1 % are flagged at 0.01 in any case.
    """
    # Imported lazily, because this module takes half a second to import, and --help must be fast.
    from ...tasks.anomalies import find_anomalies

    if fdr is not None and reference is None:
        raise InputError(
            "--fdr needs --reference, a file of ordinary rows: judged among themselves, rows have p-values too large to find any."
        )
    table = read_table(embedded)
    usual = read_table(reference) if reference else None
    if usual and usual.space.fingerprint != table.space.fingerprint:
        raise SpaceMismatchError(
            f"{embedded} holds vectors of {table.space.model} ({table.space.fingerprint}), {reference} of {usual.space.model} "
            f"({usual.space.fingerprint}). Embed both with one model."
        )
    with spinner("Comparing rows"):
        found = find_anomalies(table.vectors, reference=usual.vectors if usual else None, method=method, k=n_neighbors)
    flagged = found.flagged(rate) if fdr is None else found.discoveries(fdr)
    shown = flagged if number is None else (-found.scores).argsort(kind="stable")[:number]
    texts = table.texts()
    if output:
        write_rows(table, {"anomaly_score": found.scores.tolist(), "false_alarm": found.p_values.tolist()}, output)
    for row in shown:
        if as_json:
            print_json(
                {
                    "row": int(row),
                    "score": float(found.scores[row]),
                    "false_alarm": float(found.p_values[row]),
                    "text": texts[row],
                }
            )
        else:
            echo(f"{found.scores[row]:.3f}\t{found.p_values[row]:.2g}\t{shorten(texts[row], 100)}")
    _explain(found, rate, fdr, len(flagged))


def _explain(found: Anomalies, rate: float, fdr: float | None, n_flagged: int) -> None:
    """What the flags mean, and what is to be expected of them, where that is known."""
    n = len(found.scores)
    if fdr is not None:
        echo_err(
            f"{n_flagged:,} of {n:,} rows found; on average at most {fdr:.0%} of such rows are ordinary (Benjamini-Hochberg)."
        )
        return
    expected = found.expected_false_alarms(rate)
    if expected is None:
        echo_err(
            f"The {n_flagged:,} strangest of {n:,} rows. Judged among themselves, {rate:.2%} of the rows are always flagged, "
            "whether or not any is an anomaly; only --reference can tell."
        )
    elif rate < found.min_p_value:
        echo_err(
            f"No row can be flagged at {rate:.3g}: {found.n_calibration:,} ordinary rows give p-values of "
            f"{found.min_p_value:.3g} and above. Give at least {int(np.ceil(1 / rate)) - 1:,} of them, or a greater --rate."
        )
    else:
        mean, low, high = expected
        echo_err(
            f"{n_flagged:,} of {n:,} rows flagged at a false-alarm rate of {rate:.3g}. If all rows are ordinary, {mean:.1f} are "
            f"to be expected ({low:,} to {high:,} in 95 % of references of {found.n_calibration:,} rows)."
        )
