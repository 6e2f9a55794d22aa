"""``umekomi store``."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from ..errors import InputError
from ..records import read_embedded, read_space
from ..stores import create_store, list_stores, open_store
from .output import print_json
from .search import search_and_print


@click.group("store", epilog="Example:  umekomi store load reviews.parquet lance:///data/reviews")
def command() -> None:
    """Vector stores: load, search, list, drop. One URL names a collection, as lance:///folder/name."""


@command.command()
@click.argument("embedded", type=click.Path(dir_okay=False))
@click.argument("url")
@click.option("--id", "id_column", help="The column that names each row; by default the number of the row, from 0.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True)
def load(embedded: str, url: str, id_column: str | None, quiet: bool, as_json: bool) -> None:
    """Load a file made by `umekomi embed` into a store. Loading twice does no harm: rows are replaced by id."""
    space = read_space(embedded)
    if id_column and id_column not in pq.read_schema(embedded).names:
        raise InputError(
            f"There is no column {id_column!r}; the columns are {', '.join(pq.read_schema(embedded).names)}."
        )
    store = create_store(url, space)
    done = 0
    with tqdm(
        total=pq.read_metadata(embedded).num_rows, unit=" rows", file=sys.stderr, disable=quiet, delay=0.5
    ) as bar:
        for vectors, records in read_embedded(embedded):
            ids = records.column(id_column).to_pylist() if id_column else range(done, done + len(vectors))
            store.upsert([str(name) for name in ids], vectors, pa.Table.from_batches([records]))
            done += len(vectors)
            bar.update(len(vectors))
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
    store = open_store(url)
    facts = {"url": url, "rows": store.count(), **asdict(store.space), "columns": store.schema().names}
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        click.echo(f"{name:12} {', '.join(value) if isinstance(value, list) else value}")


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
