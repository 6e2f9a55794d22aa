"""``umekomi diversity``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from ....data.embedded_file import require_columns
from ....data.table import EmbeddedTable, read_table
from ....tasks.diversity import QUANTILES, Diversity, compare, diversity
from ...options import (
    FILE,
    PICTURE_SUFFIXES,
    embedded_argument,
    integer_option,
    json_option,
    output_option,
    require_same_space,
    seed_option,
)
from ...output import echo, echo_err, print_json, print_table, shorten
from ...status_line import status_line


@click.command(
    "diversity", epilog="Example:  umekomi diversity train.parquet --against test.parquet --histogram both.png"
)
@embedded_argument
@click.option("--against", type=FILE, help="Second embedded file to compare with.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Minimum cosine similarity of near-duplicates.",
)
@integer_option("-n", "--number", minimum=0, default=5, help="Number of groups of near-duplicates to show.")
@output_option("--histogram", suffixes=PICTURE_SUFFIXES, help="Draw the similarities to this .png, .svg or .pdf file.")
@seed_option
@json_option
def command(
    embedded: Path,
    against: Path | None,
    threshold: float,
    number: int,
    histogram: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure how repetitive the rows of INPUT are.

    INPUT is a file written by `umekomi embed`. With --against, also measure how well two files cover each other and which rows
    they share.
    """
    require_columns(embedded, ["text"])
    if against:
        require_columns(against, ["text"])
    table = read_table(embedded)
    if not against:
        with status_line.step("Comparing rows"):
            result = diversity(table.vectors, threshold=threshold, seed=seed)
        _draw({embedded.name: result}, histogram)
        if as_json:
            print_json({"model": table.space.model, **asdict(result), "redundant": result.duplicates.redundant})
            return
        _print({embedded.name: result})
        texts = table.texts()
        for group in result.duplicates.groups[:number]:
            rows = ", ".join(map(str, group[:8])) + (" …" if len(group) > 8 else "")
            echo(f"\n{len(group)} near-duplicates (rows {rows}):")
            for row in group[:2]:
                echo(f"     {shorten(texts[row], 110)}")
        return
    _compare(table, read_table(against), (embedded, against), threshold, number, histogram, seed, as_json)


def _compare(
    left: EmbeddedTable,
    right: EmbeddedTable,
    paths: tuple[Path, Path],
    threshold: float,
    number: int,
    histogram: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    require_same_space(left, right, paths)
    with status_line.step("Comparing rows"):
        result = compare(left.vectors, right.vectors, threshold=threshold, seed=seed)
    names = [path.name for path in paths]
    _draw(dict(zip(names, (result.left, result.right), strict=True)), histogram)
    if as_json:
        print_json({"model": left.space.model, **asdict(result)})
        return
    _print({names[0]: result.left, names[1]: result.right, "together": result.both})
    echo(f"\n{names[0]} covers {result.covered_right:.1%} of {names[1]}, which covers {result.covered_left:.1%} of it.")
    echo(
        f"The mean similarity between the files is {result.between:.3f}. They share {len(result.shared):,} pairs of "
        "near-duplicates."
    )
    texts, others = left.texts(), right.texts()
    for row, other in result.shared[:number]:
        echo(f"\n     {shorten(texts[row], 110)}\n     {shorten(others[other], 110)}")


def _draw(sets: dict[str, Diversity], path: Path | None) -> None:
    if path:
        from ....plots.charts import draw_histogram  # imported lazily, because it is slow

        histograms = [each.histogram for each in sets.values()]
        label = "cosine similarity of two rows"
        draw_histogram(histograms, list(sets), path, low=-1, high=1, label=label, report=echo_err)


def _print(sets: dict[str, Diversity]) -> None:
    echo_err(
        "Similarities are cosines. The Vendi score is the number of completely dissimilar rows that would be equally diverse."
    )
    if any(each.binary for each in sets.values()):
        threshold = next(iter(sets.values())).duplicates.threshold
        echo_err(
            "These vectors are binary. The cosines of their signs are closer to 0 than those of the original vectors. "
            f"The threshold of {threshold:.3f} corresponds to {np.sin(np.pi / 2 * threshold):.2f} for original vectors."
        )
    rows = [
        ["rows", *(f"{each.n:,}" for each in sets.values())],
        ["Vendi score", *(f"{each.vendi:.1f} ({each.vendi_share:.1%} of the rows)" for each in sets.values())],
        ["mean similarity", *(f"{each.mean_similarity:.3f}" for each in sets.values())],
        *(
            [f"{quantile:.0%} of pairs below", *(f"{each.quantiles[index]:.3f}" for each in sets.values())]
            for index, quantile in enumerate(QUANTILES)
        ),
        [
            "near-duplicates",
            *(
                f"{each.duplicates.redundant:,} redundant rows in {len(each.duplicates.groups):,} groups"
                for each in sets.values()
            ),
        ],
    ]
    print_table(["", *sets], rows)
