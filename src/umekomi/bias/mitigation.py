"""Measure the effects of projecting out a direction: on associations, similarity and retrieval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..embedder import Embedder
from ..evaluation.datasets import PairDataset, RetrievalDataset
from ..evaluation.retrieval import RetrievalResult, StsResult, evaluate_retrieval, evaluate_sts, load_search_models
from ..progress import Progress
from ..vectors.directions import SEPARATOR
from .seat import AssociationTest, Effect, run_tests


@dataclass(frozen=True, slots=True)
class MitigationResult:
    """Measurements of one model. Similarity and retrieval are None if they were not measured."""

    model: str
    effects: tuple[Effect, ...]
    sts: StsResult | None
    retrieval: RetrievalResult | None


@dataclass(frozen=True, slots=True)
class Mitigation:
    """Measurements of a model before and after projecting out a direction."""

    without: str
    before: MitigationResult
    after: MitigationResult


def measure_mitigation(
    model: str,
    without: str,
    tests: Sequence[AssociationTest],
    *,
    pairs: PairDataset | None = None,
    retrieval: RetrievalDataset | None = None,
    load: Callable[[str], Embedder] = Embedder,
    seed: int = 0,
    progress: Progress | None = None,
) -> Mitigation:
    """Measure a model without and with projecting out a direction. Only one of the two is in memory at a time."""
    before, after = (
        _measure(name, tests, pairs, retrieval, load, seed, progress)
        for name in (model, f"{model}{SEPARATOR}{without}")
    )
    return Mitigation(without, before, after)


def _measure(
    model: str,
    tests: Sequence[AssociationTest],
    pairs: PairDataset | None,
    retrieval: RetrievalDataset | None,
    load: Callable[[str], Embedder],
    seed: int,
    progress: Progress | None,
) -> MitigationResult:
    models = load_search_models(model, load)
    return MitigationResult(
        model=models.document.model,
        effects=run_tests(tests, models.document, seed=seed, progress=progress).effects,
        sts=evaluate_sts(pairs, models.document, progress=progress) if pairs else None,
        retrieval=evaluate_retrieval(retrieval, models, progress=progress) if retrieval else None,
    )
