"""`umekomi plan` measures a machine once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import Run

from umekomi.pipeline.estimate import RateMeasurement
from umekomi.pipeline.rate_cache import RateCache
from umekomi.settings import Settings

RATE = RateMeasurement(100.0, 0.5, 64, 300.0)
PLAN = ("plan", "--rows", "1000", "--tokens", "10", "-m", "umekomi-fake", "--seconds", "0.1")


def cache(settings: Settings, model: str = "umekomi-fake", *, tokens: int = 10, seconds: float = 5.0) -> RateCache:
    return RateCache(model, tokens=tokens, seconds=seconds, settings=settings)


def test_a_rate_is_found_again_only_for_the_same_measurement(settings: Settings) -> None:
    cache(settings).store(RATE)
    assert cache(settings).find() == RATE
    assert cache(settings, "all-MiniLM-L6-v2").find() is None
    assert cache(settings, tokens=11).find() is None
    assert cache(settings, seconds=6).find() is None
    assert cache(replace(settings, threads=settings.threads + 1)).find() is None
    cache(settings).store(replace(RATE, rate=200.0))
    assert cache(settings).find() == replace(RATE, rate=200.0)


@pytest.mark.parametrize("name", ["machine_name", "_version"])
def test_another_machine_or_version_is_measured_again(
    name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache(settings).store(RATE)
    monkeypatch.setattr(f"umekomi.pipeline.rate_cache.{name}", lambda *arguments: "another")
    assert cache(settings).find() is None


def test_a_damaged_file_counts_as_not_measured(settings: Settings) -> None:
    cache(settings).store(RATE)
    for file in settings.cache.rglob("rate.json"):
        file.write_text("{")
    assert cache(settings).find() is None


def test_a_changed_folder_is_measured_again(settings: Settings, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    cache(settings, str(model)).store(RATE)
    assert cache(settings, str(model)).find() == RATE
    os.utime(model / "config.json", (1e9, 1e9))
    assert cache(settings, str(model)).find() is None


def test_the_second_plan_measures_nothing(umekomi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([RATE, replace(RATE, rate=200.0)])
    monkeypatch.setattr("umekomi.cli.commands.embedding.plan.measure_rate", lambda *args, **kwargs: next(rates))
    environment = {"UMEKOMI_CACHE": str(tmp_path / "cache"), "UMEKOMI_PREPARE": "1"}
    first, second = (umekomi(*PLAN, **environment) for _ in range(2))
    assert "Measuring umekomi-fake" in first.stderr
    assert "measured earlier" in second.stderr
    assert first.stdout == second.stdout
    assert "200.0 texts/s" in umekomi(*PLAN, "--measure", **environment).stdout
    assert "200.0 texts/s" in umekomi(*PLAN, **environment).stdout
    umekomi("models", "clean", **environment)
    with pytest.raises(StopIteration):
        next(rates)
    assert "StopIteration" in umekomi(*PLAN, **environment).stderr
