"""``umekomi cluster``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ....data.embedded_file import require_columns
from ....data.table import read_table
from ....errors import InputError
from ....plots.colors import color_clusters
from ....plots.map_page import page_footer, write_page
from ....tasks.choices import ClusterMethod
from ...options import (
    PAGE_SUFFIXES,
    PICTURE_SUFFIXES,
    TABLE_SUFFIXES,
    choice,
    embedded_argument,
    integer_option,
    json_option,
    output_option,
    seed_option,
    write_rows,
)
from ...output import echo, echo_err, print_json, shorten
from ...status_line import status_line

if TYPE_CHECKING:
    from ....tasks.cluster import Clustering


@click.command("cluster", epilog="Example:  umekomi cluster reviews.parquet -k 4 --mean Score --picture clusters.png")
@embedded_argument
@click.option(
    "-k",
    "--clusters",
    type=click.IntRange(min=1),
    help="Number of clusters. Default: the number with the highest silhouette.",
)
@click.option("--method", type=choice(ClusterMethod), default="kmeans", show_default=True, help="Clustering algorithm.")
@click.option(
    "--min-size", type=click.IntRange(min=2), help="With hdbscan: minimum size of a cluster. Default: 1 % of the rows."
)
@integer_option("--max-k", minimum=2, default=12, help="Maximum number of clusters to try.")
@click.option("--mean", "column", metavar="COLUMN", help="Column of numbers to average over each cluster.")
@output_option(
    "--picture",
    suffixes=(*PICTURE_SUFFIXES, *PAGE_SUFFIXES),
    help="Draw the clusters to this .png, .svg, .pdf or .html file.",
)
@output_option(
    "-o",
    "--output",
    suffixes=TABLE_SUFFIXES,
    help="Write the rows with a column `cluster` to this .parquet, .csv or .jsonl file.",
)
@seed_option
@json_option
def command(
    embedded: Path,
    clusters: int | None,
    method: str,
    min_size: int | None,
    max_k: int,
    column: str | None,
    picture: Path | None,
    output: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Group the rows of INPUT, a file written by `umekomi embed`, and name each group.

    The name of a group consists of its most distinctive terms. Its most central texts are listed below it.
    """
    if clusters is not None and method == ClusterMethod.HDBSCAN:
        raise InputError("HDBSCAN determines the number of clusters itself. Omit -k, or use --method kmeans.")
    require_columns(embedded, ["text", column])
    # Imported lazily, because these modules take a second to import, and --help must be fast.
    from ....plots.charts import draw_map
    from ....tasks.cluster import cluster, describe
    from ....tasks.project import project

    table = read_table(embedded)
    values = table.numbers(column) if column else None
    with status_line.step("Clustering" if clusters or method != "kmeans" else "Choosing the number of clusters"):
        clustering = cluster(table.vectors, k=clusters, method=method, min_size=min_size, max_k=max_k, seed=seed)
    texts = table.texts()
    summaries = describe(clustering, table.vectors, texts, values=values)
    names = [summary.name for summary in summaries]
    if picture:
        echo_err("Computing the map …")
        with status_line.step("Laying out"):
            points = project(table.vectors, seed=seed).points
        coloring = color_clusters(clustering.labels.tolist(), names)
        if picture.suffix.lower() == ".html":
            title, footer = f"Clusters of {embedded.name}", page_footer(table.space.model)
            write_page(points, coloring, picture, texts=texts, title=title, labels=names, note=footer)
        else:
            draw_map(points, coloring, picture, labels=names, report=echo_err)
        echo_err(f"Wrote {picture}.")
    if output:
        write_rows(table, {"cluster": clustering.labels.tolist()}, output)
    if as_json:
        print_json(
            {
                "method": clustering.method,
                "k": clustering.k,
                "no_cluster": clustering.n_noise,
                "silhouettes": dict(clustering.silhouettes),
                "at_edge": clustering.at_edge,
                "structure": {**asdict(clustering.structure), "p": clustering.structure.p}
                if clustering.structure
                else None,
                "clusters": [
                    {**asdict(summary), "central": [texts[row] for row in summary.central]} for summary in summaries
                ],
            }
        )
        return
    if clustering.silhouettes:
        echo_err("silhouette by k: " + ", ".join(f"{k} {value:.3f}" for k, value in clustering.silhouettes))
    _warn(clustering)
    for summary in summaries:
        mean = "" if summary.mean_value is None else f", mean {column} {summary.mean_value:.2f}"
        echo(f"{summary.label}  {', '.join(summary.terms)}  ({summary.size:,} rows{mean})")
        for row in summary.central:
            echo(f"     {shorten(texts[row], 110)}")
    if clustering.n_noise:
        echo(f"-  in no cluster: {clustering.n_noise:,} rows")


def _warn(clustering: Clustering) -> None:
    """Print a warning if the chosen number of clusters is not meaningful."""
    if clustering.at_edge:
        echo_err(
            f"The silhouette is highest at {clustering.silhouettes[-1][0]}, the largest number of clusters that was tried. "
            "Try more with --max-k."
        )
    structure = clustering.structure
    if structure is not None and not structure.has_structure:
        echo_err(
            "The rows have no distinct groups. Data without groups can have the same silhouette "
            f"({structure.silhouette:.3f} here; at most {max(structure.without_groups):.3f} in "
            f"{len(structure.without_groups)} samples from a normal distribution "
            "with the same covariance). The clusters divide a continuum."
        )
