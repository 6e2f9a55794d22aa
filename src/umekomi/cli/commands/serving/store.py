"""``umekomi store``."""

from __future__ import annotations

from dataclasses import asdict, replace

import click
import pyarrow.parquet as pq

from ....data.embedded_file import Space, read_space
from ....errors import InputError
from ....pipeline.sharded import ShardedDataset, is_sharded, open_sharded
from ....stores import (
    PartialMarker,
    Store,
    copy_store,
    create_store,
    customize_space,
    list_stores,
    list_text_columns,
    list_unsupported_columns,
    load_file,
    lock_store,
    open_store,
)
from ....stores.load_shards import list_shard_text_columns, list_unsupported_shard_columns, load_shards
from ....vectors.matrices import Matrix, load_matrix
from ...options import json_option, quiet_option
from ...output import confirm, create_bar, echo, echo_err, print_facts, print_json
from ..embedding.search import SearchOptions, search_and_print, search_options

BATCH_BYTES, MAX_BATCH_ROWS = 1 << 25, 16_384
"""Limits of a batch: few large batches create few fragments on disk."""
_RESUME = "The written rows are kept. Run the same command with --resume to continue."


@click.group("store", epilog="Example:  umekomi store load reviews.parquet lance:///data/reviews")
def command() -> None:
    """Manage vector stores: load, copy, search, list and drop collections.

    A URL identifies a collection, for example lance:///folder/name.
    """


@command.command()
@click.argument("embedded", metavar="INPUT")
@click.argument("url", metavar="URL")
@click.option(
    "--id",
    "id_column",
    metavar="COLUMN",
    help="Column of the row IDs. Default: id or Id, otherwise the row number (with the shard for sharded data sets).",
)
@click.option(
    "--resume", is_flag=True, help="Skip rows that the collection already contains with the same vector and record."
)
@click.option("--overwrite", is_flag=True, help="Replace rows by their number if the file has no IDs.")
@quiet_option
@json_option
def load(
    embedded: str, url: str, id_column: str | None, resume: bool, overwrite: bool, quiet: bool, as_json: bool
) -> None:
    """Load an embedded file or sharded data set INPUT into the collection URL.

    After an interruption, run the same command again: rows are replaced by their IDs and never duplicated. --resume skips rows
    that have the same vector and record. Rows of a file without IDs are numbered, and replace other rows with the same numbers
    only with --overwrite. Rows that no longer exist in a sharded data set are deleted, and afterwards the number of rows and a
    sample of them are verified. Parameters of the URL configure a new collection. Only one process at a time can load into a
    collection.

    \b
    Examples:
      umekomi store load reviews.parquet lance:///data/reviews --id Id
      umekomi store load out/ lance:///data/all --resume
      umekomi store load reviews.parquet 'redis://localhost:6379/reviews?m=32&ef=400'
    """
    if is_sharded(embedded):
        dataset = open_sharded(embedded)
        with lock_store(url, purpose="umekomi store load"):
            _load_shards(dataset, url, id_column, resume, quiet, as_json)
    else:
        space = read_space(embedded)
        with lock_store(url, purpose="umekomi store load"):
            _load_file(embedded, space, url, id_column, resume, overwrite, quiet, as_json)


