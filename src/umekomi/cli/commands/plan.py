"""``umekomi plan``."""

from __future__ import annotations

from dataclasses import asdict

import click

from ...catalog import DEFAULT_MODEL, load_catalog
from ...pipeline.estimate import Plan, RateMeasurement, make_plan, measure_rate
from ...pipeline.shards import SHARD_ROWS
from ...tokens import format_usd
from ...vectors.directions import split_model
from ..output import echo, echo_err, print_json


def _whole(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """A whole number that may be written as 1e9 or 1,000,000."""
    try:
        number = float(value.replace(",", ""))
        if number != int(number):
            raise ValueError
        return int(number)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{value!r} is not a whole number; write it like 1000000 or 1e6.") from error


@click.command("plan", epilog="Example:  umekomi plan --rows 1e9 --tokens 120 --hours 24 --machine-price 0.40")
@click.option("--rows", callback=_whole, required=True, help="How many texts, as 1000000 or 1e9.")
@click.option("--tokens", callback=_whole, required=True, help="Of one text in the mean; `umekomi tokens` counts them.")
@click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True, help="A model of `umekomi models list`.")
@click.option("--hours", type=float, help="When all must be done; by default one machine does all.")
@click.option("--machine-price", type=float, metavar="USD", help="Of one machine, an hour.")
@click.option("--rate", type=float, metavar="TEXTS/S", help="Of one machine; by default this one's is measured.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="To measure for."
)
@click.option(
    "--shard-rows", type=click.IntRange(1), default=SHARD_ROWS, show_default=True, help="As for `umekomi embed`."
)
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
def command(
    rows: int,
    tokens: int,
    model: str,
    hours: float | None,
    machine_price: float | None,
    rate: float | None,
    seconds: float,
    shard_rows: int,
    as_json: bool,
) -> None:
    """Say what embedding a data set will take: hours, machines, storage and money, beside the hosted API's price.

    Without --rate, made-up texts of that length are embedded here for some seconds, from file to file. A rate depends on the
    length of the texts: measure it with the --tokens of your own. A busy machine is measured as it is, busy.
    """
    card = load_catalog().model(split_model(model)[0])
    # Bad numbers are told before anything is measured.
    make_plan(card, rows=rows, tokens=tokens, rate=rate or 1.0, machine_price=machine_price)
    measured = None
    if rate is None:
        echo_err(f"Measuring {model} here for about {seconds:g} seconds …")
        measured = measure_rate(model, tokens=tokens, seconds=seconds)
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
    how = f", measured here on {measured.rows:,} texts" if measured else ""
    time = f"{_hours(plan.machine_hours)} of one machine"
    if plan.machines > 1:
        time += f"; {plan.machines:,} machines are done in {_hours(plan.hours)}"
    lines = [
        (
            "work",
            f"{plan.rows:,} texts of {tokens:,} tokens by {plan.model}: {plan.tokens:,} tokens, {plan.shards:,} shards",
        ),
        ("rate", f"{plan.rate:,.1f} texts/s a machine ({plan.rate * tokens:,.0f} tokens/s){how}"),
        ("time", time),
    ]
    if plan.usd is not None and machine_price is not None:
        lines.append(("money", f"{format_usd(plan.usd)} at {format_usd(machine_price)} an hour a machine"))
    if plan.hosted_usd is not None:
        lines.append(("hosted", f"{format_usd(plan.hosted_usd)} is what the hosted model of this name would cost"))
    kinds = ", ".join(f"{kind} {_bytes(size)}" for kind, size in plan.vector_bytes.items())
    lines.append(("vectors", kinds))
    if measured:
        lines.append(
            ("Parquet", f"{_bytes(plan.rows * measured.bytes_per_row)} with the texts, as the run here wrote it")
        )
    return lines


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.1f} seconds"
    if hours < 1:
        return f"{hours * 60:.1f} minutes"
    return f"{hours:,.1f} hours" if hours < 240 else f"{hours:,.0f} hours ({hours / 24:,.0f} days)"


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:,.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} PB"
