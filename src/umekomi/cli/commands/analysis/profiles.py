"""``umekomi profiles``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from ....data.embedded_file import require_columns, write_embedded
from ....data.table import EmbeddedTable, read_table
from ....errors import InputError
from ....files.outputs import explain_write_errors
from ....files.ownership import claim_folder
from ....tasks.choices import Copies
from ....tasks.profiles import SHRINKAGE, ProfileFit, Suggestion, evaluate_profiles, make_profiles, suggest
from ...options import FOLDER, PICTURE_SUFFIXES, embedded_argument, integer_option, json_option, output_option
from ...output import echo, echo_err, print_json, print_table, shorten


@click.command(
    "profiles",
    epilog="Example:  umekomi profiles reviews.parquet --user UserId --product ProductId --score Score --plot box.png",
)
@embedded_argument
@click.option(
    "--user", "user_column", required=True, metavar="COLUMN", help="Column with the user who wrote each text."
)
@click.option(
    "--product", "product_column", required=True, metavar="COLUMN", help="Column with the product of each text."
)
@click.option(
    "--score", "score_column", metavar="COLUMN", help="Column of scores, to measure how well profiles predict them."
)
@click.option("--for", "user", help="Recommend products to this user.")
@integer_option("-n", "--number", minimum=0, default=5, help="Number of products.")
@integer_option("--min-support", minimum=1, default=1, help="Minimum number of texts of a user or product.")
@click.option(
    "--shrinkage",
    type=click.FloatRange(min=0),
    default=SHRINKAGE,
    show_default=True,
    help="Number of average texts that are added to each profile.",
)
@click.option("--no-center", is_flag=True, help="Do not subtract the mean of all texts from the profiles.")
@click.option(
    "--guide-split",
    is_flag=True,
    help="Measure on the split of OpenAI's guide, a fifth of the texts with seed 42, instead of leaving out each text in turn.",
)
@output_option("--plot", suffixes=PICTURE_SUFFIXES, help="Draw a box plot by score to this .png, .svg or .pdf file.")
@click.option(
    "--save",
    "folder",
    type=FOLDER,
    help="Write users.parquet and products.parquet to this folder.",
)
@json_option
def command(
    embedded: Path,
    user_column: str,
    product_column: str,
    score_column: str | None,
    user: str | None,
    number: int,
    min_support: int,
    shrinkage: float,
    no_center: bool,
    guide_split: bool,
    plot: Path | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Compute profiles of users and products from the texts of INPUT, and recommend products that a user has not reviewed.

    With --score, the similarity of a user and a product is compared with the score of a text that is in neither profile, and of
    which neither contains a copy (equal except for case and white space, or with the same vector).
    """
    if plot is not None and score_column is None:
        raise click.UsageError("--plot shows similarity by score. Give the column with --score.")
    if guide_split and score_column is None:
        raise click.UsageError("--guide-split selects the texts to measure on. Give the column with --score.")
    require_columns(embedded, [user_column, product_column, score_column, "text" if user is not None else None])
    if folder is not None:
        with explain_write_errors(folder):
            claim_folder(folder, content="profiles")
    table = read_table(embedded)
    users, products = table.column(user_column), table.column(product_column)
    center = None if no_center else table.vectors.mean(axis=0)
    by_user, by_product = (
        make_profiles(table.vectors, keys, min_support=min_support, shrinkage=shrinkage, center=center)
        for keys in (users, products)
    )
    facts: dict[str, object] = {"users": len(by_user.keys), "products": len(by_product.keys), "texts": len(table)}
    fit = with_copies = None
    if score_column is not None:
        test = None
        if guide_split:
            # Imported lazily, because it takes a second to import, and --help must be fast.
            from ....tasks.classify import split_rows

            test = split_rows(len(table))[1]
        scores, texts = table.numbers(score_column), table.texts() if "text" in table.records.column_names else None

        def measure(copies: Copies) -> ProfileFit:
            return evaluate_profiles(
                table.vectors, users, products, scores, test=test, min_support=min_support, shrinkage=shrinkage,
                center=not no_center, texts=texts, copies=copies,
            )  # fmt: skip

        with_copies = measure(Copies.KEEP)
        facts |= {"with_copies": _facts(with_copies)}
        try:
            fit = measure(Copies.EXCLUDE)
            facts |= _facts(fit)
        except InputError:
            facts |= {"pairs": 0}
        if plot is not None:
            from ....plots.charts import draw_profile_fit

            draw_profile_fit(fit or with_copies, plot, report=echo_err)
    suggestions: list[Suggestion] = []
    if user is not None:
        key = next((name for name in by_user.keys if str(name) == user), user)
        seen = [product for name, product in zip(users, products, strict=True) if name == key]
        suggestions = suggest(by_user, by_product, key, n=number, seen=seen)
        facts |= {"user": key, "products_for_user": [asdict(item) for item in suggestions]}
    if folder is not None:
        for name, column, profiles in (("users", user_column, by_user), ("products", product_column, by_product)):
            records = pa.table({column: pa.array(profiles.keys), "n_texts": profiles.counts})
            write_embedded(folder / f"{name}.parquet", profiles.vectors, records, table.space)
    if as_json:
        print_json(facts)
        return
    echo(f"{len(by_user.keys):,} users and {len(by_product.keys):,} products from {len(table):,} texts")
    if with_copies is not None:
        echo(
            f"With copies, as in OpenAI's guide: {_describe_fit(with_copies, score_column or '')}; in {with_copies.n_copied:,} "
            "of them, a profile contains a copy of the text"
        )
    if fit is not None:
        echo(f"Without copies: {_describe_fit(fit, score_column or '')}")
        _print_fit(fit, score_column or "")
    elif with_copies is not None:
        echo("Without copies, no pairs remain.")
    if user is not None:
        _print_suggestions(table, products, suggestions)


def _facts(fit: ProfileFit) -> dict[str, object]:
    return {
        "pairs": len(fit.scores),
        "units": len(set(fit.units.tolist())),
        "correlation": fit.correlation,
        "low": fit.low,
        "high": fit.high,
        "copied_pairs": fit.n_copied,
    }


def _describe_fit(fit: ProfileFit, name: str) -> str:
    if np.isnan(fit.correlation):
        return f"{len(fit.scores):,} pairs, too few different ones for a correlation"
    return (
        f"correlation of similarity and {name} {fit.estimate:.2f} (95 % interval), {len(fit.scores):,} pairs of "
        f"{len(set(fit.units.tolist())):,} independent users or texts"
    )


def _print_fit(fit: ProfileFit, name: str) -> None:
    rows = []
    for score in np.unique(fit.scores):
        percentiles = fit.percentiles[fit.scores == score]
        quartiles = np.quantile(percentiles, [0.25, 0.5, 0.75])
        rows.append([f"{score:g}", f"{len(percentiles):,}", *(f"{quartile:.2f}" for quartile in quartiles)])
    print_table([name, "pairs", "lower quartile", "median percentile", "upper quartile"], rows)


def _print_suggestions(table: EmbeddedTable, products: Sequence[object], suggestions: Sequence[Suggestion]) -> None:
    texts = table.texts()
    for rank, item in enumerate(suggestions, start=1):
        example = next(text for text, product in zip(texts, products, strict=True) if product == item.key)
        echo(f"{rank:>2}. {item.score:.3f}  {item.key}  {shorten(example, 80)}")
