"""``umekomi map``."""

from __future__ import annotations

from pathlib import Path

import click

from ....data.embedded_file import require_columns
from ....data.table import read_table
from ....errors import InputError
from ....plots.colors import color_by, color_clusters, uniform_color
from ....plots.map_page import page_footer, write_page
from ....tasks.choices import MapMethod
from ...options import (
    PAGE_SUFFIXES,
    PICTURE_SUFFIXES,
    choice,
    embedded_argument,
    json_option,
    output_option,
    seed_option,
)
from ...output import echo, echo_err, print_json
from ...status_line import status_line


@click.command("map", epilog="Example:  umekomi map reviews.parquet --color Score -o map.html -o map.png")
@embedded_argument
@output_option(
    "-o",
    "--output",
    "outputs",
    required=True,
    multiple=True,
    suffixes=(*PAGE_SUFFIXES, *PICTURE_SUFFIXES),
    help="Write the map to this .html, .png, .svg or .pdf file. Repeatable.",
)
@click.option("--color", "--colour", "column", metavar="COLUMN", help="Column that determines the colors.")
@click.option(
    "--clusters", type=click.IntRange(min=0), help="Color by this number of named clusters. 0 chooses the number."
)
@click.option(
    "--method",
    type=choice(MapMethod),
    default="auto",
    show_default=True,
    help="Projection: tsne as in OpenAI's guide, or fast for many rows.",
)
@click.option("--3d", "solid", is_flag=True, help="Draw a map with three dimensions.")
@click.option(
    "--perplexity",
    type=click.FloatRange(min=1, min_open=True),
    help="Approximate number of neighbors of a row. Default: 15, or 30 with fast.",
)
@click.option("--title", help="Title of the map. Default: the name of the file.")
@seed_option
@json_option
def command(
    embedded: Path,
    outputs: tuple[Path, ...],
    column: str | None,
    clusters: int | None,
    method: str,
    solid: bool,
    perplexity: float | None,
    title: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Draw a map of the rows of INPUT, a file written by `umekomi embed`, with similar rows close together.

    A .html file is a self-contained page that works offline: hover to see texts, drag, zoom, click the legend. With
    --json the points are also printed.
    """
    if column and clusters is not None:
        raise InputError("--color and --clusters cannot be combined. Use one of them.")
    require_columns(embedded, ["text", column])
    # Imported lazily, because these modules take a second to import, and --help must be fast.
    from ....plots.charts import draw_map
    from ....tasks.cluster import cluster, describe
    from ....tasks.project import project

    table = read_table(embedded)
    texts = table.texts()
    names: list[str] = []
    coloring = uniform_color(len(table))
    if column:
        coloring = color_by(table.column(column), column)
    elif clusters is not None:
        with status_line.step("Clustering" if clusters else "Choosing the number of clusters"):
            clustering = cluster(table.vectors, k=clusters or None, seed=seed)
        names = [summary.name for summary in describe(clustering, table.vectors, texts)]
        coloring = color_clusters(clustering.labels.tolist(), names)
    echo_err(f"Computing the map of {len(table):,} rows of {table.space.model} …")
    with status_line.step("Laying out"):
        projection = project(
            table.vectors, method=method, dimensions=3 if solid else 2, perplexity=perplexity, seed=seed
        )
    heading = title if title is not None else embedded.name
    footer = page_footer(table.space.model, f"{projection.method}, seed {seed}")
    for path in outputs:
        if path.suffix.lower() == ".html":
            write_page(projection.points, coloring, path, texts=texts, title=heading, labels=names, note=footer)
        else:
            draw_map(projection.points, coloring, path, title=heading, labels=names, report=echo_err)
    if as_json:
        print_json(
            {
                "method": projection.method,
                "files": [str(path) for path in outputs],
                "points": [[round(float(value), 4) for value in point] for point in projection.points],
            }
        )
    else:
        for path in outputs:
            echo(str(path))
