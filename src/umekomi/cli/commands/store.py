"""``umekomi store``."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click
import pyarrow.parquet as pq
from tqdm import tqdm

from ...data.embedded_file import Space, read_space
from ...errors import InputError
from ...pipeline.sharded import ShardedDataset, is_sharded, open_sharded
from ...stores import (
    copy_store,
    create_store,
    list_shard_text_columns,
    list_stores,
    list_text_columns,
    list_unsupported_columns,
    list_unsupported_shard_columns,
    load_file,
    load_shards,
    lock_store,
    open_store,
)
from ..output import confirm, echo, echo_err, print_json
from .search import search_and_print

BATCH_BYTES, MAX_BATCH_ROWS = 1 << 25, 16_384
"""What is acknowledged at once: few large batches make few pieces on disk."""


@click.group("store", epilog="Example:  umekomi store load reviews.parquet lance:///data/reviews")
def command() -> None:
    """Vector stores: load, copy, search, list, drop. One URL names a collection, as lance:///folder/name."""


@command.command()
@click.argument("embedded")
@click.argument("url")
@click.option(
    "--id",
    "id_column",
    help="The column that names each row; by default id or Id, else the number of the row; in a folder the shard and the row.",
)
@click.option("--resume", is_flag=True, help="Leave out rows that are there already with the same vector and record.")
@click.option("--overwrite", is_flag=True, help="Replace rows by their number, if the rows of the file have no ids.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="What was loaded as JSON.")
def load(
    embedded: str, url: str, id_column: str | None, resume: bool, overwrite: bool, quiet: bool, as_json: bool
) -> None:
    """Load a file or a folder of shards made by `umekomi embed` into a store.

    After an interruption, run the same command again: rows are replaced by their ids, never doubled. With --resume, rows that are
    there already with the same vector and the same record are left as they are. The rows of a file without ids are numbered; they
    never replace other rows of the same numbers, unless you say --overwrite. Rows that are gone from a folder of shards since it
    was last loaded are deleted. The URL says how a new collection is made. After loading a folder (a path or a URL of an object
    store), the number of rows and a sample of them are compared. One process at a time may load into a collection.

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
        _report_columns(list_unsupported_columns(pq.read_schema(path)), list_text_columns(path, store))
        with _bar(pq.read_metadata(path).num_rows, quiet) as bar:
            n_written = load_file(
                path, store, id_column=id_column, size=size, resume=resume, overwrite=overwrite, progress=bar.update
            )
        store.optimize()
        if as_json:
            print_json({"url": store.url, "rows": store.count(), "written": n_written, **asdict(space)})
        else:
            echo(f"{store.url}: {store.count():,} rows of {space.model}")


def _load_shards(
    dataset: ShardedDataset, url: str, id_column: str | None, resume: bool, quiet: bool, as_json: bool
) -> None:
    with create_store(url, dataset.space) as store:
        _report_columns(list_unsupported_shard_columns(dataset), list_shard_text_columns(dataset, store))
        try:
            with _bar(dataset.rows, quiet) as bar:
                done = load_shards(dataset, store, id_column=id_column, resume=resume, progress=bar.update)
        except KeyboardInterrupt:
            echo_err("Interrupted. What is written is kept; go on with the same command and --resume.")
            raise
        if as_json:
            facts = {"url": store.url, "rows": store.count(), "shards": len(dataset.shards), "written": done.written}
            print_json({**facts, "removed": done.removed, "checked": done.checked, **asdict(dataset.space)})
        else:
            echo(
                f"{store.url}: {store.count():,} rows of {dataset.space.model} from {len(dataset.shards):,} shards "
                f"({done.written:,} written, {done.removed:,} removed, {done.checked} compared)"
            )


def _report_columns(dropped: list[str], text: list[str]) -> None:
    if dropped:
        echo_err(f"Left out, as a store holds text, numbers, booleans and times only: {', '.join(dropped)}.")
    if text:
        echo_err(f"Kept as text, as their numbers are too large for a store to keep exactly: {', '.join(text)}.")


@command.command()
@click.argument("source")
@click.argument("target")
@click.option(
    "--resume", is_flag=True, help="Leave out rows that the target has already with the same vector and record."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="What was copied as JSON.")
def copy(source: str, target: str, resume: bool, quiet: bool, as_json: bool) -> None:
    """Copy a collection (or an embedded file) into another store.

    The rows are streamed; afterwards the number of rows and a sample of them are compared. A copy that was cut is begun again
    with the same command and --resume.

    \b
    Example:  umekomi store copy lance:///data/reviews postgresql://me@localhost/db/reviews
    """
    with (
        open_store(source) as one,
        lock_store(target, purpose="umekomi store copy"),
        create_store(target, one.space) as other,
    ):
        if one.url == other.url:
            raise InputError("The source and the target are the same collection; name another target.")
        with _bar(one.count(), quiet) as bar:
            done = copy_store(one, other, resume=resume, progress=bar.update)
        if as_json:
            print_json({"source": one.url, "target": other.url, **asdict(done), **asdict(other.space)})
        else:
            echo(f"{other.url}: {done.rows:,} rows of {one.url} ({done.written:,} written, {done.checked} compared)")


def _bar(total: int, quiet: bool) -> tqdm[None]:
    return tqdm(total=total, unit=" rows", file=sys.stderr, disable=quiet, delay=0.5)


@command.command("search")
@click.argument("url")
@click.argument("query")
@click.option("-n", "--number", default=3, show_default=True)
@click.option("--where")
@click.option("-m", "--model")
@click.option("--columns")
@click.option("--json", "as_json", is_flag=True)
def search_store(
    url: str, query: str, number: int, where: str | None, model: str | None, columns: str | None, as_json: bool
) -> None:
    """The same as `umekomi search URL QUERY`."""
    search_and_print(url, query, number, where, model, columns, as_json)


@command.command("list")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True)
def list_(url: str, as_json: bool) -> None:
    """The collections below URL, as lance:///data."""
    names = list_stores(url)
    if as_json:
        print_json(names)
    else:
        echo("\n".join(names), nl=bool(names))


@command.command()
@click.argument("url")
@click.option("--json", "as_json", is_flag=True)
def info(url: str, as_json: bool) -> None:
    """What a collection holds: rows, columns, model, fingerprint."""
    with open_store(url) as store:
        facts = store.info()
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{column} ({kind})" for column, kind in value.items())
        echo(f"{name:12} {f'{value:,}' if isinstance(value, int) else value}")


@command.command()
@click.argument("url")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True)
def drop(url: str, yes: bool, as_json: bool) -> None:
    """Delete a collection and all that it holds."""
    with open_store(url) as store, lock_store(url, purpose="umekomi store drop"):
        shown, rows = store.url, store.count()
        if not yes:
            confirm(f"Delete {shown} with {rows:,} rows?")
        store.drop()
    if as_json:
        print_json({"dropped": shown, "rows": rows})
    else:
        echo(f"Dropped {shown} ({rows:,} rows).")
