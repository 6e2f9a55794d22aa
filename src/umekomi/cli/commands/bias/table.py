"""``umekomi bias recency``, ``mitigate`` and ``table``."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import click

from ...bias import seat as bias
from ...bias.mitigation import MitigationResult, measure_mitigation
from ...bias.recency import RecencyResult, probe_terms, run_recency
from ...bias.winogender import WinogenderResult, load_schemas, run_winogender
from ...catalog import DEFAULT_MODEL, NOT_OPENAI, Role, load_catalog
from ...evaluation.datasets import find_files, load_pairs, load_retrieval, public_dataset
from ...vectors.directions import split_model
from ..output import echo, echo_err, print_json, print_table, progress_bar
from .evaluate import interval, json_option, load, models_option

NO_SCORE = (
    "There is no single score, and none should be made of these. A small effect shows only that these few words do not show one; "
    "nothing here says that a model is fair. See docs/limits.md."
)


@click.command("recency", epilog="Example:  umekomi bias recency -m text-embedding-ada-002")
@models_option
@json_option
def recency(models: tuple[str, ...], as_json: bool) -> None:
    """How a model handles words that are newer than its training texts.

    Each of 45 terms of known years is compared with the meanings of all: how often is its own the nearest?
    """
    results = []
    for model in models:
        embedder = load(model)
        with progress_bar(model, 2 * len(probe_terms())) as advance:
            results.append(run_recency(embedder, knowledge=_knowledge(model), progress=advance))
    if as_json:
        print_json([asdict(result) for result in results])
        return
    for result in results:
        if result.knowledge:
            echo(f"{result.model}: its parts' texts reach to: {'; '.join(result.knowledge)}\n")
        rows = [[one.label, str(one.terms), interval(one.first), interval(one.mrr)] for one in result.periods]
        print_table([f"{result.model}: terms of", "terms", "own meaning nearest", "mean 1/rank"], rows)
        lost = [one for one in result.terms if one.rank > 1][-5:]
        if lost:
            echo(
                "\nNewest that are not known:  "
                + "; ".join(f"{one.term} (taken for: {one.nearest})" for one in lost)
                + "\n"
            )
    echo_err(f"Chance is 1 in {len(probe_terms())}. New terms of old words can be guessed. {NOT_OPENAI}")


def _knowledge(model: str) -> list[str]:
    catalog = load_catalog()
    base, _ = split_model(model)
    if base not in catalog.models:
        return []
    encoders = [catalog.encoders[part.encoder] for part in catalog.model(base).parts]
    return [f"{encoder.name} {encoder.knowledge}" for encoder in encoders if encoder.knowledge]


@click.command("mitigate", epilog="Example:  umekomi bias mitigate --without gender --tests weat1,weat6,weat7,weat8")
@click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True)
@click.option(
    "--without", default="gender", show_default=True, metavar="gender|PAIRS.tsv", help="What is projected out."
)
@click.option("--tests", help="Only these, as weat1,weat6; by default all.")
@click.option("--sts", "pairs", help="A set of pairs; by default stsb where it is here.")
@click.option("--retrieval", help="A set for retrieval; by default cranfield where it is here.")
@json_option
def mitigate(
    model: str, without: str, tests: str | None, pairs: str | None, retrieval: str | None, as_json: bool
) -> None:
    """What projecting a direction out changes: associations, similarity and retrieval, before and after.

    This removes what lies along one line and no more; most of an association survives elsewhere (Gonen & Goldberg 2019).
    """
    chosen = bias.choose_tests([name.strip() for name in tests.split(",")] if tests else [])
    pair_name, retrieval_name = _here(pairs, "stsb"), _here(retrieval, "cranfield")
    pair_set = load_pairs(pair_name) if pair_name else None
    retrieval_set = load_retrieval(retrieval_name) if retrieval_name else None
    total = bias.count_texts(chosen)
    total += len({*pair_set.left, *pair_set.right}) if pair_set else 0
    total += len(retrieval_set.documents) + len(retrieval_set.queries) if retrieval_set else 0
    with progress_bar(model, 2 * total) as advance:
        found = measure_mitigation(
            model, without, chosen, pairs=pair_set, retrieval=retrieval_set, load=load, progress=advance
        )
    if as_json:
        print_json(asdict(found))
        return
    before, after = (_figures(one) for one in (found.before, found.after))
    rows = [[what, figure, other] for (what, figure), (_, other) in zip(before, after, strict=True)]
    print_table(["measure", found.before.model, found.after.model], rows)
    echo_err(f"\n* below 0.05 after Holm's correction. {NO_SCORE}")


def _here(name: str | None, default: str) -> str | None:
    if name:
        return name
    known = public_dataset(default)
    if len(find_files(known)) == len(known.files):
        return default
    echo_err(f"{default} is not here, so that {known.type} is not measured; see `umekomi data get {default}`.")
    return None


def _figures(measured: MitigationResult) -> list[tuple[str, str]]:
    rows = [
        (f"{one.test}: {one.title}", f"{one.d:+.2f} [{one.low:+.2f}, {one.high:+.2f}]{'*' if one.significant else ''}")
        for one in measured.effects
    ]
    if measured.sts:
        rows.append((f"{measured.sts.data}, Spearman", interval(measured.sts.spearman)))
    if measured.retrieval:
        rows.append((f"{measured.retrieval.data}, nDCG@10", interval(measured.retrieval.ndcg_at_10)))
    return rows


@dataclass(frozen=True, slots=True)
class _Row:
    seat: bias.SeatResult
    winogender: WinogenderResult | None
    recency: RecencyResult


@click.command("table", epilog="Example:  umekomi bias table --all > table.md")
@click.option("-m", "--model", "models", multiple=True, help="A model; may be repeated.")
@click.option("--all", "every", is_flag=True, help="Every model of the catalogue; of a pair, the half for documents.")
@json_option
def table(models: tuple[str, ...], every: bool, as_json: bool) -> None:
    """One row a model, as Markdown: every association test, Winogender and recency. It prints the table of docs/limits.md."""
    chosen = list(models) or [DEFAULT_MODEL]
    if every:
        cards = load_catalog().models.values()
        chosen = [card.id for card in cards if not card.hidden and not (card.pair and card.role is Role.QUERY)]
    tests = bias.choose_tests([])
    known = public_dataset("winogender")
    schemas = load_schemas() if len(find_files(known)) == len(known.files) else None
    if schemas is None:
        echo_err("winogender is not here, so that its column is empty; see `umekomi data get winogender`.")
    rows: list[_Row] = []
    for model in chosen:
        # The model before this one is let go of when this one is loaded, so that the two share encoders.
        embedder = load(model)
        total = bias.count_texts(tests) + 2 * len(probe_terms()) + (5 * len(schemas[0]) if schemas else 0)
        with progress_bar(model, total) as advance:
            row = _Row(
                bias.run_tests(tests, embedder, progress=advance),
                run_winogender(*schemas, embedder, progress=advance) if schemas else None,
                run_recency(embedder, knowledge=_knowledge(model), progress=advance),
            )
        rows.append(row)
        if not as_json:
            # Each row as soon as it is there: whoever stops the command has what is done.
            for line in [*(_heads(row) if len(rows) == 1 else []), _line(row)]:
                echo(line)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    echo_err(f"\nBold: below 0.05 after Holm's correction within the model. {NO_SCORE}")


def _heads(row: _Row) -> list[str]:
    heads = [one.test for one in row.seat.effects]
    heads += ["Winogender r", *(f"known, {one.label}" for one in row.recency.periods)]
    return [f"| model | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]


def _line(row: _Row) -> str:
    cells = [f"**{one.d:+.2f}**" if one.significant else f"{one.d:+.2f}" for one in row.seat.effects]
    cells.append("–" if row.winogender is None else _span(row.winogender))
    cells += [f"{round(one.first.value * one.terms)} of {one.terms}" for one in row.recency.periods]
    return f"| {row.seat.model} | {' | '.join(cells)} |"


def _span(result: WinogenderResult) -> str:
    one = result.correlation
    return f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
