"""``umekomi zero-shot``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import numpy as np

from ...data.embedded_file import Space
from ...data.table import EmbeddedTable, read_table
from ...embedder import Embedder
from ...encoders.model_ids import require_consent
from ...errors import InputError
from ...evaluation import metrics
from ...evaluation.duplicates import group_copies
from ...tasks.zero_shot import embed_labels, zero_shot
from ..options import TABLE_SUFFIXES, embedded_argument, format_interval, json_option, output_option, write_rows
from ..output import TransferBar, echo, echo_err, print_json, shorten


@click.command(
    "zero-shot",
    epilog="Example:  umekomi zero-shot reviews.parquet --label negative='A bad review.' --label negative='I was disappointed.' "
    "--label positive='A good review.'",
)
@embedded_argument
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME[=DESCRIPTION]",
    help="Name of a label, optionally with a description. Several descriptions of a label are averaged. Repeatable.",
)
@click.option("--no-calibration", is_flag=True, help="Use the highest cosine similarity without calibration.")
@click.option("--truth", metavar="COLUMN", help="Column with the true labels, to print the accuracy with its interval.")
@output_option("-o", "--output", suffixes=TABLE_SUFFIXES, help="Write the rows to this .parquet, .csv or .jsonl file.")
@json_option
def command(
    embedded: Path, labels: tuple[str, ...], no_calibration: bool, truth: str | None, output: Path | None, as_json: bool
) -> None:
    """Label the rows of INPUT, a file written by `umekomi embed`, by descriptions of the labels, without labeled examples.

    With 50 rows or more, the threshold between two labels is calibrated on the rows, at the gap between two groups of scores.
    With 200 rows or more, further differences between the labels are also learned from the rows.
    """
    described: dict[str, list[str]] = {}
    for label in labels:
        name, _, description = label.partition("=")
        if not name.strip():
            raise InputError("A label has no name. Use --label NAME or --label NAME='what it means'.")
        described.setdefault(name.strip(), []).append(description.strip() or name.strip())
    if len(described) < 2:
        raise InputError("Two or more labels are required, for example --label negative --label positive.")
    table = read_table(embedded)
    truths = _truths(table, truth, tuple(described)) if truth else []
    model = require_consent(table.space.model, source=str(embedded))
    embedder = Embedder(model, report=echo_err, transfer=TransferBar())
    if table.space != Space(embedder.model, embedder.fingerprint, embedder.dims, table.space.role):
        embedder.require_space(table.space.fingerprint, where=str(embedded))
    found = zero_shot(table.vectors, embed_labels(described, embedder), calibrate=not no_calibration)
    echo_err(
        f"{table.space.model} (not OpenAI's vectors); "
        + ("calibrated on the rows." if found.calibrated else "not calibrated.")
    )
    predictions, margins = found.predictions, found.margins
    if output:
        write_rows(table, {"label": predictions, "margin": [float(margin) for margin in margins]}, output)
    else:
        for text, label, margin in zip(table.texts(), predictions, margins, strict=True):
            if as_json:
                print_json({"label": label, "margin": float(margin), "text": text})
            else:
                echo(f"{label}\t{margin:.3f}\t{shorten(text, 100)}")
    counts = Counter(predictions)
    echo_err(", ".join(f"{name} {counts[name]:,}" for name in found.names))
    if truths:
        # Here, because it loads scikit-learn, and --help must not wait for it.
        from ...plots.predictions import macro_f1

        places = {name: place for place, name in enumerate(sorted({*truths, *found.names}))}
        y, guess = (np.array([places[name] for name in names]) for names in (truths, predictions))
        texts = group_copies(table.vectors, table.texts())
        most, n_most = Counter(truths).most_common(1)[0]
        accuracy = format_interval(metrics.share(y == guess, groups=texts))
        echo_err(
            f"accuracy {accuracy}, macro F1 {macro_f1(y, guess):.3f} against {truth}; "
            f"always {most}: accuracy {n_most / len(truths):.3f}"
        )


def _truths(table: EmbeddedTable, column: str, names: tuple[str, ...]) -> list[str]:
    """The true label of each row.

    Raises:
        InputError: no true label is the name of a label, so that every prediction would count as wrong.
    """
    truths = [str(value) for value in table.column(column)]
    other = Counter(value for value in truths if value not in names)
    if sum(other.values()) == len(truths):
        raise InputError(
            f"No value of the column {column!r} is the name of a label: it has {', '.join(map(repr, list(other)[:5]))}"
            f"{' …' if len(other) > 5 else ''}, the labels are {', '.join(map(repr, names))}. Name the labels as the column "
            "does, with NAME=DESCRIPTION."
        )
    if other:
        echo_err(
            f"{sum(other.values()):,} rows have another true label ({', '.join(list(other)[:5])}) and count as wrong."
        )
    return truths
