"""``umekomi recommend``."""

from __future__ import annotations

import shutil

import click

from ...data.table import EmbeddedTable, read_table
from ...errors import InputError
from ...tasks.recommend import NEAR_DUPLICATE, recommend
from ..output import echo, echo_err, print_json, shorten


@click.command(
    "recommend", epilog="Example:  umekomi recommend articles.parquet 0 -n 5   (what is like the first article)"
)
@click.argument("embedded", type=click.Path(dir_okay=False))
@click.argument("source")
@click.option("-n", "--number", default=5, show_default=True, help="How many.")
@click.option(
    "--id", "id_column", help="The column whose value SOURCE is; by default SOURCE is the number of a row, from 0."
)
@click.option(
    "--near-duplicate",
    type=click.FloatRange(-1, 1),
    default=NEAR_DUPLICATE,
    show_default=True,
    help="Rows as near as this to the source or to one shown say the same and are left out.",
)
@click.option("--keep-duplicates", is_flag=True, help="Leave out nothing but the source.")
@click.option("--columns", help="Columns to show beside the text, as: title,label")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    embedded: str,
    source: str,
    number: int,
    id_column: str | None,
    near_duplicate: float,
    keep_duplicates: bool,
    columns: str | None,
    as_json: bool,
) -> None:
    """Recommend the rows of EMBEDDED that are most like the row SOURCE.

    EMBEDDED is a Parquet file made by `umekomi embed`. What says the same as the source, or as a row that is already shown, is
    left out and counted.
    """
    table = read_table(embedded)
    place = _place(table, source, id_column)
    found = recommend(table.vectors, place, n=number, near_duplicate=None if keep_duplicates else near_duplicate)
    shown = [name.strip() for name in columns.split(",")] if columns else []
    beside = {name: table.column(name) for name in shown}
    texts = table.texts()
    if as_json:
        items = [
            {"row": item.index, "score": item.score, "copies": item.copies, "text": texts[item.index]}
            | {"record": {name: values[item.index] for name, values in beside.items()}}
            for item in found.items
        ]
        print_json({"source": place, "text": texts[place], "copies": found.copies, "items": items})
        return
    width = shutil.get_terminal_size((100, 24)).columns
    echo_err(f"Like row {place}: {shorten(texts[place], width - 20)}")
    for rank, item in enumerate(found.items, start=1):
        values = "  ".join(f"{name}={column[item.index]}" for name, column in beside.items())
        head = f"{rank:>2}. {item.score:.3f}  row {item.index}  " + (f"[{values}]  " if values else "")
        echo(head + shorten(texts[item.index], max(40, width - len(head))))
    copies = len(found.copies) + sum(len(item.copies) for item in found.items)
    if copies:
        echo_err(f"{copies} near-duplicates left out; show them with --keep-duplicates.")


def _place(table: EmbeddedTable, source: str, id_column: str | None) -> int:
    if id_column is None:
        if not source.isdecimal():
            raise InputError(f"{source!r} is not the number of a row; name the column that it is a value of with --id.")
        return int(source)
    places = [place for place, value in enumerate(table.column(id_column)) if str(value) == source]
    if not places:
        raise InputError(f"No row has {source!r} in the column {id_column!r}.")
    return places[0]
