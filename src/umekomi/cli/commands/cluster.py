"""``umekomi cluster``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.table import read_table
from ...plots.colors import color_clusters
from ...plots.map_page import write_page
from ...tasks.choices import ClusterMethod
from ..options import (
    PAGE_SUFFIXES,
    PICTURE_SUFFIXES,
    TABLE_SUFFIXES,
    embedded_argument,
    json_option,
    output_option,
    seed_option,
    write_rows,
)
from ..output import echo, echo_err, print_json, shorten, spinner

if TYPE_CHECKING:
    from ...tasks.cluster import Clustering


@click.command("cluster", epilog="Example:  umekomi cluster reviews.parquet -k 4 --mean Score --picture clusters.png")
@embedded_argument
@click.option("-k", "--clusters", type=int, help="Number of clusters. Default: the number with the highest silhouette.")
@click.option(
    "--method", type=click.Choice([method.value for method in ClusterMethod]), default="kmeans", show_default=True
)
@click.option("--min-size", type=int, help="With hdbscan: minimum size of a cluster. Default: 1 % of the rows.")
@click.option("--max-k", default=12, show_default=True, help="Maximum number of clusters to try.")
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
    # Imported lazily, because these modules take a second to import, and --help must be fast.
    from ...plots.charts import draw_map
    from ...tasks.cluster import cluster, describe
    from ...tasks.project import project

    table = read_table(embedded)
    values = table.numbers(column) if column else None
    with spinner("Clustering" if clusters or method != "kmeans" else "Choosing the number of clusters"):
        found = cluster(table.vectors, k=clusters, method=method, min_size=min_size, max_k=max_k, seed=seed)
    texts = table.texts()
    summaries = describe(found, table.vectors, texts, values=values)
    names = [summary.name for summary in summaries]
    if picture:
        echo_err("Computing the map …")
        with spinner("Laying out"):
            points = project(table.vectors, seed=seed).points
        coloring = color_clusters(found.labels.tolist(), names)
        if picture.suffix.lower() == ".html":
            write_page(
                points,
                coloring,
                picture,
                texts=texts,
                title=f"Clusters of {embedded.name}",
                labels=names,
                note=_note(table.space.model),
            )
        else:
            draw_map(points, coloring, picture, labels=names, report=echo_err)
        echo_err(f"Wrote {picture}.")
    if output:
        write_rows(table, {"cluster": found.labels.tolist()}, output)
    if as_json:
        print_json(
            {
                "method": found.method,
                "k": found.k,
                "no_cluster": found.n_noise,
                "silhouettes": dict(found.silhouettes),
                "at_edge": found.at_edge,
                "structure": {**asdict(found.structure), "p": found.structure.p} if found.structure else None,
                "clusters": [{**asdict(each), "central": [texts[row] for row in each.central]} for each in summaries],
            }
        )
        return
    if found.silhouettes:
        echo_err("silhouette by k: " + ", ".join(f"{k} {value:.3f}" for k, value in found.silhouettes))
    _warn(found)
    for each in summaries:
        mean = "" if each.mean_value is None else f", mean {column} {each.mean_value:.2f}"
        echo(f"{each.label}  {', '.join(each.terms)}  ({each.size:,} rows{mean})")
        for row in each.central:
            echo(f"     {shorten(texts[row], 110)}")
    if found.n_noise:
        echo(f"-  in no cluster: {found.n_noise:,} rows")


def _warn(found: Clustering) -> None:
    """Print a warning if the chosen number of clusters is not meaningful."""
    if found.at_edge:
        echo_err(
            f"The silhouette is greatest at {found.silhouettes[-1][0]}, the greatest number tried: more clusters may fit better "
            "(--max-k)."
        )
    if found.structure is not None and not found.structure.has_structure:
        echo_err(
            f"No groups stand out: data without groups has as great a silhouette ({found.structure.silhouette:.3f} here; "
            f"{max(found.structure.without_groups):.3f} at most in {len(found.structure.without_groups)} draws from one normal "
            "distribution of the same covariance). The clusters cut up a continuum."
        )


def _note(model: str) -> str:
    return f"Made by Umekomi with {model} (its own vectors, not OpenAI's). Drag, scroll, hover."
