"""``umekomi diversity``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from ...data.table import read_table
from ...errors import SpaceMismatchError
from ...tasks.diversity import QUANTILES, Diversity, compare, diversity
from ..options import PICTURE_SUFFIXES, embedded_argument, json_option, output_option, seed_option
from ..output import echo, echo_err, print_json, print_table, shorten, spinner


@click.command(
    "diversity", epilog="Example:  umekomi diversity train.parquet --against test.parquet --histogram both.png"
)
@embedded_argument
@click.option(
    "--against", type=click.Path(path_type=Path, dir_okay=False), help="A second embedded file to compare with."
)
@click.option(
    "--threshold", default=0.95, show_default=True, help="The cosine from which two rows are near-duplicates."
)
@click.option("-n", "--number", default=5, show_default=True, help="How many groups of near-duplicates to show.")
@output_option("--histogram", suffixes=PICTURE_SUFFIXES, help="Draw the similarities: a .png, .svg or .pdf file.")
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
    """Say how much the rows of EMBEDDED, a file made by `umekomi embed`, repeat themselves.

    With --against, also how two files cover each other and what they share.
    """
    # Not before it is asked for: it takes a second to import, and --help must not wait for it.
    from ...plots.charts import draw_histogram

    table = read_table(embedded)
    texts = table.texts()
    if not against:
        with spinner("Comparing rows"):
            found = diversity(table.vectors, threshold=threshold, seed=seed)
        if histogram:
            draw_histogram(
                [found.histogram],
                [embedded.name],
                histogram,
                low=-1,
                high=1,
                label="cosine similarity of two rows",
                report=echo_err,
            )
        if as_json:
            print_json({"model": table.space.model, **asdict(found), "redundant": found.duplicates.redundant})
            return
        _print({embedded.name: found})
        for group in found.duplicates.groups[:number]:
            echo(
                f"\n{len(group)} near-duplicates (rows {', '.join(map(str, group[:8]))}{' …' if len(group) > 8 else ''}):"
            )
            for row in group[:2]:
                echo(f"     {shorten(texts[row], 110)}")
        return
    other = read_table(against)
    if other.space.fingerprint != table.space.fingerprint:
        raise SpaceMismatchError(
            f"{embedded} holds vectors of {table.space.model} ({table.space.fingerprint}), {against} of {other.space.model} "
            f"({other.space.fingerprint}). Embed both with one model."
        )
    with spinner("Comparing rows"):
        both = compare(table.vectors, other.vectors, threshold=threshold, seed=seed)
    names = [embedded.name, against.name]
    if histogram:
        draw_histogram(
            [both.left.histogram, both.right.histogram],
            names,
            histogram,
            low=-1,
            high=1,
            label="cosine similarity of two rows",
            report=echo_err,
        )
    if as_json:
        print_json({"model": table.space.model, **asdict(both)})
        return
    _print({names[0]: both.left, names[1]: both.right, "together": both.both})
    echo(f"\n{names[0]} covers {both.covered_right:.1%} of {names[1]}, which covers {both.covered_left:.1%} of it.")
    echo(
        f"The mean similarity between them is {both.between:.3f}; {len(both.shared):,} pairs across are near-duplicates."
    )
    others = other.texts()
    for left, right in both.shared[:number]:
        echo(f"\n     {shorten(texts[left], 110)}\n     {shorten(others[right], 110)}")


def _print(sets: dict[str, Diversity]) -> None:
    echo_err("Similarities are cosines; the Vendi score is the number of wholly unlike rows that would be as diverse.")
    if any(each.binary for each in sets.values()):
        least = next(iter(sets.values())).duplicates.threshold
        echo_err(
            "These vectors are binary: all cosines are of their signs, which lie nearer to 0 than those of the full vectors. "
            f"Near-duplicates have {least:.3f} or more, which corresponds to {np.sin(np.pi / 2 * least):.2f} of full vectors."
        )
    rows = [
        ["rows", *(f"{each.n:,}" for each in sets.values())],
        ["Vendi score", *(f"{each.vendi:.1f} ({each.vendi_share:.1%} of the rows)" for each in sets.values())],
        ["mean similarity", *(f"{each.mean_similarity:.3f}" for each in sets.values())],
        *(
            [f"{quantile:.0%} of pairs below", *(f"{each.quantiles[place]:.3f}" for each in sets.values())]
            for place, quantile in enumerate(QUANTILES)
        ),
        [
            "near-duplicates",
            *(
                f"{each.duplicates.redundant:,} rows in {len(each.duplicates.groups):,} groups too many"
                for each in sets.values()
            ),
        ],
    ]
    print_table(["", *sets], rows)
