"""``umekomi plan``."""

from __future__ import annotations

from dataclasses import asdict

import click

from ....catalog import load_catalog
from ....encoders.model_ids import find_card
from ....pipeline.estimate import Plan, RateMeasurement, check_numbers, make_plan, measure_rate
from ....pipeline.rate_cache import RateCache
from ....tokens import format_usd
from ...options import json_option, model_option
from ...output import echo, echo_err, print_json
from .embed_sharded import shard_rows_option


def _parse_count(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Parse an integer such as 1e9 or 1,000,000."""
    try:
        number = float(value.replace(",", ""))
        if number != int(number):
            raise ValueError
        return int(number)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{value!r} is not an integer. Write it like 1000000 or 1e6.") from error


@click.command("plan", epilog="Example:  umekomi plan --rows 1e9 --tokens 120 --hours 24 --machine-price 0.40")
@click.option("--rows", callback=_parse_count, required=True, help="Number of texts, such as 1000000 or 1e9.")
@click.option(
    "--tokens", callback=_parse_count, required=True, help="Mean number of tokens per text; see `umekomi tokens`."
)
@model_option
@click.option(
    "--hours", type=float, help="Time limit, which determines the number of machines. Default: one machine, no limit."
)
@click.option("--machine-price", type=float, metavar="USD", help="Price of one machine per hour.")
@click.option("--rate", type=float, metavar="TEXTS/S", help="Speed of one machine. Default: measure this machine.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Duration of the measurement.",
)
@click.option("--measure", "again", is_flag=True, help="Measure again, although an earlier measurement is known.")
@shard_rows_option
@json_option
def command(
    rows: int,
    tokens: int,
    model: str,
    hours: float | None,
    machine_price: float | None,
    rate: float | None,
    seconds: float,
    again: bool,
    shard_rows: int,
    as_json: bool,
) -> None:
    """Estimate the time, machines, storage and cost of embedding a data set, next to the price of the hosted API.

    Without --rate, synthetic texts of this length are embedded on this machine for a few seconds, from file to file. The speed
    depends on the length of the texts, so set --tokens to the mean of your data, and on other programs that are running. The
    measurement is kept until --measure, `umekomi models clean` or another version of Umekomi or OpenVINO.
    """
    card = find_card(model, load_catalog())
    # Invalid numbers are reported before anything is measured.
    check_numbers(card, rows, tokens, rate, hours, machine_price, shard_rows)
    measured = None
    if rate is None:
        cache = RateCache(model, tokens=tokens, seconds=seconds)
        measured = None if again else cache.find()
        if measured is None:
            echo_err(f"Measuring {model} for about {seconds:g} seconds …")
            measured = measure_rate(model, tokens=tokens, seconds=seconds)
            cache.store(measured)
        else:
            echo_err("This machine was measured earlier. --measure measures it again.")
    plan = make_plan(
        card,
        rows=rows,
        tokens=tokens,
        rate=measured.rate if measured else rate or 1.0,
        start_s=measured.start_s if measured else 0.0,
        hours=hours,
        machine_price=machine_price,
        shard_rows=shard_rows,
    )
    if as_json:
        print_json({**asdict(plan), "measured": asdict(measured) if measured else None})
        return
    for name, line in _lines(plan, tokens, measured, machine_price):
        echo(f"{name:<9}{line}")


def _lines(
    plan: Plan, tokens: int, measured: RateMeasurement | None, machine_price: float | None
) -> list[tuple[str, str]]:
    source = f", measured on {measured.rows:,} texts" if measured else ""
    time = f"{_format_hours(plan.machine_hours)} of one machine"
    if plan.machines > 1:
        time += f"; {plan.machines:,} machines need {_format_hours(plan.hours)}"
    lines = [
        (
            "work",
            f"{plan.rows:,} texts of {tokens:,} tokens by {plan.model}: {plan.tokens:,} tokens, {plan.shards:,} shards",
        ),
        ("rate", f"{plan.rate:,.1f} texts/s per machine ({plan.rate * tokens:,.0f} tokens/s){source}"),
        ("time", time),
    ]
    if plan.usd is not None and machine_price is not None:
        lines.append(("money", f"{format_usd(plan.usd)} at {format_usd(machine_price)} per machine and hour"))
    if plan.hosted_usd is not None:
        lines.append(("hosted", f"{format_usd(plan.hosted_usd)} for the hosted model of this name"))
    lines.append(("vectors", ", ".join(f"{dtype} {_format_bytes(size)}" for dtype, size in plan.vector_bytes.items())))
    if measured:
        lines.append(
            ("Parquet", f"{_format_bytes(plan.rows * measured.bytes_per_row)} with texts like those of the measurement")
        )
    return lines


def _format_hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.1f} seconds"
    if hours < 1:
        return f"{hours * 60:.1f} minutes"
    return f"{hours:,.1f} hours" if hours < 240 else f"{hours:,.0f} hours ({hours / 24:,.0f} days)"


def _format_bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:,.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} PB"