def _load_file(
    path: str, space: Space, url: str, id_column: str | None, resume: bool, overwrite: bool, quiet: bool, as_json: bool
) -> None:
    size = max(1, min(MAX_BATCH_ROWS, BATCH_BYTES // (4 * space.dims)))
    with create_store(url, space) as store:
        dropped = list_unsupported_columns(pq.read_schema(path), sparse=store.space.sparse is not None)
        _report_columns(dropped, list_text_columns(path, store))
        with create_bar(pq.read_metadata(path).num_rows, unit=" rows", quiet=quiet) as bar:
            n_written = load_file(
                path, store, id_column=id_column, size=size, resume=resume, overwrite=overwrite, progress=bar.update
            )
        store.optimize()
        if as_json:
            print_json({"url": store.url, "rows": store.count(), "written": n_written, **space.to_dict()})
        else:
            echo(f"{store.url}: {store.count():,} rows of {space.model}")


def _load_shards(
    dataset: ShardedDataset, url: str, id_column: str | None, resume: bool, quiet: bool, as_json: bool
) -> None:
    with create_store(url, dataset.space) as store:
        _report_columns(list_unsupported_shard_columns(dataset), list_shard_text_columns(dataset, store))
        try:
            with create_bar(dataset.rows, unit=" rows", quiet=quiet) as bar:
                result = load_shards(dataset, store, id_column=id_column, resume=resume, progress=bar.update)
        except KeyboardInterrupt:
            echo_err(_RESUME)
            raise
        if as_json:
            counts = {"rows": store.count(), "shards": len(dataset.shards), "written": result.written}
            counts |= {"removed": result.removed, "checked": result.checked}
            print_json({"url": store.url, **counts, **dataset.space.to_dict()})
        else:
            echo(
                f"{store.url}: {store.count():,} rows of {dataset.space.model} from {len(dataset.shards):,} shards "
                f"({result.written:,} written, {result.removed:,} removed, {result.checked} verified)"
            )


def _report_columns(dropped: list[str], text: list[str]) -> None:
    if dropped:
        echo_err(
            f"Columns omitted, because stores only support text, numbers, booleans and timestamps: {', '.join(dropped)}."
        )
    if text:
        echo_err(
            f"Columns stored as text, because the store cannot represent their numbers exactly: {', '.join(text)}."
        )


@command.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--resume", is_flag=True, help="Skip rows that TARGET already contains with the same vector and record.")
@quiet_option
@json_option
def copy(source: str, target: str, resume: bool, quiet: bool, as_json: bool) -> None:
    """Copy the collection or embedded file SOURCE to the collection TARGET.

    Rows are streamed. Afterwards the number of rows and a sample of them are verified. To continue an interrupted copy, run the
    same command with --resume.

    \b
    Example:  umekomi store copy lance:///data/reviews postgresql://me@localhost/db/reviews
    """
    _copy(source, target, None, resume, quiet, as_json)


@command.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--matrix", metavar="FILE", required=True, help="Matrix that `umekomi customize` wrote.")
@click.option("--resume", is_flag=True, help="Skip rows that TARGET already contains with the same vector and record.")
@quiet_option
@json_option
def convert(source: str, target: str, matrix: str, resume: bool, quiet: bool, as_json: bool) -> None:
    """Copy SOURCE to the new collection TARGET with a matrix applied to its vectors. Nothing is embedded again.

    SOURCE is a collection or an embedded file. Its vectors must be of the model that the matrix was learned for.

    \b
    Example:  umekomi store convert reviews.parquet lance:///data/mine --matrix my.safetensors
    """
    _copy(source, target, load_matrix(matrix), resume, quiet, as_json)


def _copy(source: str, target: str, matrix: Matrix | None, resume: bool, quiet: bool, as_json: bool) -> None:
    purpose = f"umekomi store {'copy' if matrix is None else 'convert'}"
    with open_store(source) as original:
        space = original.space if matrix is None else customize_space(original.space, matrix)
        if space.sparse is not None:
            # Stores return rows without them.
            echo_err("The sparse vectors are not copied. Load the embedded file to keep them.")
            space = replace(space, sparse=None)
        with lock_store(target, purpose=purpose) as marker, create_store(target, space) as store:
            _copy_rows(original, store, marker, matrix, resume, quiet, as_json)


def _copy_rows(
    original: Store,
    store: Store,
    marker: PartialMarker,
    matrix: Matrix | None,
    resume: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    if original.url == store.url:
        raise InputError("SOURCE and TARGET are the same collection. Choose another TARGET.")
    try:
        with create_bar(original.count(), unit=" rows", quiet=quiet) as bar:
            result = copy_store(
                original, store, matrix=matrix, resume=resume, before_writing=marker.write, progress=bar.update
            )
    except KeyboardInterrupt:
        echo_err(_RESUME)
        raise
    marker.delete()
    if as_json:
        print_json({"source": original.url, "target": store.url, **asdict(result), **store.space.to_dict()})
    else:
        echo(
            f"{store.url}: {result.rows:,} rows from {original.url} "
            f"({result.written:,} written, {result.checked} verified)"
        )


@command.command("search")
@click.argument("url", metavar="URL")
@search_options
def search_store(url: str, options: SearchOptions) -> None:
    """Search a collection; the same as `umekomi search URL QUERY`."""
    search_and_print(url, options)


@command.command("list")
@click.argument("url", metavar="URL")
@json_option
def list_(url: str, as_json: bool) -> None:
    """List the collections below URL, for example lance:///data."""
    names = list_stores(url)
    if as_json:
        print_json(names)
    else:
        echo("\n".join(names), nl=bool(names))


@command.command()
@click.argument("url", metavar="URL")
@json_option
def info(url: str, as_json: bool) -> None:
    """Show the rows, columns, model and fingerprint of a collection."""
    with open_store(url) as store:
        print_facts(store.info(), as_json=as_json)


@command.command()
@click.argument("url", metavar="URL")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def drop(url: str, yes: bool, as_json: bool) -> None:
    """Delete a collection with all its rows."""
    with open_store(url) as store, lock_store(url, purpose="umekomi store drop") as marker:
        name, rows = store.url, store.count()
        if not yes:
            confirm(f"Delete {name} with {rows:,} rows?")
        store.drop()
        marker.delete()
    if as_json:
        print_json({"dropped": name, "rows": rows})
    else:
        echo(f"Dropped {name} ({rows:,} rows).")
