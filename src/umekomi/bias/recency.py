"""How does a model handle words that are newer than its training texts?

Dated probe pairs: a term with the year in which it came into wide use, and its meaning in older words. Each term is compared with
the meanings of all terms of all years. A model that knows a term puts its own meaning first. New terms made of old words (*quiet
quitting*) can be guessed, so that the figure seldom falls to chance, which is one in the number of terms.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from ..embedder import Embedder
from ..evaluation import metrics
from ..evaluation.metrics import Estimate
from ..progress import Progress
from ..vectors.arithmetic import normalize

PERIODS = ((0, 2015), (2016, 2019), (2020, 2021), (2022, 2023), (2024, 9999))
_QUESTION = "What is {}?"


@dataclass(frozen=True, slots=True)
class Term:
    """A term, the year in which it came into wide use, and its meaning."""

    year: int
    term: str
    meaning: str


@dataclass(frozen=True, slots=True)
class TermRank:
    """Where a term's own meaning came among all meanings, 1 being first, and whose meaning came first."""

    year: int
    term: str
    rank: int
    nearest: str


@dataclass(frozen=True, slots=True)
class Period:
    """The terms of some years: how many had their own meaning first, and the mean of one over its rank."""

    label: str
    terms: int
    first: Estimate
    mrr: Estimate


@dataclass(frozen=True, slots=True)
class RecencyResult:
    """What recency came to. ``knowledge`` says to when the data of the model's parts reach, as its card has it."""

    model: str
    knowledge: tuple[str, ...]
    periods: tuple[Period, ...]
    terms: tuple[TermRank, ...]


@cache
def probe_terms() -> tuple[Term, ...]:
    """The dated terms that Umekomi ships."""
    rows = tomllib.loads(resources.files(__package__).joinpath("recency.toml").read_text("utf-8"))
    return tuple(Term(**row) for row in rows["terms"])


def run_recency(
    embedder: Embedder,
    *,
    terms: Sequence[Term] | None = None,
    knowledge: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> RecencyResult:
    """Embed terms and meanings and rank them. ``progress`` is told of two texts a term."""
    chosen = tuple(terms) if terms is not None else probe_terms()
    texts = [_QUESTION.format(one.term) for one in chosen] + [one.meaning for one in chosen]
    vectors = normalize(embedder.embed(texts, progress=progress))
    cosines = vectors[: len(chosen)] @ vectors[len(chosen) :].T
    ranks = 1 + (cosines > np.diagonal(cosines)[:, None]).sum(axis=1)
    nearest = cosines.argmax(axis=1)
    found = tuple(
        TermRank(one.year, one.term, int(rank), chosen[place].term)
        for one, rank, place in zip(chosen, ranks, nearest, strict=True)
    )
    periods = []
    for low, high in PERIODS:
        some = [one.rank for one in found if low <= one.year <= high]
        if some:
            first = metrics.share([rank == 1 for rank in some])
            mrr = metrics.mean([1.0 / rank for rank in some], seed=seed)
            periods.append(Period(_label(low, high), len(some), first, mrr))
    return RecencyResult(embedder.model, tuple(knowledge), tuple(periods), found)


def _label(low: int, high: int) -> str:
    return f"to {high}" if low == 0 else f"from {low}" if high == 9999 else f"{low}–{high}"
