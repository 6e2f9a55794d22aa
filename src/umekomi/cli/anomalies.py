"""``umekomi anomalies``."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import SpaceMismatchError
from ..tasks.choices import AnomalyMethod
from ..tasks.table import read_table
from .output import echo, note, print_json, shorten, working
from .outputs import TABLE_SUFFIXES, output_option
from .tables import embedded_argument, json_option, write_rows


@click.command("anomalies", epilog="Example:  umekomi anomalies today.parquet --reference usual.parquet --rate 0.01")
@embedded_argument
@click.option(
    "--reference",
    type=click.Path(path_type=Path, dir_okay=False),
    help="An embedded file of ordinary rows to judge by.",
)
@click.option(
    "--method", type=click.Choice([method.value for method in AnomalyMethod]), default="knn", show_default=True
)
@click.option("-k", "--neighbours", default=20, show_default=True, help="How many neighbours count.")
@click.option("--rate", default=0.01, show_default=True, help="How often an ordinary row may be flagged.")
@click.option("-n", "--number", type=int, help="Show so many of the strangest rows, flagged or not.")
@output_option(
    "-o",
    "--output",
    suffixes=TABLE_SUFFIXES,
    help="All rows with their scores: .parquet, .csv, .jsonl.",
)
@json_option
def command(
    embedded: Path,
    reference: Path | None,
    method: str,
    neighbours: int,
    rate: float,
    number: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Find the rows of EMBEDDED, a file made by `umekomi embed`, that have little to do with the others.

    Each row's false-alarm rate says how often an ordinary row looks as strange. Against --reference it is exact for rows like
    those; without it, it is an estimate from the rows themselves.
    """
    # Not before it is asked for: it takes half a second to import, and --help must not wait for it.
    from ..tasks.anomalies import find_anomalies

    table = read_table(embedded)
    usual = read_table(reference) if reference else None
    if usual and usual.space.fingerprint != table.space.fingerprint:
        raise SpaceMismatchError(
            f"{embedded} holds vectors of {table.space.model} ({table.space.fingerprint}), {reference} of {usual.space.model} "
            f"({usual.space.fingerprint}). Embed both with one model."
        )
    with working("Comparing rows"):
        found = find_anomalies(table.vectors, reference=usual.vectors if usual else None, method=method, k=neighbours)
    flagged = found.flagged(rate)
    shown = flagged if number is None else (-found.scores).argsort(kind="stable")[:number]
    texts = table.texts()
    if output:
        write_rows(table, {"anomaly_score": found.scores.tolist(), "false_alarm": found.false_alarm.tolist()}, output)
    for row in shown:
        if as_json:
            print_json(
                {
                    "row": int(row),
                    "score": float(found.scores[row]),
                    "false_alarm": float(found.false_alarm[row]),
                    "text": texts[row],
                }
            )
        else:
            echo(f"{found.scores[row]:.3f}\t{found.false_alarm[row]:.2g}\t{shorten(texts[row], 100)}")
    kind = "by the reference rows" if found.conformal else "as the rows themselves let one guess"
    note(
        f"{len(flagged):,} of {len(table):,} rows flagged at a false-alarm rate of {rate:g} "
        f"({len(table) * rate:.1f} ordinary ones expected, {kind})."
    )
