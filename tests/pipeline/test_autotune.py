"""``umekomi tune`` measures a tiny model on this machine and stores the fastest way to run it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.encoders.transformer.tiny import make_folder

from umekomi.embedder import Embedder
from umekomi.errors import InputError
from umekomi.machine import TUNING_FILE, Tuning, write_tuning
from umekomi.pipeline.autotune import mixed_texts, tune
from umekomi.settings import Settings


@pytest.fixture
def model(tmp_path: Path, assets_here: object) -> str:
    return str(make_folder(tmp_path / "bert", "bert"))


def test_the_best_configuration_was_measured_and_is_not_slower_than_the_default(model: str) -> None:
    outcome = tune(model, Settings.from_environment({}), seconds=600, cores=2)
    assert outcome.best in outcome.measured
    assert outcome.complete
    assert outcome.default.tuning == Tuning()
    assert outcome.best.texts_per_second >= outcome.default.texts_per_second
    tried = [row.tuning for row in outcome.measured]
    assert len(set(tried)) == len(tried)
    assert {row.batch_tokens for row in tried} == {1024, 2048, 4096, 8192}
    assert {row.streams for row in tried} == {1, 2}
    assert all(row.cosine > 0.999 and row.single_text_seconds > 0 for row in outcome.measured)


def test_no_candidate_starts_after_the_time_budget(model: str) -> None:
    outcome = tune(model, Settings.from_environment({}), seconds=0, cores=64)
    assert [row.tuning for row in outcome.measured] == [Tuning()]
    assert not outcome.complete


def test_a_tuning_changes_neither_the_fingerprint_nor_the_direction_of_a_vector(model: str) -> None:
    usual = Settings.from_environment({"UMEKOMI_TUNED": "0"})
    plain, texts = Embedder(model, settings=usual), mixed_texts(20)
    vectors = plain.embed(texts)
    for change in (
        {"precision": "fp32"}, {"precision": "bf16"}, {"streams": 2, "threads": 2}, {"threads": 1, "batch_tokens": 64}
    ):  # fmt: skip
        tuned = Embedder(model, settings=replace(usual, **change))  # type: ignore[arg-type]
        assert tuned.fingerprint == plain.fingerprint
        assert (tuned.embed(texts) * vectors).sum(axis=1).min() > 0.999


def run(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UMEKOMI_")}
    environment |= {"UMEKOMI_CACHE": str(cache), "UMEKOMI_ASSET_PATH": os.environ.get("UMEKOMI_ASSET_PATH", "")}
    command = [sys.executable, "-m", "umekomi", "tune", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_command_stores_shows_and_resets_a_tuning(tmp_path: Path) -> None:
    # `umekomi-fake` has nothing to tune and needs no files, which is enough to test the command.
    done = json.loads(run(tmp_path, "-m", "umekomi-fake", "--seconds", "1", "--json").stdout)
    assert done["path"] == str(tmp_path / TUNING_FILE)
    assert done["measured"][0]["texts_per_second"] > 0
    shown = json.loads(run(tmp_path, "--show", "--json").stdout)
    assert shown["saved"]["measured"]["model"] == "umekomi-fake"
    assert shown["used"] == shown["tuning"]
    assert json.loads(run(tmp_path, "--reset", "--json").stdout) == {"removed": True}
    assert "There are no saved settings" in run(tmp_path, "--reset").stdout
    assert "nothing" in run(tmp_path, "--show").stdout


def test_a_broken_file_can_be_reset(tmp_path: Path) -> None:
    (tmp_path / TUNING_FILE).write_text("{")
    shown = run(tmp_path, "--show")
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert run(tmp_path, "--reset").returncode == 0
    assert not (tmp_path / TUNING_FILE).exists()


def test_conflicting_options_are_rejected(tmp_path: Path) -> None:
    assert run(tmp_path, "--show", "--reset").returncode == 2


def test_on_a_gpu_the_tuning_of_the_cpu_is_not_used(tmp_path: Path) -> None:
    write_tuning(tmp_path, Tuning(threads=3, precision="bf16"), measured={})
    environment = {"UMEKOMI_CACHE": str(tmp_path), "UMEKOMI_DEVICE": "cuda"}
    found = Settings.from_environment(environment)
    assert (found.device, found.threads, found.precision) == ("cuda", 0, "auto")
    with pytest.raises(InputError, match=r"nothing to tune on cuda.*Unset UMEKOMI_DEVICE"):
        tune("all-MiniLM-L6-v2", found)
