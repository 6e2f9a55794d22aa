"""What a run will take: arithmetic that can be followed by hand, and a rate that is really measured."""

import json
import math

import pytest

from umekomi.catalog import load_catalog
from umekomi.errors import InputError
from umekomi.pipeline.estimate import make_plan, measure_rate

from ..conftest import Run

ADA = load_catalog().model("text-embedding-ada-002")


def test_one_machine_does_all_where_no_hour_is_named() -> None:
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
def test_the_machines_are_the_fewest_that_are_done_in_time(hours: float) -> None:
    plan = make_plan(ADA, rows=10**8, tokens=50, rate=250.0, start_s=20.0, hours=hours, shard_rows=4096)
    assert plan.hours <= hours
    busiest_with_one_less = math.ceil(plan.shards / (plan.machines - 1)) * 4096
    assert (20.0 + busiest_with_one_less / 250.0) / 3600 > hours


def test_a_shard_is_the_least_that_a_machine_can_be_given() -> None:
    plan = make_plan(ADA, rows=10_000, tokens=50, rate=100.0, hours=82 / 3600)
    assert (plan.machines, plan.hours) == (2, pytest.approx(8192 / 100 / 3600))
    with pytest.raises(InputError, match="smaller --shard-rows"):
        make_plan(ADA, rows=10_000, tokens=50, rate=100.0, hours=10 / 3600)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"rows": 0}, "--rows"),
        ({"rate": math.inf}, "--rate"),
        ({"machine_price": -1.0}, "--machine-price"),
        ({"tokens": 9000}, "8,191"),
    ],
)
def test_numbers_that_make_no_plan_are_refused(wrong: dict[str, float], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make_plan(ADA, **{"rows": 10, "tokens": 10, "rate": 1.0, **wrong})  # type: ignore[arg-type]


def test_a_rate_is_measured_from_file_to_file() -> None:
    few = measure_rate("umekomi-fake", tokens=40, seconds=0.5)
    assert few.rows >= 64
    assert few.rate > 0
    # 64 dimensions of float32, and the text, a little compressed.
    assert 64 * 4 * 0.8 < few.bytes_per_row < 64 * 4 + 200
    with pytest.raises(InputError, match="--rate"):
        measure_rate("remote:some-model", tokens=40)


def test_the_command_plans_with_a_rate_and_with_one_measured_here(umekomi: Run) -> None:
    done = umekomi(
        "plan", "--rows", "1e9", "--tokens", 120, "--rate", 1000, "--hours", 24, "--machine-price", 0.4, "--json"
    )
    plan = json.loads(done.stdout)
    assert (done.returncode, plan["rows"], plan["machines"], plan["measured"]) == (0, 10**9, 12, None)
    shown = umekomi("plan", "--rows", "1e6", "--tokens", 20, "-m", "umekomi-fake", "--seconds", 0.2)
    assert "measured here" in shown.stdout
    assert "Measuring" in shown.stderr
    for wrong in (["--rows", "many", "--tokens", 1], ["--rows", "1.5", "--tokens", 1], ["--rows", 5, "--tokens", 0]):
        refused = umekomi("plan", *wrong)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
