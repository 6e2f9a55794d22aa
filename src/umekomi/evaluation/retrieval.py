"""How good is a model? Retrieval and similarity, by the field's own definitions.

- *Retrieval*: as BEIR measures it. Every document is compared with every query (exact cosine), the first thousand are
  scored with trec_eval's nDCG@10, MAP and recall@100. Where the set says that queries and documents share their ids, the
  document with the query's own id is no answer.
- *STS*: Spearman's correlation of the cosines with people's scores.

Each figure has its 95 % interval by the bootstrap. Models on the same set are compared by the paired bootstrap, corrected for the
number of models that are compared with the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ..catalog import Role
from ..embedder import Embedder
from ..progress import Progress
from ..vectors.arithmetic import FloatArray
from ..vectors.directions import split_model
from . import metrics
from .datasets import PairDataset, RetrievalDataset
from .metrics import Estimate, Run

DEPTH = 1000
"""How many documents of a ranking are scored, as trec_eval's default."""

_CHUNK = 1024


class RoleMode(StrEnum):
    """How the two sides of a search are embedded: each in its role, or both alike, as an API that knows no roles does."""

    ROLES = "roles"
    ALIKE = "alike"


@dataclass(frozen=True, slots=True)
class Pair:
    """The two models of a search: one for queries, one for documents. Most models are both."""

    query: Embedder
    document: Embedder

    @property
    def name(self) -> str:
        """One id, or two with a slash between."""
        if self.query.model == self.document.model:
            return self.query.model
        return f"{self.query.model} / {self.document.model}"


def load_pair(model: str, load: Callable[[str], Embedder] = Embedder) -> Pair:
    """The two models of a search, of the id of either half; a model without a pair is both."""
    one = load(model)
    if not one.card.pair:
        return Pair(one, one)
    base, without = split_model(model)
    other = load(one.card.pair + model.removeprefix(base) if without else one.card.pair)
    return Pair(one, other) if one.card.role is Role.QUERY else Pair(other, one)


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """What retrieval came to.

    ``per_query`` is the nDCG@10 of each query, ``map_per_query`` its average precision. ``cut`` texts were longer than the model
    takes and lost their ends; ``empty`` documents cannot be embedded and were found by no query. ``seconds`` is the time that
    embedding took.
    """

    model: str
    data: str
    documents: int
    queries: int
    ndcg_at_10: Estimate
    map: Estimate
    recall_at_100: Estimate
    per_query: dict[str, float]
    map_per_query: dict[str, float]
    cut: int
    empty: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StsResult:
    """What similarity came to: correlations of the cosines with people's scores. ``cosines`` is one a pair."""

    model: str
    data: str
    pairs: int
    spearman: Estimate
    pearson: Estimate
    cosines: tuple[float, ...]
    cut: int
    seconds: float


def embed_fitting(
    embedder: Embedder, texts: Sequence[str], *, role: Role | None = None, progress: Progress | None = None
) -> tuple[FloatArray, int]:
    """Vectors of texts, ``(n, dims) float32``, and how many were too long and lost their ends."""
    limit = embedder.card.max_tokens
    cut = 0
    fitting = []
    for text in texts:
        if embedder.tokenizer.exceeds(text, limit):
            text, cut = embedder.tokenizer.truncate(text, limit), cut + 1
        fitting.append(text)
    return embedder.embed(fitting, role=role, progress=progress), cut


def evaluate_retrieval(
    data: RetrievalDataset, pair: Pair, *, sides: RoleMode = RoleMode.ROLES, progress: Progress | None = None
) -> RetrievalResult:
    """Embed a retrieval set and score the rankings. ``progress`` is told of documents and queries as they are done.

    Raises:
        SpaceMismatchError: the two models of the pair do not share a space.
    """
    pair.document.require_space(pair.query.fingerprint, where=pair.query.model)
    began = time.monotonic()
    run, cut = dense_run(data, pair, sides=sides, progress=progress)
    seconds = time.monotonic() - began
    empty = sum(1 for text in data.documents.values() if not text.strip())
    return score_run(data, run, model=pair.name, cut=cut, empty=empty, seconds=seconds)


def score_run(
    data: RetrievalDataset, run: Run, *, model: str, cut: int = 0, empty: int = 0, seconds: float = 0.0
) -> RetrievalResult:
    """Score answers, whoever made them."""
    per_query = metrics.ndcg(data.judgments, run, 10)
    precision = metrics.average_precision(data.judgments, run, DEPTH)
    found = metrics.recall(data.judgments, run, 100)
    return RetrievalResult(
        model=model,
        data=data.name,
        documents=len(data.documents),
        queries=len(per_query),
        ndcg_at_10=metrics.mean(list(per_query.values())),
        map=metrics.mean(list(precision.values())),
        recall_at_100=metrics.mean(list(found.values())),
        per_query=per_query,
        map_per_query=precision,
        cut=cut,
        empty=empty,
        seconds=seconds,
    )


