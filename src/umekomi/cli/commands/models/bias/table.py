"""``umekomi bias table``."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import click

from .....bias.recency import RecencyResult, probe_terms, run_recency
from .....bias.seat import SeatResult, choose_tests, count_texts, run_tests
from .....bias.winogender import WinogenderResult, load_schemas, run_winogender
from .....catalog import Role, load_catalog
from .....embedder import Embedder
from .....progress import Progress
from ....options import json_option, measure_models, models_option
from ....output import echo, echo_err, print_json
from .recency import knowledge_of
from .reports import NO_SCORE, is_available


@dataclass(frozen=True, slots=True)
class _Row:
    seat: SeatResult
    winogender: WinogenderResult | None
    recency: RecencyResult


@click.command("table", epilog="Example:  umekomi bias table --all > table.md")
@models_option
@click.option("--all", "is_all", is_flag=True, help="Measure all models of the catalog, except query models of a pair.")
@json_option
def table(models: tuple[str, ...], is_all: bool, as_json: bool) -> None:
    """Print the table of docs/limits.md in Markdown: all association tests, Winogender and recency for each model."""
    if is_all:
        cards = load_catalog().models.values()
        models = tuple(card.id for card in cards if not card.hidden and not (card.pair and card.role is Role.QUERY))
    tests = choose_tests([])
    schemas = load_schemas() if is_available("winogender") else None

    def measure(embedder: Embedder, advance: Progress) -> _Row:
        return _Row(
            run_tests(tests, embedder, progress=advance),
            run_winogender(*schemas, embedder, progress=advance) if schemas else None,
            run_recency(embedder, knowledge=knowledge_of(embedder.model), progress=advance),
        )

    n_texts = count_texts(tests) + 2 * len(probe_terms()) + (5 * len(schemas[0]) if schemas else 0)
    rows: list[_Row] = []
    for row in measure_models(models, n_texts, measure):
        # Rows are printed as they are measured, so that an interrupted run shows the finished ones.
        if not as_json:
            echo("\n".join([*([] if rows else _header(row)), _cells(row)]))
        rows.append(row)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    echo_err(f"\nBold: p < 0.05 after Holm's correction within the model. {NO_SCORE}")


def _header(row: _Row) -> list[str]:
    headings = [effect.test for effect in row.seat.effects]
    headings += ["Winogender r", *(f"known, {period.label}" for period in row.recency.periods)]
    return [f"| model | {' | '.join(headings)} |", f"| --- |{' ---: |' * len(headings)}"]


def _cells(row: _Row) -> str:
    cells = [f"**{effect.d:+.2f}**" if effect.significant else f"{effect.d:+.2f}" for effect in row.seat.effects]
    cells.append("–" if row.winogender is None else f"{row.winogender.correlation:+.2f}")
    cells += [f"{round(period.first.value * period.terms)} of {period.terms}" for period in row.recency.periods]
    return f"| {row.seat.model} | {' | '.join(cells)} |"
