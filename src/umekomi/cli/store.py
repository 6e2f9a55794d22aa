"""``umekomi store``."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click
import pyarrow.parquet as pq
from tqdm import tqdm

from ..records import read_space
from ..stores import create_store, left_out, list_stores, open_store, read_rows
from .output import note, print_json
from .search import search_and_print

BATCH_BYTES, MAX_BATCH_ROWS = 1 << 25, 16_384
"""What is acknowledged at once: few large batches make few pieces on disk."""


@click.group("store", epilog="Example:  umekomi store load reviews.parquet lance:///data/reviews")
def command() -> None:
    """Vector stores: load, search, list, drop. One URL names a collection, as lance:///folder/name."""


@command.command()
@click.argument("embedded", type=click.Path(dir_okay=False))
@click.argument("url")
@click.option(
    "--id", "id_column", help="The column that names each row; by default id or Id, else the number of the row."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="What was loaded as JSON.")
def load(embedded: str, url: str, id_column: str | None, quiet: bool, as_json: bool) -> None:
    """Load a file made by `umekomi embed` into a store.

    A load that was cut is begun again with the same command: rows are replaced by their ids, never doubled.

    \b
    Example:  umekomi store load reviews.parquet lance:///data/reviews --id Id
    """
    space = read_space(embedded)
    rows = read_rows(embedded, id_column=id_column, size=max(1, min(MAX_BATCH_ROWS, BATCH_BYTES // (4 * space.dims))))
    dropped = left_out(embedded)
    if dropped:
        note(f"Left out, as a store holds text, numbers, booleans and times only: {', '.join(dropped)}.")
    store = create_store(url, space)
    with tqdm(
        total=pq.read_metadata(embedded).num_rows, unit=" rows", file=sys.stderr, disable=quiet, delay=0.5
    ) as bar:
        for ids, vectors, records in rows:
            store.upsert(ids, vectors, records)
            bar.update(len(ids))
    store.optimize()
    if as_json:
        print_json({"url": url, "rows": store.count(), **asdict(space)})
    else:
        click.echo(f"{url}: {store.count():,} rows of {space.model}")


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
        click.echo("\n".join(names), nl=bool(names))


@command.command()
@click.argument("url")
@click.option("--json", "as_json", is_flag=True)
def info(url: str, as_json: bool) -> None:
    """What a collection holds: rows, columns, model, fingerprint."""
    facts = open_store(url).info()
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{column} ({kind})" for column, kind in value.items())
        click.echo(f"{name:12} {f'{value:,}' if isinstance(value, int) else value}")


@command.command()
@click.argument("url")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True)
def drop(url: str, yes: bool, as_json: bool) -> None:
    """Delete a collection and all that it holds."""
    store = open_store(url)
    rows = store.count()
    if not yes:
        click.confirm(f"Delete {url} with {rows:,} rows?", abort=True, err=True)
    store.drop()
    if as_json:
        print_json({"dropped": url, "rows": rows})
    else:
        click.echo(f"Dropped {url} ({rows:,} rows).")
