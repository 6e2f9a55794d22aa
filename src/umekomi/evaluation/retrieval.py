"""Evaluation of retrieval and semantic textual similarity (STS).

- *Retrieval* follows BEIR: an exact cosine search of all documents for every query, of which the first thousand results are
  scored with trec_eval's nDCG@10, MAP and recall@100. If the data set declares that queries and documents share their ids,
  the document with the query's own id is excluded.
- *STS* is Spearman's correlation of cosine similarities with human scores.

Each figure has a 95 % bootstrap interval. Models are compared on the same set by the paired bootstrap, corrected for the
number of models that are compared with the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ..catalog import Role
from ..embedder import Embedder
from ..progress import Progress
from ..vectors.arithmetic import FloatArray
from ..vectors.matrices import base_model
from . import metrics
from .datasets import PairDataset, RetrievalDataset
from .metrics import Estimate, Run

DEPTH = 1000
"""Number of documents of a ranking that are scored (trec_eval's default)."""

_CHUNK = 1024


class RoleMode(StrEnum):
    """Whether queries and documents are embedded in their roles, or both without a role, as over an API without roles."""

    ROLES = "roles"
    ALIKE = "alike"


@dataclass(frozen=True, slots=True)
class SearchModels:
    """The models of the queries and of the documents of a search. They are the same for most models."""

    query: Embedder
    document: Embedder

    @property
    def name(self) -> str:
        """The id of the model, or both ids separated by a slash."""
        if self.query.model == self.document.model:
            return self.query.model
        return f"{self.query.model} / {self.document.model}"


def load_search_models(model: str, load: Callable[[str], Embedder] = Embedder) -> SearchModels:
    """Load the models of a search, given the id of either one. A model without a counterpart is used for both."""
    embedder = load(model)
    if not embedder.card.pair:
        return SearchModels(embedder, embedder)
    other = load(embedder.card.pair + model.removeprefix(base_model(model)))
    return SearchModels(embedder, other) if embedder.card.role is Role.QUERY else SearchModels(other, embedder)


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """The result of evaluating retrieval with one model on one data set."""

    model: str
    data: str
    documents: int
    queries: int
    ndcg_at_10: Estimate
    map: Estimate
    recall_at_100: Estimate
    #: nDCG@10 of each query.
    per_query: dict[str, float]
    #: Average precision of each query.
    map_per_query: dict[str, float]
    #: Number of texts that were truncated to the model's maximum length.
    cut: int
    #: Number of empty documents, which cannot be embedded and are never found.
    empty: int
    #: Time that embedding took.
    seconds: float


@dataclass(frozen=True, slots=True)
class StsResult:
    """The result of evaluating STS: correlations of cosine similarities with human scores."""

    model: str
    data: str
    pairs: int
    spearman: Estimate
    pearson: Estimate
    #: Cosine similarity of each pair.
    cosines: tuple[float, ...]
    #: Number of texts that were truncated to the model's maximum length.
    cut: int
    seconds: float


def embed_truncated(
    embedder: Embedder, texts: Sequence[str], *, role: Role | None = None, progress: Progress | None = None
) -> tuple[FloatArray, int]:
    """Embed texts, truncating long ones, and return ``(n, dims) float32`` vectors and the number of truncated texts."""
    limit = embedder.card.max_tokens
    cut = 0
    truncated = []
    for text in texts:
        if embedder.tokenizer.exceeds(text, limit):
            text, cut = embedder.tokenizer.truncate(text, limit), cut + 1
        truncated.append(text)
    return embedder.embed(truncated, role=role, progress=progress), cut


def evaluate_retrieval(
    data: RetrievalDataset, models: SearchModels, *, roles: RoleMode = RoleMode.ROLES, progress: Progress | None = None
) -> RetrievalResult:
    """Embed a retrieval set and score the rankings. ``progress`` receives the number of newly embedded texts.

    Raises:
        SpaceMismatchError: The two models do not share a vector space.
    """
    models.document.require_space(models.query.fingerprint, where=models.query.model)
    began = time.monotonic()
    run, cut = dense_run(data, models, roles=roles, progress=progress)
    seconds = time.monotonic() - began
    empty = sum(1 for text in data.documents.values() if not text.strip())
    return score_run(data, run, model=models.name, cut=cut, empty=empty, seconds=seconds)


def score_run(
    data: RetrievalDataset, run: Run, *, model: str, cut: int = 0, empty: int = 0, seconds: float = 0.0
) -> RetrievalResult:
    """Score a run, which any system may have produced."""
    per_query = metrics.ndcg(data.judgments, run, 10)
    precision = metrics.average_precision(data.judgments, run, DEPTH)
    recall = metrics.recall(data.judgments, run, 100)
    return RetrievalResult(
        model=model,
        data=data.name,
        documents=len(data.documents),
        queries=len(per_query),
        ndcg_at_10=metrics.mean(list(per_query.values())),
        map=metrics.mean(list(precision.values())),
        recall_at_100=metrics.mean(list(recall.values())),
        per_query=per_query,
        map_per_query=precision,
        cut=cut,
        empty=empty,
        seconds=seconds,
    )


def dense_run(
    data: RetrievalDataset,
    models: SearchModels,
    *,
    k: int = DEPTH,
    roles: RoleMode = RoleMode.ROLES,
    progress: Progress | None = None,
) -> tuple[Run, int]:
    """Return the ``k`` nearest documents of each query by exact search, and the number of truncated texts.

    Memory use does not depend on the corpus: only the vectors of the queries and of 1,024 documents are in memory.
    """
    query_role, document_role = (Role.QUERY, Role.DOCUMENT) if roles is RoleMode.ROLES else (None, None)
    query_ids = [query for query, text in data.queries.items() if text.strip()]
    queries, cut = embed_truncated(
        models.query, [data.queries[query] for query in query_ids], role=query_role, progress=progress
    )
    best = np.full((len(query_ids), 0), 0.0, dtype=np.float32)
    indices = np.full((len(query_ids), 0), 0, dtype=np.int64)
    # In descending order of ids, a stable sort breaks ties as trec_eval does.
    ids = sorted((document for document, text in data.documents.items() if text.strip()), reverse=True)
    index_of = {document: index for index, document in enumerate(ids)}
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        vectors, n_cut = embed_truncated(
            models.document, [data.documents[document] for document in chunk], role=document_role, progress=progress
        )
        cut += n_cut
        scores = queries @ vectors.T
        for row, query in enumerate(query_ids):
            source = data.source_document(query)
            if source is not None and start <= index_of.get(source, -1) < start + len(chunk):
                scores[row, index_of[source] - start] = -np.inf
        chunk_indices = np.broadcast_to(np.arange(start, start + len(chunk)), scores.shape)
        best, indices = np.hstack([best, scores]), np.hstack([indices, chunk_indices])
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, indices = np.take_along_axis(best, order, axis=1), np.take_along_axis(indices, order, axis=1)
    return {
        query: {
            ids[index]: float(score) for index, score in zip(indices[row], best[row], strict=True) if score > -np.inf
        }
        for row, query in enumerate(query_ids)
    }, cut


def evaluate_sts(data: PairDataset, embedder: Embedder, *, progress: Progress | None = None) -> StsResult:
    """Correlate the cosine similarities of pairs with human scores. Repeated texts are embedded once."""
    began = time.monotonic()
    texts = list(dict.fromkeys((*data.left, *data.right)))
    vectors, cut = embed_truncated(embedder, texts, progress=progress)
    index_of = {text: index for index, text in enumerate(texts)}
    left, right = (vectors[[index_of[text] for text in side]] for side in (data.left, data.right))
    cosines = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    scores = np.array(data.scores)
    return StsResult(
        model=embedder.model,
        data=data.name,
        pairs=len(scores),
        spearman=metrics.bootstrap(lambda rows: metrics.spearman(cosines[rows], scores[rows]), len(scores)),
        pearson=metrics.bootstrap(lambda rows: metrics.pearson(cosines[rows], scores[rows]), len(scores)),
        cosines=tuple(map(float, cosines)),
        cut=cut,
        seconds=time.monotonic() - began,
    )


def compare_retrieval(results: Sequence[RetrievalResult]) -> list[dict[str, Estimate]]:
    """Return the differences in ``ndcg_at_10`` and ``map`` from the first result to each other one (paired bootstrap)."""
    return [
        {
            "ndcg_at_10": mean_difference(results[0].per_query, other.per_query, comparisons=len(results) - 1),
            "map": mean_difference(results[0].map_per_query, other.map_per_query, comparisons=len(results) - 1),
        }
        for other in results[1:]
    ]


def compare_sts(data: PairDataset, results: Sequence[StsResult]) -> list[dict[str, Estimate]]:
    """Return the differences in ``spearman`` and ``pearson`` from the first result to each other one (paired bootstrap)."""
    scores = np.array(data.scores)
    cosines = [np.array(result.cosines) for result in results]

    def difference(correlation: Callable[[npt.ArrayLike, npt.ArrayLike], float], other: int) -> Estimate:
        compared = cosines[0], cosines[other]
        return metrics.paired_difference(
            lambda system, rows: correlation(compared[system][rows], scores[rows]),
            len(scores),
            comparisons=len(results) - 1,
        )

    return [
        {"spearman": difference(metrics.spearman, other), "pearson": difference(metrics.pearson, other)}
        for other in range(1, len(results))
    ]


def mean_difference(first: Mapping[str, float], other: Mapping[str, float], *, comparisons: int = 1) -> Estimate:
    """Return the mean of ``other`` minus that of ``first`` over the same queries, with its paired bootstrap interval."""
    compared = np.array([[first[query], other[query]] for query in first]).T
    return metrics.paired_difference(
        lambda system, rows: float(compared[system][rows].mean()), len(first), comparisons=comparisons
    )
