"""``umekomi map``."""

from __future__ import annotations

from pathlib import Path

import click

from ...data.table import read_table
from ...errors import InputError
from ...plots.colors import color_by, color_clusters, uniform_color
from ...plots.map_page import write_page
from ...tasks.choices import MapMethod
from ..options import PAGE_SUFFIXES, PICTURE_SUFFIXES, embedded_argument, json_option, output_option, seed_option
from ..output import echo, echo_err, print_json, spinner


@click.command("map", epilog="Example:  umekomi map reviews.parquet --colour Score -o map.html -o map.png")
@embedded_argument
@output_option(
    "-o",
    "--output",
    "outputs",
    required=True,
    multiple=True,
    suffixes=(*PAGE_SUFFIXES, *PICTURE_SUFFIXES),
    help="A .html, .png, .svg or .pdf file; may be given again.",
)
@click.option("--colour", "--color", "column", help="A column to colour by.")
@click.option("--clusters", type=int, help="Colour by so many clusters, named on the map; 0 chooses how many.")
@click.option(
    "--method",
    type=click.Choice([method.value for method in MapMethod]),
    default="auto",
    show_default=True,
    help="tsne as in the guide; fast for many rows.",
)
@click.option("--3d", "solid", is_flag=True, help="Three dimensions.")
@click.option("--perplexity", type=float, help="About how many neighbours a row has; by default 15, and 30 with fast.")
@click.option("--title", help="Above the map; by default the file's name.")
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
    """Lay out the rows of EMBEDDED, a file made by `umekomi embed`, so that what is alike lies together.

    A .html file is a page of its own that opens offline: hover for the text, drag, zoom, click the legend. With --json the points
    are printed too.
    """
    if column and clusters is not None:
        raise InputError("Colour by a column or by clusters, not both.")
    # Not before it is asked for: they take a second to import, and --help must not wait for it.
    from ...plots.charts import draw_map
    from ...tasks.cluster import cluster, describe
    from ...tasks.project import project

    table = read_table(embedded)
    texts = table.texts()
    names: list[str] = []
    coloring = uniform_color(len(table))
    if column:
        coloring = color_by(table.column(column), column)
    elif clusters is not None:
        with spinner("Clustering" if clusters else "Choosing the number of clusters"):
            found = cluster(table.vectors, k=clusters or None, seed=seed)
        names = [summary.name for summary in describe(found, table.vectors, texts)]
        coloring = color_clusters(found.labels.tolist(), names)
    echo_err(f"Laying out {len(table):,} rows of {table.space.model} …")
    with spinner("Laying out"):
        found_map = project(
            table.vectors, method=method, dimensions=3 if solid else 2, perplexity=perplexity, seed=seed
        )
    heading = title if title is not None else embedded.name
    foot = (
        f"Made by Umekomi with {table.space.model} (its own vectors, not OpenAI's), {found_map.method}, seed {seed}. "
        "Drag, scroll, hover."
    )
    for path in outputs:
        if path.suffix.lower() == ".html":
            write_page(found_map.points, coloring, path, texts=texts, title=heading, labels=names, note=foot)
        else:
            draw_map(found_map.points, coloring, path, title=heading, labels=names, report=echo_err)
    if as_json:
        print_json(
            {
                "method": found_map.method,
                "files": [str(path) for path in outputs],
                "points": [[round(float(value), 4) for value in point] for point in found_map.points],
            }
        )
    else:
        for path in outputs:
            echo(str(path))
