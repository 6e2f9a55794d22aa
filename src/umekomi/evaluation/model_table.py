"""The table of models: published figures of the hosted models, the parts of Umekomi's models and, on request, measurements.

A query model and its document model share a row, because a search is measured with both. They are measured on retrieval only;
other models are measured on every data set.

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

MakeProgress = Callable[[str, int], AbstractContextManager[Progress]]
"""Creates a progress bar from a label and a number of texts."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A row of the table."""

    #: Id of the model, or ids of the document model and the query model.
    models: tuple[str, ...]
    card: ModelCard
    #: Short description of the parts.
    parts: str


@dataclass(frozen=True, slots=True)
class EvaluationSets:
    """Data sets for measurements. A measurement is skipped if its set is None."""

    retrieval: RetrievalDataset | None = None
    english: PairDataset | None = None
    japanese: PairDataset | None = None
    code: RetrievalDataset | None = None


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """Measurements of a row. Those that were skipped are None."""

    #: Throughput with documents, measured with one model at a time.
    texts_per_second: float | None = None
    retrieval: Estimate | None = None
    english: Estimate | None = None
    japanese: Estimate | None = None
    code: Estimate | None = None


def table_rows(catalog: Catalog, *, hidden: bool = False) -> list[ModelRow]:
    """Return the rows of a catalog in its order."""
    rows = []
    for card in catalog.models.values():
        if (card.hidden and not hidden) or (card.pair and card.role is Role.QUERY):
            continue
        models = (card.id, card.pair) if card.pair else (card.id,)
        rows.append(ModelRow(models, card, _describe_parts(card)))
    return rows


def _describe_parts(card: ModelCard) -> str:
    total = sum(part.weight for part in card.parts)
    descriptions = []
    for part in card.parts:
        # The size is stated only if it can be chosen. Other encoders have the size that they were trained with.
        size = f" {part.options['dims']}" if "dims" in part.options else ""
        descriptions.append(f"{part.encoder}{size} ({part.weight / total:.3g})")
    return " ⊕ ".join(descriptions)


def measure(
    row: ModelRow, sets: EvaluationSets, *, load: Callable[[str], Embedder], make_progress: MakeProgress
) -> ModelFigures:
    """Measure a row with the functions behind `umekomi evaluate`.

    Args:
        row: Row to measure.
        sets: Data sets.
        load: Function that loads a model, such as :meth:`.part_vectors.PartVectors.load`, which embeds common parts once.
        make_progress: Creates progress bars.
    """
    document = load(row.models[0])
    models = SearchModels(load(row.models[1]) if len(row.models) > 1 else document, document)
    figures = ModelFigures()
    if sets.retrieval is not None:
        with make_progress(f"{models.name}, {sets.retrieval.name}", _size(sets.retrieval)) as advance:
            figures = replace(
                figures, retrieval=evaluate_retrieval(sets.retrieval, models, progress=advance).ndcg_at_10
            )
    if sets.code is not None:
        with make_progress(f"{models.name}, {sets.code.name}", _size(sets.code)) as advance:
            figures = replace(figures, code=evaluate_code(sets.code, models, progress=advance).mrr)
    if not row.card.pair:
        english, japanese = (
            _measure_spearman(pairs, document, make_progress) for pairs in (sets.english, sets.japanese)
        )
        figures = replace(figures, english=english, japanese=japanese)
    return figures


def _measure_spearman(pairs: PairDataset | None, embedder: Embedder, make_progress: MakeProgress) -> Estimate | None:
    if pairs is None:
        return None
    with make_progress(f"{embedder.model}, {pairs.name}", len({*pairs.left, *pairs.right})) as advance:
        return evaluate_sts(pairs, embedder, progress=advance).spearman


def texts_per_second(embedder: Embedder, texts: Sequence[str], *, progress: Progress | None = None) -> float:
    """Return the number of texts per second that a model embeds in one call, after one warm-up text."""
    embedder.embed(texts[:1])
    began = time.monotonic()
    embedder.embed(texts, progress=progress)
    return len(texts) / (time.monotonic() - began)


def _size(data: RetrievalDataset) -> int:
    return len(data.documents) + len(data.queries)


def spread(texts: Sequence[str], n: int) -> list[str]:
    """Return ``n`` texts at regular intervals, or all of them if there are fewer.

    >>> spread("abcdefgh", 4)
    ['a', 'c', 'e', 'g']
    """
    if len(texts) <= n:
        return list(texts)
    return [texts[index * len(texts) // n] for index in range(n)]


def markdown(
    rows: Sequence[ModelRow], figures: Sequence[ModelFigures] | None = None, sets: EvaluationSets | None = None
) -> str:
    """Format rows, and measurements with their 95 % intervals, as a Markdown table. A dash means "not measured"."""
    header = ["model", "dimensions", "limit in tokens", "hosted: pages a dollar", "hosted: BEIR", "parts here"]
    line = ["---", "---:", "---", "---:", "---:", "---"]
    cells = [_card_cells(row) for row in rows]
    if figures is not None:
        sets = sets or EvaluationSets()
        measured = (
            (sets.retrieval, "nDCG@10"),
            (sets.english, "Spearman"),
            (sets.japanese, "Spearman"),
            (sets.code, "MRR"),
        )
        header += ["texts/s here", *(f"{data.name} {metric}" if data else metric for data, metric in measured)]
        line += ["---:"] * (1 + len(measured))
        cells = [card_cells + _figure_cells(row) for card_cells, row in zip(cells, figures, strict=True)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, line, *cells))


def _card_cells(row: ModelRow) -> list[str]:
    card = row.card
    return [
        ", ".join(f"`{model}`" for model in row.models),
        str(card.dimensions),
        f"{card.max_tokens} {card.tokenizer}",
        "–" if card.pages_per_dollar is None else str(card.pages_per_dollar),
        "–" if card.hosted_beir is None else f"{card.hosted_beir:.1f}",
        row.parts,
    ]


def _figure_cells(figures: ModelFigures) -> list[str]:
    speed = "–" if figures.texts_per_second is None else f"{figures.texts_per_second:,.0f}"
    measured = (figures.retrieval, figures.english, figures.japanese, figures.code)
    return [speed, *("–" if estimate is None else f"{estimate:.3f}" for estimate in measured)]
