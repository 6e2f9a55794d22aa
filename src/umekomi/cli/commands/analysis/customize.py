"""``umekomi customize``."""

from __future__ import annotations

from pathlib import Path

import click

from ....errors import InputError
from ....vectors.matrices import split_matrix
from ...options import FILE, json_option, load_embedder, model_option, output_option, quiet_option, seed_option
from ...output import create_bar, echo, echo_err, print_json, print_table


@click.command(
    "customize",
    epilog="Example:  umekomi customize pairs.csv -a question -b answer --label same -o my.safetensors  and  "
    "umekomi search reviews.parquet 'good coffee' -m text-embedding-ada-002+my.safetensors",
)
@click.argument("source", metavar="PAIRS", type=FILE)
@click.option("-a", "left", metavar="COLUMN", required=True, help="Column of the first texts, or of the queries.")
@click.option(
    "-b", "right", metavar="COLUMN", required=True, help="Column of the second texts, or of the relevant documents."
)
@click.option(
    "--label",
    metavar="COLUMN",
    help="Column of the labels (1 for pairs that are alike, 0 for others) or of scores. Without it, each pair is a query and a "
    "relevant document.",
)
@model_option
@output_option(
    "-o", "--output", metavar="OUTPUT", required=True, suffixes=(".safetensors",), help="Write the matrix to this file."
)
@click.option(
    "--test-share", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Share of the pairs to test on."
)
@click.option("--force", is_flag=True, help="Write the matrix even if it is not better.")
@seed_option
@quiet_option
@json_option
def command(
    source: Path,
    left: str,
    right: str,
    label: str | None,
    model: str,
    output: Path,
    test_share: float,
    force: bool,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Learn a matrix that customizes the vectors of a model for one task.

    PAIRS is a CSV, TSV, JSON Lines or Parquet file. Pairs are split so that no text that is tested on is trained on. The metrics
    of the test pairs are shown before and after, with 95 % intervals. If the interval of the first metric's difference is not
    above 0, nothing is written.

    Use the matrix with -m MODEL+OUTPUT in other commands, and `umekomi store convert` for vectors that exist already.
    """
    if split_matrix(model)[1]:
        raise InputError(f"{model} has a matrix already. Customize the model itself.")
    if not quiet:
        # Loading libraries and reading many pairs take seconds.
        echo_err(f"Reading {source} …")
    # Imported lazily, because learning needs scipy, and --help must be fast.
    from ....tasks.customize.learning import count_steps
    from ....tasks.customize.pairs import read_pairs
    from ....tasks.customize.report import count_texts, customize

    pairs = read_pairs(source, left, right, label)
    embedder = load_embedder(model)
    with (
        create_bar(count_texts(pairs), label="Embedding", quiet=quiet) as embedding,
        create_bar(count_steps(), label="Learning", unit=" steps", quiet=quiet) as learning,
    ):
        result = customize(
            pairs,
            embedder,
            test_share=test_share,
            seed=seed,
            embed_progress=embedding.update,
            learn_progress=learning.update,
        )
    is_written = result.is_gain or force
    if is_written:
        result.matrix.save(output)
    if as_json:
        print_json({"model": embedder.model, "output": str(output) if is_written else None, **result.facts()})
    else:
        print_table(
            ["", "before", "after", "difference"],
            [
                [row.metric, f"{row.before:.3f}", f"{row.after:.3f}", f"{row.difference:+.3f}"]
                for row in result.comparisons
            ],
        )
        echo(
            f"\n{result.n_train:,} training pairs, {result.n_test:,} test pairs, no text in both; 95 % intervals; "
            f"rank {result.rank}, λ {result.penalty:g}, {result.steps} steps"
        )
    if result.n_dropped:
        echo_err(f"{result.n_dropped:,} pairs are left out, because one of their texts is in the test pairs.")
    if not is_written:
        raise InputError(
            f"The {result.comparisons[0].metric} of the test pairs is not clearly better, so nothing is written. Use more pairs, "
            "or --force."
        )
    echo_err(f"{output}: use it with -m {embedder.model}+{output}")
