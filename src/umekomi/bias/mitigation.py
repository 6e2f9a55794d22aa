"""What projecting a direction out changes, the wanted and the unwanted together: associations, similarity and retrieval."""

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
class Measured:
    """All that was measured of one model; similarity and retrieval are None where no set was given."""

    model: str
    effects: tuple[Effect, ...]
    sts: StsResult | None
    retrieval: RetrievalResult | None


@dataclass(frozen=True, slots=True)
class Mitigation:
    """A model before and after a direction was projected out."""

    without: str
    before: Measured
    after: Measured


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
    """Measure a model as it is, then with the direction projected out; one after the other, so that only one is in memory."""
    before, after = (
        _measure(one, tests, pairs, retrieval, load, seed, progress) for one in (model, f"{model}{SEPARATOR}{without}")
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
) -> Measured:
    pair = load_search_models(model, load)
    return Measured(
        model=pair.document.model,
        effects=run_tests(tests, pair.document, seed=seed, progress=progress).effects,
        sts=evaluate_sts(pairs, pair.document, progress=progress) if pairs else None,
        retrieval=evaluate_retrieval(retrieval, pair, progress=progress) if retrieval else None,
    )
