"""``umekomi bias seat`` and ``umekomi bias custom``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from .....bias.seat import (
    AssociationTest,
    PermutationUnit,
    SeatResult,
    choose_tests,
    count_texts,
    custom_test,
    run_tests,
)
from .....bias.weat import PERMUTATIONS
from .....extras import import_optional
from ....options import (
    FILE,
    choice,
    integer_option,
    json_option,
    measure_models,
    models_option,
    option_group,
    split_names,
    tests_option,
)
from ....output import echo, echo_err, print_json, print_table
from .reports import NO_SCORE, report_option, write_report


@dataclass(frozen=True, slots=True)
class _RunOptions:
    """Options of an association test; see the help texts below."""

    models: tuple[str, ...]
    unit: str
    permutations: int
    seed: int
    report: Path | None
    as_json: bool


_run_options = option_group(
    _RunOptions,
    models_option,
    click.option(
        "--unit",
        type=choice(PermutationUnit),
        default=PermutationUnit.WORD.value,
        show_default=True,
        help="What is permuted: words, or sentences as in May et al. 2019.",
    ),
    integer_option(
        "--permutations",
        minimum=100,
        default=PERMUTATIONS,
        help="Number of random splits, if there are more than 200,000. Otherwise all splits are compared.",
    ),
    click.option("--seed", default=0, show_default=True, help="Seed of the permutations and intervals."),
    report_option,
    json_option,
)


@click.command(
    "seat", epilog="Example:  umekomi bias seat -m text-embedding-ada-002 -m all-MiniLM-L6-v2 --report report.html"
)
@tests_option
@click.option("--bare", is_flag=True, help="Use words without sentences, as in WEAT.")
@_run_options
def seat(tests: str | None, bare: bool, options: _RunOptions) -> None:
    """Run published association tests: WEAT and SEAT, with words in simple sentences.

    d is the effect size with its 95 % interval. p is one-sided; p (Holm) is adjusted for the number of tests.
    """
    _run_and_print(choose_tests(split_names(tests)), options, bare=bare)


@click.command(
    "custom",
    epilog="Example:  umekomi bias custom --targets he.txt she.txt --attributes work.txt home.txt --sentence 'It is about {}.'",
)
@click.option("--targets", nargs=2, required=True, type=FILE, help="Two files of target words, one per line.")
@click.option("--attributes", nargs=2, required=True, type=FILE, help="Two files of attribute words, one per line.")
@click.option(
    "--sentence", "sentences", multiple=True, help="Sentence around each word, such as 'This is {}.'. Repeatable."
)
@_run_options
def custom(
    targets: tuple[Path, Path], attributes: tuple[Path, Path], sentences: tuple[str, ...], options: _RunOptions
) -> None:
    """Run an association test with your own groups and words, in any language.

    Each line of a file is a word or a sentence. Lines that begin with # are ignored. A positive d means that the first targets
    are nearer to the first attributes.
    """
    _run_and_print([custom_test(targets, attributes, sentences=sentences)], options)


def _run_and_print(tests: list[AssociationTest], options: _RunOptions, *, bare: bool = False) -> None:
    # Fail before the models are measured.
    pages = import_optional("umekomi.bias.report") if options.report else None
    results = list(
        measure_models(
            options.models,
            count_texts(tests, bare=bare),
            lambda embedder, advance: run_tests(
                tests,
                embedder,
                unit=PermutationUnit(options.unit),
                bare=bare,
                seed=options.seed,
                permutations=options.permutations,
                progress=advance,
            ),
        )
    )
    if options.as_json:
        print_json([asdict(result) for result in results])
    else:
        for result in results:
            _print_effects(result)
    if options.report and pages:
        _write_reports(options.report, results, pages)


def _write_reports(report: Path, results: Sequence[SeatResult], pages: Any) -> None:
    if len(results) == 1:
        write_report(report, pages.seat_page(results[0]))
        return
    paths = [report.with_name(f"{report.stem}-{_file_name(result.model)}.html") for result in results]
    for path, result in zip(paths, results, strict=True):
        write_report(path, pages.seat_page(result))
    write_report(report, pages.comparison_page(results, [path.name for path in paths]))


def _file_name(model: str) -> str:
    return re.sub(r"[^\w.-]+", "-", model).strip("-")


def _print_effects(result: SeatResult) -> None:
    permuted = f"{result.unit}s permuted, seed {result.seed}"
    echo(f"{result.model}: {'words alone' if result.bare else 'words in sentences'}, {permuted}\n")
    rows = []
    for effect in result.effects:
        splits = f"all {effect.splits:,}" if effect.exact else f"{effect.splits:,} random"
        p_holm = f"{effect.p_holm:.4f}{'*' if effect.significant else ''}"
        rows.append([effect.test, effect.title, f"{effect.size:+.2f}", f"{effect.p:.5f}", splits, p_holm])
    print_table(["test", "targets / attributes", "d [95 % interval]", "p", "splits", "p (Holm)"], rows)
    echo()
    echo_err(NO_SCORE)
