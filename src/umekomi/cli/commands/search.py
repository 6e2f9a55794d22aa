"""``umekomi search``."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict

import click

from ...catalog import Role, load_catalog
from ...embedder import Embedder
from ...encoders.model_ids import require_consent
from ...errors import InputError
from ...stores import Hit, Store, open_store
from ...tasks.explain import Explanation, explain
from ...tasks.search import search
from ..output import TransferBar, echo, echo_err, escape, print_json, shorten


@click.command("search", epilog="Example:  umekomi search reviews.parquet 'good coffee' -n 5 --where 'Score >= 4'")
@click.argument("index")
@click.argument("query")
@click.option("-n", "--number", default=3, show_default=True, help="How many hits.")
@click.option("--where", help="Only records that match, as: Score >= 4 and Summary != 'Bad'")
@click.option("-m", "--model", help="By default the model that made the index.")
@click.option(
    "--diversity",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Rank hits lower the more they are like those above them: 0.3 is a little, 0.7 much.",
)
@click.option(
    "--explain", "explained", is_flag=True, help="Say which part of the vector and which words made each score."
)
@click.option("--columns", help="Columns to show beside the text, as: Score,Summary")
@click.option("--json", "as_json", is_flag=True, help="JSON, one object a query.")
def command(
    index: str,
    query: str,
    number: int,
    where: str | None,
    model: str | None,
    diversity: float,
    explained: bool,
    columns: str | None,
    as_json: bool,
) -> None:
    """Find the texts nearest in meaning to QUERY in INDEX.

    INDEX is a Parquet file made by `umekomi embed`, or the URL of a store. QUERY - reads one query a line from standard input.
    """
    search_and_print(index, query, number, where, model, columns, as_json, diversity=diversity, explained=explained)


def search_and_print(
    index: str,
    query: str,
    number: int,
    where: str | None,
    model: str | None,
    columns: str | None,
    as_json: bool,
    *,
    diversity: float = 0.0,
    explained: bool = False,
) -> None:
    """What `search` and `store search` do."""
    queries = _read_queries() if query == "-" else [query]
    if not queries or not query.strip():
        raise InputError("The query is empty; say in words what to find.")
    store = open_store(index)
    selected = [name.strip() for name in columns.split(",")] if columns else []
    for name in selected:
        if name not in store.schema().names:
            raise InputError(f"There is no column {name!r}; the columns are {', '.join(store.schema().names)}.")
    if model is None and store.space.model.startswith("written:"):
        raise InputError(f"{store.url} was imported: no model here made its vectors, so none can embed a query for it.")
    stored = store.space.model if model else require_consent(store.space.model, source=store.url, option="-m")
    store.check_where(where)
    chosen = model or load_catalog().counterpart(stored, Role.QUERY)
    embedder = Embedder(chosen, report=echo_err, transfer=TransferBar())
    found = search(store, embedder, queries, n=number, where=where, diversity=diversity)
    for text, hits in zip(queries, found, strict=True):
        reasons = [_reason(store, embedder, text, hit) for hit in hits] if explained else []
        if as_json:
            listed = [asdict(hit) for hit in hits]
            for plain, reason in zip(listed, reasons, strict=False):
                plain["explanation"] = asdict(reason)
            print_json({"query": text, "hits": listed})
            continue
        if len(queries) > 1:
            echo(f"# {escape(text)}")
        if not hits:
            echo_err("No record matches.")
        for rank, hit in enumerate(hits, start=1):
            _print_hit(rank, hit, selected)
            if reasons:
                _print_reason(reasons[rank - 1])


def _read_queries() -> list[str]:
    """The lines of standard input that are not blank."""
    if sys.stdin is None:
        raise InputError("Standard input is closed; give the query as an argument.")
    try:
        lines = sys.stdin.buffer.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"The queries on standard input are not UTF-8: byte {error.start:,} is wrong.") from error
    return [line.strip() for line in lines if line.strip()]


def _print_hit(rank: int, hit: Hit, columns: list[str]) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    values = escape("  ".join(f"{name}={hit.record[name]}" for name in columns))
    head = f"{rank:>2}. {hit.score:.3f}  " + (f"[{values}]  " if values else "")
    text = str(hit.record.get("text") or hit.id)
    echo(head + shorten(text, max(40, width - len(head))))


def _reason(store: Store, embedder: Embedder, query: str, hit: Hit) -> Explanation:
    if not hit.record.get("text"):
        raise InputError(f"{store.url} does not keep what was embedded: --explain needs a column 'text'.")
    return explain(embedder, query, str(hit.record["text"]), role=store.space.role or None)


def _print_reason(reason: Explanation) -> None:
    parts = "  ".join(f"{name} {score:.3f}" for name, score in reason.parts.items())
    echo(f"      parts: {parts}")
    for side, pieces in (("query", reason.query), ("text", reason.document)):
        told = "  ".join(f"{shorten(piece.text, 30)} {piece.gain:+.3f}" for piece in pieces[:6] if piece.gain >= 0.0005)
        echo(f"      {side + ':':6} {told or '(no word stands out)'}")
