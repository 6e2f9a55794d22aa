"""``umekomi search``."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict

import click

from ..embedder import Embedder
from ..errors import InputError
from ..stores import Hit, open_store
from ..tasks.search import search
from .output import TransferBar, note, print_json, shorten


@click.command("search", epilog="Example:  umekomi search reviews.parquet 'good coffee' -n 5 --where 'Score >= 4'")
@click.argument("index")
@click.argument("query")
@click.option("-n", "--number", default=3, show_default=True, help="How many hits.")
@click.option("--where", help="Only records that match, as: Score >= 4 and Summary != 'Bad'")
@click.option("-m", "--model", help="By default the model that made the index.")
@click.option("--columns", help="Columns to show beside the text, as: Score,Summary")
@click.option("--json", "as_json", is_flag=True, help="JSON, one object a query.")
def command(
    index: str, query: str, number: int, where: str | None, model: str | None, columns: str | None, as_json: bool
) -> None:
    """Find the texts nearest in meaning to QUERY in INDEX.

    INDEX is a Parquet file made by `umekomi embed`, or the URL of a store. QUERY - reads one query a line from standard input.
    """
    search_and_print(index, query, number, where, model, columns, as_json)


def search_and_print(
    index: str, query: str, number: int, where: str | None, model: str | None, columns: str | None, as_json: bool
) -> None:
    """What `search` and `store search` do."""
    queries = [line.strip() for line in sys.stdin if line.strip()] if query == "-" else [query]
    if not queries or not query.strip():
        raise InputError("The query is empty; say in words what to find.")
    store = open_store(index)
    shown = [name.strip() for name in columns.split(",")] if columns else []
    for name in shown:
        if name not in store.schema().names:
            raise InputError(f"There is no column {name!r}; the columns are {', '.join(store.schema().names)}.")
    embedder = Embedder(model or store.space.model, report=note, transfer=TransferBar())
    for text, hits in zip(queries, search(store, embedder, queries, n=number, where=where), strict=True):
        if as_json:
            print_json({"query": text, "hits": [asdict(hit) for hit in hits]})
            continue
        if len(queries) > 1:
            click.echo(f"# {text}")
        if not hits:
            note("No record matches.")
        for rank, hit in enumerate(hits, start=1):
            _print_hit(rank, hit, shown)


def _print_hit(rank: int, hit: Hit, columns: list[str]) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    values = "  ".join(f"{name}={hit.record[name]}" for name in columns)
    head = f"{rank:>2}. {hit.score:.3f}  " + (f"[{values}]  " if values else "")
    text = str(hit.record.get("text") or hit.id)
    click.echo(head + shorten(text, max(40, width - len(head))))
