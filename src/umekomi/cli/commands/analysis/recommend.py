"""``umekomi recommend``."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from ....data.embedded_file import require_columns
from ....data.table import EmbeddedTable, read_table
from ....errors import InputError
from ....tasks.recommend import NEAR_DUPLICATE, recommend
from ...options import columns_option, embedded_argument, integer_option, json_option, split_names
from ...output import echo, echo_err, print_json, shorten


@click.command(
    "recommend", epilog="Example:  umekomi recommend articles.parquet 0 -n 5   (articles similar to the first one)"
)
@embedded_argument
@click.argument("source")
@integer_option("-n", "--number", minimum=1, default=5, help="Number of recommendations.")
@click.option(
    "--id", "id_column", metavar="COLUMN", help="Column that contains SOURCE. Default: SOURCE is a row number, from 0."
)
@click.option(
    "--near-duplicate",
    type=click.FloatRange(-1, 1),
    default=NEAR_DUPLICATE,
    show_default=True,
    help="Leave out rows whose cosine similarity to the source, or to a row above, is at least this.",
)
@click.option("--keep-duplicates", is_flag=True, help="Keep near-duplicates; leave out only the source.")
@columns_option
@json_option
def command(
    embedded: Path,
    source: str,
    number: int,
    id_column: str | None,
    near_duplicate: float,
    keep_duplicates: bool,
    columns: str | None,
    as_json: bool,
) -> None:
    """Recommend the rows of INPUT that are most similar to the row SOURCE.

    INPUT is a file written by `umekomi embed`. Near-duplicates of the source, and of rows that are already recommended, are
    left out and counted.
    """
    require_columns(embedded, ["text", id_column, *split_names(columns)])
    if id_column is None:
        _parse_row(source)
    table = read_table(embedded)
    index = _find_row(table, source, id_column)
    result = recommend(table.vectors, index, n=number, near_duplicate=None if keep_duplicates else near_duplicate)
    selected = {name: table.column(name) for name in split_names(columns)}
    texts = table.texts()
    if as_json:
        items = [
            {"row": item.index, "score": item.score, "copies": item.copies, "text": texts[item.index]}
            | {"record": {name: values[item.index] for name, values in selected.items()}}
            for item in result.items
        ]
        print_json({"source": index, "text": texts[index], "copies": result.copies, "items": items})
        return
    width = shutil.get_terminal_size((100, 24)).columns
    echo_err(f"Similar to row {index}: {shorten(texts[index], width - 20)}")
    for rank, item in enumerate(result.items, start=1):
        values = "  ".join(f"{name}={column[item.index]}" for name, column in selected.items())
        head = f"{rank:>2}. {item.score:.3f}  row {item.index}  " + (f"[{values}]  " if values else "")
        echo(head + shorten(texts[item.index], max(40, width - len(head))))
    n_copies = len(result.copies) + sum(len(item.copies) for item in result.items)
    if n_copies:
        echo_err(f"{n_copies} near-duplicates are left out. Use --keep-duplicates to show them.")


def _parse_row(source: str) -> int:
    if not source.isdecimal():
        raise InputError(f"{source!r} is not a row number. Give the column that contains it with --id.")
    return int(source)


def _find_row(table: EmbeddedTable, source: str, id_column: str | None) -> int:
    if id_column is None:
        return _parse_row(source)
    row = next((row for row, value in enumerate(table.column(id_column)) if str(value) == source), None)
    if row is None:
        raise InputError(f"No row has {source!r} in the column {id_column!r}.")
    return row
