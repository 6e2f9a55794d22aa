"""``umekomi embed``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ....catalog import Role
from ....data.embedded_file import TooLong, describe_renamed
from ....data.readers.opening import open_records
from ....embedder import Embedder
from ....encoders.model_ids import require_model
from ....errors import InputError
from ....files.outputs import PARQUET_SUFFIXES, require_suffix, resolve_output
from ....pipeline.sharded import is_sharded
from ....pipeline.shards import ShardJob
from ....pipeline.single_file import Empty, Existing, embed_records, parts_folder
from ....sparse_embedder import SparseEmbedder
from ....tokens import format_usd
from ....vectors.arrow import VectorType
from ....vectors.directions import SEPARATOR
from ...options import (
    choice,
    json_option,
    load_embedder,
    load_sparse_embedder,
    model_option,
    quiet_option,
    template_option,
)
from ...output import create_bar, echo, echo_err, escape, print_json
from ...signals import sigterm_interrupts
from . import embed_sharded


@click.command(
    "embed", epilog="Example:  umekomi embed reviews.csv -o reviews.parquet -t 'Title: {Summary}; Content: {Text}'"
)
@click.argument("sources", metavar="INPUT", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "target",
    metavar="OUTPUT",
    help="Parquet file to write, or a folder (a name that ends with / or has no suffix). Not needed to print with --sparse.",
)
@template_option
@model_option
@click.option("--role", type=choice(Role), help="Role of the texts in a search, if the model distinguishes them.")
@click.option(
    "--without",
    metavar="gender|PAIRS.tsv",
    help="Project this direction out of all vectors: a known one, or one from a file of word pairs. See docs/limits.md.",
)
@click.option("--resume", "existing", flag_value=Existing.RESUME.value, help="Continue an interrupted run.")
@click.option("--overwrite", "existing", flag_value=Existing.OVERWRITE.value, help="Start over and replace the output.")
@click.option(
    "--too-long",
    type=choice(TooLong),
    default="fail",
    show_default=True,
    help="What to do with texts longer than the model's limit.",
)
@click.option(
    "--empty", type=choice(Empty), default="fail", show_default=True, help="What to do with rows without text."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "tsv", "jsonl", "parquet"]),
    help="Format of the input. Default: by its suffix.",
)
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of a CSV file, such as cp932.")
@click.option(
    "--vectors",
    type=choice(VectorType),
    default=VectorType.FLOAT32.value,
    show_default=True,
    help="Data type of the stored vectors. Smaller types reduce recall; see docs/scale.md.",
)
@click.option(
    "--sparse",
    metavar="bm25|MODEL",
    help="Also write the sparse vectors of BM25, or of a SPLADE model (a folder, or owner/name on the hub). "
    "Without -o, INPUT is a text, and its words are printed with their weights. See docs/sparse.md.",
)
@embed_sharded.shard_rows_option
@click.option(
    "--changed-only",
    is_flag=True,
    help="Embed only what has changed since the last run, if the output is a folder.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Run on this Ray cluster, if the output is a folder. auto finds a cluster, local starts one.",
)
@quiet_option
@json_option
def command(
    sources: tuple[str, ...],
    target: str | None,
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
    sparse: str | None,
    shard_rows: int,
    changed_only: bool,
    ray: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Embed the texts of INPUT into a Parquet file with the same columns and one vector per row.

    INPUT is a CSV, TSV, JSON Lines or Parquet file, a folder of text files, or - for standard input. Use --resume to continue
    after Ctrl-C, a kill or a full disk.

    If the output is a folder, or with several inputs, the inputs are Parquet files, folders, patterns or URLs of object stores.
    The output is then one file per --shard-rows rows, and the same command continues an interrupted run. See docs/scale.md.
    """
    click.get_current_context().with_resource(sigterm_interrupts())
    if target is None:
        if sparse is None:
            raise click.MissingParameter(param_hint="'-o' / '--output'", param_type="option")
        _print_sparse(load_sparse_embedder(sparse), sources, role, as_json=as_json)
        return 0
    if not target:
        raise InputError("The name of the output is empty. Give a file or a folder with -o.")
    if without:
        model = f"{model}{SEPARATOR}{without}"
        echo_err(f"The direction {without!r} is projected out. `umekomi bias mitigate` measures the effect.")
        require_model(model)
    if _is_folder(target) or len(sources) > 1:
        if sparse is not None:
            raise InputError(
                "--sparse writes a single file. Give one INPUT and an output file that ends with .parquet."
            )
        job = ShardJob(target, model, template, role, TooLong(too_long), shard_rows, vectors=VectorType(vectors))
        overwrite = existing == Existing.OVERWRITE.value
        return embed_sharded.run(
            sources, job, ray=ray, changed_only=changed_only, overwrite=overwrite, quiet=quiet, as_json=as_json
        )
    if ray or changed_only:
        raise InputError("--ray and --changed-only need a folder as the output. End its name with /.")
    source, output = sources[0], Path(target)
    # Checked before the input is read.
    resolve_output(output)
    require_suffix(output, PARQUET_SUFFIXES)
    records = open_records(source, format=format_, encoding=encoding)
    bar = create_bar(records.n_rows, quiet=quiet)
    tokens = dims = 0

    def load() -> Embedder:
        nonlocal dims
        embedder = load_embedder(model)
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
                sparse=sparse,
                load_sparse=load_sparse_embedder,
                progress=bar.update,
                token_progress=count_tokens,
            )
    except KeyboardInterrupt:
        parts = parts_folder(output)
        hint = f" Finished work is kept in {parts}. Run the same command with --resume." if parts.is_dir() else ""
        echo_err(f"Interrupted.{hint}")
        return 130
    if summary.renamed_columns:
        echo_err(describe_renamed(summary.renamed_columns))
    if summary.changed_rows:
        echo_err(
            f"{summary.changed_rows:,} rows were embedded again, because the input changed after the interrupted run."
        )
    if as_json:
        print_json(asdict(summary))
        return 0
    new_rows = summary.rows + summary.skipped_rows - summary.resumed_rows
    echo(
        f"{summary.output}: {summary.rows:,} vectors of {dims} dimensions by {summary.model}, "
        f"{summary.tokens:,} tokens, {summary.seconds:.1f} s ({new_rows / max(summary.seconds, 1e-9):,.0f} texts/s)"
    )
    if summary.skipped_rows:
        echo_err(f"{summary.skipped_rows:,} rows without text were skipped.")
    if summary.hosted_price is not None:
        echo(f"The hosted model of this name would have cost {format_usd(summary.hosted_price)}.")
    return 0


def _print_sparse(embedder: SparseEmbedder, texts: Sequence[str], role: str | None, *, as_json: bool) -> None:
    """Print the words of texts with their weights, the largest weight first."""
    vectors = embedder.embed(texts, role=role)
    for number, text in enumerate(texts):
        row = vectors.row(number)
        words = dict(zip(row, embedder.encoder.words(text, list(row)), strict=True))
        if as_json:
            print_json(
                {"text": text, "indices": list(row), "values": list(row.values()), "words": list(words.values())}
            )
            continue
        largest_first = sorted(row, key=lambda index: -row[index])
        echo("  ".join(f"{escape(words[index])} {row[index]:.3f}" for index in largest_first) or "(no words)")


def _is_folder(target: str) -> bool:
    """Return True if an output is a folder of shards: a URL, an existing folder, or a name with a final / or no suffix."""
    if "://" in target or target.endswith(("/", os.sep)):
        return True
    path = Path(target)
    if path.is_dir():
        # A folder with the suffix of a Parquet file is accepted only if it already contains shards.
        return path.suffix.lower() not in PARQUET_SUFFIXES or is_sharded(target)
    return not path.suffix and not path.exists()
