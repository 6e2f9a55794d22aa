"""``umekomi embed``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from ...catalog import DEFAULT_MODEL, Role
from ...data.embedded_file import TooLong, describe_renamed
from ...data.readers.opening import open_records
from ...data.readers.parquet import PARQUET_SUFFIXES
from ...embedder import Embedder
from ...errors import InputError
from ...files.outputs import require_suffix, resolve_output
from ...pipeline.sharded import is_sharded
from ...pipeline.shards import SHARD_ROWS, ShardJob
from ...pipeline.single_file import Empty, Existing, embed_records, parts_folder
from ...tokens import format_usd
from ...vectors.arrow import VectorType
from ...vectors.directions import SEPARATOR
from ..output import TransferBar, echo, echo_err
from ..signals import sigterm_interrupts
from . import embed_sharded


@click.command(
    "embed", epilog="Example:  umekomi embed reviews.csv -o reviews.parquet -t 'Title: {Summary}; Content: {Text}'"
)
@click.argument("sources", metavar="INPUT", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    help="The .parquet file to write, or a folder (a name with a / at its end or without a suffix).",
)
@click.option("-t", "--template", help="What to embed, as 'Title: {Summary}'; by default the column 'text'.")
@click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True, help="A model of `umekomi models list`.")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), help="The side of a search, if the texts have one."
)
@click.option(
    "--without",
    metavar="gender|PAIRS.tsv",
    help="Project a direction out of all vectors: a known one, or of a file of pairs of words. See docs/limits.md first.",
)
@click.option("--resume", "existing", flag_value=Existing.RESUME.value, help="Go on with a run that was cut.")
@click.option("--overwrite", "existing", flag_value=Existing.OVERWRITE.value, help="Begin again, whatever is there.")
@click.option("--too-long", type=click.Choice([choice.value for choice in TooLong]), default="fail", show_default=True)
@click.option("--empty", type=click.Choice([choice.value for choice in Empty]), default="fail", show_default=True)
@click.option(
    "--format", "format_", type=click.Choice(["csv", "tsv", "jsonl", "parquet"]), help="By default what the name says."
)
@click.option("--encoding", default="utf-8", show_default=True, help="Of a CSV file, as cp932.")
@click.option(
    "--vectors",
    type=click.Choice([kind.value for kind in VectorType]),
    default=VectorType.FLOAT32.value,
    show_default=True,
    help="What a vector is kept as. Fewer bytes, less recall: docs/scale.md.",
)
@click.option(
    "--shard-rows", type=click.IntRange(1), default=SHARD_ROWS, show_default=True, help="To a folder: rows of a file."
)
@click.option(
    "--changed-only", is_flag=True, help="To a folder: embed what has changed in the inputs since the last run."
)
@click.option(
    "--ray", metavar="ADDRESS", help="To a folder: on this Ray cluster; auto finds it, local starts one here."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def command(
    sources: tuple[str, ...],
    target: str,
    template: str | None,
    model: str,
    role: str | None,
    without: str | None,
    existing: str | None,
    too_long: str,
    empty: str,
    format_: str | None,
    encoding: str,
    vectors: str,
    shard_rows: int,
    changed_only: bool,
    ray: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Embed a file of texts to a Parquet file with the same columns and one vector a row.

    INPUT is a CSV, TSV, JSON Lines or Parquet file, a folder of text files, or - for standard input. Work that is cut,
    by Ctrl-C, a kill or a full disk, is taken up again with --resume.

    With a folder as the output (or several inputs) the inputs are Parquet files, folders, patterns or URLs of object stores,
    the output is one file for every --shard-rows rows, and the same command goes on where it was cut: docs/scale.md.
    """
    click.get_current_context().with_resource(sigterm_interrupts())
    if not target:
        raise InputError("The name of the output is empty.")
    if without:
        model = f"{model}{SEPARATOR}{without}"
        echo_err(f"The direction {without!r} is projected out; `umekomi bias mitigate` measures what that changes.")
    if _is_folder(target) or len(sources) > 1:
        job = ShardJob(target, model, template, role, TooLong(too_long), shard_rows, vectors=VectorType(vectors))
        overwrite = existing == Existing.OVERWRITE.value
        return embed_sharded.run(
            sources, job, ray=ray, changed_only=changed_only, overwrite=overwrite, quiet=quiet, as_json=as_json
        )
    if ray or changed_only:
        raise InputError("--ray and --changed-only are for an output that is a folder; write it with a / at its end.")
    source, output = sources[0], Path(target)
    # Before the input is read.
    resolve_output(output)
    require_suffix(output, PARQUET_SUFFIXES)
    records = open_records(source, format=format_, encoding=encoding)
    interval = 0.5 if sys.stderr.isatty() else 10.0
    bar = tqdm(total=records.n_rows, unit=" texts", disable=quiet, file=sys.stderr, mininterval=interval, delay=0.5)
    tokens = dims = 0

    def load() -> Embedder:
        nonlocal dims
        embedder = Embedder(model, report=echo_err, transfer=TransferBar())
        dims = embedder.dims
        return embedder

    def count_tokens(new_tokens: int) -> None:
        nonlocal tokens
        tokens += new_tokens
        elapsed = bar.format_dict["elapsed"]
        bar.set_postfix_str(f"{tokens / elapsed:,.0f} tokens/s" if elapsed else "", refresh=False)

    try:
        with bar:
            summary = embed_records(
                records,
                output,
                embedder=load,
                template=template,
                role=Role(role) if role else None,
                existing=Existing(existing or "refuse"),
                too_long=TooLong(too_long),
                empty=Empty(empty),
                vectors=VectorType(vectors),
                progress=bar.update,
                token_progress=count_tokens,
            )
    except KeyboardInterrupt:
        parts = parts_folder(output)
        kept = (
            f" Finished work is kept in {parts}; continue with the same command and --resume." if parts.is_dir() else ""
        )
        echo_err(f"Interrupted.{kept}")
        return 130
    if summary.renamed_columns:
        echo_err(describe_renamed(summary.renamed_columns))
    if summary.changed_rows:
        echo_err(
            f"{summary.changed_rows:,} rows were embedded again, because the input has changed since the unfinished run."
        )
    if as_json:
        echo(json.dumps(asdict(summary), ensure_ascii=False))
        return 0
    new_rows = summary.rows + summary.skipped_rows - summary.resumed_rows
    echo(
        f"{summary.output}: {summary.rows:,} vectors of {dims} dimensions by {summary.model}, "
        f"{summary.tokens:,} tokens, {summary.seconds:.1f} s ({new_rows / max(summary.seconds, 1e-9):,.0f} texts/s)"
    )
    if summary.skipped_rows:
        echo_err(f"{summary.skipped_rows:,} rows had no text and were left out.")
    if summary.hosted_price is not None:
        echo(f"The hosted model of this name would have cost {format_usd(summary.hosted_price)}.")
    return 0


def _is_folder(target: str) -> bool:
    """Whether an output is a folder of shards: a URL, a name with a slash at its end or without a suffix, or such a folder."""
    if "://" in target or target.endswith(("/", os.sep)):
        return True
    path = Path(target)
    if path.is_dir():
        # A folder that is named like a file is only meant if it holds shards already.
        return path.suffix.lower() not in PARQUET_SUFFIXES or is_sharded(target)
    return not path.suffix and not path.exists()
