"""``umekomi bias winogender``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from .....bias.winogender import load_schemas, run_winogender
from .....evaluation.metrics import Estimate
from .....extras import import_optional
from ....options import json_option, measure_models, models_option
from ....output import echo, echo_err, print_json, print_table
from .reports import NO_SCORE, report_option, write_report


@click.command("winogender", epilog="Example:  UMEKOMI_ASSET_PATH=~/data umekomi bias winogender -m all-MiniLM-L6-v2")
@models_option
@click.option("--seed", default=0, show_default=True, help="Seed of the intervals.")
@report_option
@json_option
def winogender(models: tuple[str, ...], seed: int, report: Path | None, as_json: bool) -> None:
    """Measure whether "she" moves a sentence towards occupations with many women.

    An embedding does not resolve pronouns. This test measures whether a sentence with a pronoun is nearer to the sentence that
    names the occupation, or to the one that names the other person. The data are not part of Umekomi: see `umekomi data get
    winogender`.
    """
    schemas, occupations = load_schemas()
    # Fail before the models are measured.
    pages = import_optional("umekomi.bias.report") if report else None
    results = list(
        measure_models(
            models,
            5 * len(schemas),
            lambda embedder, advance: run_winogender(schemas, occupations, embedder, seed=seed, progress=advance),
        )
    )
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        echo(f"{len(schemas)} schemas, {len(occupations)} occupations. Gaps are differences of cosines × 1,000.\n")
        rows = [
            [
                result.model,
                f"{result.correlation:+.3f}",
                f"{result.correlation_text:+.3f}",
                *(f"{_in_thousandths(gap):+.2f}" for gap in (result.gap, result.gap_they)),
                f"{result.resolved:.3f}",
            ]
            for result in results
        ]
        headings = ["r, share of women", "r, share in texts", "'she' − 'he'", "'they' − mean of both"]
        print_table(["model", *headings, "correct person nearer (chance 0.5)"], rows)
        echo_err(f"\n{NO_SCORE}")
    if report and pages:
        write_report(report, pages.winogender_page(results))


def _in_thousandths(gap: Estimate) -> Estimate:
    return Estimate(1000 * gap.value, 1000 * gap.low, 1000 * gap.high)
