"""The measured figures of the catalog's models, which ``umekomi models list`` shows."""

from pathlib import Path

import pytest
from tests.conftest import require_files

from umekomi import Embedder
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.evaluation.model_figures import TASKS, MeasuredFigures, read_figures, task_cells, write_figures

HOSTED = [card.id for card in load_catalog().models.values() if card.hosted]


def test_every_hosted_model_has_figures_of_english_search_and_code() -> None:
    for model in HOSTED:
        assert {"cranfield nDCG@10", "click MRR"} <= read_figures()[model].figures.keys()


@pytest.mark.parametrize("model", ["text-embedding-ada-002", "text-embedding-3-small"])
def test_the_figures_are_those_of_the_current_vectors(model: str, assets_here: AssetStore) -> None:
    require_files(model, assets_here)
    assert read_figures()[model].fingerprint == Embedder(model).fingerprint, (
        "The vectors have changed: run benchmarks/development.py with --save src/umekomi/figures.json."
    )


def test_both_models_of_a_pair_have_the_same_figures() -> None:
    for card in load_catalog().models.values():
        if card.pair:
            assert read_figures()[card.id] == read_figures()[card.pair]


def test_new_figures_are_added_to_those_of_the_same_vectors(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_figures({"one": MeasuredFigures("aa", "2026-01-01", {"stsb Spearman": 0.81234})}, path)
    write_figures({"one": MeasuredFigures("aa", "2026-01-02", {"jsts Spearman": 0.7})}, path)
    assert read_figures(path)["one"].figures == {"stsb Spearman": 0.8123, "jsts Spearman": 0.7}
    write_figures({"one": MeasuredFigures("bb", "2026-01-03", {"jsts Spearman": 0.6})}, path)
    assert read_figures(path)["one"].figures == {"jsts Spearman": 0.6}, "figures of other vectors are dropped"


def test_a_mean_needs_all_of_its_figures() -> None:
    row = MeasuredFigures("aa", "2026-01-01", {"a": 0.5, "b": 0.7})
    assert row.mean("a", "b") == pytest.approx(0.6)
    assert row.mean("a", "c") is None


def test_models_of_other_catalogs_have_no_figures() -> None:
    assert task_cells("my-model") == ["–"] * len(TASKS)
