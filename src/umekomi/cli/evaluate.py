"""``umekomi evaluate``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import click
from tqdm import tqdm

from ..catalog import DEFAULT_MODEL, NOT_OPENAI
from ..datasets import load_pairs, load_retrieval
from ..embedder import Embedder
from ..encoders.base import Progress
from ..tasks import evaluate
from ..tasks.metrics import Estimate
from .output import TransferBar, note, print_json, print_table

models_option = click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    default=[DEFAULT_MODEL],
    show_default=True,
    help="A model; give it again to compare several.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="All figures as JSON.")


@click.group(
    "evaluate",
    epilog="Example:  umekomi evaluate sts pairs.csv --columns first,second,score -m text-embedding-ada-002 -m all-MiniLM-L6-v2",
)
def command() -> None:
    """Measure models on your own data or on known sets (`umekomi data list`).

    Every figure has its 95 % interval in brackets. With several models, the first is what the others are compared with.
    """


@command.command(
    epilog="Example:  umekomi evaluate retrieval beir/scifact -m text-embedding-ada-002 -m text-search-davinci-doc-001"
)
@click.argument("data")
@models_option
@click.option("--split", default="test", show_default=True, help="Which file of qrels.")
@click.option("--alike", is_flag=True, help="Embed queries and documents alike, as an API that knows no roles does.")
@json_option
def retrieval(data: str, models: tuple[str, ...], split: str, alike: bool, as_json: bool) -> None:
    """nDCG@10 and recall@100 on a folder in BEIR's layout, or on a known set as cranfield.

    A model of a pair is measured with its other half: queries by the one, documents by the other.
    """
    found = load_retrieval(data, split=split)
    sides = evaluate.Sides.ALIKE if alike else evaluate.Sides.ROLES
    results = []
    for model in models:
        pair = evaluate.load_pair(model, load)
        with progress_bar(model, len(found.documents) + len(found.queries)) as advance:
            results.append(evaluate.evaluate_retrieval(found, pair, sides=sides, progress=advance))
        _tell_cut(model, results[-1].cut)
    if as_json:
        print_json([asdict(result) for result in results])
        return
    click.echo(f"{found.name}: {len(found.documents):,} documents, {len(found.queries):,} queries\n")
    rows = [
        [
            result.model,
            interval(result.ndcg_at_10),
            interval(result.recall_at_100),
            f"{(result.documents + result.queries) / result.seconds:,.0f}",
            "–" if place == 0 else interval(evaluate.difference(result, results[0]), signed=True),
        ]
        for place, result in enumerate(results)
    ]
    print_results(["model", "nDCG@10", "recall@100", "texts/s", "nDCG@10 − the first's"], rows)


@command.command(epilog="Example:  umekomi evaluate sts pairs.tsv --columns first,second,score")
@click.argument("data")
@models_option
@click.option("--split", help="Of a known set, as train.")
@click.option("--columns", help="The two texts and the score, as first,second,score.")
@json_option
def sts(data: str, models: tuple[str, ...], split: str | None, columns: str | None, as_json: bool) -> None:
    """Spearman's and Pearson's correlation with people's scores of pairs.

    DATA is a CSV, TSV, JSON Lines or Parquet file with the columns sentence1, sentence2 and score (or label), or a known
    set as stsb or jsts.
    """
    found = load_pairs(data, split=split, columns=_three(columns))
    results = []
    for model in models:
        embedder = load(model)
        with progress_bar(model, len({*found.left, *found.right})) as advance:
            results.append(evaluate.evaluate_sts(found, embedder, progress=advance))
        _tell_cut(model, results[-1].cut)
    if as_json:
        print_json([asdict(result) for result in results])
        return
    click.echo(f"{found.name}: {len(found.scores):,} pairs\n")
    rows = [[result.model, interval(result.spearman), interval(result.pearson)] for result in results]
    print_results(["model", "Spearman", "Pearson"], rows)


def _three(columns: str | None) -> tuple[str, str, str] | None:
    if columns is None:
        return None
    names = [name.strip() for name in columns.split(",")]
    if len(names) != 3:
        raise click.BadParameter("give three names with commas, as first,second,score", param_hint="--columns")
    return names[0], names[1], names[2]


def _tell_cut(model: str, cut: int) -> None:
    if cut:
        note(f"{cut:,} texts were longer than {model} takes; their ends were cut.")


def load(model: str) -> Embedder:
    """A model, with what is fetched shown."""
    return Embedder(model, report=note, transfer=TransferBar())


def progress_bar(model: str, total: int) -> Any:
    """A bar on standard error; its context gives what a task tells of its progress."""
    return _Bar(model, total)


class _Bar:
    def __init__(self, label: str, total: int) -> None:
        interval = 0.5 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(total=total, desc=label, unit=" texts", file=sys.stderr, mininterval=interval, delay=0.5)

    def __enter__(self) -> Progress:
        advance: Callable[[int], None] = self._bar.update
        return advance

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """A figure with its interval, as ``0.415 [0.380, 0.450]``."""
    style = "+.3f" if signed else ".3f"
    return f"{estimate.value:{style}} [{estimate.low:{style}}, {estimate.high:{style}}]"


def print_results(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of models, and the reminder whose vectors they are."""
    if len(rows) == 1:
        rows = [row[: len(header) - (header[-1].endswith("the first's"))] for row in rows]
        header = header[: len(rows[0])]
    print_table(header, rows)
    note(f"\nBrackets hold 95 % intervals. {NOT_OPENAI}")
