"""``umekomi anomalies``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ....data.embedded_file import read_space, require_columns
from ....data.table import read_table
from ....errors import InputError
from ....tasks.choices import AnomalyMethod
from ...options import (
    FILE,
    TABLE_SUFFIXES,
    choice,
    embedded_argument,
    integer_option,
    json_option,
    output_option,
    require_same_space,
    write_rows,
)
from ...output import echo, echo_err, print_json, shorten
from ...status_line import status_line

if TYPE_CHECKING:
    from ....tasks.anomalies import Anomalies


SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command("anomalies", epilog="Example:  umekomi anomalies today.parquet --reference usual.parquet --rate 0.01")
@embedded_argument
@click.option("--reference", type=FILE, help="Embedded file of ordinary rows to compare with.")
@click.option("--method", type=choice(AnomalyMethod), default="knn", show_default=True, help="Method of the scores.")
@integer_option("-k", "--neighbors", "--neighbours", "n_neighbors", minimum=1, default=20, help="Number of neighbors.")
@click.option(
    "--rate", type=SHARE, default=0.01, show_default=True, help="Accepted share of ordinary rows that are flagged."
)
@click.option(
    "--fdr",
    type=SHARE,
    help="With --reference, instead of --rate: accepted share of ordinary rows among the flagged ones.",
)
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=0),
    help="Show this number of rows with the highest scores, flagged or not.",
)
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

    Prints score, p-value and text. The p-value is the probability that an ordinary row is at least as unusual. With --reference,
    it is exact for rows like those of the reference. Without, it is only the rank of the row in the file: the 1 % most unusual
    rows have p-values up to 0.01, whether or not they are anomalies.
    """
    if fdr is not None and reference is None:
        raise InputError(
            "--fdr needs --reference, a file of ordinary rows. Without it, p-values are too large to control the false "
            "discovery rate."
        )
    require_columns(embedded, ["text"])
    if reference:
        read_space(reference)
    # Imported lazily, because this module takes half a second to import, and --help must be fast.
    from ....tasks.anomalies import find_anomalies

    table = read_table(embedded)
    ordinary = None
    if reference:
        ordinary = read_table(reference)
        require_same_space(table, ordinary, (embedded, reference))
    with status_line.step("Comparing rows"):
        anomalies = find_anomalies(
            table.vectors, reference=ordinary.vectors if ordinary else None, method=method, k=n_neighbors
        )
    flagged = anomalies.flagged(rate) if fdr is None else anomalies.discoveries(fdr)
    shown = flagged if number is None else (-anomalies.scores).argsort(kind="stable")[:number]
    texts = table.texts()
    scores, p_values = anomalies.scores.tolist(), anomalies.p_values.tolist()
    if output:
        write_rows(table, {"anomaly_score": scores, "false_alarm": p_values}, output)
    for row in shown:
        if as_json:
            print_json({"row": int(row), "score": scores[row], "false_alarm": p_values[row], "text": texts[row]})
        else:
            echo(f"{scores[row]:.3f}\t{p_values[row]:.2g}\t{shorten(texts[row], 100)}")
    _report_flags(anomalies, rate, fdr, len(flagged))


def _report_flags(anomalies: Anomalies, rate: float, fdr: float | None, n_flagged: int) -> None:
    """Report the number of flagged rows, and how many ordinary rows are expected among them."""
    n = len(anomalies.scores)
    if fdr is not None:
        echo_err(
            f"{n_flagged:,} of {n:,} rows are flagged. On average, at most {fdr:.0%} of such rows are ordinary "
            "(Benjamini-Hochberg)."
        )
        return
    expected = anomalies.expected_false_alarms(rate)
    if expected is None:
        echo_err(
            f"The {n_flagged:,} most unusual of {n:,} rows. Without --reference, {rate:.2%} of the rows are always flagged, "
            "whether or not they are anomalies."
        )
    elif rate < anomalies.min_p_value:
        echo_err(
            f"No row can be flagged at {rate:.3g}: with {anomalies.n_calibration:,} ordinary rows, p-values are at least "
            f"{anomalies.min_p_value:.3g}. Use at least {int(np.ceil(1 / rate)) - 1:,} of them, or a larger --rate."
        )
    else:
        mean, low, high = expected
        echo_err(
            f"{n_flagged:,} of {n:,} rows are flagged at a false-alarm rate of {rate:.3g}. If all rows are ordinary, {mean:.1f} "
            f"[{low:,}, {high:,}] are expected (95 % interval over references of {anomalies.n_calibration:,} rows)."
        )
