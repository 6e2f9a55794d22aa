"""``umekomi import``."""

from __future__ import annotations

from pathlib import Path

import click

from ....data.table import read_csv_vectors
from ....errors import RecordError
from ....files.outputs import PARQUET_SUFFIXES
from ...options import FILE, json_option, output_option
from ...output import echo, print_json


@click.command(
    "import",
    epilog="Example:  umekomi import fine_food_reviews_with_embeddings_1k.csv -o hosted.parquet --from ada-002",
)
@click.argument("source", metavar="INPUT", type=FILE)
@output_option(
    "-o", "--output", metavar="OUTPUT", required=True, suffixes=PARQUET_SUFFIXES, help="Parquet file to write."
)
@click.option("--column", help="Column of the vectors. Default: the first one that contains vectors.")
@click.option(
    "--from", "model", default="unknown", show_default=True, help="Name of the model that computed the vectors."
)
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists.")
@json_option
def command(source: Path, output: Path, column: str | None, model: str, overwrite: bool, as_json: bool) -> None:
    """Import a CSV file whose vectors are written as text, such as [0.1, -0.2, …].

    OpenAI's embeddings guide saves such files and reads them with eval(). This command reads nothing but lists of numbers. The
    result works with cluster, map, recommend, profiles and other commands, but not with search, because a query would have to
    be embedded by the original model.
    """
    if output.exists() and not overwrite:
        raise RecordError(f"{output} already exists. Replace it with --overwrite, or choose another name.")
    table = read_csv_vectors(source, column=column, model=model)
    table.save(output)
    if as_json:
        print_json({"output": output, "rows": len(table), **table.space.to_dict()})
        return
    echo(f"{output}: {len(table):,} vectors of {table.space.dims:,} dimensions from {source}")
