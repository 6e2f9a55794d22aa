"""``umekomi search``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import click

from ....catalog import Role, load_catalog
from ....embedder import Embedder
from ....encoders.model_ids import require_consent, require_model
from ....errors import InputError
from ....reranker import require_reranker
from ....stores import Hit, Store, open_store
from ....tasks.explain import Explanation, explain
from ....tasks.search import RERANKED, search
from ...options import (
    columns_option,
    integer_option,
    json_option,
    load_embedder,
    load_reranker,
    load_sparse_embedder,
    option_group,
    query_model_option,
    split_names,
)
from ...output import create_bar, echo, echo_err, escape, print_json, shorten


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Options of a search; see the help texts below."""

    query: str
    number: int
    where: str | None
    model: str | None
    diversity: float
    rerank: str | None
    candidates: int
    sparse: bool
    explained: bool
    columns: str | None
    as_json: bool


search_options: Callable[[Any], Any] = option_group(
    SearchOptions,
    click.argument("query"),
    integer_option("-n", "--number", minimum=1, default=3, help="Number of hits."),
    click.option("--where", help="Search only records that match, for example: Score >= 4 and Summary != 'Bad'"),
    query_model_option,
    click.option(
        "--diversity",
        type=click.FloatRange(0, 1),
        default=0.0,
        help="Rank hits lower if they resemble the hits above them. 0.3 has a small effect, 0.7 a large one.",
    ),
    click.option(
        "--rerank",
        metavar="MODEL",
        help="Order the nearest records with a cross-encoder: a folder (./my-reranker), or owner/name on the Hugging Face hub.",
    ),
    integer_option("--candidates", minimum=1, default=RERANKED, help="Number of nearest records to rerank."),
    click.option(
        "--sparse",
        is_flag=True,
        help="Also compare the sparse vectors that `umekomi embed --sparse` made, and combine the ranks. See docs/sparse.md.",
    ),
    click.option(
        "--explain", "explained", is_flag=True, help="Show how parts of the vector and words contribute to a score."
    ),
    columns_option,
    json_option,
)


@click.command("search", epilog="Example:  umekomi search reviews.parquet 'good coffee' -n 5 --where 'Score >= 4'")
@click.argument("index", metavar="INPUT")
@search_options
def command(index: str, options: SearchOptions) -> None:
    """Find the texts of INPUT that are most similar to QUERY.

    INPUT is a Parquet file written by `umekomi embed`, or the URL of a store. If QUERY is -, each line of standard input is a
    query.
    """
    search_and_print(index, options)


def search_and_print(index: str, options: SearchOptions) -> None:
    """Search an embedded file or a store, and print the hits."""
    queries = _read_queries() if options.query == "-" else [options.query]
    if not queries or not options.query.strip():
        raise InputError("The query is empty. Describe what to find.")
    if options.rerank is not None:
        if options.diversity:
            raise InputError("Give either --rerank or --diversity.")
        require_reranker(options.rerank)
    if options.sparse and options.diversity:
        raise InputError("Give either --sparse or --diversity.")
    # Before the rows of a file are read and a model is loaded.
    store = open_store(index, check=lambda store: _check(store, options))
    stored = store.space.sparse
    sparse = load_sparse_embedder(stored.model) if options.sparse and stored is not None else None
    reranker = load_reranker(options.rerank) if options.rerank is not None else None
    embedder = load_embedder(options.model or load_catalog().counterpart(store.space.model, Role.QUERY))
    columns = split_names(options.columns)
    # Importing the library of the bar would make searches without a reranker slower.
    with create_bar(label="Reranking", unit=" records", leave=False) if reranker else nullcontext() as bar:
        results = search(
            store,
            embedder,
            queries,
            n=options.number,
            where=options.where,
            diversity=options.diversity,
            reranker=reranker,
            candidates=options.candidates,
            sparse=sparse,
            progress=bar.update if bar is not None else None,
        )
    for query, hits in zip(queries, results, strict=True):
        explanations = [_explain(store, embedder, query, hit) for hit in hits] if options.explained else []
        if options.as_json:
            rows = [asdict(hit) for hit in hits]
            for row in rows if reranker is None else []:
                del row["rerank_score"]
            for row, explanation in zip(rows, explanations, strict=False):
                row["explanation"] = asdict(explanation)
            print_json({"query": query, "hits": rows})
            continue
        if len(queries) > 1:
            echo(f"# {escape(query)}")
        if not hits:
            echo_err("No record matches.")
        for rank, hit in enumerate(hits, start=1):
            _print_hit(rank, hit, columns)
            if explanations:
                _print_explanation(explanations[rank - 1])


def _check(store: Store, options: SearchOptions) -> None:
    """Raise InputError unless a store has the columns that the options need, and its model may be loaded."""
    names = store.schema().names
    for name in split_names(options.columns):
        if name not in names:
            raise InputError(f"There is no column {name!r}; the columns are {', '.join(names)}.")
    if options.model is None and store.space.model.startswith("written:"):
        raise InputError(
            f"{store.url} was imported, so its model is not available to embed a query. Use `umekomi recommend` instead."
        )
    if options.model is None:
        require_model(require_consent(store.space.model, source=store.url, option="-m"))
    if options.sparse:
        if store.space.sparse is None:
            raise InputError(
                f"{store.url} has no sparse vectors. Embed its texts with `umekomi embed --sparse bm25`; embedded files and the "
                "stores memory, milvus, qdrant and qdrant-edge keep them."
            )
        require_consent(store.space.sparse.model, source=store.url)
    store.check_where(options.where)
    needing = {"--explain": options.explained, "--rerank": options.rerank is not None, "--diversity": options.diversity}
    for option, is_given in needing.items():
        if is_given and "text" not in names:
            raise InputError(f"{store.url} does not contain the embedded texts. {option} needs a column 'text'.")


def _read_queries() -> list[str]:
    """Return the lines of standard input that are not blank."""
    if sys.stdin is None:
        raise InputError("Standard input is closed. Give the query as an argument.")
    try:
        lines = sys.stdin.buffer.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"The queries on standard input are not valid UTF-8 (byte {error.start:,}).") from error
    return [line.strip() for line in lines if line.strip()]


def _print_hit(rank: int, hit: Hit, columns: list[str]) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    values = escape("  ".join(f"{name}={hit.record[name]}" for name in columns))
    scores = f"{hit.score:.3f}" if hit.rerank_score is None else f"{hit.rerank_score:.3f} ({hit.score:.3f})"
    head = f"{rank:>2}. {scores}  " + (f"[{values}]  " if values else "")
    text = str(hit.record.get("text") or hit.id)
    echo(head + shorten(text, max(40, width - len(head))))


def _explain(store: Store, embedder: Embedder, query: str, hit: Hit) -> Explanation:
    if not hit.record.get("text"):
        raise InputError(f"{store.url} does not contain the embedded texts. --explain needs a column 'text'.")
    return explain(embedder, query, str(hit.record["text"]), role=store.space.role or None)


def _print_explanation(explanation: Explanation) -> None:
    parts = "  ".join(f"{name} {score:.3f}" for name, score in explanation.parts.items())
    echo(f"      parts: {parts}")
    for side, pieces in (("query", explanation.query), ("text", explanation.document)):
        words = "  ".join(
            f"{shorten(piece.text, 30)} {piece.gain:+.3f}" for piece in pieces[:6] if piece.gain >= 0.0005
        )
        echo(f"      {side + ':':6} {words or '(no word stands out)'}")
