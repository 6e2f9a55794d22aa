"""Measure how a model handles words that are newer than its training data.

Each probe is a term with the year in which it came into wide use, and its meaning in older words. Each term is compared with the
meanings of all terms. A model that knows a term ranks its own meaning first. The meaning of new terms that consist of old words
(*quiet quitting*) can be guessed, so results rarely fall to chance level, which is one in the number of terms.
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
class DatedTerm:
    """A term, the year in which it came into wide use, and its meaning."""

    year: int
    term: str
    meaning: str


@dataclass(frozen=True, slots=True)
class TermRank:
    """The rank of a term's own meaning among all meanings."""

    year: int
    term: str
    #: Rank, from 1.
    rank: int
    #: Term whose meaning is the nearest.
    nearest: str


@dataclass(frozen=True, slots=True)
class Period:
    """Results for the terms of a range of years."""

    label: str
    terms: int
    #: Share of terms whose own meaning ranks first.
    first: Estimate
    #: Mean reciprocal rank.
    mrr: Estimate


@dataclass(frozen=True, slots=True)
class RecencyResult:
    """The result of the recency test for one model."""

    model: str
    #: Date until which the training data of each part reach, according to the model card.
    knowledge: tuple[str, ...]
    periods: tuple[Period, ...]
    terms: tuple[TermRank, ...]


@cache
def probe_terms() -> tuple[DatedTerm, ...]:
    """Return the dated terms that are part of Umekomi."""
    rows = tomllib.loads(resources.files(__package__).joinpath("recency.toml").read_text("utf-8"))
    return tuple(DatedTerm(**row) for row in rows["terms"])


def run_recency(
    embedder: Embedder,
    *,
    terms: Sequence[DatedTerm] | None = None,
    knowledge: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> RecencyResult:
    """Embed terms and meanings, and rank the meanings. ``progress`` counts two texts for each term."""
    terms = tuple(terms) if terms is not None else probe_terms()
    texts = [_QUESTION.format(term.term) for term in terms] + [term.meaning for term in terms]
    vectors = normalize(embedder.embed(texts, progress=progress))
    cosines = vectors[: len(terms)] @ vectors[len(terms) :].T
    ranks = 1 + (cosines > np.diagonal(cosines)[:, None]).sum(axis=1)
    nearest = cosines.argmax(axis=1)
    term_ranks = tuple(
        TermRank(term.year, term.term, int(rank), terms[index].term)
        for term, rank, index in zip(terms, ranks, nearest, strict=True)
    )
    periods = []
    for low, high in PERIODS:
        period = [term.rank for term in term_ranks if low <= term.year <= high]
        if period:
            first = metrics.share([rank == 1 for rank in period])
            mrr = metrics.mean([1.0 / rank for rank in period], seed=seed)
            periods.append(Period(_label(low, high), len(period), first, mrr))
    return RecencyResult(embedder.model, tuple(knowledge), tuple(periods), term_ranks)


def _label(low: int, high: int) -> str:
    return f"to {high}" if low == 0 else f"from {low}" if high == 9999 else f"{low}–{high}"
