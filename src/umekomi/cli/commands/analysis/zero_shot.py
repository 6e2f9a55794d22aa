"""``umekomi zero-shot``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import numpy as np

from ....data.embedded_file import Space, read_space, require_columns
from ....data.table import EmbeddedTable, read_table
from ....encoders.model_ids import require_consent, require_model
from ....errors import InputError
from ....evaluation import metrics
from ....evaluation.duplicates import group_copies
from ....tasks.choices import Calibration
from ....tasks.zero_shot import embed_labels, zero_shot
from ...options import (
    choice,
    embedded_argument,
    json_option,
    load_embedder,
    query_model_option,
    table_output_option,
    write_rows,
)
from ...output import echo, echo_err, print_json, shorten


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
    help="Name of a label, optionally with a description. Several descriptions of a label are averaged; "
    "a name alone is embedded in three sentences. Repeatable.",
)
@click.option(
    "--calibration",
    type=choice(Calibration),
    default=Calibration.BATCH.value,
    show_default=True,
    help="batch: learn more about the labels from all rows. none: use the highest cosine similarity; the result of a row does "
    "not depend on other rows.",
)
@query_model_option
@click.option("--truth", metavar="COLUMN", help="Column with the true labels, to print the accuracy with its interval.")
@table_output_option
@json_option
def command(
    embedded: Path,
    labels: tuple[str, ...],
    calibration: str,
    model: str | None,
    truth: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Label the rows of INPUT, a file written by `umekomi embed`, by descriptions of the labels, without labeled examples.

    With 50 rows or more, and 15 for each label, further differences between the labels and their frequencies are learned from all
    rows, so the label of a row depends on the other rows. --calibration none turns this off.
    """
    described: dict[str, list[str]] = {}
    for label in labels:
        name, _, description = label.partition("=")
        if not name.strip():
            raise InputError("A label has no name. Use --label NAME or --label NAME=DESCRIPTION.")
        described.setdefault(name.strip(), []).append(description.strip() or name.strip())
    if len(described) < 2:
        raise InputError("Two or more labels are required, for example --label negative --label positive.")
    # Before the vectors are read and the model is loaded. Without an output file, the texts are printed.
    require_columns(embedded, [truth, "text" if truth or not output else None])
    model = model or require_model(require_consent(read_space(embedded).model, source=str(embedded), option="-m"))
    table = read_table(embedded)
    truths = _read_truths(table, truth, tuple(described)) if truth else []
    embedder = load_embedder(model)
    if table.space != Space(embedder.model, embedder.fingerprint, embedder.dims, table.space.role):
        embedder.require_space(table.space.fingerprint, where=str(embedded))
    result = zero_shot(table.vectors, embed_labels(described, embedder), calibration=Calibration(calibration))
    echo_err(
        f"{table.space.model} (not OpenAI's vectors); "
        + (
            "calibrated on all rows."
            if result.calibrated
            else "not calibrated; each row is labeled independently of the others."
        )
    )
    predictions, margins = result.predictions, result.margins
    if output:
        write_rows(table, {"label": predictions, "margin": [float(margin) for margin in margins]}, output)
    else:
        for text, label, margin in zip(table.texts(), predictions, margins, strict=True):
            if as_json:
                print_json({"label": label, "margin": float(margin), "text": text})
            else:
                echo(f"{label}\t{margin:.3f}\t{shorten(text, 100)}")
    counts = Counter(predictions)
    echo_err(", ".join(f"{name} {counts[name]:,}" for name in result.names))
    if truths:
        # Imported lazily, because it loads scikit-learn, and --help must be fast.
        from ....plots.predictions import macro_f1

        indices = {name: index for index, name in enumerate(sorted({*truths, *result.names}))}
        true, predicted = (np.array([indices[name] for name in names]) for names in (truths, predictions))
        accuracy = metrics.share(true == predicted, groups=group_copies(table.vectors, table.texts()))
        most_frequent, n_rows = Counter(truths).most_common(1)[0]
        echo_err(
            f"accuracy {accuracy:.3f}, macro F1 {macro_f1(true, predicted):.3f} against {truth}; "
            f"always {most_frequent}: accuracy {n_rows / len(truths):.3f}"
        )


def _read_truths(table: EmbeddedTable, column: str, names: tuple[str, ...]) -> list[str]:
    """Return the true label of each row.

    Raises:
        InputError: No true label is the name of a label, so every prediction would be wrong.
    """
    truths = [str(value) for value in table.column(column)]
    other = Counter(value for value in truths if value not in names)
    if sum(other.values()) == len(truths):
        raise InputError(
            f"No value of the column {column!r} is the name of a label. The values are "
            f"{', '.join(map(repr, list(other)[:5]))}{' …' if len(other) > 5 else ''}; the labels are "
            f"{', '.join(map(repr, names))}. Name the labels like the values, with NAME=DESCRIPTION."
        )
    if other:
        echo_err(
            f"{sum(other.values()):,} rows have a true label that is not predicted ({', '.join(list(other)[:5])}). "
            "They count as wrong."
        )
    return truths
