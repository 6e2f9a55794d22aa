"""``umekomi import``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ...data.readers.parquet import PARQUET_SUFFIXES
from ...data.table import read_csv_vectors
from ...errors import RecordError
from ..options import output_option
from ..output import echo, print_json


@click.command(
    "import",
    epilog="Example:  umekomi import fine_food_reviews_with_embeddings_1k.csv -o hosted.parquet --from ada-002",
)
@click.argument("source", metavar="CSV", type=click.Path(dir_okay=False))
@output_option("-o", "--output", required=True, suffixes=PARQUET_SUFFIXES, help="The .parquet file to write.")
@click.option("--column", help="The column with the vectors; by default the first that looks like one.")
@click.option("--from", "model", default="unknown", show_default=True, help="What made the vectors, for the record.")
@click.option("--overwrite", is_flag=True, help="Write over OUTPUT.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(source: str, output: Path, column: str | None, model: str, overwrite: bool, as_json: bool) -> None:
    """Bring in a CSV file whose vectors are written as text, as [0.1, -0.2, …].

    OpenAI's embeddings guide saves such files and reads them with eval(); here nothing but lists of numbers is read. The result
    works with cluster, map, recommend, profiles and the like. It cannot be searched by words: what made it must embed the query.
    """
    if output.exists() and not overwrite:
        raise RecordError(f"{output} exists already. Replace it with --overwrite, or choose another name.")
    table = read_csv_vectors(source, column=column, model=model)
    table.save(output)
    if as_json:
        print_json({"output": str(output), "rows": len(table), **asdict(table.space)})
        return
    echo(f"{output}: {len(table):,} vectors of {table.space.dims:,} dimensions from {source}")
