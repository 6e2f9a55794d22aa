"""The table of models: what the hosted ones promise beside what ours are made of and, on request, what ours do when measured.

The two halves of a pair are one row: a search is measured with both. A model without a pair is measured on every set; a pair on
the sets that are searches, as similarity has no sides.

>>> from umekomi.catalog import load_catalog
>>> table_rows(load_catalog())[0].models
('text-embedding-ada-002',)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from ..catalog import Catalog, ModelCard, Role
from ..embedder import Embedder
from ..progress import Progress
from .code_search import evaluate_code
from .datasets import PairDataset, RetrievalDataset
from .metrics import Estimate
from .retrieval import SearchModels, evaluate_retrieval, evaluate_sts

Watch = Callable[[str, int], AbstractContextManager[Progress]]
"""Makes a progress bar of a label and a number of texts."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the ids of a model, or of both halves of a pair (documents first), its card, and its parts in a few words."""

    models: tuple[str, ...]
    card: ModelCard
    parts: str


@dataclass(frozen=True, slots=True)
class Sets:
    """What models are measured on; None leaves a figure out."""

    retrieval: RetrievalDataset | None = None
    english: PairDataset | None = None
    japanese: PairDataset | None = None
    code: RetrievalDataset | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What one row came to; None where it was not measured. ``texts_per_second`` is of documents, one model alone at a time."""

    texts_per_second: float | None = None
    retrieval: Estimate | None = None
    english: Estimate | None = None
    japanese: Estimate | None = None
    code: Estimate | None = None


def table_rows(catalog: Catalog, *, hidden: bool = False) -> list[Row]:
    """The rows of a catalogue in its order, each pair once."""
    rows = []
    for card in catalog.models.values():
        if (card.hidden and not hidden) or (card.pair and card.role is Role.QUERY):
            continue
        models = (card.id, card.pair) if card.pair else (card.id,)
        rows.append(Row(models, card, _parts(card, catalog)))
    return rows


def _parts(card: ModelCard, catalog: Catalog) -> str:
    total = sum(part.weight for part in card.parts)
    told = []
    for part in card.parts:
        # Where a part's size can be chosen it says so; the others have the one that they were trained with.
        size = f" {part.options['dims']}" if "dims" in part.options else ""
        told.append(f"{part.encoder}{size} ({part.weight / total:.3g})")
    return " ⊕ ".join(told)


def measure(row: Row, sets: Sets, *, load: Callable[[str], Embedder], watch: Watch) -> Figures:
    """Measure a row with what ``load`` gives, by the functions behind `umekomi evaluate`.

    Args:
        row: what to measure.
        sets: on what.
        load: gives a model; with :class:`~.part_vectors.PartVectors` what models have in common is embedded once.
        watch: shows progress.
    """
    document = load(row.models[0])
    pair = SearchModels(load(row.models[1]) if len(row.models) > 1 else document, document)
    figures = Figures()
    if sets.retrieval is not None:
        with watch(f"{pair.name}, {sets.retrieval.name}", _size(sets.retrieval)) as advance:
            figures = replace(figures, retrieval=evaluate_retrieval(sets.retrieval, pair, progress=advance).ndcg_at_10)
    if sets.code is not None:
        with watch(f"{pair.name}, {sets.code.name}", _size(sets.code)) as advance:
            figures = replace(figures, code=evaluate_code(sets.code, pair, progress=advance).mrr)
    if not row.card.pair:
        english, japanese = (_spearman(pairs, document, watch) for pairs in (sets.english, sets.japanese))
        figures = replace(figures, english=english, japanese=japanese)
    return figures


def _spearman(pairs: PairDataset | None, embedder: Embedder, watch: Watch) -> Estimate | None:
    if pairs is None:
        return None
    with watch(f"{embedder.model}, {pairs.name}", len({*pairs.left, *pairs.right})) as advance:
        return evaluate_sts(pairs, embedder, progress=advance).spearman


def texts_per_second(embedder: Embedder, texts: Sequence[str], *, progress: Progress | None = None) -> float:
    """How many texts a model embeds in a second, all in one call, after a first text that warms it up."""
    embedder.embed(texts[:1])
    began = time.monotonic()
    embedder.embed(texts, progress=progress)
    return len(texts) / (time.monotonic() - began)


def _size(data: RetrievalDataset) -> int:
    return len(data.documents) + len(data.queries)


def spread(texts: Sequence[str], n: int) -> list[str]:
    """``n`` of the texts, evenly from the first to the last; all, if there are no more.

    >>> spread("abcdefgh", 4)
    ['a', 'c', 'e', 'g']
    """
    if len(texts) <= n:
        return list(texts)
    return [texts[place * len(texts) // n] for place in range(n)]


def markdown(rows: Sequence[Row], figures: Sequence[Figures] | None = None, sets: Sets | None = None) -> str:
    """The rows as a table in Markdown; with figures on sets, those follow with their 95 % intervals in brackets.

    A dash stands for what was not measured.
    """
    header = ["model", "dimensions", "limit in tokens", "hosted: pages a dollar", "hosted: BEIR", "parts here"]
    line = ["---", "---:", "---", "---:", "---:", "---"]
    cells = [_card_cells(row) for row in rows]
    if figures is not None:
        sets = sets or Sets()
        measured = (
            (sets.retrieval, "nDCG@10"),
            (sets.english, "Spearman"),
            (sets.japanese, "Spearman"),
            (sets.code, "MRR"),
        )
        header += ["texts/s here", *(f"{data.name} {what}" if data else what for data, what in measured)]
        line += ["---:"] * (1 + len(measured))
        cells = [before + _figure_cells(one) for before, one in zip(cells, figures, strict=True)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, line, *cells))


def _card_cells(row: Row) -> list[str]:
    card = row.card
    return [
        ", ".join(f"`{model}`" for model in row.models),
        str(card.dimensions),
        f"{card.max_tokens} {card.tokenizer}",
        "–" if card.pages_per_dollar is None else str(card.pages_per_dollar),
        "–" if card.hosted_beir is None else f"{card.hosted_beir:.1f}",
        row.parts,
    ]


def _figure_cells(figures: Figures) -> list[str]:
    speed = "–" if figures.texts_per_second is None else f"{figures.texts_per_second:,.0f}"
    measured = (figures.retrieval, figures.english, figures.japanese, figures.code)
    return [speed, *("–" if one is None else f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in measured)]
