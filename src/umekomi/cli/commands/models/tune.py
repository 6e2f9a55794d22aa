"""``umekomi tune``."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict

import click

from .... import __version__
from ....encoders.model_ids import require_model
from ....machine import TUNING_FILE, Tuning, delete_tuning, read_tuning, write_tuning
from ....pipeline.autotune import TuningMeasurement, TuningOutcome, describe, tune
from ....settings import Settings
from ...options import json_option
from ...output import echo, echo_err, print_json, print_table


@click.command(
    "tune",
    epilog="Example:  umekomi tune  then  umekomi tune --show.  UMEKOMI_THREADS, UMEKOMI_STREAMS, UMEKOMI_PRECISION and "
    "UMEKOMI_BATCH_TOKENS override the saved settings.",
)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    default="all-MiniLM-L6-v2",
    show_default=True,
    help="Model to measure.",
)
@click.option("--seconds", type=click.FloatRange(1, 600), default=50.0, show_default=True, help="Time budget.")
@click.option("--dry-run", is_flag=True, help="Measure and print, but do not save.")
@click.option("--show", is_flag=True, help="Print the saved settings without measuring.")
@click.option("--reset", is_flag=True, help="Delete the saved settings.")
@json_option
def command(model: str, seconds: float, dry_run: bool, show: bool, reset: bool, as_json: bool) -> None:
    """Find the fastest settings for this machine and save them.

    Measures tokens per batch, precision, streams and threads in less than a minute. The best settings are saved for all later
    runs of this user on this machine. The vector space stays the same, so existing files can still be searched. If the
    precision changes, scores may differ from the fourth decimal on.
    """
    if sum((show, reset, dry_run)) > 1:
        raise click.UsageError("Use only one of --show, --reset and --dry-run.")
    # UMEKOMI_TUNED=0 ignores the saved settings, so that --reset can delete a file that cannot be read.
    cache = Settings.from_environment({**os.environ, "UMEKOMI_TUNED": "0"}).cache
    if reset:
        removed = delete_tuning(cache)
        if as_json:
            print_json({"removed": removed})
        else:
            echo(
                "The saved settings are deleted; the defaults apply again."
                if removed
                else "There are no saved settings."
            )
        return
    if show:
        _show(as_json)
        return
    # Checked here and not by the option, because the check reads the saved settings, which --reset deletes.
    model = require_model(model)
    settings = Settings.from_environment({**os.environ, "UMEKOMI_TUNED": "0"})
    outcome = tune(model, settings, seconds=seconds, report=echo_err)
    facts = {
        "model": model,
        "umekomi": __version__,
        "python": platform.python_version(),
        "best": _facts(outcome.best),
        "default": _facts(outcome.default),
    }
    if not outcome.complete:
        echo_err(f"The time budget ran out. `umekomi tune --seconds {2 * seconds:g}` measures more settings.")
    path = None if dry_run else write_tuning(cache, outcome.best.tuning, measured=facts)
    if as_json:
        measured = [_facts(row) for row in outcome.measured]
        done = {"seconds": outcome.seconds, "complete": outcome.complete}
        print_json({**facts, "measured": measured, **done, "path": path})
    else:
        _print(outcome)
        echo(f"\n{f'Saved in {path}' if path else 'Not saved'}: {describe(outcome.best.tuning)}")


def _show(as_json: bool) -> None:
    settings = Settings.from_environment(os.environ)
    tuning = read_tuning(settings.cache)
    path = settings.cache / TUNING_FILE
    saved = json.loads(path.read_text("utf-8")) if path.is_file() else None
    used = Tuning(settings.threads, settings.streams, settings.precision, settings.batch_tokens)
    if as_json:
        print_json({"saved": saved, "tuning": asdict(tuning), "used": asdict(used), "device": settings.device})
        return
    echo(f"saved  {describe(tuning)}" if saved else "saved  nothing; `umekomi tune` measures this machine")
    if settings.device == "cpu":
        echo(f"used   {describe(used)}")
    else:
        echo(f"used   {settings.device}, {settings.precision}; the saved settings are for the CPU")


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
    print_table(["settings", "texts/s", "speed-up", "one short text, ms", "minimum cosine", ""], rows)


def _facts(row: TuningMeasurement) -> dict[str, object]:
    return {
        **asdict(row.tuning),
        "texts_per_second": row.texts_per_second,
        "single_text_milliseconds": row.single_text_seconds * 1000,
        "minimum_cosine": row.cosine,
    }
