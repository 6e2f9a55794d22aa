"""``umekomi tune``."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict

import click

from ... import __version__
from ...machine import TUNING_FILE, Tuning, delete_tuning, read_tuning, write_tuning
from ...pipeline.autotune import TuningMeasurement, TuningOutcome, describe, tune
from ...settings import Settings
from ..output import echo, echo_err, print_json, print_table


@click.command(
    "tune",
    epilog="Example:  umekomi tune  then  umekomi tune --show.  UMEKOMI_THREADS, UMEKOMI_STREAMS, UMEKOMI_PRECISION and "
    "UMEKOMI_BATCH_TOKENS go before what is kept.",
)
@click.option("-m", "--model", default="all-MiniLM-L6-v2", show_default=True, help="The model to measure with.")
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=50.0, show_default=True, help="Begin nothing new after this."
)
@click.option("--dry-run", is_flag=True, help="Measure and print; keep nothing.")
@click.option("--show", is_flag=True, help="Print what is kept for this machine, and measure nothing.")
@click.option("--reset", is_flag=True, help="Forget what is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(model: str, seconds: float, dry_run: bool, show: bool, reset: bool, as_json: bool) -> None:
    """Find out how this machine encodes fastest, and keep it.

    Measures tokens a batch, precision, streams and threads in under a minute, and keeps the best for every later run of
    this user on this machine. Vectors stay of the same space: what was embedded before can be searched as before, with
    scores that may differ from the fourth decimal on where the precision changes.
    """
    if sum((show, reset, dry_run)) > 1:
        raise click.UsageError("--show, --reset and --dry-run exclude each other.")
    # A file that cannot be read must not keep --reset from removing it: these settings are read without it.
    cache = Settings.from_environment({**os.environ, "UMEKOMI_TUNED": "0"}).cache
    if reset:
        removed = delete_tuning(cache)
        if as_json:
            print_json({"removed": removed})
        else:
            echo("Forgotten; the defaults hold again." if removed else "Nothing was kept.")
        return
    if show:
        _show(as_json)
        return
    settings = Settings.from_environment({**os.environ, "UMEKOMI_TUNED": "0"})
    outcome = tune(model, settings, seconds=seconds, report=echo_err)
    facts = {
        "model": model,
        "umekomi": __version__,
        "python": platform.python_version(),
        "best": _facts(outcome.best),
        "usual": _facts(outcome.default),
    }
    if not outcome.complete:
        echo_err(f"The time was over before all was measured; `umekomi tune --seconds {2 * seconds:g}` looks further.")
    path = None if dry_run else write_tuning(cache, outcome.best.tuning, measured=facts)
    if as_json:
        measured = [_facts(row) for row in outcome.measured]
        done = {"seconds": outcome.seconds, "complete": outcome.complete}
        print_json({**facts, "measured": measured, **done, "kept": path})
    else:
        _print(outcome)
        echo(f"\n{'Kept in ' + str(path) if path else 'Not kept'}: {describe(outcome.best.tuning)}")


def _show(as_json: bool) -> None:
    settings = Settings.from_environment(os.environ)
    tuning = read_tuning(settings.cache)
    path = settings.cache / TUNING_FILE
    kept = json.loads(path.read_text("utf-8")) if path.is_file() else None
    used = Tuning(settings.threads, settings.streams, settings.precision, settings.batch_tokens)
    if as_json:
        print_json({"kept": kept, "tuning": asdict(tuning), "used": asdict(used), "device": settings.device})
        return
    echo(f"kept  {describe(tuning)}" if kept else "kept  nothing: `umekomi tune` measures this machine")
    if settings.device == "cpu":
        echo(f"used  {describe(used)}")
    else:
        echo(f"used  {settings.device}, {settings.precision}: what is kept is for the CPU")


def _print(outcome: TuningOutcome) -> None:
    rows = [
        [
            describe(row.tuning),
            f"{row.texts_per_second:,.0f}",
            f"{row.texts_per_second / outcome.default.texts_per_second:.2f}×",
            f"{row.single_text_seconds * 1000:.1f}",
            f"{row.cosine:.5f}",
            "best" if row is outcome.best or row.tuning == outcome.best.tuning else "",
        ]
        for row in outcome.measured
    ]
    print_table(["how", "texts/s", "to the default", "one short text, ms", "least cosine", ""], rows)


def _facts(row: TuningMeasurement) -> dict[str, object]:
    return {
        **asdict(row.tuning),
        "texts_per_second": row.texts_per_second,
        "lone_milliseconds": row.single_text_seconds * 1000,
        "least_cosine": row.cosine,
    }
