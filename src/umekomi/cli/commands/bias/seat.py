"""``umekomi bias``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from ...bias import seat as bias
from ...bias.weat import PERMUTATIONS
from ...bias.winogender import load_schemas, run_winogender
from ...evaluation.metrics import Estimate
from ...files.outputs import write_text
from ..options import PAGE_SUFFIXES, output_option
from ..output import echo, echo_err, print_json, print_table, progress_bar
from .bias_recency import NO_SCORE, mitigate, recency, table
from .evaluate import interval, json_option, load, load_task, models_option

Command = TypeVar("Command", bound=Callable[..., Any])
report_option = output_option("--report", suffixes=PAGE_SUFFIXES, help="Write a page, with plots, to this .html file.")


def _run_options(function: Command) -> Command:
    """How an association test is run."""
    for option in (
        click.option("--seed", default=0, show_default=True, help="Of permutations and intervals."),
        click.option(
            "--permutations",
            default=PERMUTATIONS,
            show_default=True,
            type=click.IntRange(min=100),
            help="Drawn at random where there are more than 200,000 splits; else all are tried.",
        ),
        click.option(
            "--unit",
            type=click.Choice([unit.value for unit in bias.PermutationUnit]),
            default=bias.PermutationUnit.WORD.value,
            show_default=True,
            help="What is permuted: words, or sentences as May et al. did.",
        ),
    ):
        function = option(function)
    return function


@click.group("bias", epilog="Example:  umekomi bias seat -m all-MiniLM-L6-v2 --report report.html")
def command() -> None:
    """Test what a model associates with whom, and how it handles new words.

    Read docs/limits.md for what these tests can and cannot show. No test gives a single score, and none shows fairness.
    """


@command.command(
    epilog="Example:  umekomi bias seat -m text-embedding-ada-002 -m all-MiniLM-L6-v2 --report report.html"
)
@models_option
@click.option("--tests", help="Only these, as weat1,weat6; see docs/limits.md for their names.")
@click.option("--bare", is_flag=True, help="Words without sentences, as in WEAT.")
@_run_options
@report_option
@json_option
def seat(
    models: tuple[str, ...],
    tests: str | None,
    bare: bool,
    unit: str,
    permutations: int,
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """WEAT and SEAT: the published association tests, in plain sentences.

    d is the effect size with its 95 % interval; p is one-sided; p (Holm) is corrected for the number of tests.
    """
    chosen = bias.choose_tests([name.strip() for name in tests.split(",")] if tests else [])
    _run_and_print(chosen, models, unit, bare, permutations, seed, report, as_json)


@command.command(
    epilog="Example:  umekomi bias custom --targets he.txt she.txt --attributes work.txt home.txt --sentence 'It is about {}.'"
)
@models_option
@click.option("--targets", nargs=2, required=True, type=click.Path(path_type=Path), help="Two files, one word a line.")
@click.option(
    "--attributes", nargs=2, required=True, type=click.Path(path_type=Path), help="Two files, one word a line."
)
@click.option(
    "--sentence", "sentences", multiple=True, help="What each word is put into, as 'This is {}.'; may be repeated."
)
@_run_options
@report_option
@json_option
def custom(
    models: tuple[str, ...],
    targets: tuple[Path, Path],
    attributes: tuple[Path, Path],
    sentences: tuple[str, ...],
    unit: str,
    permutations: int,
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    """The same test with your own groups and words, in any language.

    Each file has a word, or a whole sentence, a line; lines that begin with # are left out. A positive d says that the first
    targets are nearer to the first attributes.
    """
    test = bias.custom_test(targets, attributes, sentences=sentences)
    _run_and_print([test], models, unit, False, permutations, seed, report, as_json)


def _run_and_print(
    tests: list[bias.AssociationTest],
    models: Sequence[str],
    unit: str,
    bare: bool,
    permutations: int,
    seed: int,
    report: Path | None,
    as_json: bool,
) -> None:
    pages = load_task("umekomi.bias.report") if report else None
    results = []
    for model in models:
        embedder = load(model)
        with progress_bar(model, bias.count_texts(tests, bare=bare)) as advance:
            results.append(
                bias.run_tests(
                    tests,
                    embedder,
                    unit=bias.PermutationUnit(unit),
                    bare=bare,
                    seed=seed,
                    permutations=permutations,
                    progress=advance,
                )
            )
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        for result in results:
            _print_effects(result)
    if report and pages:
        own = (
            [report]
            if len(results) == 1
            else [report.with_name(f"{report.stem}-{_file(one.model)}.html") for one in results]
        )
        for path, result in zip(own, results, strict=True):
            _write(path, pages.seat_page(result))
        if len(results) > 1:
            _write(report, pages.comparison_page(results, [path.name for path in own]))


def _print_effects(result: bias.SeatResult) -> None:
    permuted = f"{result.unit}s permuted, seed {result.seed}"
    echo(f"{result.model}: {'words alone' if result.bare else 'words in sentences'}, {permuted}\n")
    rows = []
    for one in result.effects:
        splits = f"all {one.splits:,}" if one.exact else f"{one.splits:,} drawn"
        span = f"[{one.low:+.2f}, {one.high:+.2f}]"
        mark = "*" if one.significant else ""
        rows.append([one.test, one.title, f"{one.d:+.2f}", span, f"{one.p:.5f}", splits, f"{one.p_holm:.4f}{mark}"])
    print_table(["test", "targets / attributes", "d", "95 % interval", "p", "splits", "p (Holm)"], rows)
    echo()
    echo_err(NO_SCORE)


def _file(model: str) -> str:
    return re.sub(r"[^\w.-]+", "-", model).strip("-")


def _write(path: Path, text: str) -> None:
    write_text(path, text)
    echo_err(f"Wrote {path}")


@command.command(epilog="Example:  UMEKOMI_ASSET_PATH=~/data umekomi bias winogender -m all-MiniLM-L6-v2")
@models_option
@click.option("--seed", default=0, show_default=True, help="Of the intervals.")
@report_option
@json_option
def winogender(models: tuple[str, ...], seed: int, report: Path | None, as_json: bool) -> None:
    """Winogender: does "she" pull a sentence to the occupations that women work in?

    An embedding resolves no pronouns. This measures where the sentence with a pronoun lies between the one that names the
    occupation and the one that names the other person. The data are not part of Umekomi: see `umekomi data get winogender`.
    """
    schemas, occupations = load_schemas()
    pages = load_task("umekomi.bias.report") if report else None
    results = []
    for model in models:
        embedder = load(model)
        with progress_bar(model, 5 * len(schemas)) as advance:
            results.append(run_winogender(schemas, occupations, embedder, seed=seed, progress=advance))
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        echo(
            f"{len(schemas)} schemas, {len(occupations)} occupations; gap: 'she' − 'he', difference of cosines × 1,000\n"
        )
        rows = [
            [
                result.model,
                interval(result.correlation, signed=True),
                interval(result.correlation_text, signed=True),
                *(_thousandths(one) for one in (result.gap, result.gap_they)),
                interval(result.resolved),
            ]
            for result in results
        ]
        head = [
            "model",
            "r, women in the work",
            "r, women in text",
            "gap",
            "'they' − both",
            "right person nearer (chance 0.5)",
        ]
        print_table(head, rows)
        echo_err(f"\n{NO_SCORE}")
    if report and pages:
        _write(report, pages.winogender_page(results))


def _thousandths(one: Estimate) -> str:
    return f"{1000 * one.value:+.2f} [{1000 * one.low:+.2f}, {1000 * one.high:+.2f}]"


for one in (recency, mitigate, table):
    command.add_command(one)
