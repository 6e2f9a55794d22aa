"""What is kept of a tuning, and how it is made: with a tiny model, on whatever machine this is."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from umekomi.embedder import Embedder
from umekomi.errors import InputError
from umekomi.pipeline.autotune import mixed_texts, tune
from umekomi.settings import Settings
from umekomi.tuning import FILE, Tuning, forget_tuning, machine, read_tuning, write_tuning

from .encoders.transformer.tiny import make_folder


@pytest.fixture
def model(tmp_path: Path, assets_here: object) -> str:
    return str(make_folder(tmp_path / "bert", "bert"))


def test_a_tuning_is_read_back_and_forgotten(tmp_path: Path) -> None:
    assert read_tuning(tmp_path) == Tuning()
    tuning = Tuning(threads=2, streams=2, precision="fp32", batch_tokens=4096)
    write_tuning(tmp_path, tuning, measured={})
    assert read_tuning(tmp_path) == tuning
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert forget_tuning(tmp_path)
    assert not forget_tuning(tmp_path)
    assert read_tuning(tmp_path) == Tuning()


def test_the_tuning_of_another_machine_is_not_used(tmp_path: Path) -> None:
    path = write_tuning(tmp_path, Tuning(streams=4), measured={})
    kept = json.loads(path.read_text())
    assert kept["machine"] == machine()
    path.write_text(json.dumps({**kept, "machine": "another"}))
    assert read_tuning(tmp_path) == Tuning()


@pytest.mark.parametrize("change", [{"streams": 0}, {"threads": "all"}, {"precision": "int3"}, {"huge_pages": True}])
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_tuning(tmp_path, Tuning(), measured={})
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "tuning": {**kept["tuning"], **change}}))
    with pytest.raises(InputError, match=r"tune --reset` removes it"):
        Settings.from_environment({"UMEKOMI_CACHE": str(tmp_path)})


def test_the_environment_goes_before_what_is_kept(tmp_path: Path) -> None:
    write_tuning(tmp_path, Tuning(threads=3, streams=2, precision="fp32", batch_tokens=512), measured={})
    environment = {"UMEKOMI_CACHE": str(tmp_path)}
    kept = Settings.from_environment(environment)
    assert (kept.threads, kept.streams, kept.precision, kept.batch_tokens) == (3, 2, "fp32", 512)
    asked = Settings.from_environment({**environment, "UMEKOMI_STREAMS": "1", "UMEKOMI_BATCH_TOKENS": "64"})
    assert (asked.threads, asked.streams, asked.precision, asked.batch_tokens) == (3, 1, "fp32", 64)
    untuned = Settings.from_environment({**environment, "UMEKOMI_TUNED": "0"})
    assert (untuned.threads, untuned.streams, untuned.precision, untuned.batch_tokens) == (0, 1, "auto", 2048)


def test_the_best_is_of_those_measured_and_not_slower_than_the_default(model: str) -> None:
    outcome = tune(model, Settings.from_environment({}), seconds=600, cores=2)
    assert outcome.best in outcome.measured
    assert outcome.complete
    assert outcome.usual.tuning == Tuning()
    assert outcome.best.texts_per_second >= outcome.usual.texts_per_second
    tried = [row.tuning for row in outcome.measured]
    assert len(set(tried)) == len(tried)
    assert {row.batch_tokens for row in tried} == {1024, 2048, 4096, 8192}
    assert {row.streams for row in tried} == {1, 2}
    assert all(row.cosine > 0.999 and row.lone_seconds > 0 for row in outcome.measured)


def test_when_the_time_is_over_nothing_more_is_begun(model: str) -> None:
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


def test_the_command_keeps_shows_and_resets(tmp_path: Path) -> None:
    # `umekomi-fake` has nothing to vary, and needs no file: the course of the command is what is looked at.
    done = json.loads(run(tmp_path, "-m", "umekomi-fake", "--seconds", "1", "--json").stdout)
    assert done["kept"] == str(tmp_path / FILE)
    assert done["measured"][0]["texts_per_second"] > 0
    shown = json.loads(run(tmp_path, "--show", "--json").stdout)
    assert shown["kept"]["measured"]["model"] == "umekomi-fake"
    assert shown["used"] == shown["tuning"]
    assert json.loads(run(tmp_path, "--reset", "--json").stdout) == {"removed": True}
    assert "Nothing was kept" in run(tmp_path, "--reset").stdout
    assert "nothing" in run(tmp_path, "--show").stdout


def test_a_broken_file_can_be_reset(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    shown = run(tmp_path, "--show")
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert run(tmp_path, "--reset").returncode == 0
    assert not (tmp_path / FILE).exists()


def test_two_wishes_at_once_are_refused(tmp_path: Path) -> None:
    assert run(tmp_path, "--show", "--reset").returncode == 2


def test_on_a_gpu_the_tuning_of_the_cpu_is_not_used(tmp_path: Path) -> None:
    write_tuning(tmp_path, Tuning(threads=3, precision="bf16"), measured={})
    environment = {"UMEKOMI_CACHE": str(tmp_path), "UMEKOMI_DEVICE": "cuda"}
    found = Settings.from_environment(environment)
    assert (found.device, found.threads, found.precision) == ("cuda", 0, "auto")
    with pytest.raises(InputError, match=r"nothing to tune on cuda.*Unset UMEKOMI_DEVICE"):
        tune("all-MiniLM-L6-v2", found)