def dense_run(
    data: RetrievalDataset,
    pair: Pair,
    *,
    k: int = DEPTH,
    sides: RoleMode = RoleMode.ROLES,
    progress: Progress | None = None,
) -> tuple[Run, int]:
    """The ``k`` nearest documents of each query by exact search, and how many texts were cut.

    Memory holds the queries' vectors and those of 1,024 documents, whatever the corpus.
    """
    asked, offered = (Role.QUERY, Role.DOCUMENT) if sides is RoleMode.ROLES else (None, None)
    query_ids = [query for query, text in data.queries.items() if text.strip()]
    queries, cut = embed_fitting(
        pair.query, [data.queries[query] for query in query_ids], role=asked, progress=progress
    )
    best = np.full((len(query_ids), 0), 0.0, dtype=np.float32)
    places = np.full((len(query_ids), 0), 0, dtype=np.int64)
    # The greater id first: a stable sort then breaks ties as trec_eval does.
    ids = sorted((document for document, text in data.documents.items() if text.strip()), reverse=True)
    own = {document: place for place, document in enumerate(ids)}
    for start, chunk in _chunks(ids):
        vectors, n_cut = embed_fitting(
            pair.document, [data.documents[document] for document in chunk], role=offered, progress=progress
        )
        cut += n_cut
        scores = queries @ vectors.T
        for row, query in enumerate(query_ids):
            same = data.source_document(query)
            if same is not None and start <= own.get(same, -1) < start + len(chunk):
                scores[row, own[same] - start] = -np.inf
        here = np.broadcast_to(np.arange(start, start + len(chunk)), scores.shape)
        best, places = np.hstack([best, scores]), np.hstack([places, here])
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, places = np.take_along_axis(best, order, axis=1), np.take_along_axis(places, order, axis=1)
    return {
        query: {
            ids[place]: float(score) for place, score in zip(places[row], best[row], strict=True) if score > -np.inf
        }
        for row, query in enumerate(query_ids)
    }, cut


def _chunks(ids: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    for start in range(0, len(ids), _CHUNK):
        yield start, ids[start : start + _CHUNK]


def evaluate_sts(data: PairDataset, embedder: Embedder, *, progress: Progress | None = None) -> StsResult:
    """Correlate the cosines of pairs with people's scores. A text that occurs more than once is embedded once."""
    began = time.monotonic()
    texts = list(dict.fromkeys((*data.left, *data.right)))
    vectors, cut = embed_fitting(embedder, texts, progress=progress)
    place = {text: number for number, text in enumerate(texts)}
    left, right = (vectors[[place[text] for text in side]] for side in (data.left, data.right))
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
    """How much better each result after the first is, by ``ndcg_at_10`` and ``map``, on the same queries (paired bootstrap)."""
    return [
        {
            "ndcg_at_10": mean_difference(results[0].per_query, other.per_query, comparisons=len(results) - 1),
            "map": mean_difference(results[0].map_per_query, other.map_per_query, comparisons=len(results) - 1),
        }
        for other in results[1:]
    ]


def compare_sts(data: PairDataset, results: Sequence[StsResult]) -> list[dict[str, Estimate]]:
    """How much better each result after the first is, by ``spearman`` and ``pearson``, on the same pairs (paired bootstrap)."""
    scores = np.array(data.scores)
    cosines = [np.array(result.cosines) for result in results]

    def differ(measure: Callable[[npt.ArrayLike, npt.ArrayLike], float], place: int) -> Estimate:
        two = cosines[0], cosines[place]
        return metrics.paired_difference(
            lambda which, rows: measure(two[which][rows], scores[rows]), len(scores), comparisons=len(results) - 1
        )

    return [
        {"spearman": differ(metrics.spearman, place), "pearson": differ(metrics.pearson, place)}
        for place in range(1, len(results))
    ]


def mean_difference(first: Mapping[str, float], other: Mapping[str, float], *, comparisons: int = 1) -> Estimate:
    """How much greater the mean of ``other`` is than that of ``first`` over the same queries, by the paired bootstrap."""
    two = np.array([[first[query], other[query]] for query in first]).T
    return metrics.paired_difference(
        lambda which, rows: float(two[which][rows].mean()), len(first), comparisons=comparisons
    )
