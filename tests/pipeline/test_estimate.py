"""Tests for the estimates of runs and for the measured rate."""

import json
import math

import pytest

from umekomi.catalog import load_catalog
from umekomi.errors import InputError
from umekomi.pipeline.estimate import make_plan, measure_rate

from ..conftest import Run

ADA = load_catalog().model("text-embedding-ada-002")


def test_one_machine_is_planned_without_a_deadline() -> None:
    plan = make_plan(ADA, rows=1_000_000, tokens=120, rate=100.0, start_s=360.0, machine_price=0.5)
    assert (plan.machines, plan.shards) == (1, 123)
    assert plan.hours == plan.machine_hours == pytest.approx(0.1 + 1_000_000 / 100 / 3600)
    assert plan.usd == pytest.approx(0.5 * plan.hours)
    assert plan.hosted_usd == pytest.approx(1_000_000 * 120 / 1000 * 0.0004)
    assert plan.vector_bytes == {
        "float32": 6_144_000_000,
        "float16": 3_072_000_000,
        "int8": 1_536_000_000,
        "binary": 192_000_000,
    }


@pytest.mark.parametrize("hours", [0.5, 1.0, 7.3, 24.0])
def test_the_number_of_machines_is_the_minimum_for_the_deadline(hours: float) -> None:
    plan = make_plan(ADA, rows=10**8, tokens=50, rate=250.0, start_s=20.0, hours=hours, shard_rows=4096)
    assert plan.hours <= hours
    max_rows_with_one_machine_less = math.ceil(plan.shards / (plan.machines - 1)) * 4096
    assert (20.0 + max_rows_with_one_machine_less / 250.0) / 3600 > hours


def test_a_machine_gets_at_least_one_shard() -> None:
    plan = make_plan(ADA, rows=10_000, tokens=50, rate=100.0, hours=82 / 3600)
    assert (plan.machines, plan.hours) == (2, pytest.approx(8192 / 100 / 3600))
    with pytest.raises(InputError, match="smaller --shard-rows"):
        make_plan(ADA, rows=10_000, tokens=50, rate=100.0, hours=10 / 3600)


@pytest.mark.parametrize(
    ("invalid", "word"),
    [
        ({"rows": 0}, "--rows"),
        ({"rate": math.inf}, "--rate"),
        ({"machine_price": -1.0}, "--machine-price"),
        ({"tokens": 9000}, "8,191"),
    ],
)
def test_invalid_numbers_are_rejected(invalid: dict[str, float], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make_plan(ADA, **{"rows": 10, "tokens": 10, "rate": 1.0, **invalid})  # type: ignore[arg-type]


def test_the_measured_rate_includes_reading_and_writing() -> None:
    measured = measure_rate("umekomi-fake", tokens=40, seconds=0.5)
    assert measured.rows >= 64
    assert measured.rate > 0
    # 64 dimensions of float32 and the text, slightly compressed
    assert 64 * 4 * 0.8 < measured.bytes_per_row < 64 * 4 + 200
    with pytest.raises(InputError, match="--rate"):
        measure_rate("remote:some-model", tokens=40)


def test_the_command_uses_a_given_rate_or_measures_one(umekomi: Run) -> None:
    done = umekomi(
        "plan", "--rows", "1e9", "--tokens", 120, "--rate", 1000, "--hours", 24, "--machine-price", 0.4, "--json"
    )
    plan = json.loads(done.stdout)
    assert (done.returncode, plan["rows"], plan["machines"], plan["measured"]) == (0, 10**9, 12, None)
    shown = umekomi("plan", "--rows", "1e6", "--tokens", 20, "-m", "umekomi-fake", "--seconds", 0.2)
    assert "measured on" in shown.stdout
    assert "Measuring" in shown.stderr
    for invalid in (["--rows", "many", "--tokens", 1], ["--rows", "1.5", "--tokens", 1], ["--rows", 5, "--tokens", 0]):
        rejected = umekomi("plan", *invalid)
        assert rejected.returncode == 2
        assert "Traceback" not in rejected.stderr
